"""The supervisor's events reach all who want to know, whatever one of them makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from swapcli.http import tell
from swapcore import Crashed, Event, ModelId

EVENTS = [Crashed(float(n), ModelId("m"), None) for n in range(3)]


async def _events() -> AsyncIterator[Event]:
    for event in EVENTS:
        yield event


async def test_a_listener_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise ValueError("a mistake")

    await tell(_events(), (fail, heard.append))
    assert heard == EVENTS
    assert len(caplog.records) == 3
