"""Models that stay."""

from __future__ import annotations

import pytest
import trio
from callers import meet_error
from trio.testing import MockClock

import swapcore
from swapcore import ModelId, ModelSpec
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")


async def test_a_pinned_model_is_neither_evicted_nor_idle(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, ttl=10, pinned=True), ModelSpec(B)]
    async with swapcore.open_supervisor(specs, launch=FakeServers()) as supervisor:
        await supervisor.load(A)
        await trio.sleep(100)
        with pytest.raises(swapcore.Pinned, match="a would have to stop"):
            await supervisor.load(B)
        assert trio.current_time() == pytest.approx(101)
        supervisor.unpin(A)
        await supervisor.load(B)
        supervisor.pin(B)
        await meet_error(swapcore.Pinned, supervisor, A)
        assert supervisor.statistics().models[B].pinned
