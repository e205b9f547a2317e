"""The command line: options in, one call each, errors out as one line and an exit code. No logic.

Data goes to standard output, progress and logs to standard error. Each option can also be given as a variable:
`PILLION_MIGRATE_STRATEGY=M2` for `pillion migrate --strategy`; `PILLION_LAB` and `PILLION_FORMAT` hold everywhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from pillion import __version__, config
from pillion.config import LabSettings
from pillion.errors import EngineError
from pillion.lab.state import LabState

TRACE_FORMATS = ("trace", "csv", "gpx", "geojson", "fcd")
"""`pillion.replay.formats.NAMES`, which every command would take a third of a second longer to import."""
_FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    envvar="PILLION_FORMAT",
    help="For people, or for programs.",
)
_LAB = click.option(
    "-t",
    "--lab",
    "lab_file",
    type=click.Path(path_type=Path),
    default=None,
    envvar="PILLION_LAB",
    help="Lab file; found by itself where there is just one *.pillion.yml.",
)

_FORCE = click.option("--force", is_flag=True, help="Also where the strategy loses something that the app needs.")


def main() -> None:
    """Entry point of `pillion`: errors of the tree become one line and their branch's exit code."""
    try:
        cli(prog_name="pillion", auto_envvar_prefix="PILLION")
    except EngineError as error:
        sys.exit(_say(error))
    except BaseExceptionGroup as group:
        known, other = group.split(EngineError)
        if known is None or other is not None:
            raise
        sys.exit(_say(_first(known)))


def _first(group: BaseExceptionGroup[EngineError]) -> EngineError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _say(error: EngineError) -> int:
    click.echo(f"pillion: {error}", err=True)
    return error.exit_code


