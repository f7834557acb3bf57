"""Short histories of callers past the bound on waiting, and of pins, each of which went wrong once."""

from __future__ import annotations

import attrs
from scheduler_simulation import Simulation

from swapcore import FleetView, ModelId, ModelSpec, Refusal, SchedulingPolicy, SwapPlan
from swapcore._effects import Check
from swapcore.planners import Group, GroupsPlanner, LruPlanner, MatrixPlanner, Model

A, B, C, D, E = (ModelId(name) for name in "abcde")
SPECS = [ModelSpec(model) for model in (A, B, C, D)]


def test_a_pin_on_a_model_that_does_not_run_refuses_nobody_else() -> None:
    planner = MatrixPlanner({"s": Model(A) & Model(C), "t": Model(B)})
    history = Simulation(SPECS, planner, SchedulingPolicy(max_wait=5), load_seconds=1, stop_seconds=1)
    history.call_at(0, A, hold=60)
    overdue = history.call_at(1, B, hold=1)
    history.pin_at(2, C, True)
    history.call_at(10, C, hold=1)  # might run beside a, and would be in b's way
    history.play()
    assert overdue.error is None
    assert overdue.granted_at is not None


def test_a_pin_on_a_model_that_is_stopping_anyway_refuses_nobody() -> None:
    history = Simulation(SPECS, GroupsPlanner({}), load_seconds=1, stop_seconds=5)
    history.call_at(0, A, hold=1)
    history.pin_at(3, A, True)
    history.unload_at(4, A, False)
    caller = history.call_at(5, B, hold=1)
    history.play()
    assert caller.error is None
    assert caller.granted_at == 10, "a is gone at 9"


def test_idle_models_in_the_way_of_an_overdue_caller_let_nobody_in_either() -> None:
    """Else each of them in turn adds its longest request to the wait."""
    planner = GroupsPlanner({"x": Group((A, B), swap=False)})
    history = Simulation(SPECS, planner, SchedulingPolicy(max_wait=10), load_seconds=1, stop_seconds=1)
    for model in (A, B):
        history.call_at(0, model, hold=0)
    history.call_at(2, A, hold=50)
    overdue = history.call_at(3, C, hold=1)
    late = history.call_at(40, B, hold=100)
    history.play()
    assert overdue.granted_at == 54, "a is free at 52; one second to stop, one to load"
    assert late.granted_at is not None
    assert late.granted_at > 54


@attrs.frozen
class CountsItself(LruPlanner):
    """Answers for a target that runs as if it did not: the natural way to write it."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        others = [model for model in view.running if model != target]
        return super().evictions(target, attrs.evolve(view, running=others))


def test_a_model_serves_those_who_had_it_loaded_whatever_the_planner_thinks_by_then() -> None:
    history = Simulation(
        [ModelSpec(model) for model in (A, B, C, D, E)],
        CountsItself(2),
        SchedulingPolicy(max_wait=2),
        load_seconds=2,
        stop_seconds=6,
    )
    script = [(0, E, 2), (3, A, 4), (5, D, 2), (5, E, 1), (8, C, 0)]
    callers = [history.call_at(when, model, hold=hold) for when, model, hold in script]
    history.play(until=400)
    assert [caller.granted_at is not None for caller in callers] == [True] * 5


def test_what_was_found_out_for_a_caller_who_left_is_asked_again_for_the_next() -> None:
    asked: list[ModelId] = []

    def passes(check: Check) -> bool:
        asked.append(check.spec.id)
        return False

    history = Simulation(SPECS, GroupsPlanner({}), load_seconds=1, stop_seconds=1, check_fails=passes)
    history.call_at(0, A, hold=0)
    history.call_at(5, B, hold=0, patience=0.0005)  # leaves before the launcher has answered
    history.call_at(50, B, hold=0)
    history.play()
    assert asked.count(B) == 2


def test_what_was_found_out_beside_other_models_is_asked_again() -> None:
    """A port that one evictee would have freed is taken once another is to go instead."""
    beside: list[list[ModelId]] = []

    def passes(check: Check) -> bool:
        if check.spec.id == C:
            beside.append([spec.id for spec in check.beside])
        return False

    history = Simulation(SPECS, LruPlanner(2), load_seconds=1, stop_seconds=1, check_fails=passes)
    history.call_at(0, A, hold=0)
    history.call_at(2, B, hold=0)
    history.call_at(5, C, hold=0)
    history.call_at(5.0005, A, hold=10)  # the idle model that was to go is in use before the launcher answers
    history.play()
    assert beside == [[A], [B]]
