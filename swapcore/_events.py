"""What happened, for those who watch: frozen values, published by the loop in order."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ._spec import ModelId
from ._states import ProcState


@attrs.frozen
class StateChanged:
    """A model's process went from one state to the next."""

    at: float
    """Seconds on the trio clock."""
    model: ModelId
    before: ProcState
    after: ProcState
    reason: str
    """Why: ``request``, ``ready``, ``ttl``, ``unload``, a planner's reason, how it exited."""


@attrs.frozen
class SwapCommitted:
    """Room is being made for a model."""

    at: float
    target: ModelId
    evicted: tuple[ModelId, ...]
    reason: str


@attrs.frozen
class SwapEnded:
    """The model that room was made for is ready, or is not going to be."""

    at: float
    target: ModelId
    evicted: tuple[ModelId, ...]
    reason: str
    stop_seconds: float
    """From the commitment until the last evictee was gone."""
    load_seconds: float
    """From then until the target was ready, or had failed."""
    error: Exception | None
    """Why it is not ready; ``None``: it is, or nobody waited for it any more."""


@attrs.frozen
class LeaseGranted:
    """A caller got what it waited for."""

    at: float
    model: ModelId
    waited: float
    """Seconds since the caller asked."""


@attrs.frozen
class LeaseRefused:
    """A caller was turned away."""

    at: float
    model: ModelId
    error: Exception


@attrs.frozen
class Crashed:
    """A ready process ended by itself."""

    at: float
    model: ModelId
    error: Exception | None
    """``None``: it left with status 0."""


@attrs.frozen
class EventsMissed:
    """The subscriber was too slow: this many events are not in its feed."""

    count: int


Event: TypeAlias = (
    StateChanged | SwapCommitted | SwapEnded | LeaseGranted | LeaseRefused | Crashed | EventsMissed
)
