"""Models closed to new callers, and leases cut, for the sake of a caller who has waited too long."""

from __future__ import annotations

from math import inf

import attrs
import pytest
from scheduler_simulation import Simulation

from swapcore import (
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    RestartPolicy,
    RestartWhen,
    SchedulingPolicy,
    SwapPlan,
    SwapPlanner,
)
from swapcore._effects import Run
from swapcore.planners import GroupsPlanner, LruPlanner

A, B, C = MODELS = [ModelId(name) for name in "abc"]
SPECS = [ModelSpec(model) for model in MODELS]


ONE_AT_A_TIME = pytest.mark.parametrize("planner", [ExclusivePlanner(), GroupsPlanner({}), LruPlanner(1)])


@ONE_AT_A_TIME
def test_a_load_that_takes_longer_than_a_drain_may_is_not_cut(planner: SwapPlanner) -> None:
    """Else two overdue callers take turns stopping each other's load, for ever."""
    policy = SchedulingPolicy(max_wait=5, max_drain=10)
    history = Simulation(SPECS, planner, policy, load_seconds=60, stop_seconds=1)
    first = history.call_at(0, A, hold=3)
    second = history.call_at(1, B, hold=3)
    history.play(until=1000)
    assert first.granted_at == 60
    assert second.granted_at == 60 + 3 + 1 + 60


@ONE_AT_A_TIME
def test_the_time_of_a_drain_begins_when_there_is_somebody_to_cut(planner: SwapPlanner) -> None:
    policy = SchedulingPolicy(max_wait=5, max_drain=10)
    history = Simulation(SPECS, planner, policy, load_seconds=60, stop_seconds=1, cuts=True)
    history.call_at(0, A, hold=500)
    overdue = history.call_at(1, B, hold=3)
    history.play(until=1000)
    assert overdue.granted_at == 60 + 10 + 1 + 60


def test_a_drain_keeps_its_limit_when_an_overdue_caller_leaves() -> None:
    policy = SchedulingPolicy(max_wait=5)
    history = Simulation(SPECS, ExclusivePlanner(), policy, load_seconds=1, stop_seconds=1)
    user = history.call_at(0, A, hold=500)
    history.call_at(2, B, hold=1, patience=10)  # overdue at 7, leaves at 12
    history.reconfigure_at(3, [attrs.evolve(SPECS[0], command=("new",)), *SPECS[1:]], 30.0)
    after = history.call_at(15, A, hold=1)
    history.play(until=100)
    assert after.granted_at == 3 + 30 + 1 + 1
    history.play()
    assert user.granted_at == 1


def test_who_was_kept_out_for_a_caller_who_was_turned_away_is_let_in_at_once() -> None:
    """A pin turns the overdue caller away; what was closed for it is open in that instant."""
    history = Simulation(
        SPECS, ExclusivePlanner(), SchedulingPolicy(max_wait=5), load_seconds=1, stop_seconds=1
    )
    history.call_at(0, A, hold=100)
    overdue = history.call_at(2, B, hold=1)
    kept_out = history.call_at(8, A, hold=1)
    history.pin_at(10, A, True)
    history.play()
    assert overdue.error is not None
    assert kept_out.granted_at == 10


def test_nothing_is_cut_for_a_caller_who_was_turned_away() -> None:
    policy = SchedulingPolicy(max_wait=5, max_drain=20)
    history = Simulation(SPECS, ExclusivePlanner(), policy, load_seconds=1, stop_seconds=1)
    history.call_at(0, A, hold=100)
    history.call_at(2, B, hold=1)
    history.pin_at(10, A, True)
    history.play()  # which asserts that nobody in use is stopped
    assert history.launches == 1


@attrs.define(eq=False)
class FailsLater(SwapPlanner):
    """Everybody excludes everybody, until it breaks."""

    broken: bool = False

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        if self.broken:
            raise RuntimeError("broken")
        return SwapPlan(tuple(model for model in view.running if model != target))


def test_a_planner_that_breaks_keeps_nobody_out() -> None:
    planner = FailsLater()
    history = Simulation(SPECS, planner, SchedulingPolicy(max_wait=5), load_seconds=1, stop_seconds=1)
    history.call_at(0, A, hold=100)
    overdue = history.call_at(2, B, hold=1)
    kept_out = history.call_at(8, A, hold=1)
    history.play(until=9)
    planner.broken = True
    history.call_at(10, C, hold=1)
    history.play()
    assert overdue.error is not None
    assert kept_out.granted_at == 10 or kept_out.error is not None


# -- a configuration that changes in the middle of a swap ----------------------------------------------


def test_a_swap_under_way_asks_the_new_planner_what_must_go() -> None:
    """b was let in beside a; by the time that c is gone, the planner has a and b exclude each other."""
    history = Simulation(SPECS, LruPlanner(2), SchedulingPolicy(leeway=0), load_seconds=1, stop_seconds=5)
    for when, model in ((0, C), (2, A)):
        history.call_at(when, model, hold=0)
    wanted = history.call_at(10, B, hold=1)
    history.play(until=11)
    history.replan_at(12, ExclusivePlanner())
    history.play()
    history.assert_at_rest()
    assert wanted.granted_at == 12 + 5 + 1, "which the simulation has found to be alone"


def test_a_swap_under_way_goes_on_when_the_new_planner_agrees() -> None:
    history = Simulation(
        SPECS, ExclusivePlanner(), SchedulingPolicy(leeway=0), load_seconds=1, stop_seconds=5
    )
    history.call_at(0, A, hold=0)
    wanted = history.call_at(10, B, hold=1)
    history.play(until=11)
    swap = history.scheduler.fleet.swaps[B]
    history.replan_at(12, ExclusivePlanner())
    history.play(until=13)
    assert history.scheduler.fleet.swaps[B] is swap
    history.play()
    assert wanted.granted_at == 16


def test_a_model_that_was_refused_callers_still_leaves_after_its_ttl() -> None:
    planner = FailsLater()
    specs = [ModelSpec(A, ttl=10), *SPECS[1:]]
    history = Simulation(specs, planner, SchedulingPolicy(max_wait=inf), load_seconds=1, stop_seconds=1)
    history.call_at(0, A, hold=0)
    history.play(until=2)
    planner.broken = True
    history.reconfigure_at(3, specs, 0.0)
    refused = history.call_at(5, A, hold=1)
    history.play()
    assert refused.error is not None
    assert history.scheduler.fleet.run_of(A) is None


# -- what nobody waits for ------------------------------------------------------------------------------


def test_nobody_is_kept_out_for_a_restart_that_nobody_waits_for() -> None:
    lives = iter([5.0, 3.0])

    def crash_after(run: Run) -> float:
        return next(lives, inf) if run.model == A else inf

    history = Simulation(
        [ModelSpec(A, restart=RestartPolicy(when=RestartWhen.ALWAYS)), *SPECS[1:]],
        ExclusivePlanner(),
        SchedulingPolicy(max_wait=20),
        load_seconds=1,
        stop_seconds=1,
        crash_after=crash_after,
    )
    history.call_at(0, A, hold=3)
    busy = [history.call_at(8.2 + n / 2, B, hold=2) for n in range(200)]  # from its second crash at 8 on
    history.play(until=9)
    assert A in history.scheduler.fleet.queue, "it is to be started again at 9"
    history.play()
    assert all(caller.granted_at == caller.asked_at for caller in busy[2:])
    assert history.scheduler.fleet.run_of(A) is not None, "it is, once the other one is idle"
    history.assert_at_rest()
