"""Who is next, without naming those who cannot get in anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from .._spec import ModelId
from .._view import FleetView, LazySequence, ModelView

Test = Callable[[ModelId], bool]


def view_of(model: ModelId, view: FleetView) -> ModelView:
    """Return *model*'s view; one without news where a view that was made by hand has none."""
    return view.models.get(model) or ModelView(model)


def named_in_vain(view: FleetView) -> list[ModelId]:
    """Return whom `SwapPlanner.choose_next` has named in this round who does not run, and waits on."""
    running = frozenset(view.running)
    return [m for m in view.promised if m not in running and (m not in view.models or view.models[m].waiting)]


def passing_over(view: FleetView, hopeless: Test, hopeless_if_overdue: Test) -> FleetView:
    """Return *view* without those in line whom it would change nothing to name.

    Models that run stay in it: naming one protects it, in this round, from those behind it.
    """
    running = frozenset(view.running)

    def some(line: Sequence[ModelId], test: Test) -> Sequence[ModelId]:
        def has_hope(model: ModelId) -> bool:
            return model in running or not test(model)

        return LazySequence(lambda: filter(has_hope, line), lambda model: model in line and has_hope(model))

    return attrs.evolve(
        view, waiting=some(view.waiting, hopeless), overdue=some(view.overdue, hopeless_if_overdue)
    )
