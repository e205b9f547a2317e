"""The lab file as frozen, strict settings.

An unknown key, a missing host or a wrong URL is one ConfigError that names the line, the key and the remedy. Names that
refer to each other (placement to hosts, apps to strategies) are checked here, so that nobody downstream has to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pillion.core.events import Trigger
from pillion.core.model import App, AppId, HostId, PoaId, Protocol, StateKind, UeId, Volume, ZoneId
from pillion.core.placement import Placement, Policy
from pillion.core.plan import Strategy
from pillion.core.preflight import losses
from pillion.errors import ConfigError
from pillion.strategies.deploy import DEPLOY
from pillion.strategies.restart import RESTART

SUFFIX = ".pillion.yml"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,30}$")]
"""Two characters or more, since Docker wants that of container names."""
Port = Annotated[int, Field(ge=1, le=65535)]
Path_ = Annotated[str, Field(pattern=r"^/[\w./-]*$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostSettings(_Settings):
    """A MEC host. One without `key_file` is made by `pillion up` as a container at `address`; one with it is yours."""

    address: IPv4Address
    ssh_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]*$")] = "root"
    ssh_port: Port = 22
    key_file: Path | None = None
    known_hosts: Path | None = None

    @model_validator(mode="after")
    def _pinned(self) -> HostSettings:
        if (self.key_file is None) != (self.known_hosts is None):
            raise ValueError("key_file and known_hosts belong together: a host's key is always verified")
        return self


class SandboxSettings(_Settings):
    """The MEC sandbox: another one's `url`, or, without it, the embedded one with this scenario and speed."""

    url: HttpUrl | None = None
    location: Literal["v2", "v3"] = "v2"
    scenario: Name = "monaco"
    speed: Annotated[float, Field(gt=0, le=100)] = 1.0


class PlacementSettings(_Settings):
    """Which MEC host serves which POA or zone: `poas` first, then `zones`, else `default`."""

    default: str
    zones: dict[str, str] = Field(default_factory=dict)
    poas: dict[str, str] = Field(default_factory=dict)


class AppSettings(_Settings):
    """An app that follows one UE."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._/:-]*$")]
    ue: IPv4Address
    port: Port
    publish: Port | None = None
    start: str
    strategy: str = "M2"
    state: StateKind | None = None
    volume: Path_ | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(default_factory=dict)
    protocol: Protocol = Protocol.HTTP
    phase_hook: Path_ | None = None
    ready: Path_ = "/ready"
    triggers: tuple[Literal["app", "ue", "data-plane"], ...] = ()

    @model_validator(mode="after")
    def _kept_somewhere(self) -> AppSettings:
        if self.state is StateKind.VOLUME and self.volume is None:
            raise ValueError("state: volume needs `volume`, its mount point")
        return self

    def as_app(self, name: str) -> App:
        """The app as the core knows it. Its state is in its DV, if it has one, unless the lab file says where else."""
        return App(
            id=AppId(name),
            ue=UeId(str(self.ue)),
            image=self.image,
            port=self.port,
            volume=Volume(self.volume) if self.volume else None,
            phase_hook=self.phase_hook,
            ready_path=self.ready,
            strategy=self.strategy,
            state=self.state or (StateKind.VOLUME if self.volume else StateKind.NONE),
            command=self.command,
            environment=self.environment,
            protocol=self.protocol,
        )


class TrackingSettings(_Settings):
    """How UEs are followed, in seconds; `radius_m` is how far a POA reaches, by its MEC 013 connectionType."""

    source: Literal["poll", "subscribe"] = "poll"
    poll_s: Annotated[float, Field(ge=0.05, le=10)] = 0.25
    lookahead_s: Seconds = 20.0
    settle_s: Annotated[float, Field(ge=0, le=600)] = 4.0
    silent_s: Seconds = 5.0
    radius_m: dict[str, float] = Field(default_factory=lambda: {"Macro": 400.0, "Smallcell": 100.0, "Wifi": 50.0})


class CallbackSettings(_Settings):
    """Where notifications reach the engine: it listens at `listen` and `port`, and the sandbox is told `url`.

    By default at the address of this machine in the lab's network, behind the engine's gateway.
    """

    listen: IPv4Address | None = None
    port: Port = 8099
    url: HttpUrl | None = None


class TimeoutSettings(_Settings):
    """Seconds that a step may take in each group, that an undo may take, between a failure and the next try, and until
    a MEC host that neither the engine nor the user plane reaches is lost."""

    pre_relocation_s: Seconds = 180.0
    relocation_s: Seconds = 10.0
    clean_up_s: Seconds = 30.0
    undo_s: Seconds = 10.0
    retry_s: Seconds = 10.0
    host_lost_s: Seconds = 10.0


class ConditionSettings(_Settings):
    """What the network between the MEC hosts is made to be, in each direction: `N1`, `N2`, or these settings."""

    rate_mbit: Annotated[float, Field(ge=1, le=100_000)]
    delay_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0

    @property
    def name(self) -> str:
        """`N1`, `N2`, or its settings in words."""
        named = next((name for name, each in CONDITIONS.items() if each == self), None)
        delay = f", {self.delay_ms:g} ms" if self.delay_ms else ""
        return named or f"{self.rate_mbit:g} Mbit/s{delay}"


CONDITIONS = {"N1": ConditionSettings(rate_mbit=1000), "N2": ConditionSettings(rate_mbit=100)}
"""The study's network conditions: normal and congested."""


