"""When each model has to be looked at again. A data structure, no decisions."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf

import attrs

from ._spec import ModelId


@attrs.define(eq=False)
class Alarms:
    """One alarm a model, the earliest that it needs; what is due is worked out once it rings."""

    _times: dict[ModelId, float] = attrs.field(factory=dict[ModelId, float], init=False)
    _heap: list[tuple[float, ModelId]] = attrs.field(factory=list[tuple[float, ModelId]], init=False)

    def set(self, model: ModelId, when: float) -> None:
        """Ring for *model* at *when*, if it is not to ring sooner anyway. ``inf``: never."""
        if when < self._times.get(model, inf):
            self._times[model] = when
            heapq.heappush(self._heap, (when, model))

    def next(self) -> float:
        """When the next one may ring; ``inf`` if none will."""
        return self._heap[0][0] if self._heap else inf

    def ring(self, now: float) -> Iterator[ModelId]:
        """Take out those that are due, one by one; others may be set meanwhile."""
        while self.next() <= now:
            when, model = heapq.heappop(self._heap)
            if self._times.get(model) == when:  # else it was replaced by an earlier one, which has rung
                del self._times[model]
                yield model
