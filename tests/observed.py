"""What a test with fake servers sees of them, of a supervisor's events and of the clock."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from swapcore import Event, StateChanged
from swapcore.testing import FakeServers


def now() -> float:
    """Seconds, without the last bits of what was added up to get there."""
    return round(trio.current_time(), 6)


def spawns(servers: FakeServers) -> list[str]:
    """The models that were started, in order."""
    return [model for _, what, model in servers.log if what == "spawn"]


def changes(events: Sequence[Event]) -> list[tuple[str, str]]:
    """The states before and after each change."""
    return [(e.before.value, e.after.value) for e in events if isinstance(e, StateChanged)]
