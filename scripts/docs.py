#!/usr/bin/env python3
"""The generated parts of the docs: settings, commands, exit codes and the state picture, taken from the code.

    scripts/docs.py            write them anew
    scripts/docs.py --check    change nothing; exit 1 and name the pages that are stale

A page holds a generated part between `<!-- generated: NAME -->` and `<!-- end -->`. Run it with the Python in which
pillion is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

import click

from pillion import errors
from pillion.cli import cli
from pillion.config import LabSettings
from pillion.core import migration

ROOT = Path(__file__).resolve().parent.parent
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

MEANINGS = {
    "lab": "the lab's name: labels every object of the lab and names its state folder",
    "network": "network of the lab's own containers",
    "hosts": "the MEC hosts by name",
    "condition": "network condition between the MEC hosts: `N1`, `N2`, or settings; without one it is not shaped",
    "gateway": "base URL of the engine's API gateway, where it is not the lab's own",
    "sandbox": "the MEC sandbox behind the gateways",
    "placement": "which MEC host serves which POA or zone",
    "apps": "the apps by name",
    "tracking": "how UEs are followed",
    "callbacks": "where notifications reach the engine, with `tracking.source: subscribe`",
    "timeouts": "how long things may take",
    "hosts.NAME.address": "where its SSH server and the apps' published ports answer",
    "hosts.NAME.ssh_user": "user for SSH; may use the Docker Engine and read its volumes",
    "hosts.NAME.ssh_port": "port of its SSH server",
    "hosts.NAME.key_file": "private key that opens it; without one `pillion up` makes the host as a container",
    "hosts.NAME.known_hosts": "file with the host's pinned SSH key; belongs to `key_file`",
    "condition.rate_mbit": "rate from each MEC host to each other one, Ethernet headers counted; `N1`: 1000, `N2`: 100",
    "condition.delay_ms": "delay added to each packet from each MEC host to another; needs netem in their kernel",
    "sandbox.url": "base URL of a sandbox that runs elsewhere; without it the embedded one is started",
    "sandbox.location": "version of its Location API; ETSI's hosted sandbox has v3",
    "sandbox.scenario": "what the embedded sandbox plays",
    "sandbox.speed": "how fast the embedded sandbox plays it",
    "placement.default": "MEC host of everything that is not named below",
    "placement.zones": "MEC host by zone",
    "placement.poas": "MEC host by POA; goes before the zone",
    "apps.NAME.image": "image that its first container is made from",
    "apps.NAME.ue": "the UE it follows: its address in the Location API",
    "apps.NAME.port": "where it listens, in its container and on every MEC host",
    "apps.NAME.publish": "port of this machine's loopback under which the user plane answers for it too",
    "apps.NAME.start": "MEC host of its first start",
    "apps.NAME.strategy": "how it moves",
    "apps.NAME.volume": "where its DV is mounted; without one it has no DV",
    "apps.NAME.state": "where its state lives; without it `volume` if it has a DV, else `none`",
    "apps.NAME.command": "words that it is started with instead of its image's own, in exec form",
    "apps.NAME.environment": "environment variables that it is given besides the engine's own",
    "apps.NAME.protocol": "what it speaks, and so how it is asked whether it serves",
    "apps.NAME.phase_hook": "path that is told of a migration; without one the app is not told",
    "apps.NAME.triggers": "who else may start its migration: the app itself (`app`), the client on its UE (`ue`), "
    "both over HTTP; `data-plane`: it is relocated as soon as nobody is connected to it",
    "apps.NAME.ready": "path that answers with the state's sequence number once the app serves",
    "tracking.source": "`poll`: the APIs are asked; `subscribe`: they tell, and are asked where that gives reason",
    "tracking.poll_s": "between two questions to the Location API about one UE",
    "tracking.lookahead_s": "how far ahead along its course a UE's next zone is looked for",
    "tracking.settle_s": "how long a UE must stay at places of another host before its app moves there",
    "tracking.silent_s": "how long the Location API may be silent before tracking counts as lost",
    "tracking.radius_m": "how far a POA reaches, by its connectionType",
    "callbacks.listen": "address at which the engine listens; by default this machine's in the lab's network",
    "callbacks.port": "port at which the engine listens",
    "callbacks.url": "base URL that the sandbox is told; by default the engine's gateway, which hands on to `listen`",
    "timeouts.pre_relocation_s": "a step of pre-relocation",
    "timeouts.relocation_s": "a step of relocation; also the claim of both hosts before a plan is made",
    "timeouts.clean_up_s": "a step of the clean-up",
    "timeouts.undo_s": "the undo of a step",
    "timeouts.retry_s": "from a failed migration to the next try",
    "timeouts.host_lost_s": "until a serving host that neither the engine nor the user plane reaches is lost",
}
_UNITS = {
    "_s": "seconds",
    "_m": "metres",
    "_mbit": "Mbit/s",
    "_ms": "milliseconds",
    "speed": "simulated seconds per second",
}
_WORDS = {
    "ipv4": "IPv4 address",
    "ipv4network": "IPv4 network, private, of at least 64 addresses",
    "uri": "URL",
    "path": "path of a file",
    "integer": "whole number",
    "number": "number",
    "string": "text",
}


def settings_tables() -> str:
    """One table for each section of the lab file. Raises KeyError for a setting without a meaning here."""
    schema = LabSettings.model_json_schema()
    meanings = dict(MEANINGS)
    tables = []
    for section, about, properties, required in _sections(schema):
        rows = []
        for key, value in properties.items():
            name = f"{section}.{key}" if section else key
            default = "required" if key in required else _shown(_default(section, key, value))
            rows.append((f"`{key}`", _kind(key, _resolved(value, schema)), default, meanings.pop(name)))
        title = f"`{section}`" if section else "The whole file"
        tables.append(f"### {title}\n\n{about}\n\n" + _table(("key", "value", "default", "meaning"), rows))
    if meanings:
        raise KeyError(f"no such setting: {sorted(meanings)[0]}")
    return "\n\n".join(tables)


def _sections(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], list[str]]]:
    yield "", schema["description"], schema["properties"], schema["required"]
    for key, value in schema["properties"].items():
        named = next(iter(value.get("patternProperties", {}).values()), None)
        inner = _resolved(named or value, schema)
        if "properties" in inner:
            path = f"{key}.NAME" if named else key
            yield path, inner["description"], inner["properties"], inner.get("required", [])


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a setting may be besides null, its reference followed."""
    value = next((each for each in value.get("anyOf", []) if each.get("type") != "null"), value)
    inner: dict[str, Any] = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
    return inner


