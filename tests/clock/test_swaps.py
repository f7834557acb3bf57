"""Who is swapped for whom, and in which order those who wait are served."""

from __future__ import annotations

import pytest
import trio
from callers import Together, use, use_later
from observed import spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import FleetView, ModelId, ModelSpec, ProcState, SchedulingPolicy, SwapPlan
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("L83", "L91")
async def test_swap_waits_for_the_busy_lease(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30, B: 60}, stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, supervisor, A, 100)
            await trio.sleep(31)
            nursery.start_soon(use, supervisor, B, 5)
        assert trio.current_time() == pytest.approx(30 + 100 + 2 + 60 + 5)
        assert supervisor.state_of(B) is ProcState.READY
        assert supervisor.state_of(A) is ProcState.STOPPED
    assert [what for _, what, _ in servers.log] == ["spawn", "ready", "exit", "spawn", "ready", "exit"]


@pytest.mark.rule("L81")
@pytest.mark.rule("L168")
async def test_collation_serves_a_b_c_a_b_c_as_a_a_b_b_c_c(autojump_clock: MockClock) -> None:
    servers, served = FakeServers(stop_seconds=1), list[str]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        for model in [A, B, C, A, B, C]:
            nursery.start_soon(use, supervisor, model, 1, served.append)
            await wait_all_tasks_blocked()
    assert "".join(served) == "aabbcc"
    assert spawns(servers) == [A, B, C]


@pytest.mark.rule("L8", "L33", "L82")
async def test_first_requests_share_one_load(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 9})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(use, supervisor, A, 1)
    assert spawns(servers) == [A]
    assert trio.current_time() == pytest.approx(10)


@pytest.mark.rule("L95")
async def test_models_that_do_not_touch_each_other_load_at_the_same_time(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30, B: 30})
    async with (
        swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(supervisor.load, A)
        nursery.start_soon(supervisor.load, B)
    assert trio.current_time() == pytest.approx(30)


@pytest.mark.rule("G26", "L89")
@pytest.mark.rule("L177")
async def test_a_hot_model_is_closed_once_a_caller_has_waited_too_long(autojump_clock: MockClock) -> None:
    servers, policy = FakeServers(load_seconds={A: 5, B: 5}, stop_seconds=5), SchedulingPolicy(max_wait=120)
    async with swapcore.open_supervisor(SPECS, launch=servers, policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            await supervisor.load(A)

            async def hot() -> None:
                while True:
                    nursery.start_soon(use, supervisor, A, 4)
                    await trio.sleep(0.5)

            nursery.start_soon(hot)
            await trio.sleep(10)
            asked = trio.current_time()
            await use(supervisor, B, 0)
            waited = trio.current_time() - asked
            assert 120 <= waited <= 120 + 4 + 10
            # and those who queued behind it get their model back, all of them
            await trio.sleep(30)
            assert supervisor.state_of(A) is ProcState.READY
            nursery.cancel_scope.cancel()
    assert spawns(servers) == [A, B, A]


async def test_a_closed_model_opens_again_when_the_overdue_caller_leaves(autojump_clock: MockClock) -> None:
    policy = SchedulingPolicy(max_wait=10)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), policy=policy) as supervisor:
        async with trio.open_nursery() as nursery, supervisor.lease(A):
            with trio.move_on_after(15):
                nursery.start_soon(use_later, 12, supervisor, A)
                await supervisor.load(B)
            await wait_all_tasks_blocked()
            assert supervisor.statistics().models[A].leases == 2
            nursery.cancel_scope.cancel()


@pytest.mark.rule("L177")
async def test_min_residency_keeps_a_fresh_model_for_a_while(autojump_clock: MockClock) -> None:
    policy = SchedulingPolicy(min_residency=60)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), policy=policy) as supervisor:
        await supervisor.load(A)  # ready at 1
        await supervisor.load(B)
        assert trio.current_time() == pytest.approx(1 + 60 + 1)


@pytest.mark.rule("L85")
@pytest.mark.rule("L178")
async def test_higher_priority_goes_first_and_ages_out(autojump_clock: MockClock) -> None:
    served = list[str]()
    async with (
        swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor,
        trio.open_nursery() as nursery,
    ):

        async def want(model: ModelId, priority: int) -> None:
            async with supervisor.lease(model, priority=priority):
                served.append(model)

        async with supervisor.lease(A):
            nursery.start_soon(want, B, 0)
            await trio.sleep(10)
            nursery.start_soon(want, C, 1)
            await trio.sleep(10)
        await supervisor.wait_idle()
        async with supervisor.lease(A):
            nursery.start_soon(want, B, 0)
            await trio.sleep(40)  # one step of priority is worth 30 s
            nursery.start_soon(want, C, 1)
            await trio.sleep(10)
    assert "".join(served) == "cbbc"


async def test_max_drain_cuts_what_still_runs_after_a_bounded_wait(autojump_clock: MockClock) -> None:
    policy = SchedulingPolicy(max_wait=60, max_drain=30)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, supervisor, A, 10_000)
            await trio.sleep(2)
            await supervisor.load(B)
            assert trio.current_time() == pytest.approx(2 + 60 + 30 + 1)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("question", ["evictions", "choose_next"])
@pytest.mark.parametrize("answer", ["raise", "nonsense", "refuse"])
async def test_a_bad_planner_fails_one_request_and_harms_nothing_else(
    autojump_clock: MockClock, question: str, answer: str
) -> None:
    class Bad(swapcore.ExclusivePlanner):
        def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
            if question == "evictions" and target == B:
                match answer:
                    case "raise":
                        raise ZeroDivisionError
                    case "nonsense":
                        return SwapPlan((C,))
                    case _:
                        return swapcore.Refusal("no room for b")  # type: ignore[return-value]
            return super().evictions(target, view)

        def choose_next(self, view: FleetView) -> ModelId | None:
            if question == "choose_next" and B in view.waiting:
                if answer == "raise":
                    raise ZeroDivisionError
                return ModelId("nobody")
            return super().choose_next(view)

    async with swapcore.open_supervisor(SPECS, planner=Bad(), launch=FakeServers()) as supervisor:
        async with supervisor.lease(A):
            with pytest.raises((swapcore.PlannerFailed, swapcore.Refused), match=r"Bad|no room for b"):
                await supervisor.load(B)
        await supervisor.load(C)
