"""What a caller may ask for itself: when to give up, and several models at once."""

from __future__ import annotations

from math import inf, nan

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import GaveUp, ModelId, ModelSpec, ProcState, StartFailed, UnknownModel, Waiting
from swapcore.planners import LruPlanner
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("G27")
async def test_a_caller_gives_up_when_it_said_so_and_leaves_the_line(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A):
            asked = trio.current_time()
            with pytest.raises(GaveUp, match="not served within 5 s"):
                async with supervisor.lease(B, give_up_after=5):
                    pass
            assert trio.current_time() - asked == 5
            await wait_all_tasks_blocked()
            assert supervisor.statistics().models[B].waiting == 0
        await wait_all_tasks_blocked()
        assert supervisor.state_of(A) is ProcState.READY, "nobody waits for the other any more"


async def test_the_limit_is_on_the_waiting_not_on_the_use(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A, give_up_after=2):
            await trio.sleep(100)


@pytest.mark.rule("L72")
async def test_a_lease_that_comes_in_the_last_instant_is_taken_or_leaves_no_trace(
    autojump_clock: MockClock,
) -> None:
    servers, outcomes = FakeServers(load_seconds={A: 5}), list[str]()

    async def ask() -> None:
        try:
            async with supervisor.lease(A, give_up_after=5.5):
                assert supervisor.statistics().models[A].leases == 1
                outcomes.append("taken")
        except GaveUp:
            outcomes.append("gave up")

    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        for checkpoints in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.sleep(5)  # it becomes ready in this instant
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                autojump_clock.jump(1)  # and now, however far that has come, its time is up
            await wait_all_tasks_blocked()
            statistics = supervisor.statistics().models[A]
            assert statistics.leases == statistics.waiting == supervisor.callers(A) == 0
            await supervisor.unload(A)
    assert set(outcomes) == {"taken", "gave up"}


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_at_all_is_for_models_that_are_ready(autojump_clock: MockClock, seconds: float) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        with pytest.raises(GaveUp):
            await supervisor.load(A, give_up_after=seconds)
        await supervisor.load(A)
        await supervisor.load(A, give_up_after=0.001)


@pytest.mark.parametrize("wrong", [{"priority": nan}, {"give_up_after": nan}])
async def test_what_is_no_number_is_an_error_of_the_caller_alone(
    autojump_clock: MockClock, wrong: dict[str, float]
) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        with pytest.raises(ValueError, match="no number"):
            async with supervisor.lease(A, **wrong):  # type: ignore[arg-type]
                pass
        await supervisor.load(A)


@pytest.mark.rule("L133")
async def test_several_models_are_loaded_at_the_same_time(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 10, B: 7, C: 3})
    async with swapcore.open_supervisor(SPECS, launch=servers, planner=LruPlanner(3)) as supervisor:
        began = trio.current_time()
        await supervisor.load(A, B, C)
        assert trio.current_time() - began == 10
        assert all(supervisor.state_of(model) is ProcState.READY for model in (A, B, C))
        await supervisor.load()


async def test_of_several_models_those_that_can_be_loaded_are(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={B: inf})
    specs = [ModelSpec(A), ModelSpec(B, start_timeout=5), ModelSpec(C)]
    async with swapcore.open_supervisor(specs, launch=servers, planner=LruPlanner(3)) as supervisor:
        with pytest.raises(ExceptionGroup, match="2 of 4 models could not be loaded") as failed:
            await supervisor.load(A, B, C, ModelId("unknown"))
        assert {type(error) for error in failed.value.exceptions} == {swapcore.StartTimeout, UnknownModel}
        assert issubclass(swapcore.StartTimeout, StartFailed)
        assert supervisor.state_of(A) is supervisor.state_of(C) is ProcState.READY


async def test_who_waits_for_a_model_that_is_taken_out_can_still_ask_how_it_stands(
    autojump_clock: MockClock,
) -> None:
    places: list[Waiting] = []
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(load_seconds={A: inf})) as supervisor:

        async def wait() -> None:
            with pytest.raises(swapcore.Unloaded):
                async with supervisor.lease(A, on_wait=places.append):
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked(0.01)
            await supervisor.reconfigure(SPECS[1:])
        await wait_all_tasks_blocked(0.01)
        assert (places[0].position, places[0].estimate, places[0].state) == (None, None, ProcState.STOPPED)
