"""Who is next, without naming those who cannot get in anyway."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from .._spec import ModelId
from .._view import FleetView, ModelView


def view_of(model: ModelId, view: FleetView) -> ModelView:
    """Return *model*'s view; one without news where a view that was made by hand has none."""
    return view.models.get(model) or ModelView(model)


def named_in_vain(view: FleetView) -> list[ModelId]:
    """Return whom `SwapPlanner.choose_next` has named in this round who does not run, and waits on."""
    running = frozenset(view.running)
    return [m for m in view.promised if m not in running and (m not in view.models or view.models[m].waiting)]


def first_in_line(view: FleetView, hopeless: Callable[[ModelId], bool], *, all_are: bool) -> ModelId | None:
    """Return the model that `SwapPlanner.choose_next` names by default, passing over the hopeless ones.

    Args:
      hopeless: whether naming the model would change nothing. Asked about models that do not run only: naming
        one that does protects it, in this round, from those behind it.
      all_are: every model in line that does not run is hopeless, so there is no need to walk the line.
    """
    running = frozenset(view.running)
    if all_are and not any(model in view.waiting for model in running):
        return None
    for model in chain(view.overdue, view.waiting):
        if model in running or not hopeless(model):
            return model
    return None
