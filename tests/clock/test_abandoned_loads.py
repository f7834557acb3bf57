"""A model that nobody waits for any more, before, while and after it loads."""

from __future__ import annotations

import pytest
import trio
from observed import spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("L88")
@pytest.mark.rule("L168")
async def test_a_cancelled_waiter_starts_nothing_and_leaks_nothing(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A):
            with trio.move_on_after(10):
                async with supervisor.lease(B):
                    raise AssertionError("granted while a is busy")
        await wait_all_tasks_blocked()
        assert supervisor.state_of(A) is ProcState.READY
        assert supervisor.state_of(B) is ProcState.STOPPED
        assert supervisor.statistics().leases == supervisor.statistics().waiting == 0


@pytest.mark.rule("L88")
async def test_a_waiter_that_leaves_while_the_evictee_stops_starts_nothing(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=5)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        with trio.move_on_after(1) as patience:
            await supervisor.load(B)
        assert patience.cancelled_caught
        await trio.sleep(100)
        assert spawns(servers) == [A]
        await supervisor.load(B)  # and nothing is wedged


@pytest.mark.rule("G28", "L88")
async def test_an_abandoned_load_gives_way_and_is_not_finished_first(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 60, B: 1}, stop_seconds=0.25)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.move_on_after(5):
            await supervisor.load(A)
        await supervisor.load(B)
        assert trio.current_time() == pytest.approx(5 + 0.25 + 1)


@pytest.mark.rule("L31")
async def test_an_abandoned_load_goes_on_if_nobody_needs_the_room(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 60})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.move_on_after(5):
            await supervisor.load(A)
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(60)
        assert spawns(servers) == [A]