def _default(section: str, key: str, value: dict[str, Any]) -> Any:
    if "default" in value:
        return value["default"]
    model: Any = LabSettings
    for part in section.split(".")[:1] if section else []:
        model = model.model_fields[part].annotation
        model = get_args(model)[-1] if section.endswith(".NAME") else model  # dict[Name, …]
    return model.model_fields[key].get_default(call_default_factory=True)


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, dict):
        nested = any(not isinstance(each, int | float) for each in value.values())
        return "see below" if nested or "poll_s" in value or "undo_s" in value else _mapping(value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _mapping(value: dict[str, float]) -> str:
    return "`" + ", ".join(f"{key}: {each:g}" for key, each in value.items()) + "`"


def _kind(key: str, value: dict[str, Any]) -> str:
    named = next(iter(value.get("patternProperties", {}).values()), None)
    if named and "type" in named:
        return f"by name: {_kind(key, named)}"
    if named or "properties" in value:
        return "settings by name" if named else "settings"
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if value.get("type") == "array":
        return f"list: {_kind(key, value['items'])}"
    if "additionalProperties" in value:
        return f"by name: {_kind(key, value['additionalProperties'])}"
    unit = next((f", {unit}" for end, unit in _UNITS.items() if key.endswith(end)), "")
    if value.get("pattern", "").startswith("^/"):
        return "path, absolute"
    if value.get("pattern", "").startswith("^[a-z][a-z0-9-]"):
        return "name: 2 to 31 of `a-z`, `0-9`, `-`, a letter first"
    return _WORDS[value.get("format", value["type"])] + unit + _range(value)


def _range(value: dict[str, Any]) -> str:
    least, above, most = value.get("minimum"), value.get("exclusiveMinimum"), value.get("maximum")
    if most is None:
        return ""
    return f", above {above:g} up to {most:g}" if above is not None else f", {least:g} to {most:g}"


def command_pages() -> str:
    """Every command with its arguments and options."""
    return "\n\n".join(_command(path, command) for path, command in _commands(("pillion",), cli))


def _commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        if len(path) == 1:
            yield path, command
        for name in sorted(command.commands):
            yield from _commands((*path, name), command.commands[name])
    else:
        yield path, command


def _command(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    parts = [f"### `{' '.join(path)}`", command.help or "", f"    {usage}"]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        rows = [(_option(option), _option_default(option), option.help or "") for option in options]
        parts.append(_table(("option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if option.is_flag:
        return f"`{names}`"
    values = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name.upper()
    return f"`{names} {values}`".replace("|", "\\|")


def _option_default(option: click.Option) -> str:
    if option.required:
        return "required"
    # click marks an option without a default by a value of its own, which is no text, number or path.
    known = isinstance(option.default, str | int | float) and not option.is_flag
    return f"`{option.default}`" if known else ""


def exit_codes() -> str:
    """One row for each branch of the error tree, and those codes that are none."""
    rows = [
        ("0", "", "success", ""),
        ("1", "", "an error of pillion's own, with a traceback; of `pillion probe`: a request failed", ""),
        ("2", "", "a wrong command line", ""),
    ]
    branches = [each for each in errors.EngineError.__subclasses__() if each.__module__ == errors.__name__]
    for branch in sorted(branches, key=lambda each: each.exit_code):
        leaves = [each for each in branch.__subclasses__() if each.__module__ == errors.__name__]
        rows.append((str(branch.exit_code), f"`{branch.__name__}`", _says(branch), "; ".join(map(_leaf, leaves))))
    return _table(("code", "error", "what it says", "in detail"), rows)


def _says(error: type[errors.EngineError]) -> str:
    return (error.__doc__ or "").splitlines()[0].rstrip(".")


def _leaf(error: type[errors.EngineError]) -> str:
    says = _says(error)
    return f"`{error.__name__}`: {says[0].lower()}{says[1:]}"


def state_picture() -> str:
    """The picture of a migration's states, as its module draws it."""
    found = re.search(r"```\n.*?```", migration.__doc__ or "", re.DOTALL)
    if found is None:
        raise ValueError("core/migration.py draws no picture")
    return found[0].replace("```\n", "```text\n", 1)


def deviation_tables() -> str:
    """Where the sandbox deviates from the documents, one table for each; then what is corrected in the documents."""
    from tests.sandbox.deviations import CORRECTIONS, DEVIATIONS, Manner  # the tests' own, which no command needs

    manners = {Manner.BOTH: "both", Manner.ORIGINAL: "the original's", Manner.STRICT: "strict"}
    parts = []
    for document in dict.fromkeys(each.document for each in DEVIATIONS):
        rows = [
            (
                ", ".join(f"`{where}`" for where in each.where),
                f"`{each.at}`",
                each.problem,
                manners[each.manner],
                each.reason,
            )
            for each in DEVIATIONS
            if each.document == document
        ]
        parts.append(
            f"### `{document}`\n\n" + _table(("schema, operation or answer", "where", "what", "manner", "why"), rows)
        )
    corrected = [
        (
            f"`{each.document}`",
            ", ".join(f"`{operation}`" for operation in each.operations),
            f"`{each.schema}`" if each.schema else "that of the subscription's type",
            each.reason,
        )
        for each in CORRECTIONS
    ]
    parts.append("## Schemas that are at fault\n\n" + _table(("document", "answers", "instead", "why"), corrected))
    return "\n\n".join(parts)


def example_lab_file() -> str:
    """The lab file of `make demo`, as it is."""
    return f"```yaml\n{(ROOT / 'lab.pillion.yml').read_text(encoding='utf-8').rstrip()}\n```"


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


PARTS: dict[str, Callable[[], str]] = {
    "example": example_lab_file,
    "settings": settings_tables,
    "commands": command_pages,
    "exit-codes": exit_codes,
    "states": state_picture,
    "deviations": deviation_tables,
}


def pages() -> list[Path]:
    """Every page of the docs."""
    return sorted((ROOT / "docs").rglob("*.md"))


def generated(page: str) -> str:
    """A page with its generated parts as they should be."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n{part[3]}", page)


def main() -> int:
    """Write what is stale, or with `--check` only say so; gives the exit code."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.stderr.write("usage: docs.py [--check]\n")
        return 2
    sys.path.insert(0, str(ROOT))
    stale = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        fresh = generated(text)
        if fresh != text:
            stale += 1
            sys.stdout.write(f"docs: {path.relative_to(ROOT)} {'is stale' if check else 'written'}\n")
            if not check:
                path.write_text(fresh, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
