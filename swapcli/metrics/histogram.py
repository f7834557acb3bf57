"""Durations, counted by how long they were. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs


@attrs.define(eq=False)
class Histogram:
    """How many durations there were up to each bound, which are seconds."""

    bounds: Sequence[float]
    sum: float = attrs.field(default=0.0, init=False)
    _counts: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bound, ``+Inf`` at last, and how many durations do not exceed it."""
        total, found = 0, list[tuple[str, int]]()
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append((bound, total))
        return found
