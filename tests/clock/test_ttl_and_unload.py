"""Models that are stopped though nobody needs their room: idle for long, or on request."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from callers import Together, meet_error, use
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("G9", "L51")
@pytest.mark.rule("L169")
async def test_ttl_counts_from_the_last_release_and_never_cuts_a_lease(autojump_clock: MockClock) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10)], launch=servers) as supervisor:
        async with supervisor.lease(A):  # ready at 1
            await trio.sleep(50)
        await trio.sleep(9)
        async with supervisor.lease(A):  # at 60
            await trio.sleep(1)
        await trio.sleep(9.9)
        assert supervisor.state_of(A) is ProcState.READY
        await trio.sleep(0.2)
        assert supervisor.state_of(A) is ProcState.STOPPED
    assert servers.log[-1][0] == pytest.approx(71)


@pytest.mark.rule("G9", "L52")
async def test_ttl_of_a_model_that_was_never_used_counts_from_ready(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 8})
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10)], launch=servers) as supervisor:
        with trio.move_on_after(2):
            await supervisor.load(A)
        await trio.sleep(60)
    assert [(when, what) for when, what, _ in servers.log] == [(0, "spawn"), (8, "ready"), (18, "exit")]


@pytest.mark.rule("L33", "L54")
@pytest.mark.rule("L168")
async def test_a_request_that_meets_a_ttl_stop_gets_a_fresh_start(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=5)
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(12)
        assert supervisor.state_of(A) is ProcState.STOPPING
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(1 + 10 + 5 + 1)
    assert spawns(servers) == [A, A]


@pytest.mark.rule("L28", "L98")
async def test_unload_turns_waiters_away_and_returns_when_it_is_gone(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30}, stop_seconds=3)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(partial(meet_error, swapcore.Unloaded, supervisor, A))
        await trio.sleep(10)
        await supervisor.unload(A)
        assert trio.current_time() == pytest.approx(13)
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.unload()  # nothing runs: returns at once
        assert trio.current_time() == pytest.approx(13)


@pytest.mark.rule("G25", "L97")
async def test_unload_all_takes_the_longest_stop_and_not_their_sum(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=4)
    async with swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor:
        for model in (A, B, C):
            await supervisor.load(model)
        started = trio.current_time()
        await supervisor.unload()
        assert trio.current_time() - started == pytest.approx(4)
        assert not servers.alive


@pytest.mark.rule("G3", "L62", "L100")
async def test_unload_of_one_model_delays_no_other(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=60)
    async with swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.unload, A)
            await trio.sleep(1)
            started = trio.current_time()
            await supervisor.load(B)
            assert trio.current_time() == started


async def test_draining_unload_lets_leases_end_and_new_callers_get_a_fresh_start(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(use, supervisor, A, 20)
        await trio.sleep(2)
        nursery.start_soon(partial(supervisor.unload, A, drain=True))
        await trio.sleep(1)
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(22)
    assert [what for _, what, _ in servers.log] == ["spawn", "ready", "exit", "spawn", "ready", "exit"]


@pytest.mark.rule("L94", "L101")
async def test_an_unloaded_pending_swap_never_starts_its_target(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=10)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(meet_error, swapcore.Unloaded, supervisor, B))
            await trio.sleep(3)
            await supervisor.unload(B)
            nursery.start_soon(supervisor.load, C)
        await trio.sleep(100)
    assert spawns(servers) == [A, C]
