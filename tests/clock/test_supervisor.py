"""The supervisor on trio's virtual clock, with fake servers: exact times, no real process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import (
    Endpoint,
    FleetView,
    ModelId,
    ModelSpec,
    ProcState,
    SchedulingPolicy,
    Supervisor,
    SwapPlan,
    SwapPlanner,
)
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


class Together(SwapPlanner):
    """Everything may run beside everything."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan()


async def use(
    supervisor: Supervisor, model: ModelId, seconds: float, note: Callable[[str], object] = str
) -> None:
    async with supervisor.lease(model):
        note(model)
        await trio.sleep(seconds)


def spawns(servers: FakeServers) -> list[str]:
    return [model for _, what, model in servers.log if what == "spawn"]


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


async def test_collation_serves_a_b_c_a_b_c_as_a_a_b_b_c_c(autojump_clock: MockClock) -> None:
    servers, served = FakeServers(stop_seconds=1), list[str]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        for model in [A, B, C, A, B, C]:
            nursery.start_soon(use, supervisor, model, 1, served.append)
            await wait_all_tasks_blocked()
    assert "".join(served) == "aabbcc"
    assert spawns(servers) == [A, B, C]


async def test_first_requests_share_one_load(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 9})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(use, supervisor, A, 1)
    assert spawns(servers) == [A]
    assert trio.current_time() == pytest.approx(10)


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


async def test_an_abandoned_load_gives_way_and_is_not_finished_first(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 60, B: 1}, stop_seconds=0.25)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.move_on_after(5):
            await supervisor.load(A)
        await supervisor.load(B)
        assert trio.current_time() == pytest.approx(5 + 0.25 + 1)


async def test_an_abandoned_load_goes_on_if_nobody_needs_the_room(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 60})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.move_on_after(5):
            await supervisor.load(A)
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(60)
        assert spawns(servers) == [A]


async def test_slow_start_is_rejected_for_every_waiter(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=20)]
    async with swapcore.open_supervisor(specs, launch=FakeServers({A: 9999})) as supervisor:
        for _ in range(2):  # and it can be retried
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(partial(_expect, swapcore.StartTimeout, supervisor, A))
        assert trio.current_time() == pytest.approx(40)


async def _expect(error: type[Exception], supervisor: Supervisor, model: ModelId) -> None:
    with pytest.raises(error):
        await supervisor.load(model)


async def test_a_start_that_crashes_is_rejected_with_the_reason(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 9}, crash_after={A: 3})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with pytest.raises(swapcore.StartFailed, match="a crashed"):
            await supervisor.load(A)
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(B)


async def test_unknown_model(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor([], launch=FakeServers()) as supervisor:
        with pytest.raises(swapcore.UnknownModel, match="'a'"):
            await supervisor.load(A)
        with pytest.raises(swapcore.UnknownModel):
            supervisor.state_of(A)
        with pytest.raises(swapcore.UnknownModel):
            supervisor.log(A)
        with pytest.raises(swapcore.UnknownModel):
            await supervisor.unload(A)


async def test_two_specs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'a'"):
        async with swapcore.open_supervisor([ModelSpec(A), ModelSpec(A)], launch=FakeServers()):
            raise AssertionError


async def test_a_crash_does_not_reach_siblings_and_is_restarted_on_demand(autojump_clock: MockClock) -> None:
    servers = FakeServers(crash_after={A: 5})
    async with (
        swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor,
        supervisor.lease(B),
    ):
        async with supervisor.lease(A):
            await trio.sleep(6)
            assert supervisor.state_of(A) is ProcState.STOPPED
            assert supervisor.state_of(B) is ProcState.READY
            # The lease of a dead run ends without a trace in the next one.
            async with supervisor.lease(A):
                assert supervisor.statistics().models[A].leases == 1
    assert spawns(servers) == [B, A, A]


async def test_models_that_do_not_touch_each_other_load_at_the_same_time(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30, B: 30})
    async with (
        swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(supervisor.load, A)
        nursery.start_soon(supervisor.load, B)
    assert trio.current_time() == pytest.approx(30)


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


async def test_ttl_of_a_model_that_was_never_used_counts_from_ready(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 8})
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10)], launch=servers) as supervisor:
        with trio.move_on_after(2):
            await supervisor.load(A)
        await trio.sleep(60)
    assert [(when, what) for when, what, _ in servers.log] == [(0, "spawn"), (8, "ready"), (18, "exit")]


