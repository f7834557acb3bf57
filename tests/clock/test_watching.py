"""What can be seen from outside: events, and a place in line."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


async def test_the_feed_tells_a_swap_with_its_reason_and_durations(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 5, B: 7}, stop_seconds=3)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, supervisor.events() as events:
        await supervisor.load(A)
        await supervisor.load(B)
        seen = list[swapcore.Event]()
        async for event in events:
            seen.append(event)
            if isinstance(event, swapcore.LeaseGranted) and event.model == B:
                break
    committed, (first, second) = (
        [event for event in seen if isinstance(event, swapcore.SwapCommitted)],
        [event for event in seen if isinstance(event, swapcore.SwapEnded)],
    )
    assert [(event.target, event.evicted) for event in committed] == [(A, ()), (B, (A,))]
    assert (first.stop_seconds, first.load_seconds) == (0, 5)
    assert (second.stop_seconds, second.load_seconds) == (3, 7)
    assert second.error is None
    assert second.reason == "b runs alone"
    changes = [f"{e.model} {e.after.value}" for e in seen if isinstance(e, swapcore.StateChanged)]
    assert changes == ["a starting", "a ready", "a stopping", "a stopped", "b starting", "b ready"]


async def test_a_subscriber_may_look_for_a_while_only_and_go_on_later(autojump_clock: MockClock) -> None:
    async with (
        swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor,
        supervisor.events() as events,
    ):
        with trio.move_on_after(1) as look:
            await anext(events)
        assert look.cancelled_caught
        await supervisor.load(A)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
            await trio.lowlevel.checkpoint()
        kinds = [type(await anext(events)) for _ in range(2)]
        assert kinds == [swapcore.StateChanged, swapcore.StateChanged], "nothing was lost but what was had"


async def test_a_subscriber_may_choose_what_it_hears_of(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 5})
    async with (
        swapcore.open_supervisor(SPECS, launch=servers) as supervisor,
        supervisor.events(swapcore.SwapEnded, swapcore.LeaseGranted) as events,
        supervisor.events() as everything,
    ):
        await supervisor.load(A)
        assert [type(await anext(events)) for _ in range(2)] == [swapcore.SwapEnded, swapcore.LeaseGranted]
        with trio.move_on_after(100) as look:
            await anext(events)
        assert look.cancelled_caught
        assert type(await anext(everything)) is swapcore.SwapCommitted


@pytest.mark.rule("L6")
async def test_a_slow_subscriber_is_told_what_it_missed_and_delays_nobody(autojump_clock: MockClock) -> None:
    async with (
        swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor,
        supervisor.events() as events,
    ):
        for _ in range(2000):
            await supervisor.load(A)
        async for event in events:
            assert isinstance(event, swapcore.EventsMissed)
            assert event.count > 500
            break


@pytest.mark.rule("L87")
async def test_position_and_estimate_of_a_caller_in_line(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 10, B: 20}, stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        tokens = list[swapcore.Waiting]()

        async def want(model: ModelId) -> None:
            async with supervisor.lease(model, on_wait=tokens.append):
                await trio.sleep(4)

        await want(A)
        [first] = tokens
        assert first.position is None  # served
        async with supervisor.lease(A):
            nursery.start_soon(want, B)
            await wait_all_tasks_blocked()
            nursery.start_soon(want, B)
            await wait_all_tasks_blocked()
            assert [token.position for token in tokens[1:]] == [1, 2]
            assert [token.estimate for token in tokens[1:]] == [None, None]  # b was never measured
        await supervisor.wait_idle()
        await supervisor.load(A)
        nursery.start_soon(want, B)
        await trio.sleep(1)
        await trio.sleep(1 + 5)  # a took 2 to stop; b loads since 5
        assert tokens[-1].state is ProcState.STARTING
        assert tokens[-1].estimate == pytest.approx(20 - 5)
