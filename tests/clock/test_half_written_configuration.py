"""A file that is still being written is one edit, and is noticed once it stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from swapcli.reload import Look, _watch, watch

FILE = Path("c.yaml")


async def test_a_file_is_read_when_two_looks_agree(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(sources: Sequence[Path]) -> Look:
        """A piece is written every 20 ms from 10.0 to 10.5 s."""
        pieces = int(min(max(trio.current_time() - 10, 0), 0.5) / 0.02)
        return {FILE: {FILE: (0, 0, pieces, 0)}}

    monkeypatch.setattr(_watch, "_look", look)
    edits: list[float] = []
    async with trio.open_nursery() as nursery:

        async def watching() -> None:
            await watch([FILE], await look([FILE]), lambda: edits.append(trio.current_time()), every=0.99)

        nursery.start_soon(watching)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert len(edits) == 1
    assert 10.5 < edits[0] < 10.5 + 0.99 + 2 * _watch.SETTLING


async def test_a_file_that_never_rests_is_read_all_the_same(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(sources: Sequence[Path]) -> Look:
        return {FILE: {FILE: (0, 0, 0, round(trio.current_time() * 1000))}}

    monkeypatch.setattr(_watch, "_look", look)
    edits: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: watch([FILE], {}, lambda: edits.append(trio.current_time()), every=2))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert 2 <= len(edits) <= 5
