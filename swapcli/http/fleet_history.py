"""What has happened to the models of late, for display. Fed by the supervisor's events."""

from __future__ import annotations

from collections import deque

import attrs

from swapcore import Event, ModelId, StateChanged, SwapEnded

MOST_SWAPS = 50


@attrs.define(eq=False)
class FleetHistory:
    """One for the whole server; it outlives configurations."""

    swaps: deque[SwapEnded] = attrs.field(factory=lambda: deque[SwapEnded](maxlen=MOST_SWAPS), init=False)
    """The newest last."""
    _changed_at: dict[ModelId, float] = attrs.field(factory=dict[ModelId, float], init=False)

    def changed_at(self, model: ModelId) -> float | None:
        """When its state last changed, on the trio clock; ``None``: never yet."""
        return self._changed_at.get(model)

    def take(self, event: Event) -> None:
        """Take note of what happened."""
        match event:
            case StateChanged(at=at, model=model):
                self._changed_at[model] = at
            case SwapEnded():
                self.swaps.append(event)
            case _:
                pass
