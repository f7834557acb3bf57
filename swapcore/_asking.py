"""The planner's two questions, put so that whatever it answers, or raises, harms one model only. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import attrs

from ._errors import Pinned, PlannerFailed, Refused
from ._fleet import Fleet
from ._planner import Refusal, SwapPlan, SwapPlanner
from ._raised import as_failure, repr_of
from ._spec import ModelId
from ._states import ProcState


@attrs.frozen(eq=False)
class PlannerQuestions:
    """Shows the planner the fleet as it is now. Nothing changes for being asked."""

    _planner: SwapPlanner
    _fleet: Fleet

    def next(self, promised: AbstractSet[ModelId], now: float) -> ModelId | PlannerFailed | None:
        """Return whom to make room for next; ``None``: for nobody (more) now.

        An error is what to turn its model's callers away with; without them, ask again.
        """
        view = self._fleet.view(now, promised=promised)
        if not self._fleet.queue or not view.waiting:
            return None
        try:
            answer = self._planner.choose_next(view)
            if answer is None or answer in view.waiting:
                return answer
            reason = f"choose_next named {answer!r}, for which nobody waits"
        except BaseException as raised:
            reason = f"choose_next raised {repr_of(as_failure(raised))}"
        return self._blame(view.waiting[0], reason)

    def evictions(self, target: ModelId, now: float) -> SwapPlan | Refused | PlannerFailed:
        """Return a plan that can be carried out, or what to turn the target's callers away with."""
        view = self._fleet.view(now, target=target)
        try:
            match self._planner.evictions(target, view):
                case Refusal(reason, because_pinned):
                    return (Pinned if because_pinned else Refused)(target, reason)
                case plan:
                    nonsense = [m for m in plan.evict if m == target or m not in view.running]
                    if not nonsense:
                        return self._unless_pinned(target, plan)
                    reason = f"evictions named {nonsense[0]!r}, which does not run"
        except BaseException as raised:
            reason = f"evictions raised {repr_of(as_failure(raised))}"
        return self._blame(target, reason)

    def would_evict(
        self,
        target: ModelId,
        waiting: ModelId,
        now: float,
        *,
        without: AbstractSet[ModelId] = frozenset(),
    ) -> bool:
        """Whether *target*, if it ran, would be in the way of *waiting*; *without* these, which run now."""
        view = self._fleet.view(now, target=waiting, beside=target, without=without)
        try:
            answer = self._planner.evictions(waiting, view)
        except BaseException as raised:
            as_failure(raised)
            return False  # it is blamed when it is asked in earnest
        return isinstance(answer, Refusal) or target in answer.evict

    def _unless_pinned(self, target: ModelId, plan: SwapPlan) -> SwapPlan | Pinned:
        slots = [self._fleet.slots[model] for model in plan.evict]
        pinned = [slot.id for slot in slots if slot.pinned and slot.state is not ProcState.STOPPING]
        if not pinned:
            return plan
        return Pinned(target, f"{' and '.join(pinned)} would have to stop, and may not: pinned")

    def _blame(self, target: ModelId, reason: str) -> PlannerFailed:
        return PlannerFailed(target, f"{type(self._planner).__name__}.{reason}")
