"""The scheduler alone, over long random histories: a hundred thousand events in a few seconds."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given, settings, strategies as st
from scheduler_simulation import Simulation, random_traffic

from swapcore import (
    BackingOff,
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    Pinned,
    SchedulingPolicy,
    StartFailed,
    SwapcoreError,
    SwapPlan,
    SwapPlanner,
    UnknownModel,
    Unloaded,
)
from swapcore._effects import Run
from swapcore.planners import LruPlanner

MODELS = [ModelId(name) for name in "abcde"]


class NeighboursPlanner(SwapPlanner):
    """A model may run beside those whose letter is further than one away."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan(tuple(m for m in view.running if abs(ord(m) - ord(target)) == 1), "too near")


class OneWayPlanner(SwapPlanner):
    """The first model stops all others; these load beside it, and beside each other."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        evict = tuple(m for m in view.running if m != target) if target == MODELS[0] else ()
        return SwapPlan(evict, "it runs alone")


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    planner=st.sampled_from([ExclusivePlanner(), NeighboursPlanner()]),
    max_wait=st.sampled_from([10.0, 120.0, inf]),
    max_drain=st.sampled_from([inf, 0.0, 2.0]),
    residency=st.sampled_from([0.0, 8.0]),
    ttl=st.sampled_from([None, 5.0]),
    concurrency=st.sampled_from([None, 1, 2]),
    times=st.sampled_from([(0.0, 0.0), (5.0, 1.0), (1.0, 6.0)]),
    crashing=st.booleans(),
    surviving=st.booleans(),
    replanning=st.booleans(),
)
@pytest.mark.rule("G14")
def test_any_history_ends_with_everybody_answered(
    seed: int,
    planner: SwapPlanner,
    max_wait: float,
    max_drain: float,
    residency: float,
    ttl: float | None,
    concurrency: int | None,
    times: tuple[float, float],
    crashing: bool,
    surviving: bool,
    replanning: bool,
) -> None:
    random = Random(seed)

    def survives_for(run: Run) -> float:
        return random.choice([0.0, 0.0, 0.0, 0.5, 40.0]) if surviving else 0.0

    def crash_after(run: Run) -> float:
        return random.choice([inf, 0.0, 3.0, 30.0]) if crashing and run.model in "ab" else inf

    def hang_after(run: Run) -> float:
        return random.choice([inf, 0.0, 3.0, 30.0]) if crashing and run.model in "bc" else inf

    simulation = Simulation(
        [ModelSpec(model, ttl=ttl, concurrency=concurrency) for model in MODELS],
        planner,
        SchedulingPolicy(max_wait=max_wait, max_drain=max_drain, min_residency=residency),
        load_seconds=times[0],
        stop_seconds=times[1],
        cuts=max_drain < inf,
        crash_after=crash_after,
        survives_for=survives_for,
        hang_after=hang_after,
        check_fails=lambda check: crashing and random.random() < 0.1,
    )
    random_traffic(simulation, random, calls=200, span=random.choice([50.0, 400.0]))
    if replanning:
        for _ in range(5):
            other = random.choice([ExclusivePlanner(), NeighboursPlanner(), LruPlanner(2)])
            simulation.replan_at(random.random() * 50, other)
    simulation.play()
    simulation.assert_at_rest()
    assert len(simulation.finished) == 200
    for caller in simulation.finished:
        if caller.error is not None:
            assert isinstance(caller.error, Unloaded | StartFailed | BackingOff | Pinned | UnknownModel)
            assert isinstance(caller.error, SwapcoreError)


@pytest.mark.parametrize(
    "planner", [ExclusivePlanner(), NeighboursPlanner()], ids=["exclusive", "neighbours"]
)
def test_the_wait_for_a_hot_model_s_place_is_bounded(planner: SwapPlanner) -> None:
    """Two requests a second of 4 s each against a cold model once a minute, 10 s a swap, for an hour."""
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS],
        planner,
        SchedulingPolicy(max_wait=120),
        load_seconds=8,
        stop_seconds=2,
    )
    hot = [simulation.call_at(n / 2, MODELS[0], hold=4) for n in range(7200)]
    cold = [simulation.call_at(60.0 * n, MODELS[1], hold=4) for n in range(60)]
    simulation.play()
    simulation.assert_at_rest()
    waits = [caller.granted_at - caller.asked_at for caller in hot + cold if caller.granted_at is not None]
    assert len(waits) == 7260
    assert max(waits) <= 120 + 4 + 10
    assert max(waits) > 60, "the hot model was never in anybody's way: this test would prove nothing"


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    planner=st.sampled_from([ExclusivePlanner(), NeighboursPlanner(), LruPlanner(2), OneWayPlanner()]),
    max_wait=st.sampled_from([0.5, 10.0, 60.0]),
    residency=st.sampled_from([0.0, 8.0]),
    times=st.sampled_from([(0.0, 0.0), (5.0, 1.0), (1.0, 6.0)]),
    models=st.integers(2, 5),
)
@pytest.mark.rule("G26", "G27")
def test_every_wait_is_bounded_by_the_turns_of_those_who_are_overdue_for_longer(
    seed: int,
    planner: SwapPlanner,
    max_wait: float,
    residency: float,
    times: tuple[float, float],
    models: int,
) -> None:
    """The bound is ``max_wait``, then one drain and one swap for each model whose callers are first.

    Whoever is overdue the longest waits for what is under way, and then for nothing but its own swap.
    """
    random, longest_hold, swap = Random(seed), 12.0, sum(times)
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS[:models]],
        planner,
        SchedulingPolicy(max_wait=max_wait, min_residency=residency),
        load_seconds=times[0],
        stop_seconds=times[1],
    )
    when, hot = 0.0, random.sample(MODELS[:models], random.choice([1, models - 1]))
    for _ in range(300):
        when += random.expovariate(1)
        simulation.call_at(
            when,
            random.choice(hot if random.random() < 0.9 else MODELS[:models]),
            hold=random.choice([3.0, longest_hold]),
            patience=random.choice([inf, inf, 2.0, 30.0]),
            priority=random.choice([0, 0, 0, 5]),
        )
    simulation.play()
    simulation.assert_at_rest()
    turn = longest_hold + swap
    for caller in simulation.finished:
        if caller.granted_at is not None:
            assert caller.granted_at - caller.asked_at <= max_wait + turn * models + turn


def test_an_overdue_caller_is_not_overtaken_by_a_third_model_in_its_way() -> None:
    """b needs both a and c gone; while it waits for a, nobody may start c."""
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS],
        NeighboursPlanner(),
        SchedulingPolicy(max_wait=20),
        load_seconds=1,
        stop_seconds=1,
    )
    simulation.call_at(0, MODELS[0], hold=50)
    waiting = simulation.call_at(1, MODELS[1], hold=1)
    late = simulation.call_at(30, MODELS[2], hold=100)
    elsewhere = simulation.call_at(31, MODELS[4], hold=1)
    simulation.play()
    assert waiting.granted_at == pytest.approx(1 + 50 + 1 + 1)
    assert late.granted_at is not None
    assert waiting.granted_at is not None
    assert late.granted_at > waiting.granted_at
    assert elsewhere.granted_at == pytest.approx(32)


def test_a_thousand_waiting_models_are_served_in_turn() -> None:
    models = [ModelId(f"m{n:04}") for n in range(1000)]
    simulation = Simulation(
        [ModelSpec(m) for m in models], ExclusivePlanner(), load_seconds=0.1, stop_seconds=0
    )
    for n in range(5000):
        simulation.call_at(0, models[n * 7 % 1000], hold=0.1)
    simulation.play()
    simulation.assert_at_rest()
    assert sum(caller.granted_at is not None for caller in simulation.finished) == 5000
