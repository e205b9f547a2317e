"""Steering through HAProxy's runtime API, against a small server that answers as HAProxy 3.0 does.

How connections fare is asked of a real HAProxy, with the configuration of a lab and two A3 behind it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillion import userplane
from pillion.config import LabSettings
from pillion.core.model import AppId, HostId
from pillion.errors import HostUnreachable, UserPlaneError
from pillion.hosts.memcached import Item, Memcached
from pillion.lab.compose import haproxy_configuration
from pillion.userplane import HELD, HaproxySteering
from tests.hosts.mec_hosts import docker

PATIENCE_S = 10.0
A2, MEC1, MEC2, MEC3 = AppId("a2"), HostId("mec1"), HostId("mec2"), HostId("mec3")
FORCED, CONFIGURED, DRAIN = 0x01, 0x04, 0x08
"""Bits of srv_admin_state: in maintenance by command; by configuration, which stays; draining by command."""

HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
    " bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr"
    " srv_agent_addr srv_agent_port"
)


class Haproxy:
    """One backend, a2, as HAProxy 3.0.11 tells of it: each answer ends with an empty line, success says nothing."""

    def __init__(self, **admin_states: int) -> None:
        self.admin = admin_states or {"mec1": 0, "mec2": FORCED | CONFIGURED, "mec3": FORCED | CONFIGURED}
        self.commands: list[str] = []
        self.refuses: str | None = None
        self.silent = False
        self.talks: set[asyncio.Task[None]] = set()

    @property
    def enabled(self) -> list[str]:
        return [name for name, state in self.admin.items() if not state & ~CONFIGURED]

    def answer(self, command: str) -> str:
        match command.split():
            case ["show", "servers", "state", "a2"]:
                rows = (
                    f"3 a2 {number} {name} 10.77.0.1{number} {0 if state & FORCED else 2} {state} 1 1 2 1 0 2 0 0 0 0 -"
                    " 3000 - 0 0 - - 0"
                    for number, (name, state) in enumerate(self.admin.items(), 1)
                )
                return "\n".join(["1", HEADER, *rows, "", ""])
            case ["show", "stat"]:
                head = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,"
                rows = ["a2,FRONTEND,,,3,9,100,41,", "a2,mec1,0,0,2,9,,40,", "a2,BACKEND,0,0,2,9,10,40,"]
                return "\n".join([head, *rows, "", ""])
            case ["show", "servers", "state", _]:
                return "Can't find backend.\n\n"
            case [word, "server", server]:
                self.commands.append(command)
                backend, _, name = server.partition("/")
                if self.refuses and command.startswith(self.refuses):
                    return "Permission denied.\n\n"
                if backend != "a2" or name not in self.admin:
                    return "No such server.\n\n"
                kept = self.admin[name] & CONFIGURED
                self.admin[name] = kept if word == "enable" else kept | FORCED
                return "\n"
            case _:
                return f"Unknown command: '{command}', but maybe one of the following ones is a better match:\n\n"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.current_task())
        line = (await reader.readline()).decode().strip()
        if not self.silent:
            writer.write("".join(self.answer(command.strip()) for command in line.split(";")).encode())
        else:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):  # the client may be gone
            await writer.wait_closed()


@asynccontextmanager
async def steering(folder: Path, haproxy: Haproxy) -> AsyncIterator[HaproxySteering]:
    server = await asyncio.start_unix_server(haproxy.talk, str(folder / "admin.sock"))
    try:
        yield HaproxySteering(folder / "admin.sock")
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*haproxy.talks)


async def test_the_target_is_enabled_before_the_source_is_disabled(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        await user_plane.steer(A2, MEC2)
        assert haproxy.commands == ["enable server a2/mec2", "disable server a2/mec1"]
        assert await user_plane.serving(A2) == MEC2


async def test_an_app_is_steered_there_and_back_again(tmp_path: Path):
    """A server that the configuration disabled keeps saying so after it was enabled; it is disabled again anyhow."""
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        for host in (MEC2, MEC3, MEC1, MEC2, MEC1):
            await user_plane.steer(A2, host)
            assert haproxy.enabled == [host]
            assert await user_plane.serving(A2) == host


async def test_to_repeat_a_switch_does_nothing(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        await user_plane.steer(A2, MEC2)
        haproxy.commands.clear()
        await user_plane.steer(A2, MEC2)
        assert haproxy.commands == []


async def test_a_switch_that_was_cut_in_the_middle_is_finished(tmp_path: Path):
    haproxy = Haproxy(mec1=0, mec2=CONFIGURED)
    async with steering(tmp_path, haproxy) as user_plane:
        assert await user_plane.serving(A2) is None, "two are not one"
        await user_plane.steer(A2, MEC2)
        assert haproxy.commands == ["disable server a2/mec1"]


async def test_with_no_host_enabled_none_serves(tmp_path: Path):
    async with steering(tmp_path, Haproxy(mec1=FORCED, mec2=FORCED | CONFIGURED)) as user_plane:
        assert await user_plane.serving(A2) is None


async def test_a_draining_host_does_not_serve(tmp_path: Path):
    haproxy = Haproxy(mec1=DRAIN, mec2=CONFIGURED)
    async with steering(tmp_path, haproxy) as user_plane:
        assert await user_plane.serving(A2) == MEC2
        await user_plane.steer(A2, MEC1)
        assert haproxy.enabled == ["mec1"]


async def test_a_refusal_is_an_error_with_haproxy_s_words_and_nothing_more_is_changed(tmp_path: Path):
    haproxy = Haproxy()
    haproxy.refuses = "enable"
    async with steering(tmp_path, haproxy) as user_plane:
        with pytest.raises(UserPlaneError, match=r"HAProxy refused: Permission denied\."):
            await user_plane.steer(A2, MEC2)
        assert haproxy.enabled == ["mec1"]
        haproxy.refuses = "disable"
        with pytest.raises(UserPlaneError, match="HAProxy refused"):
            await user_plane.steer(A2, MEC2)


async def test_a_host_that_haproxy_does_not_know_is_refused(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        with pytest.raises(UserPlaneError, match=r"HAProxy refused: No such server\."):
            await user_plane.steer(A2, HostId("mec9"))
        assert haproxy.enabled == ["mec1"]


async def test_an_app_that_haproxy_does_not_know_is_an_error_with_the_remedy(tmp_path: Path):
    async with steering(tmp_path, Haproxy()) as user_plane:
        with pytest.raises(UserPlaneError, match=r"HAProxy knows no app a9 .*pillion up") as raised:
            await user_plane.steer(AppId("a9"), MEC1)
        assert raised.value.exit_code == 8


async def test_connections_are_those_of_ues_and_not_of_the_hosts_behind(tmp_path: Path):
    async with steering(tmp_path, Haproxy()) as user_plane:
        assert await user_plane.connections(A2) == (3, 41)
        with pytest.raises(UserPlaneError, match="knows no app a9"):
            await user_plane.connections(AppId("a9"))


async def test_no_socket_is_an_error_with_the_remedy(tmp_path: Path):
    user_plane = HaproxySteering(tmp_path / "admin.sock")
    with pytest.raises(UserPlaneError, match=r"admin\.sock: HAProxy does not answer: .*`pillion inspect` shows"):
        await user_plane.steer(A2, MEC1)
    with pytest.raises(UserPlaneError):
        await user_plane.serving(A2)


async def test_a_socket_that_nobody_listens_on_any_more_is_an_error(tmp_path: Path):
    async with steering(tmp_path, Haproxy()) as user_plane:
        pass
    with pytest.raises(UserPlaneError, match="does not answer"):
        await user_plane.serving(A2)


async def test_an_answer_that_does_not_come_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(userplane, "_ANSWER_S", 0.1)
    haproxy = Haproxy()
    haproxy.silent = True
    async with steering(tmp_path, haproxy) as user_plane:
        with pytest.raises(UserPlaneError, match="does not answer: timed out"):
            await user_plane.serving(A2)


@asynccontextmanager
async def keeping(user_plane: HaproxySteering) -> AsyncIterator[None]:
    task = asyncio.create_task(user_plane.keep(), name="keep steering")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


async def enabled(haproxy: Haproxy, *hosts: str) -> None:
    """Return when exactly these hosts are enabled."""
    async with asyncio.timeout(PATIENCE_S):
        while haproxy.enabled != list(hosts):
            await asyncio.sleep(0.005)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userplane, "_LOOK_S", 0.01)


@pytest.mark.usefixtures("watchful")
async def test_a_user_plane_that_restarts_is_steered_anew_to_where_traffic_went_before(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane, keeping(user_plane):
        await user_plane.steer(A2, MEC2)
        haproxy.admin = Haproxy().admin  # what its configuration says
        await enabled(haproxy, "mec2")


@pytest.mark.usefixtures("watchful")
async def test_an_engine_that_starts_steers_to_where_its_journal_says(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy):
        async with keeping(HaproxySteering(tmp_path / "admin.sock", {A2: MEC3})):
            await enabled(haproxy, "mec3")
        haproxy.commands.clear()
        async with keeping(HaproxySteering(tmp_path / "admin.sock", {A2: MEC3})):
            await asyncio.sleep(0.05)
        assert haproxy.commands == [], "what is right is left alone"


@pytest.mark.usefixtures("watchful")
async def test_a_user_plane_that_is_away_is_waited_for(tmp_path: Path):
    haproxy = Haproxy()
    async with keeping(HaproxySteering(tmp_path / "admin.sock", {A2: MEC2, AppId("a9"): MEC1})):
        await asyncio.sleep(0.05)
        async with steering(tmp_path, haproxy):
            await enabled(haproxy, "mec2")


@given(
    st.fixed_dictionaries({name: st.integers(0, 63) for name in ("mec1", "mec2", "mec3")}),
    st.lists(st.sampled_from([MEC1, MEC2, MEC3]), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_from_whatever_state_a_switch_leaves_one_host_enabled_and_never_none_on_the_way(
    tmp_path: Path, states: dict[str, int], hosts: list[HostId]
):
    haproxy = Haproxy(**{name: state & (FORCED | CONFIGURED | DRAIN) for name, state in states.items()})
    served_before = bool(haproxy.enabled)
    async with steering(tmp_path, haproxy) as user_plane:
        for host in hosts:
            haproxy.commands.clear()
            await user_plane.steer(A2, host)
            assert haproxy.enabled == [host]
            enabling = [n for n, command in enumerate(haproxy.commands) if command.startswith("enable")]
            assert enabling in ([], [0]) or not served_before


async def test_what_haproxy_forgot_in_a_restart_is_steered_anew(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        await user_plane.steer(A2, MEC2)
        keeping = asyncio.create_task(user_plane.keep())
        haproxy.admin = dict(Haproxy().admin)
        async with asyncio.timeout(5):
            while haproxy.enabled != ["mec2"]:
                await asyncio.sleep(0.01)
        keeping.cancel()


async def test_steering_that_holds_is_left_alone(tmp_path: Path):
    haproxy = Haproxy()
    async with steering(tmp_path, haproxy) as user_plane:
        kept = HaproxySteering(user_plane._socket, {A2: MEC1})
        keeping = asyncio.create_task(kept.keep())
        await asyncio.sleep(0.1)
        keeping.cancel()
        assert haproxy.commands == []


# Connections, through a real HAProxy

A3 = AppId("a3")
A3_PORT = 11211
PREFIX = "pillion-test-userplane"
LAB = LabSettings.model_validate(
    {
        "lab": "userplane",
        "network": "172.29.78.0/24",
        "hosts": {"mec1": {"address": "172.29.78.11"}, "mec2": {"address": "172.29.78.12"}},
        "placement": {"default": "mec1"},
        "apps": {
            "a2": {"image": "pillion/a2", "ue": "10.100.0.2", "start": "mec1", "port": 3000, "volume": "/data"},
            "a3": {
                "image": "pillion/a3",
                "ue": "10.100.0.3",
                "start": "mec1",
                "port": A3_PORT,
                "protocol": "memcached",
                "state": "memory",
                "strategy": "M3",
            },
        },
    }
)


@pytest.fixture
def user_plane(tmp_path: Path) -> Iterator[HaproxySteering]:
    """A user plane that holds, before two A3 that run."""
    (tmp_path / "haproxy.cfg").write_text(haproxy_configuration(LAB))
    names = [f"{PREFIX}-{name}" for name in ("mec1", "mec2", "haproxy")]
    remove_leftovers()
    try:
        docker("network", "create", "--subnet", str(LAB.network), PREFIX)
        common = ("run", "--rm", "--detach", "--network", PREFIX, "--label", f"pillion.test={PREFIX}")
        for name, host in zip(names, LAB.hosts.values(), strict=False):
            docker(*common, "--name", name, "--ip", str(host.address), "pillion/a3:latest")
        docker(
            *(*common, "--name", names[2], "--ip", str(LAB.user_plane_address), "--user", f"{os.getuid()}"),
            *("--volume", f"{tmp_path}:/run/pillion", "pillion/user-plane:latest"),
        )
        yield HaproxySteering(tmp_path / "admin.sock")
    finally:
        remove_leftovers()


def remove_leftovers() -> None:
    """What this or a killed run of the tests left."""
    for container in docker("ps", "--all", "--quiet", "--filter", f"label=pillion.test={PREFIX}").split():
        docker("rm", "--force", container)
    for network in docker("network", "ls", "--quiet", "--filter", f"name=^{PREFIX}$").split():
        docker("network", "rm", network)


async def holds(user_plane: HaproxySteering) -> None:
    """Return when HAProxy listens; it starts with no host enabled."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(UserPlaneError):
                assert await user_plane.serving(A3) is None
                return
            await asyncio.sleep(0.02)


