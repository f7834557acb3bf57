"""What changes about a model and about a swap. Only the scheduler writes to these."""

from __future__ import annotations

from math import inf

import attrs

from ._effects import Check, Run
from ._restart import FailureRecord
from ._returns import Returns
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import ProcState


@attrs.frozen
class Drain:
    """No new callers are let in, and the process is stopped once the last lease ends."""

    reason: str
    may_be_called_off: bool
    """It is for a change of the configuration, which may be changed back."""
    cut_at: float = inf
    """When the leases that still hold it up are cut."""


@attrs.frozen
class Closure:
    """New callers wait, because an overdue caller of another model needs this one gone."""

    target: ModelId
    """Whose caller that is."""
    cut_at: float = inf
    """When the leases that still hold it up are cut; ``inf`` while it loads, and has none."""


@attrs.define(eq=False)
class Slot:
    """Everything about one model that changes."""

    spec: ModelSpec
    """What the next start will use; the current one may have been started with another."""
    pinned: bool
    """It is not stopped to make room, nor for being idle."""
    state: ProcState = ProcState.STOPPED
    run: Run | None = None
    """The current life of its process; ``None`` exactly while the state is stopped."""
    endpoint: Endpoint | None = None
    """Where it answers; set exactly while it is ready."""
    closure: Closure | None = None
    drain: Drain | None = None
    approved_at: int = -1
    """The version of the running set beside which the planner has said it may run."""
    check: Check | None = None
    """What the launcher is asked about it before anything is stopped for it."""
    restart_due: bool = False
    """The supervisor itself starts it again once its failures allow."""
    retired: bool = False
    """No longer configured; forgotten once its process is gone."""
    failures: FailureRecord = attrs.field(factory=FailureRecord)
    load_seconds: float | None = None
    stop_seconds: float | None = None
    service_seconds: float | None = None
    """How long a lease is held."""
    starts: int = 0
    granted: int = 0
    crashes: int = 0
    returns: Returns = attrs.field(factory=Returns)

    @property
    def id(self) -> ModelId:
        return self.spec.id

    @property
    def leases(self) -> int:
        return self.run.leases if self.run is not None else 0

    @property
    def cut_at(self) -> float:
        """When its leases are cut, so that it can be stopped; ``inf``: they may last."""
        return min(
            (reason.cut_at for reason in (self.closure, self.drain) if reason is not None), default=inf
        )

    @property
    def turn_seconds(self) -> float | None:
        """What a turn of it takes: loading, one lease, stopping. ``None`` before the first load."""
        if self.load_seconds is None:
            return None
        return self.load_seconds + (self.service_seconds or 0.0) + (self.stop_seconds or 0.0)


@attrs.define(eq=False)
class Swap:
    """Room being made for one target. Ends when the target is ready, or gives up."""

    target: ModelId
    evicted: tuple[ModelId, ...]
    reason: str
    committed_at: float
    leaving: set[ModelId] = attrs.field(factory=set[ModelId])
    """Evictees that are not confirmed gone yet."""
    cleared_at: float | None = None
    """When the last of them was gone."""


def smoothed(before: float | None, sample: float) -> float:
    """Follow a measurement without jumping at each one."""
    return sample if before is None else 0.7 * before + 0.3 * sample
