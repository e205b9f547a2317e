"""SUMO's floating car data: each time step has the vehicles that are there, with their geographic coordinates.

SUMO writes them as longitude and latitude with `--fcd-output.geo`. POA and zone are attributes of the vehicle, as those
are that SUMO writes for a vehicle's own parameters; both empty: nothing serves it; neither there: that is to be found.
A vehicle that a time step leaves out is not in the city, of which a trace says nothing.
Source: SUMO, Simulation/Output/FCDOutput.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pillion.core.model import UeId
from pillion.replay.formats.markup import DECLARATION, Start, attribute, elements
from pillion.replay.samples import Attachment, Sample, attachment_of, name, number, plain, position_of

_GEO = "let SUMO write it with --fcd-output.geo"


def read(file: BinaryIO, path: str) -> Iterator[Sample]:
    """The samples in a file, in order of time. Raises ConfigError with the line."""
    t_s = 0.0
    for event in elements(file, path, "fcd-export"):
        match event:
            case Start(name="timestep", attributes=step, place=place):
                t_s = number(step.get("time"), "time", place)
            case Start(name="vehicle", parent="timestep", attributes=vehicle, place=place):
                where = position_of(vehicle.get("y"), vehicle.get("x"), place, remedy=_GEO)
                told = None
                if "poa" in vehicle or "zone" in vehicle:
                    told = attachment_of(vehicle.get("poa"), vehicle.get("zone"), place)
                yield Sample(t_s, UeId(name(vehicle.get("id"), "id", place)), where, told, place)


def write(file: BinaryIO, ue: UeId, samples: Iterable[Sample]) -> None:
    """Write samples, each with a position, as a time step each, with every digit of their times and positions."""
    file.write(f"{DECLARATION}<fcd-export>\n".encode())
    for sample in samples:
        if sample.position:
            x, y = plain(sample.position.longitude), plain(sample.position.latitude)
            poa, zone = (attribute(each or "") for each in sample.attachment or Attachment(None, None))
            vehicle = f'<vehicle id={attribute(ue)} x="{x}" y="{y}" poa={poa} zone={zone}/>'
            file.write(f'<timestep time="{plain(sample.t_s)}">{vehicle}</timestep>\n'.encode())
    file.write(b"</fcd-export>\n")
