"""What a swap costs beyond what the models themselves need.

The upstream starts and stops at once and writes down when it was told to
stop, when it left, and when it listened; a line of shell writes down when it
was executed. What is left of the time from the request to the first byte is ours.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from pathlib import Path

from served import Served, free_port, serving
from table import Row, percentile

SWAPS = 60
UPSTREAM = Path(__file__).with_name("instant_upstream.py")


def _config(folder: Path) -> str:
    def model(name: str) -> str:
        log = shlex.quote(str(folder / f"{name}.log"))
        note = f'echo "exec $$ $(date +%s.%N)" >> {log}'
        run = f"exec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(UPSTREAM))} {log} ${{PORT}}"
        return f"  {name}:\n    cmd: |\n      sh -c {shlex.quote(f'{note}; {run}')}\n"

    return f"startPort: {free_port()}\nmodels:\n" + "".join(model(name) for name in ("one", "two"))


def _times(log: Path) -> dict[str, float]:
    """The newest time of each event in *log*, on the monotonic clock."""
    wall_to_monotonic = time.monotonic() - time.time()
    times: dict[str, float] = {}
    for line in log.read_text().splitlines():
        event, _, seconds = line.split()
        times[event] = float(seconds) + (wall_to_monotonic if event == "exec" else 0.0)
    return times


def _overhead(served: Served, folder: Path, target: str, evictee: str) -> float:
    asked = time.monotonic()
    status, _, first_byte = served.request("POST", "/v1/completions", {"model": target})
    assert status == 200, status
    stop, start = _times(folder / f"{evictee}.log"), _times(folder / f"{target}.log")
    assert asked < stop["sigterm"] < stop["exit"] < start["listening"] < first_byte
    model_time = (stop["exit"] - stop["sigterm"]) + (start["listening"] - start["exec"])
    return (first_byte - asked) - model_time


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(_config(folder))
        with serving(config) as served:
            status, body, _ = served.request("POST", "/v1/completions", {"model": "one"})
            assert status == 200, body
            pairs = [("two", "one"), ("one", "two")] * (SWAPS // 2)
            overheads = [_overhead(served, folder, *pair) * 1000 for pair in pairs]
    return [
        Row(what="swap overhead, median", value=percentile(overheads, 50), unit="ms"),
        Row(what="swap overhead, p95", value=percentile(overheads, 95), unit="ms", at_most=25),
    ]
