"""The UE's side: a client that sends at planned instants, whatever the service does, and so sees its downtime.

A client that waits for an answer before it asks again sends least when the service is worst. This one is open-loop:
request n goes out at start + n / rate on the monotonic clock, each in a task of its own, over as many connections as it
takes; if the loop lags, it is sent late and the lateness is kept. Nothing is sent twice: an error, another status than
200, an answer that is no JSON object, or none within `give_up_s` is a failed request. The probe knows one address, the
app's, and nothing of migrations: `core.measures` finds them in what came back.

It speaks HTTP/1.1 itself, just what a GET needs. A general client repeats a GET when a kept connection dies under it
(aiohttp does, without a switch), which hides what is measured here: a request taken in and never answered. And a hold
of one second at 500 requests a second is 500 new connections, then 500 answers at once: with aiohttp the client's own
work was seen as 100 to 200 ms of downtime.

The samples file has JSON lines: {"probe": …} what ran and how its clock relates to UTC, then one `Sample` for each
finished request, last {"summary": …}. It is flushed twice a second, so that it can be read while the probe runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from pillion.core.measures import ProbeSummary, Sample, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

FLUSH_S = 0.5
_SERVED_BY = b"x-served-by"
KEEP_ALIVE_S = 5.0
"""A connection idle for longer is not used again: the server may be closing it, and a request sent into that would be
a failed request without a fault of the service. The server's own limit has to be longer than this."""


async def probe(
    url: str,
    samples: BinaryIO,
    *,
    rate_hz: float = 100.0,
    duration_s: float | None = None,
    give_up_s: float = 30.0,
    stop: asyncio.Event | None = None,
) -> ProbeSummary:
    """Send GETs to `url` until `duration_s` is over or `stop` is set, wait for those under way, and sum up.

    Writes the samples file (see the module) into `samples`. Failed requests raise nothing. Raises ValueError if `url`
    is no http URL, OSError if its host has no address or the file cannot be written (then in an ExceptionGroup).
    """
    host, port, request = request_to(url)
    # The name is looked up once, before anything is timed.
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    client = _Client(str(found[0][4][0]), port, request, samples, give_up_s)
    about = {"url": url, "rate_hz": rate_hz, "monotonic_s": time.monotonic(), "utc_s": time.time()}
    samples.write(orjson.dumps({"probe": about}) + b"\n")
    async with asyncio.TaskGroup() as group:
        flusher = group.create_task(client.flush(), name="probe flushes its samples")
        await client.send(rate_hz, duration_s, stop or asyncio.Event())
        flusher.cancel()
    client.close()
    summary = summarise(client.samples)
    samples.write(orjson.dumps({"summary": asdict(summary)}) + b"\n")
    samples.flush()
    return summary


def request_to(url: str) -> tuple[str, int, bytes]:
    """Host, port and the bytes of a GET to an http URL. Raises ValueError if it is none."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("not an http URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: pillion-probe\r\n\r\n"
    return parts.hostname, parts.port or 80, request.encode()


def read_samples(lines: bytes) -> list[Sample]:
    """The samples in what has been written of a samples file; a last line still being written is left out."""
    rows = [orjson.loads(line) for line in lines[: lines.rfind(b"\n") + 1].splitlines()]
    return [Sample(**row) for row in rows if "n" in row]


@dataclass(frozen=True, slots=True)
class _Answer:
    """One HTTP answer: when it was complete, and the MEC host that the user plane had it from, if it says so."""

    status: int
    body: bytes
    at_s: float
    host: str | None


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.usable_until_s = 0.0
        self._clock = asyncio.get_running_loop().time
        self._buffer = b""
        self._answer: asyncio.Future[_Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[_Answer]:
        """Send; the future gives the answer, or raises ConnectionError."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or self._answer is None or self._answer.done():
            return
        try:
            status, headers = int(head[9:12]), _headers(head)
            missing = int(headers[b"content-length"]) - len(body)
        except (KeyError, ValueError):
            self.transport.abort()
            self._answer.set_exception(ConnectionError("the answer is no HTTP/1.1 with a Content-Length"))
            return
        if missing <= 0:
            kept = head.startswith(b"HTTP/1.1") and headers.get(b"connection", b"").lower() != b"close" and not missing
            self.usable_until_s = self._clock() + KEEP_ALIVE_S if kept else 0.0
            self._buffer = b""
            host = headers.get(_SERVED_BY)
            self._answer.set_result(_Answer(status, body, self._clock(), host.decode() if host else None))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable_until_s = 0.0
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was lost before the answer"))


