"""The contract tests' app: answers what its volume holds and how often its hook was called, which it knows by heart.

Runs in the container from the standard library alone.
"""

import http.server
import json
import os
import pathlib
import signal
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    calls = 0

    def do_GET(self) -> None:
        seq = pathlib.Path("/data/seq")
        Answer.calls += self.path.startswith("/hook")
        said = {
            "instance": os.environ["PILLION_INSTANCE"],
            "epoch": int(os.environ["PILLION_EPOCH"]),
            "seq": Answer.calls + (int(seq.read_text()) if seq.exists() else 0),
        }
        self.send_response(200 if self.path.partition("?")[0] in ("/ready", "/hook") else 500)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 3000), Answer).serve_forever()
