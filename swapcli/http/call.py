"""A request that is on its way to a target: whose it is, and what it becomes."""

from __future__ import annotations

from math import inf

import attrs
import trio
from hypercorn.typing import ASGISendCallable

from swapcli.activity.recorder import Recording

from .body_filter import Pieces
from .exchange import Exchange
from .loading_stream import LoadingStream


@attrs.frozen(eq=False)
class Call:
    """The same whichever target it goes to."""

    exchange: Exchange
    path: bytes
    """As the target sees it."""
    headers: list[tuple[bytes, bytes]]
    recording: Recording
    nursery: trio.Nursery
    """For what runs beside; it ends with the request."""
    priority: int = 0
    give_up_at: float = inf
    """Until when it waits for a model, on trio's clock."""
    loading: LoadingStream | None = None
    """Where the wait for a model may be shown."""

    @property
    def send(self) -> ASGISendCallable:
        """Where the target's answer goes."""
        return self.exchange.send if self.loading is None else self.loading.send

    @property
    def is_answered(self) -> bool:
        """The target's answer has begun."""
        return (self.exchange if self.loading is None else self.loading).is_answered


@attrs.frozen(eq=False)
class Sending:
    """What one target gets of it."""

    query: bytes
    body: Pieces
    unwanted: frozenset[int] = frozenset()
    """Statuses for which another target is tried."""
