"""A2 that ends by itself on every host but its first, until the file `sound` lies in its DV."""

import os
import runpy
import sys
from pathlib import Path

first = Path("/app/first")
epoch = os.environ["PILLION_EPOCH"]
if not first.exists():
    first.write_text(epoch)
if first.read_text() != epoch and not Path("/data/sound").exists():
    sys.exit("fragile: broken on purpose")
runpy.run_path("/app/a2.py", run_name="__main__")
