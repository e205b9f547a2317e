"""The probe measured against outages that are known, where it is used: on the UE's side of a lab, behind HAProxy.

*Stops.* A service stops answering for exactly 50, 200 and 1000 ms and keeps its own account of it. The probe claims
(`core/measures.py`) that its downtime is not below the true outage and above it by at most one sending interval and
one usual latency, and that its lower bound is not above it: both are checked of every stop.

*A slowed start.* A2 is moved by M2, in turn without and with 100 ms more before it serves on the target. The app takes
the same way both times: it sleeps for as long as its DV says, 0 or 0.1 s, and tells how long that was. The difference
of the medians of the UE-seen downtime has to be those 100 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import mean, median, stdev

import orjson

from pillion.config import LabSettings
from pillion.core.measures import summarise
from pillion.experiments.http import ask_json
from pillion.experiments.ue import asking
from pillion.lab import compose
from pillion.lab.command import run
from pillion.lab.state import LabState
from tests.soak.campaign import Facts, Result, RunCase, Violation, table
from tests.soak.campaign_lab import Engine, engine, fresh_lab

STOPPED, SLOWED = "stopped", "slowed"
STOPS_S = (0.050, 0.200, 1.000)
STOPS_EACH = 10
STOPS_RATE_HZ = 500.0
QUIET_S = 0.6
"""After a stop, before the samples are looked at: reading them is work on the machine that measures."""
MOST_ERROR_S = 0.005
JITTER_S = 0.001
"""Between two answers' latencies: by as much a downtime may be below the true outage, and a lower bound above it."""

BLOCKS, PAIRS = 12, 10
PAIRS_RATE_HZ = 200.0
SLEEP_S = 0.100
MOST_OFF_S = 0.015

_CALIBRATED = Path(__file__).parent / "calibrated"
_BUILD_S = 120.0


class Calibration:
    """The campaign `calibration`."""

    name = "calibration"
    title = "The probe's calibration"

    def cases(self) -> Sequence[str]:
        """Each length of a stop, and each block of pairs of migrations."""
        return [*map(_stop_case, STOPS_S), *(f"slowed start, block {number + 1}" for number in range(BLOCKS))]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RunCase]:
        """A lab with the two calibrated apps, and an engine."""
        images = {app: f"pillion-soak/{app}" for app in (STOPPED, SLOWED)}
        try:
            for app, image in images.items():
                words = ["docker", "build", "--quiet", "--target", app, "--tag", image, str(_CALIBRATED)]
                await run(words, limit_s=_BUILD_S)
            async with fresh_lab(STOPPED, SLOWED) as (lab, state), engine(lab, state) as running:
                stops = {_stop_case(stop_s): stop_s for stop_s in STOPS_S}

                async def run_case(case: str) -> Facts:
                    if case in stops:
                        return await _stops(lab, state, running, stops[case])
                    return await _pairs(lab, state, running)

                yield run_case
        finally:
            await run(["docker", "image", "rm", "--force", *images.values()], limit_s=60)

    def page(self, results: Sequence[Result]) -> str:
        """The results as Markdown."""
        return page(results)

    def failures(self, results: Sequence[Result]) -> Sequence[str]:
        """What does not hold."""
        return failures(results)


def _stop_case(stop_s: float) -> str:
    return f"stop of {stop_s * 1000:.0f} ms"


async def _stops(lab: LabSettings, state: LabState, running: Engine, stop_s: float) -> Facts:
    """Stop the service again and again; what it and what the probe say of each stop."""
    host, _ = await running.serving(STOPPED)
    port = lab.apps[STOPPED].port
    direct = f"http://{lab.hosts[host].address}:{port}"
    first = (await ask_json("GET", direct))["epoch"]
    async with asking(lab, state, port, STOPS_RATE_HZ) as ue:
        await ue.answered_by(first)
        for _ in range(STOPS_EACH):
            epoch = (await ask_json("GET", f"{direct}/stop?s={stop_s}"))["epoch"]
            await asyncio.sleep(stop_s + QUIET_S)
            await ue.answered_by(epoch)
    samples = await ue.samples()
    seen = summarise(samples)
    usual_s = [each.answered_s - each.sent_s for each in samples if each.answered_s and each.epoch == first]
    switches = {switch.to_epoch: switch for switch in seen.switchovers}
    told = (await ask_json("GET", f"{direct}/stops"))[-STOPS_EACH:]
    if missed := [stop["epoch"] for stop in told if stop["epoch"] not in switches]:
        raise Violation(f"the probe saw nothing of the stops before epochs {missed}")
    rows = [
        {
            "slept_s": stop["resumed_s"] - stop["stopped_s"],
            "true_s": stop["first_answer_s"] - stop["stopped_s"],
            "downtime_s": switches[stop["epoch"]].downtime_s,
            "lower_bound_s": switches[stop["epoch"]].lower_bound_s,
        }
        for stop in told
    ]
    return {
        "planned_s": stop_s,
        "stops": rows,
        "resolution_s": seen.switchovers[0].resolution_s,
        "latency_s": median(usual_s),
        "late_s": seen.lateness_max_s,
        "failed": seen.failed,
    }


