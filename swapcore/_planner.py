"""The policy: two pure questions with data answers."""

from __future__ import annotations

from typing import Protocol

import attrs

from ._spec import ModelId
from ._view import FleetView


@attrs.frozen
class SwapPlan:
    """What must stop before the target may run, and why."""

    evict: tuple[ModelId, ...] = ()
    reason: str = ""
    """One line; logged once, when the plan is carried out."""


@attrs.frozen
class Refusal:
    """The target cannot run now, and waiting would not help. Its callers get `Refused` at once."""

    reason: str
    because_pinned: bool = False
    """It could run if something were unpinned: its callers get `Pinned`, which is a `Refused`, too."""


class SwapPlanner(Protocol):
    """Decides what goes and who is next. Subclass it, or just match it.

    Both questions are asked speculatively and often, by the supervisor's loop
    only: no I/O, no logging, no waiting, the same answer for the same view.
    An exception fails the callers of that one model, and nothing else.
    """

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        """Name the running models that may not run beside *target*.

        Also asked for a target that already runs. A model in the answer that
        is busy is waited for; nothing is stopped until all of them may go.
        """
        ...

    def choose_next(self, view: FleetView) -> ModelId | None:
        """Name the model to make room for next: one of ``view.waiting``, or ``None`` for nobody (more) now.

        Asked again, with that model in ``view.promised``, until the answer is
        ``None``. The default is whoever waited longer than ``max_wait``, then
        the first in line.
        """
        for model in view.overdue:
            return model
        for model in view.waiting:
            return model
        return None


@attrs.frozen
class ExclusivePlanner(SwapPlanner):
    """At most one model at a time."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        others = tuple(model for model in view.running if model != target)
        return SwapPlan(others, reason=f"{target} runs alone")

    def choose_next(self, view: FleetView) -> ModelId | None:
        # One model has the machine, or has been promised it: looking further finds nothing.
        return None if view.promised else super().choose_next(view)
