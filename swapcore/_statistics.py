"""Counts at one instant, for display."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ._spec import ModelId
from ._states import ProcState


@attrs.frozen
class ModelStatistics:
    """One model."""

    state: ProcState
    leases: int
    """Callers that use it."""
    waiting: int
    """Callers in line for it."""
    pinned: bool = False
    starts: int = 0
    """Processes launched since the model was first configured, like the next two."""
    granted: int = 0
    """Leases that callers got."""
    crashes: int = 0
    """Times that it was ready and ended, or hung, by itself."""
    load_seconds: float | None = None
    """From spawn to ready, smoothed over its starts; ``None`` before the first, like the next two."""
    stop_seconds: float | None = None
    """From the request to stop until it was gone."""
    lease_seconds: float | None = None
    """How long callers hold it."""


@attrs.frozen
class Statistics:
    """The whole fleet, as `Supervisor.statistics` returns it."""

    models: Mapping[ModelId, ModelStatistics]

    @property
    def leases(self) -> int:
        """Callers that use a model."""
        return sum(model.leases for model in self.models.values())

    @property
    def waiting(self) -> int:
        """Callers in line."""
        return sum(model.waiting for model in self.models.values())
