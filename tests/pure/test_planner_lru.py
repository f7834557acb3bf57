"""The planner of the least recently used."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from swapcore import FleetView, ModelId, ModelView, ProcState, Refusal, SwapPlan
from swapcore.planners import LruPlanner

A, B, C, D, T = MODELS = [ModelId(name) for name in "abcdt"]
READY, STARTING, STOPPING, STOPPED = (
    ProcState.READY,
    ProcState.STARTING,
    ProcState.STOPPING,
    ProcState.STOPPED,
)


def idle(model: ModelId, seconds: float) -> ModelView:
    return ModelView(model, state=READY, idle_for=seconds)


def busy(model: ModelId, leases: int = 1, waiting: int = 0) -> ModelView:
    return ModelView(model, state=READY, leases=leases, waiting=waiting)


def view(*running: ModelView, waiting: Sequence[ModelId] = (), promised: Sequence[ModelId] = ()) -> FleetView:
    models = {model: ModelView(model, waiting=1) for model in MODELS} | {model.id: model for model in running}
    return FleetView(
        running=[m.id for m in running], waiting=waiting, promised=frozenset(promised), models=models
    )


def evicted(planner: LruPlanner, target: ModelId, view: FleetView) -> Sequence[ModelId]:
    plan = planner.evictions(target, view)
    assert isinstance(plan, SwapPlan)
    return plan.evict


def test_nothing_goes_while_there_is_a_place() -> None:
    assert evicted(LruPlanner(3), T, view(idle(A, 5), idle(B, 9))) == ()
    assert evicted(LruPlanner(1), T, view()) == ()


def test_the_idle_model_with_the_oldest_use_goes() -> None:
    assert evicted(LruPlanner(3), T, view(idle(A, 5), idle(B, 9), idle(C, 2))) == (B,)
    assert evicted(LruPlanner(2), T, view(idle(A, 5), idle(B, 9), idle(C, 2))) == (B, A)
    assert evicted(LruPlanner(1), T, view(idle(A, 5))) == (A,)


def test_a_busy_model_goes_only_if_no_idle_one_does() -> None:
    assert evicted(LruPlanner(2), T, view(busy(A), idle(B, 0))) == (B,)


def test_of_busy_models_the_one_that_runs_the_longest_goes_and_it_stays_the_same_one() -> None:
    """Else an overdue caller would close one busy model after the other while it waits."""
    for leases in (1, 7):
        assert evicted(LruPlanner(2), T, view(busy(A, leases, waiting=leases), busy(B, 3))) == (A,)


def test_what_leaves_anyway_makes_room_first() -> None:
    stopping = ModelView(A, state=STOPPING)
    abandoned = ModelView(B, state=STARTING)
    assert evicted(LruPlanner(3), T, view(idle(C, 99), abandoned, stopping)) == (A,)
    assert evicted(LruPlanner(2), T, view(idle(C, 99), abandoned, stopping)) == (A, B)


def test_a_load_that_somebody_waits_for_goes_last() -> None:
    for state in (STARTING, STOPPED):  # being launched, and committed to but not launched yet
        loading = ModelView(A, state=state, waiting=1)
        assert evicted(LruPlanner(2), T, view(loading, busy(B))) == (B,)


def test_a_target_that_runs_has_its_place() -> None:
    running = view(idle(A, 9), idle(B, 1), idle(C, 4))
    assert evicted(LruPlanner(3), A, running) == ()
    assert evicted(LruPlanner(2), C, running) == (A,), "the limit was lowered"
    leaving = view(idle(A, 9), ModelView(B, state=STOPPING), ModelView(C, state=STOPPED, waiting=1))
    assert evicted(LruPlanner(2), A, leaving) == (), "b's place has been given to c, not a's"
    assert evicted(LruPlanner(2), T, leaving) == (B, A), "to another, all three are in the way"


@pytest.mark.parametrize("by", ["planner", "supervisor"])
def test_a_pinned_model_never_goes(by: str) -> None:
    planner = LruPlanner(2, pinned=[A] if by == "planner" else [])
    pinned = ModelView(A, state=READY, idle_for=1000, pinned=by == "supervisor")
    assert evicted(planner, T, view(pinned, idle(B, 1))) == (B,)
    assert evicted(planner, T, view(pinned, busy(B))) == (B,)
    assert evicted(planner, A, view(idle(B, 1), idle(C, 2))) == (C,), (
        "being pinned gives it no place by itself"
    )


def test_when_pinned_models_hold_every_place_the_refusal_names_them() -> None:
    planner = LruPlanner(2, pinned=[A, C])
    assert planner.evictions(T, view(idle(A, 9), busy(C))) == Refusal(
        "all 2 places are held by pinned models: a, c", because_pinned=True
    )
    assert LruPlanner(1, pinned=[A]).evictions(T, view(busy(A))) == Refusal(
        "the only place is held by pinned models: a", because_pinned=True
    )
    leaving = ModelView(A, state=STOPPING, pinned=True)
    assert evicted(planner, T, view(leaving, busy(C))) == (A,), "it is on its way out all the same"


def test_once_somebody_was_named_in_vain_nobody_else_is_who_does_not_run() -> None:
    planner = LruPlanner(2)
    assert planner.choose_next(view(busy(A), busy(B), waiting=[C, D])) == C
    assert planner.choose_next(view(busy(A), busy(B), waiting=[D], promised=[C])) is None
    assert planner.choose_next(view(busy(A), busy(B), waiting=[D, A], promised=[C])) == A
    committed = ModelView(C, state=STOPPED, waiting=1)
    assert planner.choose_next(view(busy(A), committed, waiting=[D], promised=[C])) == D


def test_after_a_refusal_the_next_is_named_and_refused_too() -> None:
    refused = view(busy(A), waiting=[D], promised=[C])
    models = {**refused.models, C: ModelView(C)}
    after = FleetView(running=[A], waiting=[D], promised={C}, models=models)
    assert LruPlanner(1, pinned=[A]).choose_next(after) == D


@pytest.mark.parametrize("limit", [0, -1, 2.5, "2", True, None])
def test_a_limit_that_is_no_number_of_models_is_an_error(limit: object) -> None:
    with pytest.raises(ValueError, match="limit is a number of models, 1 or more"):
        LruPlanner(limit)  # type: ignore[arg-type]  # settings come from a file


def test_pins_are_several_names() -> None:
    with pytest.raises(ValueError, match="pinned is a list of models, not 'qwen'"):
        LruPlanner(1, pinned="qwen")  # type: ignore[arg-type]  # settings come from a file
    assert LruPlanner(1, pinned=[A, B]) == LruPlanner(1, pinned=(B, A))


def test_the_reason_names_the_target_and_who_goes() -> None:
    plan = LruPlanner(2).evictions(T, view(idle(A, 5), idle(B, 9)))
    assert plan.reason == "t takes one of 2 places from b"
