"""So many models at a time; whoever was used the longest ago makes room."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from .._planner import Refusal, SwapPlan, SwapPlanner
from .._spec import ModelId
from .._states import ProcState
from .._view import FleetView, ModelView
from ._in_line import named_in_vain, view_of


def _limit(limit: int) -> int:
    if type(limit) is not int or limit < 1:  # settings come from a file: true and 2.5 are possible
        raise ValueError(f"limit is a number of models, 1 or more, not {limit!r}")
    return limit


def _names(pinned: Collection[ModelId]) -> frozenset[ModelId]:
    if isinstance(pinned, str):
        raise ValueError(f"pinned is a list of models, not {pinned!r}")
    return frozenset(pinned)


def _rank(model: ModelView) -> tuple[int, float]:
    """The smaller, the sooner it goes; equal ones in the order in which they were started."""
    match model.state:
        case ProcState.STOPPING if model.stuck:
            return 5, 0.0  # nobody gets its place
        case ProcState.STOPPING:
            return 0, 0.0  # its place becomes free whatever we do
        case ProcState.READY if model.leases:
            return 3, 0.0
        case ProcState.READY:
            return 2, -(model.idle_for or 0.0)
        case _ if model.waiting == 0:
            return 1, 0.0  # a load that nobody waits for any more
        case _:
            return 4, 0.0  # it is being loaded for somebody


@attrs.frozen
class LruPlanner(SwapPlanner):
    """At most *limit* models run at a time. Who makes room, the first that there is:

    1. a model that is stopping already, then one that is loading for nobody any more;
    2. the idle model whose last use is the longest ago;
    3. the busy model that has run the longest: it had the most of the machine, and
       the answer stays the same while the target waits for it;
    4. a model that is being loaded for somebody;
    5. one that could not be stopped, whose place nobody gets.

    A pinned model never goes: one in *pinned*, or pinned in the supervisor. Once
    such models hold every place, all others are refused.

    Raises:
      ValueError: *limit* is no whole number of 1 or more, or *pinned* is one text instead of several.
    """

    limit: int = attrs.field(converter=_limit)
    pinned: frozenset[ModelId] = attrs.field(default=frozenset[ModelId](), converter=_names)

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        others = [view_of(model, view) for model in view.running if model != target]
        if target in view.running:  # it has its place; who leaves anyway is not in its way
            others = [model for model in others if model.state is not ProcState.STOPPING]
        excess = len(others) + 1 - self.limit
        if excess <= 0:
            return SwapPlan(reason=f"{target} has one of {self.limit} places")
        evictable = [model for model in others if not self._stays(model)]
        if len(evictable) < excess:
            names = ", ".join(model.id for model in others if self._stays(model))
            places = "the only place is" if self.limit == 1 else f"all {self.limit} places are"
            return Refusal(f"{places} held by pinned models: {names}", because_pinned=True)
        evict = tuple(model.id for model in sorted(evictable, key=_rank)[:excess])
        return SwapPlan(evict, reason=f"{target} takes one of {self.limit} places from {', '.join(evict)}")

    def choose_next(self, view: FleetView) -> ModelId | None:
        # The same places are open to all that do not run: if one was named in vain in this round, so would be
        # the others.
        if not named_in_vain(view):
            return super().choose_next(view)
        return next((model for model in view.running if model in view.waiting), None)

    def _stays(self, model: ModelView) -> bool:
        return (model.pinned or model.id in self.pinned) and model.state is not ProcState.STOPPING
