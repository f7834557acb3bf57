"""What it costs to be there: import, start of the server, memory while idle."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from served import serving
from table import Row

ROUNDS = 15
ROOT = Path(__file__).parents[2]


def _import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", code]))


def measure() -> list[Row]:
    for package in ("swapcore", "swapcli"):
        compileall.compile_dir(ROOT / package, quiet=1)  # as pip does when it installs
    # Interleaved, so that a busy moment of the machine hits both alike.
    pairs = [(_import_seconds("swapcore"), _import_seconds("trio")) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    starts, memory = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text("models:\n  one:\n    cmd: sleep 1000 ${PORT}\n")
        for _ in range(5):
            with serving(config) as served:
                starts.append(served.seconds_to_health)
                served.request("GET", "/v1/models")
                memory.append(served.resident_megabytes)
    return [
        Row(what="import of swapcore / import of trio", value=ours / theirs, at_most=1.5),
        Row(what="swapcli serve: start to first 200", value=statistics.median(starts), unit="s", at_most=0.5),
        Row(what="resident memory, idle", value=max(memory), unit="MB", at_most=70),
    ]
