"""What the scheduler tells the supervisor to do, and the objects that both of them name."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ._errors import StillAlive
from ._events import Event
from ._spec import Endpoint, ModelId, ModelSpec


@attrs.define(eq=False)
class Run:
    """One life of a model's process, launch to exit. Results are matched by this object, never by name."""

    spec: ModelSpec
    leases: int = 0
    launched_at: float = 0.0
    ready_at: float = 0.0
    idle_since: float = 0.0
    """When it became ready or was last released, whichever is later."""
    stop_asked_at: float = 0.0
    busy_since: float = 0.0
    """When the first of the leases that are held now was granted."""
    heard_at: float = 0.0
    """When it last produced something for a caller, as far as callers tell."""
    evicted: tuple[ModelId, ...] = ()
    """Whose room it took."""
    failure: Exception | None = None
    """Why it is being stopped although nobody asked for that: it hangs."""
    survived: StillAlive | None = None
    """It was killed, and is there all the same."""

    @property
    def model(self) -> ModelId:
        return self.spec.id


@attrs.define(eq=False)
class Ticket:
    """One caller that waits for, or holds, a lease."""

    model: ModelId
    priority: int = 0
    automatic: bool = False
    """No caller: the supervisor itself wants the model to run."""
    preload: bool = False
    """The caller uses nothing, it only wants the model to be ready: no lease to count or to measure."""
    arrived_at: float = 0.0
    granted_at: float = 0.0
    sequence: int = 0
    run: Run | None = None
    """The run it was granted on; ``None`` while it waits."""


@attrs.define(eq=False)
class Check:
    """A question to the launcher: could this be started, as far as one can tell without starting it?"""

    spec: ModelSpec
    beside: tuple[ModelSpec, ...]
    """What runs, and would be gone by then: its port is no obstacle."""
    passed: bool = False


@attrs.frozen
class Launch:
    run: Run


@attrs.frozen
class Stop:
    run: Run
    endpoint: Endpoint | None
    """Where it answered; ``None`` if it was still starting."""
    reason: str


@attrs.frozen
class Prefetch:
    """Room is being made for it: what its start needs and takes no room can be had already."""

    spec: ModelSpec


@attrs.frozen
class Grant:
    ticket: Ticket
    endpoint: Endpoint


@attrs.frozen
class Reject:
    ticket: Ticket
    error: Exception


@attrs.frozen
class Announce:
    event: Event


Effect: TypeAlias = Launch | Stop | Prefetch | Grant | Reject | Check | Announce
