"""How long something took, for tests with limits that have to hold on a busy machine, too.

What else a machine does makes processes wait for a processor, and says nothing about the program. Linux
counts that time (/proc/pressure/cpu): it is taken off before a limit is looked at, so that a limit is as
sharp as the machine is quiet. Where nobody counts nothing is taken off.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PRESSURE = Path("/proc/pressure/cpu")


@contextmanager
def takes(least: float = 0.0, *, most: float) -> Iterator[None]:
    """Fail unless the block takes *least* seconds, and fewer than *most* of them while processors are free.

    A bound on the wait itself belongs into the block: this looks only at its end.
    """
    began, waited = time.monotonic(), seconds_waited()
    yield
    took, waited = time.monotonic() - began, seconds_waited() - waited
    assert took >= least, f"took only {took:.3f} s"
    assert took - waited < most, f"took {took:.3f} s, for {waited:.3f} s of which the machine was busy"


def seconds_waited() -> float:
    """The time during which some process of this machine wanted a processor and got none."""
    try:
        found = re.search(r"^some .*total=(\d+)", _PRESSURE.read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found[1]) / 1_000_000 if found else 0.0
