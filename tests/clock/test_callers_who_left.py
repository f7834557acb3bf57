"""Callers who leave in the worst instant: before they are heard, and while they are being served."""

from __future__ import annotations

import pytest
import trio
from observed import spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]


@pytest.mark.rule("L68", "L77")
async def test_who_has_left_before_being_heard_leaves_no_trace(autojump_clock: MockClock) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        with trio.CancelScope() as gone:
            gone.cancel()
            await supervisor.load(B)
        await trio.sleep(100)
        assert supervisor.state_of(A) is ProcState.READY
        assert spawns(servers) == [A]
        assert supervisor.statistics().models[B].starts == 0


@pytest.mark.rule("L72", "L75")
@pytest.mark.parametrize("checkpoints", range(12))
async def test_a_grant_to_somebody_who_leaves_in_that_tick_counts_for_nothing(
    autojump_clock: MockClock, checkpoints: int
) -> None:
    """A concurrency of 1: a count that was left behind would keep everybody out for ever."""
    specs = [ModelSpec(A, concurrency=1, max_waiting=0), ModelSpec(B)]
    servers = FakeServers({A: 5})
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.load, A)
            await trio.sleep(5)  # it becomes ready in this instant
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        statistics = supervisor.statistics()
        assert statistics.leases == statistics.waiting == supervisor.callers(A) == 0
        with trio.fail_after(1):
            async with supervisor.lease(A):
                pass
            await supervisor.wait_idle()
