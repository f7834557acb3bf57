"""Files that do not answer do not hold up the end of the server, or who asks for something else."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import attrs
import pytest
import trio
from http_wire import PATIENCE, request, rig

from swapcli.http import UiFiles, pages

LONG = 10.0


@attrs.define(eq=False)
class Stuck:
    """In place of what reads files."""

    asked: threading.Event = attrs.field(factory=threading.Event)
    released: threading.Event = attrs.field(factory=threading.Event)

    def __call__(self, *_: Any) -> None:
        self.asked.set()
        self.released.wait(LONG)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Generator[Stuck]:
    found = Stuck()
    monkeypatch.setattr(UiFiles, "read", found)
    monkeypatch.setattr(pages, "resident_memory", found)
    yield found
    found.released.set()


@pytest.mark.parametrize("path", ["/ui/", "/favicon.ico", "/api/fleet"])
async def test_the_end_does_not_wait_for_them(stuck: Stuck, path: str) -> None:
    async with rig() as served:
        client = await served.server.client()
        await client.send(request("GET", path))
        with trio.fail_after(PATIENCE):
            await trio.to_thread.run_sync(stuck.asked.wait, PATIENCE)
        shared = trio.to_thread.current_default_thread_limiter()
        assert shared.borrowed_tokens == 0, "some dozens of such requests would leave none for others"
        began = trio.current_time()
    assert trio.current_time() - began < LONG / 2
