"""What a caller asks of the queue: the headers ``X-Swap-Priority`` and ``X-Swap-Deadline``. Pure."""

from __future__ import annotations

import re
from math import inf

import attrs

from .error_answers import ErrorAnswer, bad_wish

_PRIORITY = re.compile(r"[+-]?[0-9]{1,3}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_MOST_PRIORITY = 100


@attrs.frozen
class Wishes:
    priority: int = 0
    deadline: float = inf
    """Seconds that the caller waits for its model."""


def wishes_of(priority: str, deadline: str, *, may_prioritize: bool) -> Wishes | ErrorAnswer:
    """Read both headers; empty is absent. Who may not prioritize has the priority that everybody has."""
    wishes = Wishes()
    if priority and may_prioritize:
        text = priority.strip()
        if not _PRIORITY.fullmatch(text) or abs(int(text)) > _MOST_PRIORITY:
            return bad_wish("X-Swap-Priority", f"a whole number from -{_MOST_PRIORITY} to {_MOST_PRIORITY}")
        wishes = attrs.evolve(wishes, priority=int(text))
    if deadline:
        text = deadline.strip()
        if not _SECONDS.fullmatch(text) or not float(text):
            return bad_wish("X-Swap-Deadline", "a number of seconds, greater than 0")
        wishes = attrs.evolve(wishes, deadline=float(text))
    return wishes
