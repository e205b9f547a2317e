"""Files of other programs: what each says of a UE, and where in them something is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillion.core.model import PoaId, Position, UeId, ZoneId
from pillion.errors import ConfigError
from pillion.replay.formats import FOREIGN, NAMES, format_of
from pillion.replay.samples import Attachment, Sample

UE = UeId("10.100.0.2")
HERE = Position(43.7, 7.4)
SERVED = Attachment(PoaId("4g-1"), ZoneId("zone01"))
UNSERVED = Attachment(None, None)
GPX = '<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1" xmlns:p="urn:pillion:trace">'
BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


def read(form: str, content: str | bytes) -> list[Sample]:
    body = content if isinstance(content, bytes) else content.encode()
    return list(FOREIGN[form].read(io.BytesIO(body), "drive"))


def facts(form: str, content: str | bytes) -> list[tuple[object, ...]]:
    return [(each.t_s, each.ue, each.position, each.attachment) for each in read(form, content)]


def written(form: str, *samples: Sample) -> bytes:
    file = io.BytesIO()
    FOREIGN[form].write(file, UE, samples)
    return file.getvalue()


def sample(t_s: float = 0.25, position: Position | None = HERE, attachment: Attachment = SERVED) -> Sample:
    return Sample(t_s, UE, position, attachment, "here")


def points(*points: str, name: str = "<name>u</name>") -> str:
    return f"{GPX}<trk>{name}<trkseg>{''.join(points)}</trkseg></trk></gpx>"


def point(time: str = "1970-01-01T00:00:05Z", at: str = 'lat="43.7" lon="7.4"', more: str = "") -> str:
    return f"<trkpt {at}>{time and f'<time>{time}</time>'}{more}</trkpt>"


def feature(**changes: object) -> str:
    return json.dumps(
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [7.4, 43.7]},
            "properties": {"t": 5, "ue": "u"},
        }
        | changes
    )


def line(**properties: object) -> str:
    return feature(
        geometry={"type": "LineString", "coordinates": [[7.4, 43.7], [7.4, 43.8, 12]]}, properties=properties
    )


def collection(*features: str) -> str:
    return f'{{"type": "FeatureCollection", "features": [{",".join(features)}]}}'


def steps(*steps: str) -> str:
    return f"<fcd-export>\n{chr(10).join(steps)}\n</fcd-export>"


def step(time: str, *vehicles: str) -> str:
    return f'<timestep time="{time}">{"".join(vehicles)}</timestep>'


VEHICLE = '<vehicle id="u" x="7.4" y="43.7" angle="12" speed="3.5"/>'

TWICE = ["1970-01-01T00:00:05.5Z", "1970-01-01T01:00:06+01:00"]

READ = {
    "csv, our own": ("csv", "t,ue,lon,lat,poa,zone\n5,u,7.4,43.7,4g-1,zone01\n", [(5.0, "u", HERE, SERVED)]),
    "csv of a simulation": (
        "csv",
        "veh,t,lon,lat,speed,heading\nu,5.0,7.4,43.7,1.07,78.6\nv,5.0,7.4,43.7,1.07,78.6\n",
        [(5.0, "u", HERE, None), (5.0, "v", HERE, None)],
    ),
    "csv where nothing serves": ("csv", "t,ue,lon,lat,poa,zone\n5,u,7.4,43.7,,\n", [(5.0, "u", HERE, UNSERVED)]),
    "csv of one who is nowhere": ("csv", "t,ue,lon,lat,poa,zone\n5,u,,,,\n", [(5.0, "u", None, UNSERVED)]),
    "csv of a spreadsheet": (
        "csv",
        '\ufeff"ue","zone","poa","lat","lon","t"\r\n"u","zone01","4g-1","43.7","7.4","5"\r\n\r\n',
        [(5.0, "u", HERE, SERVED)],
    ),
    "gpx, our own": (
        "gpx",
        points(point(more='<extensions><p:attachment poa="4g-1" zone="zone01"/></extensions>')),
        [(0.0, "u", HERE, SERVED)],
    ),
    "gpx where nothing serves": (
        "gpx",
        points(point(more="<extensions><p:attachment/></extensions>")),
        [(0.0, "u", HERE, UNSERVED)],
    ),
    "gpx of a receiver": (
        "gpx",
        f"{GPX}<metadata><time>2001-01-01T00:00:00Z</time><name>m</name></metadata><wpt lat='1' lon='1'/><trk><trkseg>"
        + point("2026-01-31T12:00:05.25Z", more="<ele>7</ele><name>start</name>")
        + "</trkseg><trkseg>"
        + point("2026-01-31T13:00:07+01:00", more="<extensions><attachment poa='x'/></extensions>")
        + "</trkseg></trk><trk><name/><trkseg>"
        + point("2026-01-31T12:00:06")
        + "</trkseg></trk></gpx>",
        [(0.25, "track-1", HERE, None), (2.0, "track-1", HERE, None), (1.0, "track-2", HERE, None)],
    ),
    "geojson, our own": (
        "geojson",
        collection(feature(properties={"t": 5, "ue": "u", "poa": "4g-1", "zone": "zone01"})),
        [(5.0, "u", HERE, SERVED)],
    ),
    "geojson of one who is nowhere": (
        "geojson",
        collection(feature(geometry=None, properties={"t": 5, "ue": "u", "poa": None, "zone": None})),
        [(5.0, "u", None, UNSERVED)],
    ),
    "geojson without POAs": ("geojson", collection(feature()), [(5.0, "u", HERE, None)]),
    "geojson of one Feature": ("geojson", feature(), [(5.0, "u", HERE, None)]),
    "geojson as converters from GPX write it": (
        "geojson",
        collection(line(name="u", coordTimes=TWICE), line(coordTimes=TWICE)),
        [
            (0.5, "u", HERE, None),
            (1.0, "u", Position(43.8, 7.4), None),
            (0.5, "track-2", HERE, None),
            (1.0, "track-2", Position(43.8, 7.4), None),
        ],
    ),
    "fcd, our own": (
        "fcd",
        steps(step("5.0", '<vehicle id="u" x="7.4" y="43.7" poa="4g-1" zone="zone01"/>')),
        [(5.0, "u", HERE, SERVED)],
    ),
    "fcd where nothing serves": (
        "fcd",
        steps(step("5.0", '<vehicle id="u" x="7.4" y="43.7" poa="" zone=""/>')),
        [(5.0, "u", HERE, UNSERVED)],
    ),
    "fcd of a simulation": (
        "fcd",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- generated by SUMO -->\n'
        + steps(
            step("4.00"), step("5.00", VEHICLE, '<person id="p" x="7.4" y="43.7"/>'), step("5.50", VEHICLE), step("6")
        ),
        [(5.0, "u", HERE, None), (5.5, "u", HERE, None)],
    ),
}


@pytest.mark.parametrize(("form", "content", "samples"), READ.values(), ids=READ)
def test_a_file_says_where_its_ues_were_and_when(form: str, content: str, samples: list[tuple[object, ...]]):
    assert facts(form, content) == samples


WRONG = {
    "an empty csv": ("csv", "", ":1", "column t is missing"),
    "a csv without a time": ("csv", "ue,lon,lat\n", ":1", "column t is missing"),
    "a csv with half an attachment": ("csv", "t,ue,lon,lat,poa\n", ":1", "column zone is missing"),
    "a csv with a UE twice": ("csv", "t,ue,veh,lon,lat\n", ":1", "column ue is there twice"),
    "a csv with a field too many": ("csv", "t,ue,lon,lat\n5,u,7.4,43.7,1\n", ":2", "5 fields under 4 columns"),
    "a csv with a field too few": ("csv", "t,ue,lon,lat\n5,u,7.4,43.7\n5,u\n", ":3", "2 fields under 4 columns"),
    "a csv with no number": ("csv", "t,ue,lon,lat\n5,u,7.4,NaN\n", ":2", "latitude is 'NaN'"),
    "a csv with an endless time": ("csv", "t,ue,lon,lat\ninf,u,7.4,43.7\n", ":2", "t is 'inf'"),
    "a csv with a number beyond all": ("csv", "t,ue,lon,lat\n1e999,u,7.4,43.7\n", ":2", "t is '1e999'"),
    "a csv with a number as Python writes it": ("csv", "t,ue,lon,lat\n1_0,u,7.4,43.7\n", ":2", "t is '1_0'"),
    "a csv beyond the pole": ("csv", "t,ue,lon,lat\n5,u,7.4,91\n", ":2", "latitude 91.0 is outside ±90"),
    "a csv in metres": ("csv", "t,ue,lon,lat\n5,u,1200.5,43.7\n", ":2", "longitude 1200.5 is outside ±180"),
    "a csv without a position or POA": ("csv", "t,ue,lon,lat\n5,u,,\n", ":2", "latitude is ''"),
    "a csv with half a position": ("csv", "t,ue,lon,lat,poa,zone\n5,u,7.4,,,\n", ":2", "latitude is ''"),
    "a csv with a POA without a zone": ("csv", "t,ue,lon,lat,poa,zone\n5,u,7.4,43.7,p,\n", ":2", "zone is ''"),
    "a csv of nobody": ("csv", "t,ue,lon,lat\n5,,7.4,43.7\n", ":2", "ue is ''"),
    "a csv with an open quote": ("csv", 't,ue,lon,lat\n5,"u,7.4,43.7\n', ":2", "not CSV"),
    "a csv of another encoding": ("csv", b"t,ue,lon,lat\n5,u,7.4,43.7\n5,\xfc,7.4,43.7\n", ":3", "not UTF-8"),
    "an empty gpx": ("gpx", "", ":1", "not XML: no element found"),
    "a gpx that is none": ("gpx", "<fcd-export/>", ":1", "<fcd-export>, not <gpx>"),
    "a gpx that is csv": ("gpx", "t,ue,lon,lat\n", ":1", "not XML: syntax error"),
    "a gpx that is cut off": ("gpx", f"{GPX}\n<trk>\n", ":3", "not XML: no element found"),
    "a gpx with entities": ("gpx", f"{BOMB}{points(point())}", ":1", "document type"),
    "a gpx in an unknown encoding": ("gpx", '<?xml version="1.0" encoding="moon"?><gpx/>', ":1", "unknown encoding"),
    "a gpx without a time": ("gpx", points("\n", point(""), point()), ":2", "a track point without a time"),
    "a gpx with no time": ("gpx", points("\n", point("noon")), ":2", "time is 'noon'"),
    "a gpx without a latitude": ("gpx", points("\n\n", point(at='lon="7"')), ":3", "latitude is missing"),
    "a gpx beyond the pole": ("gpx", points(point(at='lat="-90.5" lon="7"')), ":1", "latitude -90.5 is outside"),
    "a gpx with half an attachment": (
        "gpx",
        points(point(), "\n", point(more='<extensions><p:attachment poa="4g-1"/></extensions>')),
        ":2",
        "zone is missing",
    ),
    "an empty geojson": ("geojson", "", "", "not JSON"),
    "a geojson with no number": ("geojson", collection(feature()).replace("43.7", "NaN"), "", "not JSON"),
    "a geojson that is a list": ("geojson", "[]", "", "no FeatureCollection"),
    "a geojson that is a Point": ("geojson", '{"type": "Point"}', "", "no FeatureCollection"),
    "a geojson without features": ("geojson", '{"type": "FeatureCollection"}', ": features", "not a list"),
    "a geojson of numbers": ("geojson", collection("1"), ": features[0]", "not an object"),
    "a geojson without properties": (
        "geojson",
        collection(feature(), feature(properties=None)),
        ": features[1].properties",
        "not an object",
    ),
    "a geojson without a time": (
        "geojson",
        collection(feature(properties={"ue": "u"})),
        ": features[0].properties",
        "t is missing",
    ),
    "a geojson with a true time": (
        "geojson",
        collection(feature(properties={"ue": "u", "t": True})),
        ": features[0].properties",
        "t is True",
    ),
    "a geojson of nobody": (
        "geojson",
        collection(feature(properties={"t": 5})),
        ": features[0].properties",
        "ue is missing",
    ),
    "a geojson with half an attachment": (
        "geojson",
        collection(feature(properties={"t": 5, "ue": "u", "poa": "4g-1"})),
        ": features[0].properties",
        "zone is missing",
    ),
    "a geojson of areas": (
        "geojson",
        collection(feature(geometry={"type": "Polygon"})),
        ": features[0].geometry",
        "Polygon",
    ),
    "a geojson of a word": ("geojson", collection(feature(geometry="here")), ": features[0].geometry", "not an object"),
    "a geojson of no place": (
        "geojson",
        collection(feature(geometry={"type": "Point"})),
        ": features[0].geometry.coordinates",
        "None is no position",
    ),
    "a geojson beyond the pole": (
        "geojson",
        collection(feature(geometry={"type": "Point", "coordinates": [7.4, 91]})),
        ": features[0].geometry.coordinates",
        "latitude 91.0 is outside",
    ),
    "a line without times": ("geojson", collection(line()), ": features[0]", "one of coordTimes for each"),
    "a line with a time missing": ("geojson", collection(line(coordTimes=TWICE[:1])), ": features[0]", "coordTimes"),
    "a line with no time": (
        "geojson",
        collection(line(coordTimes=[TWICE[0], 7])),
        ": features[0].properties.coordTimes[1]",
        "time is 7",
    ),
    "an empty fcd": ("fcd", "", ":1", "not XML"),
    "a fcd with entities": ("fcd", f"\n{BOMB}<fcd-export/>", ":2", "document type"),
    "a fcd without a time": ("fcd", steps("<timestep/>"), ":2", "time is missing"),
    "a fcd with no time": ("fcd", steps(step("0"), step("0:00:01")), ":3", "time is '0:00:01'"),
    "a fcd of nobody": ("fcd", steps(step("0", VEHICLE.replace("id=", "name="))), ":2", "id is missing"),
    "a fcd in metres": (
        "fcd",
        steps(step("0", VEHICLE.replace("7.4", "4123.7"))),
        ":2",
        "longitude 4123.7 is outside ±180 .let SUMO write it with --fcd-output.geo",
    ),
    "a fcd with half an attachment": (
        "fcd",
        steps(step("0", VEHICLE.replace("speed", "poa"))),
        ":2",
        "zone is missing",
    ),
}


@pytest.mark.parametrize(("form", "content", "place", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_file_is_said_with_its_place_and_a_remedy(
    form: str, content: str | bytes, place: str, said: str
):
    with pytest.raises(ConfigError, match=said) as raised:
        read(form, content)
    assert raised.value.place == f"drive{place}"
    assert raised.value.remedy


@pytest.mark.parametrize("form", FOREIGN)
@given(
    body=st.binary(max_size=200) | st.text(st.sampled_from("<>/&;=\"'!,.\n tuelonatpzvhi0123456789{}[]:"), max_size=200)
)
@settings(deadline=None, max_examples=50)
def test_any_file_is_read_or_refused_with_a_place(form: str, body: bytes | str):
    try:
        read(form, body)
    except ConfigError as error:
        assert error.place.startswith("drive")  # noqa: PT017  # nearly all are refused


def test_a_stream_of_time_steps_is_read_as_it_comes():
    def endless() -> Iterator[bytes]:
        yield b"<fcd-export>"
        while True:
            yield step("5", VEHICLE).encode()

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self._rest = endless()

        def read(self, _: int = -1) -> bytes:
            return next(self._rest)

    samples = FOREIGN["fcd"].read(Stream(), "drive")
    assert [next(samples).t_s for _ in range(3)] == [5.0, 5.0, 5.0]


def test_what_is_written_is_what_other_programs_read():
    gpx = ElementTree.fromstring(written("gpx", sample(3661.5), sample(3662.0, attachment=UNSERVED)))
    space = {"g": "http://www.topografix.com/GPX/1/1"}
    assert gpx.attrib == {"version": "1.1", "creator": "pillion"}
    assert gpx.findtext("g:trk/g:name", namespaces=space) == UE
    first, second = gpx.findall("g:trk/g:trkseg/g:trkpt", space)
    assert first.attrib == {"lat": "43.7", "lon": "7.4"}
    assert first.findtext("g:time", namespaces=space) == "1970-01-01T01:01:01.500000Z"
    assert first.find("g:extensions", space)[0].attrib == {"poa": "4g-1", "zone": "zone01"}
    assert second.find("g:extensions", space)[0].attrib == {}
    fcd = ElementTree.fromstring(written("fcd", sample()))
    assert fcd.find("timestep").attrib == {"time": "0.25"}
    assert fcd.find("timestep/vehicle").attrib == {"id": UE, "x": "7.4", "y": "43.7", "poa": "4g-1", "zone": "zone01"}
    assert json.loads(written("geojson", sample(), sample(position=None, attachment=UNSERVED)))["features"] == [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [7.4, 43.7]},
            "properties": {"t": 0.25, "ue": UE, "poa": "4g-1", "zone": "zone01"},
        },
        {
            "type": "Feature",
            "geometry": None,
            "properties": {"t": 0.25, "ue": UE, "poa": None, "zone": None},
        },
    ]
    assert written("csv", sample(1e-7), sample(position=None, attachment=UNSERVED)).decode() == (
        "t,ue,lon,lat,poa,zone\n0.0000001,10.100.0.2,7.4,43.7,4g-1,zone01\n0.25,10.100.0.2,,,,\n"
    )


@pytest.mark.parametrize("form", ["gpx", "fcd"])
def test_a_name_that_xml_cannot_hold_is_refused(form: str):
    with pytest.raises(ConfigError, match="XML cannot hold"):
        written(form, sample(attachment=Attachment(PoaId("4g\x00"), ZoneId("zone01"))))


def test_a_time_that_no_date_has_is_refused_where_dates_are_written():
    with pytest.raises(ConfigError, match="no date is"):
        written("gpx", sample(1e300))
    assert facts("csv", written("csv", sample(1e300)))[0][0] == 1e300


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("d.trace", "trace"),
        ("d.trace.gz", "trace"),
        ("d.csv", "csv"),
        ("d.v2.csv.gz", "csv"),
        ("d.gpx", "gpx"),
        ("d.geojson", "geojson"),
        ("d.json.gz", "geojson"),
        ("fcd.xml", "fcd"),
    ],
)
def test_a_file_s_name_tells_its_format(name: str, form: str):
    assert format_of(Path(name), "--from") == form


@pytest.mark.parametrize("name", ["drive", "drive.txt", "drive.gz", "csv"])
def test_a_name_that_tells_no_format_names_the_option_that_does(name: str):
    with pytest.raises(ConfigError, match=f"--to: {', '.join(NAMES)}"):
        format_of(Path(name), "--to")
