"""A service that stops answering for exactly as long as it is told, and tells when, by the monotonic clock.

`GET /` instance, epoch, seq; `/ready` the same for the engine; `/stop?s=0.05` the epoch after the stop, and then nobody
is answered for that long; `/stops` every stop so far. Who asked for a stop hears of it first, and so has no work to do
at the instant that is measured. It is one thread, so that while it sleeps nobody can be answered: connections wait in
the kernel, as they do at a fenced app.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from urllib.parse import parse_qs, urlsplit

BACKLOG = 1024
PACE_S = 0.0003
"""Between two answers: hundreds that were held are not answered in one go, which on two cores would keep the user plane
and the probe from running at the very instant that is measured."""


class Service:
    """What is told; `first_answer_s` of the last stop is open until somebody has been answered again."""

    def __init__(self, instance: str, epoch: int) -> None:
        self.instance, self.epoch, self.first_epoch, self.seq = instance, epoch, epoch, 0
        self.last_answer_s = time.monotonic()
        self.due_s: float | None = None
        self.stops: list[dict[str, float | None]] = []

    def answer(self, target: str) -> object:
        """The answer to a GET of that target."""
        url = urlsplit(target)
        match url.path:
            case "/":
                self.seq += 1
                return {"instance": self.instance, "epoch": self.epoch, "seq": self.seq}
            case "/ready":
                return {"instance": self.instance, "epoch": self.first_epoch, "seq": self.seq}
            case "/stop":
                self.due_s = float(parse_qs(url.query)["s"][0])
                return {"epoch": self.epoch + 1}
            case "/stops":
                return self.stops
        return {"problem": "no such path"}

    def answered(self, target: str) -> None:
        """Follow up on an answer: note when the UE was last answered, or first again; begin the stop that is due."""
        if urlsplit(target).path == "/":
            self.last_answer_s = time.monotonic()
            if self.stops and self.stops[-1]["first_answer_s"] is None:
                self.stops[-1]["first_answer_s"] = self.last_answer_s
            time.sleep(PACE_S)
        if self.due_s is not None:
            self._stop(self.due_s)
            self.due_s = None

    def _stop(self, planned_s: float) -> None:
        stopped_s = time.monotonic()
        time.sleep(planned_s)
        resumed_s = time.monotonic()
        self.epoch += 1
        self.stops.append(
            {
                "epoch": self.epoch,
                "planned_s": planned_s,
                "last_answer_s": self.last_answer_s,
                "stopped_s": stopped_s,
                "resumed_s": resumed_s,
                "first_answer_s": None,
            }
        )


def serve(service: Service, port: int) -> None:
    """Answer GETs over HTTP/1.1, one request at a time, whoever asked before whoever only connects. Never returns."""
    listener = socket.create_server(("", port), backlog=BACKLOG)
    poll = selectors.DefaultSelector()
    poll.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in sorted(poll.select(), key=lambda ready: ready[0].data is None):
            if key.data is None:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(connection, selectors.EVENT_READ, connection)
            elif not _answer(service, key.data):
                poll.unregister(key.data)
                key.data.close()


def _answer(service: Service, connection: socket.socket) -> bool:
    """Answer the request that has come, which as a GET of the lab fits into one segment; False once it was closed."""
    try:
        request = connection.recv(65536)
        if not request:
            return False
        target = request.split(b" ", 2)[1].decode()
        body = json.dumps(service.answer(target)).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    except OSError:
        return False
    service.answered(target)
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # PID 1 of a container has no default for it
    serve(
        Service(os.environ["PILLION_INSTANCE"], int(os.environ["PILLION_EPOCH"])),
        int(os.environ.get("PILLION_PORT", "3000")),
    )
