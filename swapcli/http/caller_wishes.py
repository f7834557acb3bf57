"""Who may ask what of the queue, and what of it others get to see."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from swapcli.config import Configuration

from .credentials import is_allowed
from .error_answers import ErrorAnswer
from .exchange import Exchange
from .wishes import Wishes, wishes_of


@attrs.frozen
class CallerWishes:
    """Of one configuration. The same whichever way a request finds its model."""

    _needs_key: bool
    _priority_keys: Collection[str]

    @classmethod
    def of(cls, config: Configuration) -> CallerWishes:
        return cls(bool(config.api_keys), config.routing.scheduler.settings.fifo.priority_keys)

    def read(self, exchange: Exchange) -> Wishes | ErrorAnswer:
        """What the request asks for, or why that makes no sense."""
        return wishes_of(
            exchange.header(b"x-swap-priority"),
            exchange.header(b"x-swap-deadline"),
            may_prioritize=self._may_prioritize(exchange),
        )

    def passed_on(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        """The request's headers as they came, but nobody borrows our priority at a peer."""
        if self._may_prioritize(exchange):
            return exchange.headers
        return [(name, value) for name, value in exchange.headers if name != b"x-swap-priority"]

    def _may_prioritize(self, exchange: Exchange) -> bool:
        """Where nobody needs a key, nobody can be told from others."""
        if not self._needs_key:
            return True
        credentials = exchange.header(b"authorization"), exchange.header(b"x-api-key")
        return bool(self._priority_keys) and is_allowed(self._priority_keys, *credentials)
