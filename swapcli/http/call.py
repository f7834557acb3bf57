"""A request that is on its way to a target: whose it is, and what it becomes."""

from __future__ import annotations

from math import inf

import attrs
import trio

from swapcli.activity.recorder import Recording

from .body_filter import Pieces
from .exchange import Exchange


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


@attrs.frozen(eq=False)
class Sending:
    """What one target gets of it."""

    query: bytes
    body: Pieces
    unwanted: frozenset[int] = frozenset()
    """Statuses for which another target is tried."""