def _condition(given: object) -> object:
    if isinstance(given, str):
        if given not in CONDITIONS:
            raise ValueError(f"neither {' nor '.join(CONDITIONS)}, nor rate_mbit and delay_ms")
        return CONDITIONS[given]
    return given


_Condition = Annotated[
    ConditionSettings | None,
    BeforeValidator(_condition, json_schema_input_type=ConditionSettings | Literal["N1", "N2"] | None),
]


def _private(network: IPv4Network) -> IPv4Network:
    if not network.is_private or network.prefixlen > 26:
        raise ValueError("must be a private network of at least 64 addresses, as 10.77.0.0/24")
    return network


class LabSettings(_Settings):
    """One lab: hosts, APIs, placement and apps."""

    lab: Name
    network: Annotated[IPv4Network, AfterValidator(_private)] = IPv4Network("10.77.0.0/24")
    hosts: Annotated[dict[Name, HostSettings], Field(min_length=1)]
    condition: _Condition = None
    gateway: HttpUrl | None = None
    sandbox: SandboxSettings = SandboxSettings()
    placement: PlacementSettings
    apps: dict[Name, AppSettings] = Field(default_factory=dict)
    tracking: TrackingSettings = TrackingSettings()
    callbacks: CallbackSettings = CallbackSettings()
    timeouts: TimeoutSettings = TimeoutSettings()

    @model_validator(mode="after")
    def _callbacks_arrive(self) -> LabSettings:
        if self.tracking.source == "subscribe" and self.gateway and not self.callbacks.url:
            raise ValueError("callbacks.url: with a gateway of your own, say where it hands callbacks to the engine")
        return self

    @model_validator(mode="after")
    def _names_refer(self) -> LabSettings:
        for key, host in self._host_references():
            if host not in self.hosts:
                raise ValueError(f"{key}: no MEC host is called {host!r}; there are {', '.join(self.hosts)}")
        for name, host_settings in self.hosts.items():
            if host_settings.key_file is None and host_settings.address not in self.network:
                raise ValueError(f"hosts.{name}.address: {host_settings.address} is not in the lab's {self.network}")
        taken = [self.gateway_address, self.sandbox_address, self.user_plane_address, self.ue_address]
        for name, host_settings in self.hosts.items():
            if host_settings.address in taken:
                raise ValueError(f"hosts.{name}.address: {host_settings.address} is taken by another part of the lab")
            taken.append(host_settings.address)
        ports: dict[int, str] = {}
        for name, app in self.apps.items():
            if app.strategy not in strategies():
                raise ValueError(f"apps.{name}.strategy: {app.strategy!r} is none of {', '.join(strategies())}")
            if lost := losses(app.as_app(name), strategies()[app.strategy].carries):
                raise ValueError(f"apps.{name}.strategy: {app.strategy} would lose {'; '.join(lost)}")
            if app.port in ports:
                raise ValueError(
                    f"apps.{name}.port: {app.port} is {ports[app.port]}'s already; hosts publish each once"
                )
            ports[app.port] = name
        published: dict[int, str] = {}
        for name, app in self.apps.items():
            if app.publish in published:
                raise ValueError(f"apps.{name}.publish: {app.publish} is {published[app.publish]}'s already")
            if app.publish:
                published[app.publish] = name
        return self

    def _host_references(self) -> Iterator[tuple[str, str]]:
        yield "placement.default", self.placement.default
        yield from ((f"placement.zones.{zone}", host) for zone, host in self.placement.zones.items())
        yield from ((f"placement.poas.{poa}", host) for poa, host in self.placement.poas.items())
        yield from ((f"apps.{name}.start", app.start) for name, app in self.apps.items())

    @property
    def gateway_address(self) -> IPv4Address:
        """Where the engine's own gateway answers in the lab."""
        return self.network[20]

    @property
    def sandbox_address(self) -> IPv4Address:
        """Where the embedded sandbox answers in the lab."""
        return self.network[30]

    @property
    def user_plane_address(self) -> IPv4Address:
        """The one address under which UEs know every app."""
        return self.network[40]

    @property
    def ue_address(self) -> IPv4Address:
        """The UE's side of the lab."""
        return self.network[50]

    @property
    def gateway_url(self) -> str:
        """Base URL of the engine's gateway."""
        return str(self.gateway).rstrip("/") if self.gateway else f"http://{self.gateway_address}"

    @property
    def location_url(self) -> str:
        """The Location API behind the engine's gateway."""
        return f"{self.gateway_url}/location/{self.sandbox.location}"

    @property
    def sandbox_url(self) -> str:
        """Base URL of the sandbox, which only gateways use."""
        url = self.sandbox.url
        return str(url).rstrip("/") if url else f"http://{self.sandbox_address}:8000/sbxpillion"

    @property
    def callback_address(self) -> IPv4Address:
        """Where the engine listens for notifications."""
        return self.callbacks.listen or self.network[1]

    @property
    def callback_url(self) -> str:
        """Base URL of the engine's callbacks, as the sandbox is told."""
        url = self.callbacks.url
        return str(url).rstrip("/") if url else f"http://{self.gateway_address}/callbacks/engine"

    @property
    def sandbox_control_url(self) -> str:
        """Control plane of the embedded sandbox, which no gateway exposes."""
        return f"http://{self.sandbox_address}:8001"

    @property
    def link_rate_bytes_s(self) -> float:
        """Rate between MEC hosts that forecasts count on: the condition's, else that of N1."""
        return (self.condition or CONDITIONS["N1"]).rate_mbit * 125_000

    def app_list(self) -> list[App]:
        """The apps as the core knows them, each told where notifications for it are handed to it."""
        return [
            replace(app.as_app(name), environment={**self._callback_of(name), **app.environment})
            for name, app in self.apps.items()
        ]

    @property
    def may_ask(self) -> dict[AppId, frozenset[Trigger]]:
        """Who beside the operator may ask for an app's migration: the app itself, the client on its UE."""
        asking = {AppId(name): frozenset(app.triggers) & {"app", "ue"} for name, app in self.apps.items()}
        return {name: frozenset(map(Trigger, who)) for name, who in asking.items() if who}

    @property
    def moved_when_idle(self) -> frozenset[AppId]:
        """Apps that are relocated before a visit has settled, when nobody is connected."""
        return frozenset(AppId(name) for name, app in self.apps.items() if "data-plane" in app.triggers)

    def _callback_of(self, app: str) -> dict[str, str]:
        """By way of the engine's gateway and the app's one address; a gateway of one's own is not known to do that."""
        if self.gateway or self.apps[app].protocol is not Protocol.HTTP:
            return {}
        return {"PILLION_CALLBACK_URL": f"http://{self.gateway_address}/callbacks/app-{app}"}

    def policy(self) -> Policy:
        """The rules for deciding as the core knows them."""
        return Policy(
            placement=Placement(
                HostId(self.placement.default),
                {ZoneId(zone): HostId(host) for zone, host in self.placement.zones.items()},
                {PoaId(poa): HostId(host) for poa, host in self.placement.poas.items()},
            ),
            hosts=frozenset(map(HostId, self.hosts)),
            strategies=frozenset(strategies()),
            start={AppId(name): HostId(app.start) for name, app in self.apps.items()},
            settle_s=self.tracking.settle_s,
            retry_s=self.timeouts.retry_s,
        )


