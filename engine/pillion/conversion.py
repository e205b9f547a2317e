"""Conversion of traces: between our format and those of other programs, which know nothing of a layout.

Where a file has positions only, what serves its UE is found as the sandbox finds it. So this lies above the two rooms
that do not know each other, traces and sandbox.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pillion.core.mobility import Observation
from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.core.prediction import Layout, Poa
from pillion.errors import ConfigError
from pillion.replay.files import reading, replacing
from pillion.replay.formats import FOREIGN, OWN, format_of
from pillion.replay.samples import Attachment, Sample, of_one_ue, samples_of
from pillion.replay.trace import Trace, read_trace, write_trace
from pillion.sandbox.attachment import Coverage
from pillion.sandbox.geodesy import Point
from pillion.sandbox.location import CONNECTION_TYPES, float32
from pillion.sandbox.scenario import DEFAULT_WIRELESS_TYPES, Scenario, load_scenario


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written: how many lines, from the first to the last in seconds, and how often the POA changes in them.

    `left_out` counts the lines of a trace that the other format cannot hold.
    """

    ue: UeId
    lines: int
    left_out: int
    duration_s: float
    poa_changes: int

    def __str__(self) -> str:
        left_out = f"; left out {self.left_out} that it cannot hold" if self.left_out else ""
        return f"{self.lines} lines of {self.ue} in {self.duration_s:.0f} s, POA changes {self.poa_changes}{left_out}"


def convert(
    source: Path,
    target: Path,
    *,
    source_format: str | None = None,
    target_format: str | None = None,
    ue: str | None = None,
    rename: str | None = None,
    scenario: str = "monaco",
    force: bool = False,
) -> Converted:
    """Write to `target` what `source` holds of one UE, which is then called `rename`.

    On failure `target` is as it was. Raises ConfigError.
    """
    reads = source_format or format_of(source, "--from")
    writes = target_format or format_of(target, "--to")
    with replacing(target, force=force) as file:
        if reads == OWN:
            trace = _own(source, ue)
        else:
            with reading(source) as opened:
                samples = of_one_ue(FOREIGN[reads].read(opened, str(source)), ue, str(source))
            trace = attached(samples, load_scenario(scenario), UeId(rename or samples[0].ue))
        if rename:
            seen = tuple(replace(each, ue=UeId(rename)) for each in trace.observations)
            trace = replace(trace, ue=UeId(rename), observations=seen)
        kept = samples_of(trace)
        if writes == OWN:
            text = io.StringIO()
            write_trace(text, trace)
            file.write(text.getvalue().encode())
            lines = len(trace.observations)
        else:
            kept = [each for each in kept if each.position or FOREIGN[writes].without_position]
            if not kept:
                raise ConfigError(f"it holds nothing that {writes} can", place=str(source), remedy="convert another")
            FOREIGN[writes].write(file, trace.ue, kept)
            lines = len(kept)
    return Converted(
        trace.ue,
        lines,
        len(trace.observations) - lines,
        kept[-1].t_s - kept[0].t_s if kept else 0.0,
        sum(before.attachment != after.attachment for before, after in pairwise(kept)),
    )


def attached(samples: Sequence[Sample], scenario: Scenario, ue: UeId) -> Trace:
    """The trace of a UE that was where its samples say, with the scenario's layout.

    What a sample says of POA and zone holds; where it says nothing, the sandbox's rule decides, once for each sample.
    Raises ConfigError if only some samples say it, or if one names a POA that the scenario does not have in that zone.
    """
    layout = layout_of(scenario)
    coverage = Coverage(scenario.poas)
    wireless_types = next((each.wireless_types for each in scenario.ues if each.id == ue), DEFAULT_WIRELESS_TYPES)
    serving = None
    observations = []
    for sample in samples:
        if (sample.attachment is None) != (samples[0].attachment is None):
            problem = "some samples say what serves the UE and others do not"
            raise ConfigError(problem, place=sample.place, remedy="give POA and zone to all of them, or to none")
        if sample.attachment is not None:
            told = sample.attachment
            _check(told, layout, scenario, sample.place)
        elif sample.position is not None:
            place = Point(sample.position.latitude, sample.position.longitude)
            serving = coverage.select(place, wireless_types, serving)
            told = Attachment(PoaId(serving.id), ZoneId(serving.zone)) if serving else Attachment(None, None)
        else:
            raise ConfigError("neither a position nor a POA", place=sample.place, remedy="give each one of them")
        observations.append(Observation(ue, sample.t_s, told.poa, told.zone, sample.position))
    return Trace(ue, layout, tuple(observations))


def layout_of(scenario: Scenario) -> Layout:
    """The layout that the Location API tells of a scenario, with each POA's own radius."""
    return {
        PoaId(poa.id): Poa(
            PoaId(poa.id),
            ZoneId(poa.zone),
            Position(float32(poa.at.lat_deg), float32(poa.at.lon_deg)),
            CONNECTION_TYPES[poa.technology],
            poa.radius_m,
        )
        for zone in scenario.zones
        for poa in scenario.poas
        if poa.zone == zone
    }


def _own(source: Path, ue: str | None) -> Trace:
    trace = read_trace(source)
    if ue not in (None, trace.ue):
        raise ConfigError(f"it holds no UE {ue}, but {trace.ue}", place=str(source), remedy="leave --ue out")
    return trace


def _check(told: Attachment, layout: Layout, scenario: Scenario, place: str) -> None:
    if told.poa is None:
        return
    if told.poa not in layout or layout[told.poa].zone != told.zone:
        raise ConfigError(
            f"scenario {scenario.name} has no POA {told.poa} in zone {told.zone}",
            place=place,
            remedy="name the scenario that it was recorded in with --scenario, or remove poa and zone",
        )
