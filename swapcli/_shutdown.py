"""What each signal means, and how long the end may take."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable

import attrs
import trio

logger = logging.getLogger("swapcli")

DRAIN_SECONDS = 30.0
"""What requests under way get to end after the first signal, as llama-swap gives them."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
RELOAD_SIGNAL: signal.Signals | None = getattr(signal, "SIGHUP", None)
WATCHED_SIGNALS = STOP_SIGNALS if RELOAD_SIGNAL is None else (*STOP_SIGNALS, RELOAD_SIGNAL)


@attrs.define(eq=False)
class Shutdown:
    """Set by signals. The first asks for an orderly end, the second does not wait for requests."""

    on_killed: Callable[[], None]
    """Called before the third signal ends everything; bounded."""
    on_reload: Callable[[str], None]
    """Called for SIGHUP, with its name."""
    asked: trio.Event = attrs.field(factory=trio.Event, init=False)
    hurried: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def follow(self, signals: AsyncIterator[int]) -> None:
        """Take *signals* (of ``trio.open_signal_receiver``) until cancelled."""
        async for number in signals:
            if number == RELOAD_SIGNAL:
                self.on_reload("SIGHUP")
            elif not self.asked.is_set():
                logger.info("%s: stopping; once more not to wait for requests", signal.Signals(number).name)
                self.asked.set()
            elif not self.hurried.is_set():
                logger.info("not waiting for requests; once more to kill everything")
                self.hurried.set()
            else:
                logger.warning("killed")
                self.on_killed()
                # The guardians see it and kill their models' trees.
                os._exit(1)