def _load(lab_file: Path | None) -> tuple[LabSettings, LabState]:
    lab = config.load(config.find(lab_file))
    return lab, LabState.of(lab.lab)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def _until_told(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `work` with an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await work(stop)


@click.group()
@click.version_option(__version__, prog_name="pillion")
@click.option("-v", "--verbose", is_flag=True, help="Also what is only of use in finding faults.")
def cli(verbose: bool) -> None:
    """A service that rides along with a vehicle."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    for name in ("asyncssh", "aiohttp"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


@cli.command()
@_LAB
@click.option("--schema", is_flag=True, help="Print the JSON Schema of lab files instead, for editors.")
def validate(lab_file: Path | None, schema: bool) -> None:
    """Check a lab file."""
    if schema:
        click.echo(json.dumps(LabSettings.model_json_schema(), indent=2))
        return
    path = config.find(lab_file)
    lab = config.load(path)
    click.echo(f"{path}: lab {lab.lab} with {len(lab.hosts)} MEC hosts and {len(lab.apps)} apps is valid")


@cli.command()
@_LAB
def up(lab_file: Path | None) -> None:
    """Make the lab, or bring a running one in line with its lab file."""
    from pillion.lab import up as labs

    _run(labs.up(*_load(lab_file)))


@cli.command()
@_LAB
@click.option("--purge", is_flag=True, help="Remove the state folder too: keys, journal, probe samples.")
def down(lab_file: Path | None, purge: bool) -> None:
    """Remove the lab and everything of it."""
    from pillion.lab import up as labs

    _run(labs.down(*_load(lab_file), purge=purge))


@cli.command()
@_LAB
@_FORMAT
def inspect(lab_file: Path | None, form: str) -> None:
    """Show what runs where."""
    from pillion.lab import show

    _run(show.inspect(*_load(lab_file), form))


@cli.command()
@_LAB
@_FORMAT
def doctor(lab_file: Path | None, form: str) -> None:
    """Name what is missing, here and on the hosts, and how to get it."""
    from pillion.lab import doctor as doctors

    sys.exit(_run(doctors.doctor(config.find(lab_file), form)))


@cli.command()
@_LAB
def run(lab_file: Path | None) -> None:
    """The engine: follow the UEs until SIGTERM. A restart goes on from the journal."""
    from pillion import app

    lab, state = _load(lab_file)
    _run(_until_told(lambda stop: app.run(lab, state, stop)))


@cli.command()
@_LAB
@_FORMAT
@click.option("--initial-state", is_flag=True, help="First each app's present host, POA and zone.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until interrupted.")
def events(lab_file: Path | None, form: str, initial_state: bool, follow: bool) -> None:
    """What happened, from the journal, and what happens."""
    from pillion import commands

    _, state = _load(lab_file)
    _run(_until_told(lambda stop: commands.events(state, form, initial_state, follow, stop)))


@cli.command()
@_LAB
@_FORMAT
@click.argument("app")
@click.option("--to", required=True, help="MEC host to move to.")
@click.option("--strategy", default=None, help="How; the lab file's by default.")
@_FORCE
def plan(lab_file: Path | None, form: str, app: str, to: str, strategy: str | None, force: bool) -> None:
    """Show the plan of a migration without carrying it out."""
    from pillion import commands

    _run(commands.show_plan(*_load(lab_file), app, to, strategy, force, form))


@cli.command()
@_LAB
@_FORMAT
@click.argument("app")
@click.option("--to", required=True, help="MEC host to move to.")
@click.option("--strategy", default=None, help="How; the lab file's by default.")
@_FORCE
def migrate(lab_file: Path | None, form: str, app: str, to: str, strategy: str | None, force: bool) -> None:
    """Move an app by hand: through the running engine, or, where none runs, by itself."""
    from pillion import commands

    _run(commands.migrate(*_load(lab_file), app, to, strategy, force, form))


@cli.command()
@click.option("--scenario", default="monaco", help="A scenario of ours, or a file.")
@click.option("--speed", type=float, default=1.0, help="Simulated seconds per second.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=int, default=8000, help="Port of the MEC APIs.")
@click.option("--control-port", type=int, default=8001, help="Port of the control plane.")
@click.option("--network", default=None, help="One of the scenario's networks only, as 4g-macro.")
@click.option("--strict-etsi", is_flag=True, help="Answer as the specifications have it.")
def sandbox(
    scenario: str, speed: float, host: str, port: int, control_port: int, network: str | None, strict_etsi: bool
) -> None:
    """The embedded MEC sandbox alone."""
    from pillion.sandbox import server

    _run(
        server.serve(
            scenario, speed=speed, host=host, port=port, control_port=control_port, network=network, strict=strict_etsi
        )
    )


@cli.command()
@click.argument("url")
@click.option("--rate", type=float, default=100.0, help="Requests a second.")
@click.option("--samples", type=click.Path(path_type=Path), required=True, help="File for one JSON line per request.")
@click.option("--duration", type=float, default=None, help="Seconds; until SIGTERM by default.")
def probe(url: str, rate: float, samples: Path, duration: float | None) -> None:
    """The downtime probe alone: ask at planned instants, and say when no answer came."""
    from pillion import probe as probes

    words = [url, "--rate", str(rate), "--samples", str(samples)]
    sys.exit(probes.main(words if duration is None else [*words, "--duration", str(duration)]))


@cli.group()
def gateway() -> None:
    """The API gateways."""


@gateway.command()
@_LAB
@click.argument("url")
def point(lab_file: Path | None, url: str) -> None:
    """Point every gateway of the lab at the sandbox at URL; no app is touched."""
    from pillion.lab import up as labs

    _run(labs.point_gateways(*_load(lab_file), url))


@cli.group()
def trace() -> None:
    """Recorded drives."""


@trace.command()
@_LAB
@click.argument("ue")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--duration", type=float, default=None, help="Seconds; until SIGTERM by default.")
def record(lab_file: Path | None, ue: str, file: Path, duration: float | None) -> None:
    """Record what the Location API says of a UE."""
    from pillion import commands

    lab, _ = _load(lab_file)
    _run(_until_told(lambda stop: commands.record(lab, ue, file, duration, stop)))


@trace.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--from", type=click.Choice(TRACE_FORMATS), default=None, help="Format of SOURCE, if its name tells none."
)
@click.option("--to", type=click.Choice(TRACE_FORMATS), default=None, help="Format of TARGET, if its name tells none.")
@click.option("--ue", default=None, help="Whose drive, where SOURCE holds several.")
@click.option("--rename", default=None, help="What TARGET calls the UE: to replay it, an address of the lab file's.")
@click.option("--scenario", default="monaco", help="Whose POAs serve a position: a scenario of ours, or a file.")
@click.option("--force", is_flag=True, help="Write over TARGET if it is there.")
def convert(
    source: Path,
    target: Path,
    to: str | None,
    ue: str | None,
    rename: str | None,
    scenario: str,
    force: bool,
    **more: str | None,
) -> None:
    """Convert a trace from and to CSV, GPX, GeoJSON and SUMO's FCD."""
    from pillion import conversion

    converted = conversion.convert(
        source,
        target,
        source_format=more["from"],  # a word of Python's, and so no name of a parameter
        target_format=to,
        ue=ue,
        rename=rename,
        scenario=scenario,
        force=force,
    )
    click.echo(f"{target}: {converted}")


@trace.command()
@_LAB
@_FORMAT
@click.argument("file", type=click.Path(path_type=Path))
def replay(lab_file: Path | None, form: str, file: Path) -> None:
    """Replay a trace through mobility, prediction and placement in virtual time."""
    from pillion import commands

    lab, _ = _load(lab_file)
    commands.replay(lab, file, form)


@cli.command()
@_LAB
@click.option("--ue", default="10.100.0.2", help="The vehicle that drives.")
@click.option("--lap", type=float, default=230.0, help="Simulated seconds to drive.")
@click.option("--keep", is_flag=True, help="Leave the lab running.")
@_FORMAT
def demo(lab_file: Path | None, ue: str, lap: float, keep: bool, form: str) -> None:
    """The main job: make the lab, let a vehicle drive, report each migration, remove the lab."""
    from pillion.experiments import drive

    _run(_until_told(lambda stop: drive.demo(config.find(lab_file), ue, lap, keep, form, stop)))


@cli.group()
def experiment() -> None:
    """The study's experiments."""


@experiment.command("run")
@click.argument("name", type=click.Choice(["viability", "time-available", "event-delays", "app-forms"]))
@click.option(
    "-t",
    "--lab",
    type=click.Path(path_type=Path),
    default=None,
    help="Lab file with the experiment's apps, where it needs a lab; its own by default.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/results"),
    help="Folder for the results page.",
)
def run_experiment(name: str, lab: Path | None, results: Path) -> None:
    """Perform an experiment, print its table beside the study's, and write down every value."""
    from functools import partial

    from pillion import app
    from pillion.experiments import app_forms, event_delays, time_available, viability

    if name not in ("viability", "app-forms") and lab is not None:
        raise click.UsageError(f"{name} needs no lab, and takes no --lab")
    engine = partial(app.engine, follow=False)
    runs: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
        "viability": partial(viability.viability, lab, results, engine),
        "app-forms": partial(app_forms.app_forms, lab, results, engine),
        "time-available": partial(time_available.time_available, results),
        "event-delays": partial(event_delays.event_delays, results),
    }
    _run(_until_told(runs[name]))


@cli.command()
@click.option(
    "-t",
    "--lab",
    type=click.Path(path_type=Path),
    default=None,
    help="Lab file with each app once for each way; the bench's own by default.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Counted migrations of each cell and way.")
@click.option("--only", default=None, help="One cell, as a2-M3; then no page is written.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/results"),
    help="Folder for the results page.",
)
def bench(lab: Path | None, rounds: int, only: str | None, results: Path) -> None:
    """Race the engine against the procedure by hand, in a lab of their own, and write down every value."""
    from functools import partial

    from pillion import app
    from pillion.experiments import bench as benches

    engine = partial(app.engine, follow=False)
    _run(_until_told(lambda stop: benches.bench(lab, rounds, only, results, engine, stop)))