def strategies() -> dict[str, Strategy]:
    """Every installed strategy by name, without `deploy`, which is no way to move."""
    return {entry.name: entry.load() for entry in entry_points(group="pillion.strategies")}


def all_plans() -> dict[str, Strategy]:
    """Every way to make a plan, by name: the strategies, the first start of an app, and its start after a stop."""
    return {**strategies(), DEPLOY.name: DEPLOY, RESTART.name: RESTART}


def find(path: Path | None) -> Path:
    """The lab file: the one named, or the single `*.pillion.yml` in the working directory."""
    if path is not None:
        if not path.is_file():
            raise ConfigError("there is no such lab file", place=str(path), remedy="name one with -t FILE")
        return path
    found = sorted(Path().glob(f"*{SUFFIX}"))
    if len(found) != 1:
        problem = f"{len(found)} lab files here" if found else "no lab file here"
        raise ConfigError(problem, place=str(Path().resolve()), remedy=f"name one with -t FILE (a *{SUFFIX})")
    return found[0]


def load(path: Path) -> LabSettings:
    """The settings of a lab file. Raises ConfigError naming line and key of the first thing that is wrong."""
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=str(path)) from error
    except (YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"not YAML: {getattr(error, 'problem', error)}", place=place) from error
    if not isinstance(document, dict):
        raise ConfigError("empty, or not a mapping of settings", place=str(path), remedy="see docs/lab-file.md")
    try:
        return LabSettings.model_validate(document)
    except ValidationError as error:
        raise _first_problem(path, document, error) from error


