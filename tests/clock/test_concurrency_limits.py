"""How many callers use a model at once, and how many may wait for it."""

from __future__ import annotations

import pytest
import trio
from callers import meet_error, use
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A = ModelId("a")


@pytest.mark.rule("G27", "L75")
@pytest.mark.rule("L178")
async def test_concurrency_limit_lets_the_rest_wait_and_max_waiting_refuses(
    autojump_clock: MockClock,
) -> None:
    specs = [ModelSpec(A, concurrency=2, max_waiting=3)]
    async with (
        swapcore.open_supervisor(specs, launch=FakeServers()) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await supervisor.load(A)
        for _ in range(5):
            nursery.start_soon(use, supervisor, A, 10)
        await wait_all_tasks_blocked()
        assert supervisor.statistics().models[A] == swapcore.ModelStatistics(
            ProcState.READY, 2, 3, starts=1, granted=2, load_seconds=1
        )
        with pytest.raises(swapcore.Overloaded, match="a: 2 callers use it and 3 wait"):
            await supervisor.load(A)
        await supervisor.wait_idle()
        assert trio.current_time() == pytest.approx(1 + 3 * 10)


@pytest.mark.rule("L75")
async def test_with_no_room_to_wait_the_limit_counts_those_who_wait_for_the_load(
    autojump_clock: MockClock,
) -> None:
    specs = [ModelSpec(A, concurrency=2, max_waiting=0)]
    async with (
        swapcore.open_supervisor(specs, launch=FakeServers()) as supervisor,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            nursery.start_soon(use, supervisor, A, 10)
        await wait_all_tasks_blocked()
        await meet_error(swapcore.Overloaded, supervisor, A)
        await trio.sleep(5)
        await meet_error(swapcore.Overloaded, supervisor, A)
        await trio.sleep(6.5)
        await supervisor.load(A)


async def test_callers_are_counted_from_the_call_to_the_release(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(
        [ModelSpec(A)], launch=FakeServers(load_seconds={A: 5})
    ) as supervisor:
        lease = supervisor.lease(A)
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                async with lease:
                    assert supervisor.callers(A) == 1
                    await trio.sleep(1)

            nursery.start_soon(hold)
            assert supervisor.callers(A) == 0
            await wait_all_tasks_blocked()
            assert supervisor.callers(A) == 1
        assert supervisor.callers(A) == 0
        with pytest.raises(swapcore.UnknownModel):
            supervisor.callers(ModelId("nobody"))
