"""A configuration on a file system that does not answer, however often somebody wants to have it read."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapcli.config import load, make_planner, planner_directory
from swapcli.reload import Reloader, _reloader


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> Generator[threading.Event]:
    """Until it is set nobody comes back who reads the configuration."""
    found = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        found.wait(60)
        raise OSError("it has gone")

    monkeypatch.setattr(_reloader, "load", hang)
    yield found
    found.set()


async def test_dry_runs_leave_threads_for_everybody_else(tmp_path: Path, released: threading.Event) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("models: {}")
    loaded = load([file], environ={})
    reloader = Reloader(
        sources=[file],
        environ={},
        loaded=loaded,
        planner=make_planner(loaded, planner_directory(file)),
        fleet=None,  # type: ignore[arg-type]  # nothing gets so far
        prepare=None,  # type: ignore[arg-type]
    )
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(reloader.plan)
        await wait_all_tasks_blocked()
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        nursery.start_soon(reloader.carry_out, ["a test"])
        await wait_all_tasks_blocked()
        waiting = [limiter for limiter in (reloader._reading, reloader._planning) if limiter.available_tokens]
        assert waiting == [reloader._reading], "a reload is read beside any number of dry runs"
        assert reloader._reading.borrowed_tokens == 1
        nursery.cancel_scope.cancel()