def _first_problem(path: Path, document: Any, error: ValidationError) -> ConfigError:
    # A misspelt key is also a missing one: of the two, the misspelling says what to do.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    keys = [str(part) for part in first["loc"] if part != "[key]"]
    problem = first["msg"].removeprefix("Value error, ")
    remedy = ""
    if first["type"] == "extra_forbidden":
        problem = "unknown key"
        known = sorted(_known_keys(first["loc"]))
        close = difflib.get_close_matches(keys[-1], known, 1)
        remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    elif first["type"] == "value_error" and not keys:  # a rule across the whole file names its key itself
        keys, problem = problem.split(": ", 1)[0].split("."), problem.split(": ", 1)[1]
    elif first["type"] != "missing":
        remedy = f"found {first['input']!r}"
    line = _line(document, keys)
    place = f"{path}:{line}: {'.'.join(keys)}" if line else f"{path}: {'.'.join(keys)}"
    return ConfigError(problem, place=place, remedy=remedy or "see docs/lab-file.md")


def _known_keys(location: tuple[int | str, ...]) -> set[str]:
    """The keys that the settings know where an unknown one stands."""
    model: Any = LabSettings
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        # In a mapping of settings (hosts, apps) the next part is a name, and the one after it a key of the inner model.
        model = field.annotation if field else model
        model = next((inner for inner in getattr(model, "__args__", ()) if hasattr(inner, "model_fields")), model)
    return set(model.model_fields)


def _line(document: Any, keys: list[str]) -> int | None:
    line: int | None = None
    for key in keys:
        if not isinstance(document, CommentedMap) or key not in document:
            break
        line = document.lc.key(key)[0] + 1
        document = document[key]
    return line
