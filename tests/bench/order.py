"""What the order of service is worth: the mean wait on traces of agents against first come, first served."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from table import Row

sys.path.insert(0, str(Path(__file__).parents[1]))
from agent_traces import TRACES, Trace, play, waits_in_strict_order, waits_of

from swapcore import SchedulingPolicy

SEEDS = range(10)


def _mean_wait(make: Callable[[int], Trace], serve: Callable[[Trace], Sequence[float]]) -> float:
    return fmean(wait for seed in SEEDS for wait in serve(make(seed)))


def measure() -> list[Row]:
    rows = list[Row]()
    for make in TRACES:
        ours = _mean_wait(make, lambda trace: waits_of(play(trace, SchedulingPolicy())))
        collating = _mean_wait(make, lambda trace: waits_of(play(trace, SchedulingPolicy(leeway=0))))
        strict = _mean_wait(make, waits_in_strict_order)
        what = f"order: mean wait, {make(0).name}"
        rows += [
            Row(what=what, value=ours, unit="s"),
            Row(what=f"{what} / first come, first served", value=ours / collating, at_most=0.8),
            Row(what=f"{what} / the same without collation", value=ours / strict, at_most=0.8),
        ]
    return rows