async def connect(address: object = LAB.user_plane_address) -> Memcached:
    return await Memcached.connect("the UE", str(address), A3_PORT, PATIENCE_S)


async def name_hosts() -> None:
    """Store on each host which one it is."""
    for name, host in LAB.hosts.items():
        memcached = await connect(host.address)
        await memcached.set("host", Item(name.encode()))
        await memcached.close()


async def host_of(connection: Memcached) -> str:
    item = await connection.get("host")
    assert item is not None
    return item.value.decode()


@pytest.mark.lab
async def test_a_connection_is_cut_at_the_switch_and_the_next_one_reaches_the_target(user_plane: HaproxySteering):
    await holds(user_plane)
    await name_hosts()
    await user_plane.steer(A3, MEC1)
    connections = [await connect() for _ in range(3)]
    assert [await host_of(each) for each in connections] == ["mec1"] * 3
    await user_plane.steer(A3, MEC1)
    assert [await host_of(each) for each in connections] == ["mec1"] * 3, "to repeat a switch cuts nothing"
    await user_plane.steer(A3, MEC2)
    for each in connections:
        with pytest.raises(HostUnreachable):
            await host_of(each)
    again = [await connect() for _ in range(3)]
    assert [await host_of(each) for each in again] == ["mec2"] * 3
    await asyncio.gather(*(each.close() for each in (*connections, *again)))


