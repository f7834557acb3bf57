"""A request that is on its way to a target: whose it is, and what it becomes."""

from __future__ import annotations

from math import inf

import attrs
from hypercorn.typing import ASGISendCallable

from swapcli.activity.recorder import Recording

from .exchange import Exchange
from .loading_stream import LoadingStream
from .request_body import RequestBody


@attrs.frozen(eq=False)
class Call:
    """The same whichever target it goes to."""

    exchange: Exchange
    path: bytes
    """As the target sees it."""
    headers: list[tuple[bytes, bytes]]
    recording: Recording | None
    """None: it is on nobody's list."""
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

    def goes_to(self, model: str, sending: Sending) -> None:
        """It was decided who is to answer, and what that one gets."""
        self.exchange.model = model
        if self.recording is not None and isinstance(sending.body, tuple):
            self.recording.goes_to(model, sending.body)


@attrs.frozen(eq=False)
class Sending:
    """What one target gets of it."""

    query: bytes
    body: RequestBody
    """A request that wants a websocket has none."""
    unwanted: frozenset[int] = frozenset()
    """Statuses for which another target is tried."""
