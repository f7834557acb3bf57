"""The supervisor on trio's virtual clock, with fake servers: exact times, no real process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import attrs
import pytest
import trio
from observed import spawns
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


@pytest.mark.rule("L25", "L27", "L82")
async def test_slow_start_is_rejected_for_every_waiter(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=20)]
    async with swapcore.open_supervisor(specs, launch=FakeServers({A: 9999})) as supervisor:
        for _ in range(2):  # and it can be retried, after a pause
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(partial(_expect, swapcore.StartTimeout, supervisor, A))
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(42)


async def _expect(error: type[Exception], supervisor: Supervisor, model: ModelId) -> None:
    with pytest.raises(error):
        await supervisor.load(model)


@pytest.mark.rule("L27")
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


@pytest.mark.rule("L45")
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
        nursery.start_soon(partial(_expect, swapcore.Unloaded, supervisor, A))
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
            nursery.start_soon(partial(_expect, swapcore.Unloaded, supervisor, B))
            await trio.sleep(3)
            await supervisor.unload(B)
            nursery.start_soon(supervisor.load, C)
        await trio.sleep(100)
    assert spawns(servers) == [A, C]


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
                nursery.start_soon(_later, 12, supervisor, A)
                await supervisor.load(B)
            await wait_all_tasks_blocked()
            assert supervisor.statistics().models[A].leases == 2
            nursery.cancel_scope.cancel()


async def _later(seconds: float, supervisor: Supervisor, model: ModelId) -> None:
    await trio.sleep(seconds)
    await use(supervisor, model, 1000)


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
        await _expect(swapcore.Overloaded, supervisor, A)
        await trio.sleep(5)
        await _expect(swapcore.Overloaded, supervisor, A)
        await trio.sleep(6.5)
        await supervisor.load(A)


@pytest.mark.rule("L44", "L103", "L104")
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


# -- failures and restarts -------------------------------------------------------


@pytest.mark.rule("G29", "L93")
async def test_a_model_that_cannot_start_is_tried_three_times_in_half_a_minute(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers(load_seconds={A: 9}, crash_after={A: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        refusals = list[swapcore.BackingOff]()
        for _ in range(120):
            try:
                await supervisor.load(A)
            except swapcore.BackingOff as exc:
                refusals.append(exc)
            except swapcore.StartFailed:
                pass
            await trio.sleep(0.25)
        assert spawns(servers) == [A] * 3
        assert len(refusals) == 117
        assert all(refusal.retry_after is not None and 0 < refusal.retry_after <= 30 for refusal in refusals)
        assert "a crashed" in refusals[0].reason
        assert trio.current_time() == pytest.approx(30)
        await trio.sleep(1)
        await _expect(swapcore.StartFailed, supervisor, A)  # and then it is tried again
        await supervisor.load(B)


@pytest.mark.rule("G29", "L93")
async def test_no_healthy_model_is_evicted_for_one_that_backs_off(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={B: 0.5}, crash_after={A: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await _expect(swapcore.StartFailed, supervisor, A)
        await supervisor.load(B)
        await _expect(swapcore.BackingOff, supervisor, A)
        assert supervisor.state_of(B) is ProcState.READY


async def test_the_first_crash_of_a_model_that_had_worked_costs_no_pause(autojump_clock: MockClock) -> None:
    servers = FakeServers(crash_after={A: 5})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(10)
        await supervisor.load(A)
        assert spawns(servers) == [A, A]


async def test_policy_never_waits_until_it_is_unloaded(autojump_clock: MockClock) -> None:
    never = swapcore.RestartPolicy(when=swapcore.RestartWhen.NEVER)
    servers = FakeServers(crash_after={A: 5})
    async with swapcore.open_supervisor([ModelSpec(A, restart=never)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(1000)
        with pytest.raises(swapcore.BackingOff, match="not started again") as caught:
            await supervisor.load(A)
        assert caught.value.retry_after is None
        await supervisor.unload(A)
        await supervisor.load(A)


@pytest.mark.rule("G35")
async def test_policy_always_brings_a_crashed_model_back(autojump_clock: MockClock) -> None:
    always = swapcore.RestartPolicy(when=swapcore.RestartWhen.ALWAYS)
    servers = FakeServers(load_seconds={A: 4}, crash_after={A: 20})
    async with swapcore.open_supervisor([ModelSpec(A, restart=always)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(18)  # at 20 it crashes, for the first time: no pause
        assert supervisor.state_of(A) is ProcState.STARTING
        await trio.sleep(4)
        assert supervisor.state_of(A) is ProcState.READY
        await supervisor.unload(A)  # what was asked for is not undone
        await trio.sleep(1000)
        assert supervisor.state_of(A) is ProcState.STOPPED
        assert supervisor.statistics().waiting == 0


@pytest.mark.rule("G29", "L93")
async def test_a_failed_load_puts_the_evictee_back_if_nobody_else_waits(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={B: 9}, crash_after={B: 3})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        await _expect(swapcore.StartFailed, supervisor, B)
        await trio.sleep(2)
        assert supervisor.state_of(A) is ProcState.READY
        assert spawns(servers) == [A, B, A]


class CheckedServers(FakeServers):
    """Says beforehand that b cannot start."""

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        assert beside
        if spec.id == B:
            raise swapcore.StartFailed(B, "its program does not exist")


@pytest.mark.rule("G29")
async def test_what_cannot_start_evicts_nothing() -> None:
    servers = CheckedServers(load_seconds={A: 0, B: 0, C: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.fail_after(5):
            await supervisor.load(A)
            with pytest.raises(swapcore.StartFailed, match="does not exist"):
                await supervisor.load(B)
            assert supervisor.state_of(A) is ProcState.READY
            await supervisor.load(C)
    assert spawns(servers) == [A, C]


# -- pins --------------------------------------------------------------------------


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
        await _expect(swapcore.Pinned, supervisor, A)
        assert supervisor.statistics().models[B].pinned


# -- watching ----------------------------------------------------------------------


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


# -- reconfiguration ---------------------------------------------------------------


async def test_reconfigure_restarts_what_changed_and_nothing_else(autojump_clock: MockClock) -> None:
    before = [ModelSpec(m, (m, "--old"), f"http://h:{n}") for n, m in enumerate((A, B, C), 1)]
    servers = FakeServers()
    async with (
        swapcore.open_supervisor(before, planner=Together(), launch=servers) as supervisor,
        trio.open_nursery() as nursery,
    ):
        for model in (A, B, C):
            nursery.start_soon(use, supervisor, model, 20)
        await trio.sleep(5)
        after = [
            attrs.evolve(before[0], ttl=500),
            attrs.evolve(before[1], command=("b", "--new")),
            ModelSpec(ModelId("d")),
        ]
        await supervisor.reconfigure(after, planner=Together())
        assert list(supervisor.specs) == [A, B, "d"]
        assert supervisor.state_of(A) is ProcState.READY
        with pytest.raises(swapcore.UnknownModel):
            await supervisor.load(C)
        await supervisor.load(ModelId("d"))
        assert trio.current_time() == pytest.approx(6)
        await supervisor.load(B)  # after the callers of the old one are done
        assert trio.current_time() == pytest.approx(22)
    assert sorted(spawns(servers)[:3]) == [A, B, C]
    assert spawns(servers)[3:] == ["d", B]
    assert servers.alive == set()


async def test_reconfigure_cuts_a_drain_at_its_limit_and_a_removed_name_can_come_back(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(use, supervisor, A, 1000)
        await trio.sleep(2)
        await supervisor.reconfigure([ModelSpec(B)], drain_limit=10)
        await supervisor.reconfigure([ModelSpec(A), ModelSpec(B)], drain_limit=10)
        await supervisor.load(A)
        assert trio.current_time() <= 14
        with pytest.raises(ValueError, match="two specs"):
            await supervisor.reconfigure([ModelSpec(A), ModelSpec(A)])
        nursery.cancel_scope.cancel()


async def test_max_drain_cuts_what_still_runs_after_a_bounded_wait(autojump_clock: MockClock) -> None:
    policy = SchedulingPolicy(max_wait=60, max_drain=30)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, supervisor, A, 10_000)
            await trio.sleep(2)
            await supervisor.load(B)
            assert trio.current_time() == pytest.approx(2 + 60 + 30 + 1)
            nursery.cancel_scope.cancel()


# -- hangs ---------------------------------------------------------------------------


class TalkativeServers(FakeServers):
    """Writes a line of output each second while it loads."""

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        async with trio.open_nursery() as nursery:
            log = swapcore.current_log()

            async def talk() -> None:
                for second in range(1000):
                    log.write(b"loading, second %d\n" % second)
                    await trio.sleep(1)

            nursery.start_soon(talk)
            await super().__call__(spec, task_status=task_status)


@pytest.mark.rule("G39")
@pytest.mark.rule("L184")
async def test_a_start_that_makes_progress_gets_more_time(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=10)]
    async with swapcore.open_supervisor(specs, launch=TalkativeServers({A: 35})) as supervisor:
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(35)


@pytest.mark.rule("G39")
async def test_but_not_for_ever(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=10, start_timeout_max=25)]
    async with swapcore.open_supervisor(specs, launch=TalkativeServers({A: 9999})) as supervisor:
        with pytest.raises(swapcore.StartTimeout, match="25 s") as caught:
            await supervisor.load(A)
        assert trio.current_time() == pytest.approx(25)
        assert "second 24" in caught.value.__notes__[0]


@pytest.mark.rule("G20")
async def test_a_model_in_use_that_falls_silent_is_restarted(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 1})
    specs = [ModelSpec(A, liveness=swapcore.Liveness(silent=30))]
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor, supervisor.events() as events:
        async with supervisor.lease(A):  # since 1
            for _ in range(10):
                await trio.sleep(20)
                supervisor.heard(A)  # until 201
            assert supervisor.state_of(A) is ProcState.READY
            await trio.sleep(40)
            assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(A)
        async for event in events:
            if isinstance(event, swapcore.Crashed):
                assert 231 <= event.at <= 235
                assert isinstance(event.error, swapcore.Hung)
                assert "silent for 30 s" in str(event.error)
                break
    assert spawns(servers) == [A, A]


async def test_a_model_that_nobody_uses_may_be_silent(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, liveness=swapcore.Liveness(silent=30))]
    async with swapcore.open_supervisor(specs, launch=FakeServers()) as supervisor:
        await supervisor.load(A)
        await trio.sleep(1000)
        assert supervisor.state_of(A) is ProcState.READY


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