def _headers(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


class _Client:
    """Sends, and keeps what came back."""

    def __init__(self, host: str, port: int, request: bytes, file: BinaryIO, give_up_s: float) -> None:
        self.samples: list[Sample] = []
        self._host, self._port, self._request_bytes = host, port, request
        self._file, self._give_up_s = file, give_up_s
        self._idle: list[_Connection] = []

    async def send(self, rate_hz: float, duration_s: float | None, stop: asyncio.Event) -> None:
        """Start a request at each planned instant until told to stop; return when the last one is finished."""
        loop = asyncio.get_running_loop()
        start_s, n = loop.time(), 0
        async with asyncio.TaskGroup() as requests:
            while duration_s is None or n / rate_hz < duration_s:
                planned_s = start_s + n / rate_hz
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(planned_s):
                        await stop.wait()
                if stop.is_set():
                    break
                requests.create_task(self._request(n, planned_s), name=f"request {n}")
                n += 1

    async def flush(self) -> None:
        """Hand what is buffered to the file, twice a second."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self._file.flush()

    def close(self) -> None:
        """Close the connections that are left."""
        for connection in self._idle:
            connection.transport.abort()

    async def _request(self, n: int, planned_s: float) -> None:
        sent_s = asyncio.get_running_loop().time()
        answer, error = None, None
        told: dict[str, object] = {}
        try:
            async with asyncio.timeout(self._give_up_s):
                answer = await self._get()
            if answer.status != 200:
                error = f"status {answer.status}"
            elif isinstance(read := orjson.loads(answer.body), dict):
                told = read
            else:
                error = "the answer is no JSON object"
        except TimeoutError:
            error = "given up"
        except orjson.JSONDecodeError:
            error = "the answer is no JSON object"
        except OSError as failure:
            error = str(failure)
        instance = told.get("instance")
        sample = Sample(
            n=n,
            planned_s=planned_s,
            sent_s=sent_s,
            answered_s=answer.at_s if answer else None,
            status=answer.status if answer else None,
            instance=instance if isinstance(instance, str) else None,
            epoch=_whole(told.get("epoch")),
            seq=_whole(told.get("seq")),
            counter=_whole(told.get("counter")),
            error=error,
            host=answer.host if answer else None,
        )
        self.samples.append(sample)
        self._file.write(orjson.dumps(sample) + b"\n")

    async def _get(self) -> _Answer:
        connection = self._kept_connection()
        if connection is None:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        try:
            answer = await connection.ask(self._request_bytes)
        except BaseException:
            connection.transport.abort()
            raise
        self._idle.append(connection)
        return answer

    def _kept_connection(self) -> _Connection | None:
        """The connection used last, if it may be used again: the others below it are older still."""
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now_s < connection.usable_until_s:
                return connection
            connection.transport.abort()
        return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


async def _until_told_to_stop(options: argparse.Namespace, file: BinaryIO) -> ProbeSummary:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await probe(
        options.url,
        file,
        rate_hz=options.rate,
        duration_s=options.duration,
        give_up_s=options.give_up,
        stop=stop,
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probe from the command line; 0 if no request failed, 1 if one did, 2 if the command line is wrong."""
    parser = argparse.ArgumentParser(prog="pillion probe", description="Measure an app's downtime as its UE sees it.")
    parser.add_argument("url", help="the app's one address, http://…")
    parser.add_argument("--rate", type=_positive, default=100.0, metavar="HZ", help="requests a second (%(default)s)")
    parser.add_argument("--samples", required=True, metavar="FILE", help="where one JSON line a request goes")
    parser.add_argument("--duration", type=_positive, metavar="S", help="end by itself after this; else at SIGTERM")
    parser.add_argument("--give-up", type=_positive, default=30.0, metavar="S", help="wait for an answer (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        request_to(options.url)
    except ValueError as error:
        parser.error(f"{options.url}: {error}")
    # A hold of ten seconds at the usual rate is more connections than the usual soft limit of open files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        file = open(options.samples, "wb", buffering=1 << 20)  # noqa: SIM115  closed below; only opening is a usage error
    except OSError as error:
        parser.error(f"cannot write the samples: {error}")
    with file:
        try:
            summary = asyncio.run(_until_told_to_stop(options, file))
        except socket.gaierror as error:
            parser.error(f"{options.url}: {error}")
    sys.stdout.write(orjson.dumps(asdict(summary)).decode() + "\n")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main())
