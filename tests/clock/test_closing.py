"""The end of a supervisor: on request, by its block, and from outside."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from callers import Together, meet_error
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import Endpoint, ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("L44", "L103", "L104")
async def test_close_turns_waiters_away_and_leaves_leases_alone(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A), trio.open_nursery() as nursery:
            nursery.start_soon(partial(meet_error, swapcore.Closed, supervisor, B))
            await wait_all_tasks_blocked()
            supervisor.close()
            await meet_error(swapcore.Closed, supervisor, A)
            assert supervisor.state_of(A) is ProcState.READY
        await supervisor.wait_idle()
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(2)
    assert not servers.alive
    with pytest.raises(swapcore.Closed):
        await supervisor.load(A)


async def test_a_caller_that_waits_on_a_supervisor_that_ends_is_told(autojump_clock: MockClock) -> None:
    servers = FakeServers({A: 50})
    async with trio.open_nursery() as nursery, swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        nursery.start_soon(partial(meet_error, swapcore.Closed, supervisor, A))
        await trio.sleep(1)


@pytest.mark.rule("L44")
async def test_cancelling_from_outside_stops_every_process(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=2)
    with trio.move_on_after(10):
        async with (
            swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor,
            supervisor.lease(A),
            supervisor.lease(B),
        ):
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(12)
    assert not servers.alive
    assert len(servers.log) == 6


async def test_on_stopping_comes_before_the_stop_and_may_fail(autojump_clock: MockClock) -> None:
    servers, calls = FakeServers(), list[tuple[str, Endpoint, bool, str]]()

    def on_stopping(model: ModelId, endpoint: Endpoint, why: Exception) -> None:
        assert isinstance(why, swapcore.Unloaded)
        calls.append((model, endpoint, model in servers.alive, why.reason))
        raise RuntimeError("a mistake of the embedding program")

    specs = [ModelSpec(A, url="http://h:1"), ModelSpec(B, url="http://h:2")]
    async with swapcore.open_supervisor(specs, launch=servers, on_stopping=on_stopping) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
    assert calls == [
        ("a", Endpoint("http://h:1"), True, "it was stopped: b runs alone"),
        ("b", Endpoint("http://h:2"), True, "it was stopped: shutdown"),
    ]