@pytest.mark.lab
async def test_connections_are_counted_while_open_and_for_ever(user_plane: HaproxySteering):
    await holds(user_plane)
    await user_plane.steer(A3, MEC1)
    assert await user_plane.connections(A3) == (0, 0)
    connections = [await connect() for _ in range(3)]
    await asyncio.gather(*(each.set("x", Item(b"1")) for each in connections))
    assert await user_plane.connections(A3) == (3, 3)
    await asyncio.gather(*(each.close() for each in connections))
    async with asyncio.timeout(PATIENCE_S):
        while (await user_plane.connections(A3))[0]:
            await asyncio.sleep(0.02)
    assert await user_plane.connections(A3) == (0, 3)


@pytest.mark.lab
async def test_a_request_that_waits_for_a_paused_source_is_cut_at_the_switch(user_plane: HaproxySteering):
    await holds(user_plane)
    await name_hosts()
    await user_plane.steer(A3, MEC1)
    before = await connect()
    assert await host_of(before) == "mec1"
    await asyncio.to_thread(docker, "pause", f"{PREFIX}-mec1")
    while_paused = await connect()
    asking = [asyncio.create_task(host_of(each)) for each in (before, while_paused)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in asking), "they wait for the source, which may be unpaused"
    await user_plane.steer(A3, MEC2)
    cut, waiting = await asyncio.wait(asking, timeout=PATIENCE_S / 2)
    assert not waiting
    assert all(isinstance(task.exception(), HostUnreachable) for task in cut)
    after = await connect()
    assert await host_of(after) == "mec2"
    await asyncio.gather(*(each.close() for each in (before, while_paused, after)))


