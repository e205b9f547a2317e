"""The callback endpoint over a real port: it answers at once, and takes only what it was promised."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from pillion.errors import MachineError
from pillion.mec.callbacks import LONGEST_BYTES, MOST_WAITING, Box, serve_callbacks


async def post(http: aiohttp.ClientSession, url: str, body: bytes = b"{}") -> int:
    async with http.post(url, data=body) as answer:
        return answer.status


async def test_what_arrives_is_answered_before_anyone_reads_it_and_is_kept_in_order() -> None:
    async with serve_callbacks("127.0.0.1", 0) as callbacks, aiohttp.ClientSession() as http:
        with callbacks.box() as one, callbacks.box() as other:
            began_s = asyncio.get_running_loop().time()
            for number in range(3):
                assert await post(http, one.url, b"%d" % number) == 204
            assert await post(http, other.url, b"not even JSON") == 204
            arrived = [await one.get() for _ in range(3)]
            assert [body for _, body in arrived] == [b"0", b"1", b"2"]
            assert began_s <= arrived[0][0] <= arrived[2][0] <= asyncio.get_running_loop().time()
            assert (await other.get())[1] == b"not even JSON"


async def test_a_url_that_was_not_given_out_or_is_given_back_is_unknown() -> None:
    async with serve_callbacks("127.0.0.1", 0) as callbacks, aiohttp.ClientSession() as http:
        with callbacks.box() as box:
            url = box.url
            assert await post(http, url) == 204
            assert await post(http, url[:-1] + ("x" if url[-1] != "x" else "y")) == 404
            async with http.get(url) as answer:
                assert answer.status == 405
        assert await post(http, url) == 404
        assert len(url.rpartition("/")[2]) >= 32


async def test_what_is_too_long_is_refused() -> None:
    async with serve_callbacks("127.0.0.1", 0) as callbacks, aiohttp.ClientSession() as http:
        with callbacks.box() as box:
            assert await post(http, box.url, bytes(LONGEST_BYTES)) == 204
            assert await post(http, box.url, bytes(LONGEST_BYTES + 1)) == 413


async def test_a_box_that_nobody_reads_keeps_the_newest() -> None:
    box = Box("http://here")
    for number in range(MOST_WAITING + 5):
        box.put(float(number), b"")
    assert box.dropped == 5
    assert (await box.get())[0] == 5.0


async def test_the_public_url_is_what_is_given_out() -> None:
    async with serve_callbacks("127.0.0.1", 0, "http://gateway/callbacks/engine/") as callbacks:
        with callbacks.box() as box:
            assert box.url.startswith("http://gateway/callbacks/engine/")


async def test_a_taken_port_is_said_with_the_remedy() -> None:
    async with serve_callbacks("127.0.0.1", 0) as callbacks:
        port = int(callbacks.public_url.split(":")[2].partition("/")[0])
        with pytest.raises(MachineError, match="the port is taken") as taken:
            async with serve_callbacks("127.0.0.1", port):
                pass
    assert taken.value.exit_code == 4
