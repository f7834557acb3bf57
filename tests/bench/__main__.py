"""``make bench``: every figure from one run, as a table; fails if a bar is missed.

Absolute times mean little on a machine that does other things as well; where a
bar can be a ratio of two figures of the same run, it is.
"""

from __future__ import annotations

import sys
from importlib import import_module

from rich.console import Console
from table import Row, show

PARTS = (
    "start",
    "swap",
    "relay",
    "latency",
    "streams",
    "bodies",
    "memory",
    "scheduler",
    "planners",
    "order",
    "configuration",
)


def main() -> int:
    rows: list[Row] = []
    for part in sys.argv[1:] or PARTS:
        Console(stderr=True).print(f"measuring: {part} ...")
        rows += import_module(part).measure()
    return 0 if show(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
