"""A2 whose start sleeps first, as many seconds as `start_sleep_s` in its DV says; the sleep taken is its first line."""

import json
import os
import sys
import time
from pathlib import Path

import a2

told = Path("/data/start_sleep_s")
sleep_s = float(told.read_text()) if told.exists() else 0.0  # none yet at its very first start
began_s = time.monotonic()
time.sleep(sleep_s)
slept_s = time.monotonic() - began_s
os.write(1, json.dumps({"slept_s": slept_s}).encode() + b"\n")
sys.exit(a2.main())
