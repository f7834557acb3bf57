"""How long something took, for tests with limits that have to hold on a busy machine, and on a slow one.

What else a machine does makes processes wait for a processor, and says nothing about the program. Linux
counts that time (/proc/pressure/cpu, and "steal" in /proc/stat for what other virtual machines do): it is
taken off before a limit is looked at, so that a limit is as sharp as the machine is quiet. Where nobody
counts nothing is taken off. And where processors are slow a limit is longer, in proportion.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

_PRESSURE = Path("/proc/pressure/cpu")
_TOTALS = Path("/proc/stat")

_QUICK = 0.001
"""Seconds of a processor that `_work` takes where the limits of the tests were chosen, at most."""


@contextmanager
def takes(least: float = 0.0, *, most: float) -> Iterator[None]:
    """Fail unless the block takes *least* seconds, and fewer than *most* of them while processors are free.

    A bound on the wait itself belongs into the block: this looks only at its end.
    """
    began, waited = time.monotonic(), seconds_waited()
    yield
    took, waited = time.monotonic() - began, seconds_waited() - waited
    assert took >= least, f"took only {took:.3f} s"
    limit = most if took - waited < most else least + (most - least) * slowness()
    assert took - waited < limit, f"took {took:.3f} s, for {waited:.3f} s of which the machine was busy"


def seconds_waited() -> float:
    """The time during which some process of this machine wanted a processor and got none."""
    return _seconds_of_others_here() + _seconds_of_other_machines()


def slowness() -> float:
    """How many times slower processors are now than where the limits of the tests were chosen; at least 1."""
    return max(1.0, median(_work() for _ in range(5)) / _QUICK)


def _seconds_of_others_here() -> float:
    try:
        found = re.search(r"^some .*total=(\d+)", _PRESSURE.read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found[1]) / 1_000_000 if found else 0.0


def _seconds_of_other_machines() -> float:
    try:
        found = re.match(r"cpu +(?:\d+ +){7}(\d+)", _TOTALS.read_text())
    except OSError:
        return 0.0
    return int(found[1]) / os.sysconf("SC_CLK_TCK") if found else 0.0


def _work() -> float:
    began = time.thread_time()
    sum(number * number for number in range(20_000))
    return time.thread_time() - began
