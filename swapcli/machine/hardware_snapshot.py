"""What the machine is: looked at once, when the server has started."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import attrs
import trio

log = logging.getLogger("swapcli.machine")

_DETECTION_BOUND = 10.0
"""Seconds."""


def detect_late() -> dict[str, Any]:
    """See `hardware.detect`."""
    from .hardware import detect

    return detect()


@attrs.define(eq=False)
class HardwareSnapshot:
    """One for the whole server."""

    _detect: Callable[[], dict[str, Any]] = detect_late
    _found: dict[str, Any] | None = attrs.field(default=None, init=False)
    _done: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def take(self) -> None:
        """Look, in a worker thread and for a bounded time."""
        try:
            with trio.move_on_after(_DETECTION_BOUND):
                self._found = await trio.to_thread.run_sync(self._detect, abandon_on_cancel=True)
        except Exception as error:
            log.warning("the machine's hardware cannot be detected: %r", error)
        finally:
            self._done.set()

    async def document(self) -> dict[str, Any] | None:
        """Return what was found, as ``/api/hardware`` shows it; ``None``: nothing was. Waits for `take`."""
        with trio.move_on_after(_DETECTION_BOUND):
            await self._done.wait()
        return self._found
