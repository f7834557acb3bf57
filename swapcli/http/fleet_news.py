"""The supervisor's events, on their way to all in this server that want to know."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable, Sequence

from swapcore import Crashed, Event, LeaseRefused, StateChanged, SwapCommitted, SwapEnded

NEWS: Sequence[type[Event]] = (StateChanged, SwapCommitted, SwapEnded, LeaseRefused, Crashed)
"""All but the grants, one of which comes with each request."""

log = logging.getLogger("swapcli.http")


async def tell(events: AsyncIterable[Event], listeners: Sequence[Callable[[Event], None]]) -> None:
    """Call each of *listeners*, which must not block, with each event, until cancelled."""
    async for event in events:
        for listen in listeners:
            try:
                listen(event)
            except Exception:  # the models are worth more than what is told of them
                log.exception("not everybody could be told of %s", event)