async def _pairs(lab: LabSettings, state: LabState, running: Engine) -> Facts:
    """Pairs of migrations, without and with the sleep in turn; the order turns too, and so does the direction."""
    host, epoch = await running.serving(SLOWED)
    moved: list[tuple[int, float, float]] = []
    async with asking(lab, state, lab.apps[SLOWED].port, PAIRS_RATE_HZ) as ue:
        await ue.answered_by(epoch)
        for pair in range(PAIRS):
            for sleep_s in (0.0, SLEEP_S) if pair % 2 else (SLEEP_S, 0.0):
                volume = f"/var/lib/docker/volumes/{SLOWED}.{epoch}.dv/_data"
                await _exec(lab, host, "sh", "-c", f"echo {sleep_s} > {volume}/start_sleep_s")
                report = await running.move(SLOWED, next(other for other in lab.hosts if other != host))
                if report.status != "completed":
                    reason = getattr(report.ending, "reason", "no reason told")
                    raise Violation(f"{report.started.migration} {report.status}: {reason}")
                host, epoch = await running.serving(SLOWED)
                first_line = (await _exec(lab, host, "docker", "logs", f"{SLOWED}.{epoch}")).splitlines()[0]
                moved.append((epoch, sleep_s, orjson.loads(first_line)["slept_s"]))
                await ue.answered_by(epoch)
    seen = summarise(await ue.samples())
    switches = {switch.to_epoch: switch.downtime_s for switch in seen.switchovers}
    rows = [
        {"planned_s": planned_s, "slept_s": slept_s, "downtime_s": switches[epoch]}
        for epoch, planned_s, slept_s in moved
    ]
    return {"migrations": rows, "failed": seen.failed, "late_s": seen.lateness_max_s}


async def _exec(lab: LabSettings, host: str, *words: str) -> str:
    return await run(["docker", "exec", f"{compose.project(lab)}-{host}", *words], limit_s=30)


def is_enclosed(stop: Facts) -> bool:
    """Whether the true outage lies between the probe's two figures, give or take the jitter."""
    return bool(stop["lower_bound_s"] - JITTER_S <= stop["true_s"] <= stop["downtime_s"] + JITTER_S)


def error_s(stop: Facts) -> float:
    """By how much the probe's downtime is above the true outage."""
    return float(stop["downtime_s"] - stop["true_s"])


def difference_s(plain_s: Sequence[float], slowed_s: Sequence[float]) -> tuple[float, float, float]:
    """Mean difference of the pairs, and its 95 % interval (normal).

    The two of a pair follow one another, so what the machine does in the long run is in both.
    """
    differences_s = [slowed - plain for plain, slowed in zip(plain_s, slowed_s, strict=True)]
    middle_s, half_s = mean(differences_s), 1.96 * stdev(differences_s) / len(differences_s) ** 0.5
    return middle_s, middle_s - half_s, middle_s + half_s


def downtimes_s(results: Sequence[Result], planned_s: float) -> list[float]:
    """UE-seen downtime of every migration with that sleep."""
    moved = [each for result in results for each in result.facts.get("migrations", ())]
    return [each["downtime_s"] for each in moved if each["planned_s"] == planned_s]


def failures(results: Sequence[Result]) -> list[str]:
    """What does not hold of all cases together."""
    wrong = []
    for result in results:
        stops = result.facts.get("stops", ())
        far = [stop for stop in stops if not -JITTER_S <= error_s(stop) <= MOST_ERROR_S]
        wrong += [f"{result.case}: measured {error_s(stop) * 1000:+.1f} ms off" for stop in far]
        outside = sum(not is_enclosed(stop) for stop in stops)
        if outside:
            wrong.append(f"{result.case}: {outside} of {len(stops)} not between the probe's two figures")
        if failed := result.facts.get("failed"):
            wrong.append(f"{result.case}: {failed} requests failed")
    plain_s, slowed_s = downtimes_s(results, 0.0), downtimes_s(results, SLEEP_S)
    if plain_s and slowed_s:
        difference, _, _ = difference_s(plain_s, slowed_s)
        if abs(difference - SLEEP_S) > MOST_OFF_S:
            wrong.append(f"the slowed start is seen as {difference * 1000:.0f} ms more, not {SLEEP_S * 1000:.0f}")
    return wrong


