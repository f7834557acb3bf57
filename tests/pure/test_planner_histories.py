"""Each planner through long random histories of the real scheduler, with every caller's fate checked."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from scheduler_simulation import Simulation, random_traffic

from swapcore import (
    BackingOff,
    FleetView,
    ModelId,
    ModelSpec,
    Pinned,
    ProcState,
    Refusal,
    SchedulingPolicy,
    StartFailed,
    SwapPlan,
    SwapPlanner,
    UnknownModel,
    Unloaded,
)
from swapcore._effects import Run
from swapcore.planners import Group, GroupsPlanner, LruPlanner, MatrixPlanner, Model

A, B, C, D, E, F, G = MODELS = [ModelId(name) for name in "abcdefg"]
a, b, c, d, e, f = (Model(model) for model in MODELS[:6])

PLANNERS: dict[str, SwapPlanner] = {
    "one group": GroupsPlanner({}),
    "groups": GroupsPlanner(
        {
            "chat": Group((A, B)),
            "side": Group((C, D), swap=False, exclusive=False),
            "embed": Group((E,), swap=False, exclusive=False, persistent=True),
        }
    ),
    "exclusive groups": GroupsPlanner({"left": Group((A, B, C), swap=False), "right": Group((D, E))}),
    # g is in no set.
    "matrix": MatrixPlanner({"pair": (a | b) & (c | d), "trio": b & e & f, "alone": d | f}, {C: 5, E: 2}),
    "any two": MatrixPlanner({"two": (a | b | c | d | e) & (a | b | c | d | e)}),
    "three places": LruPlanner(3),
    "two places, one pinned": LruPlanner(2, pinned=[A]),
    "one place": LruPlanner(1),
}


@attrs.define(eq=False)
class OneWaySimulation(Simulation):
    """For groups that are not exclusive: their models may join one that would have excluded them.

    That one may still be about to be launched; what counts is the order of the decisions.
    """

    def _check_launch(self, run: Run) -> None:
        assert self.scheduler.fleet.queue.count(run.model) > 0
        occupied = [other.model for other in self._alive]
        assert run.model not in occupied
        for other in occupied:
            pair = FleetView(running=[other, run.model])
            excludes = self.planner.evictions(run.model, pair), self.planner.evictions(other, pair)
            assert SwapPlan() in [attrs.evolve(plan, reason="") for plan in excludes], (
                f"{run.model} beside {other}"
            )


@attrs.frozen
class NamingTheRest(SwapPlanner):
    """Whom the planner passed over is named all the same, after the others."""

    planner: SwapPlanner

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        return self.planner.evictions(target, view)

    def choose_next(self, view: FleetView) -> ModelId | None:
        answer = self.planner.choose_next(view)
        return answer if answer is not None else super().choose_next(view)


@attrs.define
class Counting(SwapPlanner):
    """Counts what another planner is asked."""

    planner: SwapPlanner
    questions: int = 0

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        self.questions += 1
        return self.planner.evictions(target, view)

    def choose_next(self, view: FleetView) -> ModelId | None:
        return self.planner.choose_next(view)


@attrs.frozen
class Fleet:
    """What a history is played with."""

    seed: int
    max_wait: float
    residency: float
    leeway: float
    times: tuple[float, float]
    crashing: bool

    def simulate(self, planner: SwapPlanner) -> Simulation:
        random = Random(self.seed)
        lives = {model: Random(self.seed + at) for at, model in enumerate("ab")} if self.crashing else {}

        def crash_after(run: Run) -> float:
            return lives[run.model].choice([inf, 0.0, 3.0, 30.0]) if run.model in lives else inf

        one_way = PLANNERS["groups"] in (planner, getattr(planner, "planner", None))
        return (OneWaySimulation if one_way else Simulation)(
            [ModelSpec(model, concurrency=random.choice([None, 1, 2])) for model in MODELS],
            planner,
            SchedulingPolicy(max_wait=self.max_wait, leeway=self.leeway, min_residency=self.residency),
            load_seconds=self.times[0],
            stop_seconds=self.times[1],
            crash_after=crash_after,
        )


FLEETS = st.builds(
    Fleet,
    seed=st.integers(0, 2**32),
    max_wait=st.sampled_from([3.0, 10.0, 120.0, inf]),
    residency=st.sampled_from([0.0, 8.0]),
    leeway=st.sampled_from([0.0, 60.0]),
    times=st.sampled_from([(0.0, 0.0), (5.0, 1.0), (1.0, 6.0)]),
    crashing=st.booleans(),
)


def state(simulation: Simulation, model: ModelId) -> ProcState:
    return simulation.scheduler.fleet.slots[model].state


@pytest.mark.parametrize("planner", PLANNERS.values(), ids=PLANNERS)
@settings(max_examples=12)
@given(fleet=FLEETS)
def test_everybody_is_answered_and_nothing_runs_beside_what_it_excludes(
    planner: SwapPlanner, fleet: Fleet
) -> None:
    simulation, random = fleet.simulate(planner), Random(fleet.seed)
    random_traffic(simulation, random, calls=150, span=random.choice([50.0, 400.0]))
    simulation.play(until=10_000)  # checks every launch
    simulation.assert_at_rest()
    assert len(simulation.finished) == 150
    for caller in simulation.finished:
        match caller.error:
            case None | Unloaded() | StartFailed() | BackingOff() | Pinned() | UnknownModel():
                pass
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize("planner", PLANNERS.values(), ids=PLANNERS)
@settings(max_examples=12)
@given(fleet=FLEETS)
def test_whom_a_planner_passes_over_could_not_have_got_in(planner: SwapPlanner, fleet: Fleet) -> None:
    # Where a model may stay for a while, naming another in vain also sets an alarm, at which models may be
    # closed; and for how long it stays depends on who was named.
    fleet = attrs.evolve(fleet, residency=0.0, leeway=0.0)

    def fates(planner: SwapPlanner) -> Sequence[tuple[object, ...]]:
        simulation, random = fleet.simulate(planner), Random(fleet.seed)
        when, span = 0.0, random.choice([50.0, 400.0])
        for _ in range(150):
            if random.random() < 0.6:
                when += random.expovariate(150 / span)
            simulation.call_at(
                when,
                random.choice(MODELS),
                hold=random.choice([0.0, 0.5, 3.0, 12.0]),
                patience=random.choice([inf, inf, inf, 0.0, 2.0, 20.0]),
                priority=random.choice([0, 0, 0, 1, 5]),
            )
            if random.random() < 0.02:
                simulation.unload_at(when + random.random() * 5, random.choice(MODELS), random.random() < 0.5)
        simulation.play(until=10_000)
        simulation.assert_at_rest()
        return sorted(
            (caller.asked_at, caller.ticket.sequence, caller.granted_at or inf, str(caller.error))
            for caller in simulation.finished
        )

    assert fates(planner) == fates(NamingTheRest(planner))


@pytest.mark.parametrize(
    ("planner", "hot"),
    [
        (GroupsPlanner({"right": Group((B, C))}), [A]),
        (MatrixPlanner({"s": a & (b | c), "t": d}), [A, B]),
        (LruPlanner(2), [A, B]),
    ],
    ids=["groups", "matrix", "lru"],
)
def test_the_wait_for_the_places_of_hot_models_is_bounded(planner: SwapPlanner, hot: list[ModelId]) -> None:
    """Two requests a second of 4 s for each hot model, one a minute for a cold one, 10 s a swap, an hour."""
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS],
        planner,
        SchedulingPolicy(max_wait=120),
        load_seconds=8,
        stop_seconds=2,
    )
    callers = [simulation.call_at(n / 2, model, hold=4) for n in range(7200) for model in hot]
    callers += [simulation.call_at(60.0 * n, D, hold=4) for n in range(60)]
    simulation.play()
    simulation.assert_at_rest()
    waits = [caller.granted_at - caller.asked_at for caller in callers if caller.granted_at is not None]
    assert len(waits) == len(callers)
    assert max(waits) <= 120 + 4 + 10
    assert max(waits) > 60, "the hot models were never in anybody's way: this test would prove nothing"


@pytest.mark.parametrize(
    "planner",
    [
        GroupsPlanner({"embed": Group((ModelId("embed"),), exclusive=False, persistent=True)}),
        MatrixPlanner({"all": Model(ModelId("embed")) & Model(ModelId("m0001"))}),
        LruPlanner(2, pinned=[ModelId("embed")]),
    ],
    ids=["groups", "matrix", "lru"],
)
def test_a_thousand_waiting_models_are_served_in_turn_with_a_few_questions_each(planner: SwapPlanner) -> None:
    """The default order would ask about every one of them after every event."""
    counting = Counting(planner)
    models = [ModelId("embed"), *(ModelId(f"m{n:04}") for n in range(1000))]
    simulation = Simulation([ModelSpec(m) for m in models], counting, load_seconds=0.1, stop_seconds=0)
    for n in range(1500):
        simulation.call_at(0, models[n * 7 % 1001], hold=0.1)
    simulation.play()
    simulation.assert_at_rest()
    assert sum(caller.granted_at is not None for caller in simulation.finished) == 1500
    assert counting.questions < 5 * simulation.events


def test_l108_a_forbidden_pair_that_runs_is_resolved_by_the_next_request() -> None:
    """One way: b may start beside a, but then the next caller of a makes b go."""
    simulation = Simulation(
        [ModelSpec(A), ModelSpec(B)],
        GroupsPlanner({"guest": Group((B,), exclusive=False)}),
        load_seconds=1,
        stop_seconds=1,
    )
    simulation.call_at(0, A, hold=1)
    simulation.call_at(5, B, hold=10)
    simulation.play(until=20)
    assert {state(simulation, model) for model in (A, B)} == {ProcState.READY}
    again = simulation.call_at(30, A, hold=1)
    simulation.play()
    assert again.granted_at == pytest.approx(31), "after b was gone"
    assert state(simulation, A) is ProcState.READY
    assert state(simulation, B) is ProcState.STOPPED


def test_a_model_that_was_loaded_is_used_although_another_still_stops() -> None:
    """Four take turns in two places: whoever is ready must not be stopped unused for the next in line."""
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS],
        LruPlanner(2),
        SchedulingPolicy(max_wait=2),
        load_seconds=2,
        stop_seconds=6,
    )
    callers = [
        simulation.call_at(when, model, hold=hold)
        for when, model, hold in [(0, E, 2), (3, A, 4), (5, D, 2), (5, E, 1), (8, C, 0)]
    ]
    simulation.play(until=400)
    assert all(caller.granted_at is not None for caller in callers)
    simulation.assert_at_rest()


def test_all_places_pinned_is_refused_at_once() -> None:
    simulation = Simulation(
        [ModelSpec(model) for model in MODELS], LruPlanner(2, pinned=[A, B]), load_seconds=1
    )
    for model in (A, B):
        simulation.call_at(0, model, hold=1000)
    refused = [simulation.call_at(10, model, hold=1) for model in (C, D)]
    simulation.play(until=10)
    for caller in refused:
        assert isinstance(caller.error, Pinned)
        assert "all 2 places are held by pinned models: a, b" in str(caller.error)
    simulation.play()
    simulation.assert_at_rest()


def test_pins_that_fill_up_refuse_everybody_who_waits_by_then() -> None:
    simulation = Simulation([ModelSpec(model) for model in MODELS], LruPlanner(1, pinned=[A]), load_seconds=1)
    simulation.call_at(0, B, hold=10)
    pinned = simulation.call_at(1, A, hold=10)
    refused = [simulation.call_at(2, model, hold=1) for model in (C, D, E)]
    simulation.play()
    simulation.assert_at_rest()
    assert pinned.granted_at is not None
    for caller in refused:
        assert isinstance(caller.error, Pinned), caller
