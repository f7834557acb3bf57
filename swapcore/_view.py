"""What a planner is shown of the fleet: frozen values, true while the question lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AbstractSet
from itertools import islice
from typing import overload

import attrs

from ._spec import ModelId
from ._states import ProcState


@attrs.frozen(kw_only=True)
class ModelView:
    """One model as a planner sees it. Times are seconds; ages count from the view's ``now``."""

    id: ModelId = attrs.field(kw_only=False)
    state: ProcState = ProcState.STOPPED
    pinned: bool = False
    """It may not be evicted."""
    leases: int = 0
    """Callers that use the model right now."""
    waiting: int = 0
    """Callers in line for it."""
    oldest_wait: float = 0.0
    """How long the first of those has waited."""
    stuck: bool = False
    """It was killed, and is there all the same: evicting it gets the target's callers refused."""
    priority: int = 0
    """The highest priority among those; 0 when nobody waits."""
    idle_for: float | None = None
    """Time since it became ready or was last released; ``None`` unless it is ready and unused."""
    load_seconds: float | None = None
    """Measured time from spawn to ready, smoothed over its starts; ``None`` before the first."""
    stop_seconds: float | None = None
    """Measured time from the request to stop until it was gone; ``None`` before the first."""


@attrs.frozen(kw_only=True)
class FleetView:
    """Every model at one instant.

    The scheduler fills it lazily, so asking about one model costs the same in
    a fleet of a thousand. It is valid during the planner's call only. To test
    a planner, make one by hand::

        FleetView(running=(A, B), models={A: ModelView(A, leases=1), B: ModelView(B)})
    """

    running: Sequence[ModelId] = ()
    """Models whose process is not stopped, and those with a committed start; longest running first."""
    waiting: Sequence[ModelId] = ()
    """Models that callers wait for and nothing is being done for yet; the first in line first.

    A model's place is the arrival of its first caller, 30 s earlier for each step of
    priority, and later by what a turn of it would take for each of its callers, within
    `SchedulingPolicy.leeway`.
    """
    overdue: Sequence[ModelId] = ()
    """Those among them with a caller that has waited for ``max_wait`` or more; the longest wait first."""
    promised: AbstractSet[ModelId] = frozenset()
    """Models that a swap under way is for, or that `SwapPlanner.choose_next` has named in this round."""
    models: Mapping[ModelId, ModelView] = attrs.field(factory=dict[ModelId, ModelView])
    now: float = 0.0
    """Seconds on the supervisor's clock."""


@attrs.frozen(eq=False)
class LazySequence(Sequence[ModelId]):
    """A sequence that is worked out only as far as it is read."""

    _walk: Callable[[], Iterator[ModelId]]
    _has: Callable[[ModelId], bool]

    def __iter__(self) -> Iterator[ModelId]:
        return self._walk()

    def __len__(self) -> int:
        return sum(1 for _ in self._walk())

    def __bool__(self) -> bool:
        return any(True for _ in self._walk())

    def __contains__(self, model: object) -> bool:
        return self._has(model)  # type: ignore[arg-type]

    @overload
    def __getitem__(self, index: int) -> ModelId: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ModelId]: ...
    def __getitem__(self, index: int | slice) -> ModelId | Sequence[ModelId]:
        if isinstance(index, int) and index >= 0:
            for model in islice(self._walk(), index, None):
                return model
            raise IndexError(index)
        return tuple(self._walk())[index]


@attrs.frozen(eq=False)
class LazyMapping(Mapping[ModelId, ModelView]):
    """A mapping whose values are made when they are asked for."""

    _make: Callable[[ModelId], ModelView]
    _keys: Mapping[ModelId, object]

    def __getitem__(self, model: ModelId) -> ModelView:
        if model not in self._keys:
            raise KeyError(model)
        return self._make(model)

    def __iter__(self) -> Iterator[ModelId]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