_STOPS_HEAD = [
    "stopped ms",
    "stops",
    "slept ms",
    "true ms",
    "measured ms",
    "error ms: median (least to most)",
    "resolution ms",
    "usual latency ms",
    "between the two figures",
    "probe late ms",
]


def page(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    stopped = [result for result in results if "stops" in result.facts]
    moved = [each for result in results for each in result.facts.get("migrations", ())]
    parts = [
        "## A service stopped for exactly so long",
        f"The probe asks {STOPS_RATE_HZ:g} times a second through the user plane. *True* is from when the service "
        "stops until it has answered the first of those that wait, by its own account. *Slept* is how long it was told "
        "to stop; on a busy machine it may have to wait for a processor after that. The error is the probe's downtime "
        f"less the true one. Allowed: -{JITTER_S * 1000:g} to {MOST_ERROR_S * 1000:g} ms.",
        table(
            _STOPS_HEAD,
            [_stop_row(result.facts) for result in stopped],
        ),
        "Milliseconds, medians over the stops. *Between the two figures*: stops whose true length lies between the "
        f"probe's lower bound and its downtime, give or take {JITTER_S * 1000:g} ms.",
        "## A start slowed on the target",
    ]
    plain_s, slowed_s = downtimes_s(results, 0.0), downtimes_s(results, SLEEP_S)
    if plain_s and slowed_s:
        difference, low, high = difference_s(plain_s, slowed_s)
        parts += [
            f"The mean difference of the pairs is **{difference * 1000:.0f} ms** (95 % interval: "
            f"{low * 1000:.0f} to {high * 1000:.0f}); allowed {SLEEP_S * 1000:.0f} ± {MOST_OFF_S * 1000:.0f}. "
            "M2 migrations of A2, in turn without and with the sleep; "
            f"the probe asks {PAIRS_RATE_HZ:g} times a second.",
            table(
                ("sleep ms", "migrations", "slept ms: median (most)", "UE-seen downtime ms: median (least to most)"),
                [_sleep_row(moved, sleep_s) for sleep_s in (0.0, SLEEP_S)],
            ),
        ]
    parts += ["## Every stop", *(_every_stop(result) for result in stopped), "## Every migration"]
    parts += [f"Without: {_listed(plain_s)}.", f"With: {_listed(slowed_s)}.", "UE-seen downtime in ms, in order."]
    return "\n\n".join(parts)


def _stop_row(facts: Facts) -> list[str]:
    stops = facts["stops"]
    errors = [error_s(stop) for stop in stops]
    return [
        f"{facts['planned_s'] * 1000:.0f}",
        str(len(stops)),
        *(f"{median(stop[what] for stop in stops) * 1000:.2f}" for what in ("slept_s", "true_s", "downtime_s")),
        _spread(errors, 2),
        f"{facts['resolution_s'] * 1000:.1f}",
        f"{facts['latency_s'] * 1000:.2f}",
        f"{sum(map(is_enclosed, stops))} of {len(stops)}",
        f"{facts['late_s'] * 1000:.0f}",
    ]


def _sleep_row(moved: Sequence[Facts], sleep_s: float) -> list[str]:
    mine = [each for each in moved if each["planned_s"] == sleep_s]
    slept_s = [each["slept_s"] for each in mine]
    return [
        f"{sleep_s * 1000:.0f}",
        str(len(mine)),
        f"{median(slept_s) * 1000:.2f} ({max(slept_s) * 1000:.2f})",
        _spread([each["downtime_s"] for each in mine], 0),
    ]


def _every_stop(result: Result) -> str:
    columns = ("slept_s", "true_s", "lower_bound_s", "downtime_s")
    rows = [
        [*(f"{stop[what] * 1000:.2f}" for what in columns), f"{error_s(stop) * 1000:+.2f}"]
        for stop in result.facts["stops"]
    ]
    return table((f"{result.case}: slept", "true", "lower bound", "measured", "error"), rows)


def _spread(values_s: Sequence[float], digits: int) -> str:
    middle, least, most = (f"{value * 1000:.{digits}f}" for value in (median(values_s), min(values_s), max(values_s)))
    return f"{middle} ({least} to {most})"


def _listed(values_s: Sequence[float]) -> str:
    return ", ".join(f"{value * 1000:.0f}" for value in values_s)
