"""GPX: each UE is a track named after it, each sample a track point with its time; POA and zone are an extension.

A point without the extension says nothing of what serves the UE; one with neither POA nor zone in it: nothing does.
A trace has no date, so it is written as from 1970-01-01T00:00:00Z on. Times are good to the microsecond.
Source: GPX 1.1, https://www.topografix.com/GPX/1/1/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from pillion.core.model import UeId
from pillion.errors import ConfigError
from pillion.replay.formats.markup import DECLARATION, End, Start, attribute, content, elements
from pillion.replay.samples import Attachment, Clock, Sample, attachment_of, instant, plain, position_of

_OURS = "urn:pillion:trace"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD = (
    f'{DECLARATION}<gpx version="1.1" creator="pillion" xmlns="http://www.topografix.com/GPX/1/1"'
    f' xmlns:pillion="{_OURS}">\n'
)


def read(file: BinaryIO, path: str) -> Iterator[Sample]:
    """The samples in a file; a track without a name is called `track-1` after its number. Raises ConfigError."""
    clock = Clock()
    tracks = 0
    ue = at = time = place = ""
    attachment: Attachment | None = None
    attributes: dict[str, str] = {}
    for event in elements(file, path, "gpx"):
        match event:
            case Start(name="trk"):
                tracks += 1
                ue = f"track-{tracks}"
            case End(name="name", parent="trk", text=text) if text:
                ue = text
            case Start(name="trkpt", attributes=attributes, place=place):
                time, attachment = "", None
            case End(name="time", parent="trkpt", text=time):
                pass
            case Start(name="attachment", space=space, attributes=told, place=at) if space == _OURS:
                attachment = attachment_of(told.get("poa"), told.get("zone"), at)
            case End(name="trkpt"):
                if not time:
                    raise ConfigError("a track point without a time", place=place, remedy="give each its <time>")
                where = position_of(attributes.get("lat"), attributes.get("lon"), place)
                yield Sample(clock.seconds(instant(time, place)), UeId(ue), where, attachment, place)


def write(file: BinaryIO, ue: UeId, samples: Iterable[Sample]) -> None:
    """Write samples, each with a position, as one track."""
    file.write(f"{_HEAD}<trk><name>{content(ue)}</name><trkseg>\n".encode())
    for sample in samples:
        if sample.position:
            at = f'lat="{plain(sample.position.latitude)}" lon="{plain(sample.position.longitude)}"'
            told = f"<extensions><pillion:attachment{_told(sample)}/></extensions>"
            file.write(f"<trkpt {at}><time>{_time(sample)}</time>{told}</trkpt>\n".encode())
    file.write(b"</trkseg></trk>\n</gpx>\n")


def _told(sample: Sample) -> str:
    poa, zone = sample.attachment or Attachment(None, None)
    return f" poa={attribute(poa)} zone={attribute(zone)}" if poa and zone else ""


def _time(sample: Sample) -> str:
    try:
        at = _EPOCH + timedelta(seconds=sample.t_s)
    except OverflowError as error:
        remedy = "convert to csv, geojson or trace"
        raise ConfigError(f"no date is {sample.t_s} s from 1970", place=sample.place, remedy=remedy) from error
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
