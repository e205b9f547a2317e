"""What being told saves an app: A1 and A2 in their polling and in their subscribing form, side by side.

Each app tells how often it asked and was told. What else it used is asked of its MEC host's kernel: the bytes of the
app's network namespace, and the CPU time of its process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

from pillion.config import LabSettings
from pillion.core.model import AppId, HostId, Instance
from pillion.errors import HostRefused, MecError
from pillion.experiments import labs
from pillion.experiments.conditions import conditions
from pillion.experiments.http import ask_json, control_sandbox
from pillion.experiments.moving import Engine, all_serve, unless
from pillion.experiments.proofs import Verdict, proof_of, verdict
from pillion.hosts.docker import DockerHost
from pillion.lab.hosts import connect_hosts
from pillion.lab.state import LabState
from pillion.output import markdown_table, print_table, write_page
from pillion.runtime import clock

log = logging.getLogger(__name__)

LAB_FILE = "app-forms.pillion.yml"
FORMS = {AppId("a1"): AppId("a1-told"), AppId("a2"): AppId("a2-told")}
"""The app that polls, and the one that is told the same."""
DRIVE_S = 240.0
"""A little more than a lap of the study's vehicle."""
LEAST_SAVED = 10.0
"""How many times fewer requests the app that is told makes, at least."""
_BOTH = {*FORMS, *FORMS.values()}
_USER_HZ = 100
"""The unit of CPU time in `/proc/PID/stat`, the same on every Linux that runs a Docker Engine."""
_COLUMNS = ("app", "form", "requests", "a second", "notifications", "kB", "CPU s", "CPU", "state proof")


class Used(NamedTuple):
    """What an app has used since it started."""

    asked: int
    """Requests of any kind: questions, and what its subscriptions need."""
    told: int
    """Notifications that were of use."""
    sent_bytes: int
    """In both directions, whatever it was for; Ethernet headers counted."""
    cpu_s: float

    def since(self, before: Used) -> Used:
        """What was used between two readings."""
        return Used(
            self.asked - before.asked,
            self.told - before.told,
            self.sent_bytes - before.sent_bytes,
            self.cpu_s - before.cpu_s,
        )


class Saved(NamedTuple):
    """How many times less the subscribing form used."""

    requests: float
    messages: float
    """Requests and notifications."""
    sent_bytes: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Form:
    """One app in one form: what it used in `seconds`, and whether its state is right after it."""

    app: AppId
    used: Used
    seconds: float
    proof: Verdict

    def row(self) -> list[str]:
        """The table's row."""
        asked, told, sent_bytes, cpu_s = self.used
        return [
            *(self.app, "polling" if self.app in FORMS else "subscribing", f"{asked:,}", f"{asked / self.seconds:.2f}"),
            *(f"{told:,}", f"{sent_bytes / 1000:,.0f}", f"{cpu_s:.2f}", f"{cpu_s / self.seconds:.2%}"),
            self.proof.found,
        ]


def kernel_account(stat: str, devices: str) -> tuple[int, float]:
    """Bytes on every interface but the loopback, and seconds of CPU time.

    Source: Linux, `/proc/PID/stat` and `/proc/PID/net/dev` (proc(5)).
    """
    cpu = stat.rpartition(")")[2].split()  # what stands before may have blanks in it
    total = 0
    for line in devices.splitlines()[2:]:
        name, _, counts = line.partition(":")
        if name.strip() != "lo":
            total += int(counts.split()[0]) + int(counts.split()[8])
    return total, (int(cpu[11]) + int(cpu[12])) / _USER_HZ


def saved(forms: Sequence[Form]) -> dict[AppId, Saved]:
    """What being told saves, for each app that polls."""
    used = {form.app: form.used for form in forms}
    found = {}
    for polls, is_told in FORMS.items():
        one, other = used[polls], used[is_told]
        found[polls] = Saved(
            _times(one.asked, other.asked),
            _times(one.asked + one.told, other.asked + other.told),
            _times(one.sent_bytes, other.sent_bytes),
            _times(one.cpu_s, other.cpu_s),
        )
    return found


def _times(more: float, less: float) -> float:
    return more / less if less else float("inf")