@pytest.mark.lab
async def test_a_connection_made_while_no_host_serves_waits_and_is_not_cut(user_plane: HaproxySteering):
    await holds(user_plane)
    await name_hosts()
    await user_plane.steer(A3, MEC1)
    served = await connect()
    assert await host_of(served) == "mec1"
    await user_plane.hold(A3)
    with pytest.raises(HostUnreachable):
        await host_of(served)
    waiting = [await connect() for _ in range(40)]
    asking = [asyncio.create_task(host_of(each)) for each in waiting]
    await asyncio.sleep(1.0)
    assert not any(task.done() for task in asking)
    await user_plane.steer(A3, MEC2)
    assert [await task for task in asking] == ["mec2"] * 40
    await asyncio.gather(*(each.close() for each in (served, *waiting)))


@pytest.mark.lab
def test_haproxy_takes_the_configuration_without_a_warning(tmp_path: Path):
    (tmp_path / "haproxy.cfg").write_text(haproxy_configuration(LAB))
    command = ("haproxy", "-c", "-dW", "-f", "/run/pillion/haproxy.cfg")
    docker("run", "--rm", "--volume", f"{tmp_path}:/run/pillion:ro", "pillion/user-plane:latest", *command)


def servers(app: str) -> dict[str, str]:
    """The lines of the servers in an app's own backend, by name."""
    backend = haproxy_configuration(LAB).partition(f"\nbackend {app} ")[2].partition("\n\n")[0]
    return {line.split()[1]: line for line in backend.splitlines() if line.startswith("    server ")}


def test_only_a_memcached_s_hosts_have_their_connections_closed():
    assert servers("a2").keys() == servers("a3").keys() == {HELD, "mec1", "mec2"}
    assert [name for name, line in servers("a2").items() if "shutdown-sessions" in line] == []
    assert [name for name, line in servers("a3").items() if "shutdown-sessions" in line] == ["mec1", "mec2"]


def test_only_http_requests_are_limited_as_connections_that_stay_would_never_make_room():
    assert [name for name, line in servers("a2").items() if "maxconn" in line] == [HELD, "mec1", "mec2"]
    assert [name for name, line in servers("a3").items() if "maxconn" in line] == []
