"""``routing.router.planner``: the name of a planner. Pure."""

from __future__ import annotations

import re

LRU = "lru"
_CLASS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def planner_fault(name: str) -> str | None:
    """Why *name* cannot be a planner; ``None`` when it is ``lru`` or looks like ``package.module:Class``."""
    if name == LRU or _CLASS.fullmatch(name):
        return None
    return f"the planner must be lru or package.module:Class, not {name!r}"