async def app_forms(lab_file: Path | None, results: Path, engine: Engine, stop: asyncio.Event) -> None:
    """Make a lab, let the vehicle drive, print the table, write the results page, remove the lab.

    Raises MecError if a state is wrong, or if being told saves less than `LEAST_SAVED` of the requests.
    """
    lab = labs.load(_BOTH, lab_file, LAB_FILE)
    forms = await unless(stop, "app-forms", _on_a_lab(lab, LabState.of(lab.lab), engine))
    print_table("A1 and A2, polling and subscribing", _COLUMNS, (form.row() for form in forms))
    print_table("subscribing uses so many times less", _SAVED_COLUMNS, _saved_rows(forms))
    written = results / "app-forms.md"
    await asyncio.to_thread(write_page, written, page(forms, await conditions()))
    click.echo(f"every value: {written}")
    for form in forms:
        if not form.proof.holds:
            raise MecError(f"{form.app}'s state is wrong: {form.proof.found}", place="app-forms")
    for app, less in saved(forms).items():
        if less.requests < LEAST_SAVED:
            raise MecError(f"{app} asks only {less.requests:.1f} times less, not {LEAST_SAVED:g}", place="app-forms")


async def _on_a_lab(lab: LabSettings, state: LabState, engine: Engine) -> list[Form]:
    async with labs.fresh(lab, state), connect_hosts(lab, state) as hosts, engine(lab, state) as driver:
        await all_serve(driver)
        serving = [app.serving for app in driver.fleet.apps.values() if app.serving]
        return await _driven(lab, hosts, [instance for instance in serving if instance.app in _BOTH])


async def _driven(lab: LabSettings, hosts: Mapping[HostId, DockerHost], serving: Sequence[Instance]) -> list[Form]:
    proofs = {app.id: proof_of(lab, app) for app in lab.app_list()}
    await control_sandbox(lab, "POST", "/drive", {"running": True})
    for instance in serving:
        await proofs[instance.app].prepare()
    log.info("%g s of driving", DRIVE_S)
    began = [await _read(lab, hosts, instance) for instance in serving]
    await asyncio.sleep(DRIVE_S)
    ended = [await _read(lab, hosts, instance) for instance in serving]
    return [
        Form(
            instance.app,
            used.since(used_before),
            at_s - before_s,
            await verdict(proofs[instance.app]),  # it pauses the drive, so after all readings
        )
        for instance, (before_s, used_before), (at_s, used) in zip(serving, began, ended, strict=True)
    ]


async def _read(lab: LabSettings, hosts: Mapping[HostId, DockerHost], instance: Instance) -> tuple[float, Used]:
    """When, and what it has used by then. Raises HostError, MecError."""
    told = await ask_json("GET", f"http://{lab.user_plane_address}:{lab.apps[instance.app].port}/")
    host, words = hosts[instance.host], ["docker", "exec", instance.container, "cat"]
    stat, devices = [await host.run([*words, file]) for file in _ACCOUNT]
    try:
        return clock.now_s(), Used(told["asked"], told["told"], *kernel_account(stat, devices))
    except (KeyError, ValueError, IndexError) as error:
        raise HostRefused(f"cannot read what {instance.container} uses: {error!r}", place=instance.host) from error


_ACCOUNT = ("/proc/1/stat", "/proc/1/net/dev")
_SAVED_COLUMNS = ("app", "requests", "requests and notifications", "bytes", "CPU")


def _saved_rows(forms: Sequence[Form]) -> list[list[str]]:
    return [[app, *(f"{ratio:.1f}" for ratio in ratios)] for app, ratios in saved(forms).items()]


def page(forms: Sequence[Form], machine: Mapping[str, str]) -> str:
    """The results page."""
    parts = [
        "# A1 and A2, polling and subscribing",
        f"Written by `pillion experiment run app-forms`: for {DRIVE_S:g} s, a little more than a lap at its own pace, "
        "one vehicle is followed by both apps in both forms, on one MEC host, through its gateway.",
        markdown_table(_COLUMNS, (form.row() for form in forms)),
        "The subscribing form uses so many times less:",
        markdown_table(_SAVED_COLUMNS, _saved_rows(forms)),
        _READINGS,
        "## Conditions",
        markdown_table(("", ""), ([name, value] for name, value in machine.items())),
    ]
    return "\n\n".join(parts) + "\n"


_READINGS = """\
*Requests* are all that the app makes, those for its subscriptions too; it counts them itself. *Notifications* are those
that were of use to it. *Bytes* are all of its network namespace in both directions, *CPU* is the time of its process,
both as its MEC host's kernel counts them; the user plane's health checks are in them. A1 polls every 100 ms, A2 every
200 ms; told, both ask every 5 s for what nobody told them of, and look every 5 s whether their subscriptions are still
there."""
