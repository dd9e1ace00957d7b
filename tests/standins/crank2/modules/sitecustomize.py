"""Lets the segmentation of a test job fail: its process ends as soon as it starts."""

import os
import sys
from pathlib import Path

if os.environ.get("STANDIN_BREAKS") and Path("/proc/self/cmdline").exists():
    if os.environ["STANDIN_BREAKS"].encode() in Path("/proc/self/cmdline").read_bytes().split(b"\0"):
        print("broken on purpose", file=sys.stderr, flush=True)
        os._exit(1)