async def test_a_request_that_meets_a_ttl_stop_gets_a_fresh_start(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=5)
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(12)
        assert supervisor.state_of(A) is ProcState.STOPPING
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(1 + 10 + 5 + 1)
    assert spawns(servers) == [A, A]


async def test_unload_turns_waiters_away_and_returns_when_it_is_gone(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 30}, stop_seconds=3)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(partial(_expect, swapcore.Unloaded, supervisor, A))
        await trio.sleep(10)
        await supervisor.unload(A)
        assert trio.current_time() == pytest.approx(13)
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.unload()  # nothing runs: returns at once
        assert trio.current_time() == pytest.approx(13)


async def test_unload_all_takes_the_longest_stop_and_not_their_sum(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=4)
    async with swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor:
        for model in (A, B, C):
            await supervisor.load(model)
        started = trio.current_time()
        await supervisor.unload()
        assert trio.current_time() - started == pytest.approx(4)
        assert not servers.alive


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


async def test_an_unloaded_pending_swap_never_starts_its_target(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=10)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(_expect, swapcore.Unloaded, supervisor, B))
            await trio.sleep(3)
            await supervisor.unload(B)
            nursery.start_soon(supervisor.load, C)
        await trio.sleep(100)
    assert spawns(servers) == [A, C]


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
                nursery.start_soon(_later, 12, supervisor, A)
                await supervisor.load(B)
            await wait_all_tasks_blocked()
            assert supervisor.statistics().models[A].leases == 2
            nursery.cancel_scope.cancel()


async def _later(seconds: float, supervisor: Supervisor, model: ModelId) -> None:
    await trio.sleep(seconds)
    await use(supervisor, model, 1000)


async def test_min_residency_keeps_a_fresh_model_for_a_while(autojump_clock: MockClock) -> None:
    policy = SchedulingPolicy(min_residency=60)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), policy=policy) as supervisor:
        await supervisor.load(A)  # ready at 1
        await supervisor.load(B)
        assert trio.current_time() == pytest.approx(1 + 60 + 1)


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
        assert supervisor.statistics().models[A] == swapcore.ModelStatistics(ProcState.READY, 2, 3)
        with pytest.raises(swapcore.Overloaded, match="a: 3 callers"):
            await supervisor.load(A)
        await supervisor.wait_idle()
        assert trio.current_time() == pytest.approx(1 + 3 * 10)


async def test_close_turns_waiters_away_and_leaves_leases_alone(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A), trio.open_nursery() as nursery:
            nursery.start_soon(partial(_expect, swapcore.Closed, supervisor, B))
            await wait_all_tasks_blocked()
            supervisor.close()
            await _expect(swapcore.Closed, supervisor, A)
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
        nursery.start_soon(partial(_expect, swapcore.Closed, supervisor, A))
        await trio.sleep(1)


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
    servers, calls = FakeServers(), list[tuple[str, Endpoint, bool]]()

    def on_stopping(model: ModelId, endpoint: Endpoint) -> None:
        calls.append((model, endpoint, model in servers.alive))
        raise RuntimeError("a mistake of the embedding program")

    specs = [ModelSpec(A, url="http://h:1"), ModelSpec(B, url="http://h:2")]
    async with swapcore.open_supervisor(specs, launch=servers, on_stopping=on_stopping) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
    assert calls == [("a", Endpoint("http://h:1"), True), ("b", Endpoint("http://h:2"), True)]


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
            with pytest.raises(swapcore.PlannerFailed, match=r"Bad|no room for b"):
                await supervisor.load(B)
        await supervisor.load(C)
