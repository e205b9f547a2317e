"""The apps' own server as it takes notifications: lengths, kept connections, and whatever is sent."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .city import City, city
from .processes import DEADLINE_S, UE, AppProcess
from .test_a1_subscribing import a1_process, changed, established, released
from .test_a2_subscribing import entering, subscribing

LIMIT_BYTES = 65_536
GET = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(UE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NOTIFICATIONS = [
    json.loads(entering("zone01")),
    json.loads(entering("zone02")),
    json.loads(entering("zone01", event="Leaving")),
    *(established(1), established(7), changed("1010101", "2"), released(7)),
]


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A notification of which one member, somewhere, is something else, or is gone."""
    document = json.loads(json.dumps(draw(st.sampled_from(NOTIFICATIONS))))
    inner = document.get("zonalPresenceNotification", document)
    key = draw(st.sampled_from(sorted(inner)))
    if draw(st.booleans()):
        inner[key] = draw(JSON_VALUES)
    else:
        del inner[key]
    return document


BODIES = st.one_of(
    st.binary(max_size=64),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()),
    spoiled().map(lambda value: json.dumps(value).encode()),
    st.sampled_from(NOTIFICATIONS).map(lambda value: json.dumps(value).encode()),
)


@pytest.fixture
async def monaco() -> AsyncIterator[City]:
    async with city() as made:
        yield made


@pytest.fixture(params=["a1", "a2"])
async def app(request: pytest.FixtureRequest, monaco: City, tmp_path: Path) -> AppProcess:
    made = a1_process(monaco) if request.param == "a1" else subscribing(monaco, tmp_path)
    monaco.live.drive(True)
    await monaco.tick()
    await made.start()
    await monaco.settled(made)
    return made


def post(body: bytes, path: str = "/callbacks/x", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *(headers or [f"Content-Length: {len(body)}"])]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def conversation(app: AppProcess, *sent: bytes, ends: bool = False) -> list[str]:
    """Status codes and, at the end, "closed", if the app closes the connection; it is given half a second."""
    host, port = app.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for part in sent:
        writer.write(part)
    if ends:
        writer.write_eof()
    heard, received = [], b""
    try:
        async with asyncio.timeout(0.5):
            while part := await reader.read(65_536):
                received += part
            heard = ["closed"]
    except TimeoutError:
        pass
    finally:
        writer.close()
        await writer.wait_closed()
    return re.findall(r"HTTP/1\.1 (\d{3}) ", received.decode()) + heard


async def test_a_connection_is_kept_over_notifications_and_ends_where_a_body_was_not_read(app: AppProcess) -> None:
    assert await conversation(app, post(b"{}"), GET, post(b"x", "/callbacks/a/b"), GET) == ["400", "200"] * 2
    assert await conversation(app, post(b"", "/callbacks/x", "X: 1"), GET) == ["400", "200"]
    assert await conversation(app, post(b"{}", "/elsewhere"), GET) == ["404", "closed"]
    assert await conversation(app, post(b"{}", "/callbacks"), GET) == ["404", "closed"]
    last = post(b"{}", "/callbacks/x", "Content-Length: 2", "Connection: close")
    assert await conversation(app, last) == ["400", "closed"]
    assert await conversation(app, b"DELETE /callbacks/x HTTP/1.1\r\n\r\n", GET) == ["404", "200"]
    assert await conversation(app, b"GET /callbacks/x HTTP/1.1\r\n\r\n", GET) == ["404", "200"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([f"Content-Length: {LIMIT_BYTES + 1}"], "413"),
        (["Content-Length: " + "9" * 5000], "413"),
        (["Content-Length: -1"], "400"),
        (["Content-Length: many"], "400"),
        (["Content-Length: 2", "Content-Length: 3"], "400"),
        (["Transfer-Encoding: chunked"], "411"),
    ],
    ids=["too-long", "no-end", "negative", "no-number", "two-lengths", "chunked"],
)
async def test_a_body_of_no_bearable_length_is_refused_and_not_read(
    app: AppProcess, headers: list[str], status: str
) -> None:
    sent = post(b"x" * (LIMIT_BYTES + 1), "/callbacks/x", *headers)
    assert await conversation(app, sent, ends=True) == [status, "closed"]
    assert (await app.get("/ready"))["epoch"] == 7
    assert (await app.get())["ignored"] == 0


async def test_a_body_at_the_limit_is_read(app: AppProcess) -> None:
    assert await conversation(app, post(b" " * LIMIT_BYTES), GET) == ["400", "200"]


async def test_a_body_that_is_cut_was_not_told(app: AppProcess) -> None:
    assert await conversation(app, post(b'{"a": ', "/callbacks/x", "Content-Length: 10"), ends=True) == ["closed"]
    assert (await app.get())["ignored"] == 0


async def test_a_thousand_bodies_of_any_kind_over_one_connection_are_all_answered(app: AppProcess) -> None:
    host, port = app.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
    connection.connect()
    socket, statuses = connection.sock, set()

    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(body=BODIES)
    def answered(body: bytes) -> None:
        connection.request("POST", "/callbacks/x", body)
        answer = connection.getresponse()
        answer.read()
        statuses.add(answer.status)
        assert answer.status in (204, 400)
        assert connection.sock is socket

    before = await app.get()
    await asyncio.to_thread(answered)
    connection.close()
    after = await app.get()
    assert statuses == {204, 400}
    assert after["told"] + after["ignored"] - before["told"] - before["ignored"] >= 1000
    assert await app.stop() == 0
