"""Targets of the kind "never, in so many histories": played with the scheduler's simulation."""

from __future__ import annotations

from functools import partial
from math import inf
from random import Random

import attrs
import pytest
from scheduler_simulation import ASKED_FOR, Simulation, random_traffic

from swapcore import (
    ExclusivePlanner,
    ModelId,
    ModelSpec,
    ProcState,
    RestartPolicy,
    RestartWhen,
    SchedulingPolicy,
)
from swapcore.planners import Group, GroupsPlanner, LruPlanner

A, B, C, D = MODELS = [ModelId(name) for name in "abcd"]


ALWAYS = RestartPolicy(when=RestartWhen.ALWAYS)


def _crash(random: Random, run: object) -> float:
    return random.choice([inf, inf, 1.0, 9.0])


@pytest.mark.rule("L79", "L101")
def test_g01_no_two_models_meet_that_may_not_and_none_starts_for_nobody() -> None:
    """1 000 histories of requests, unloads, departures and crashes; the simulation checks every launch."""
    for seed in range(1000):
        random = Random(seed)
        groups = GroupsPlanner({"p": Group((A, B)), "q": Group((C, D), swap=False)})
        simulation = Simulation(
            [ModelSpec(model, ttl=random.choice([None, 5.0])) for model in MODELS],
            random.choice([ExclusivePlanner(), LruPlanner(2), groups]),
            SchedulingPolicy(max_wait=random.choice([5.0, 120.0])),
            load_seconds=random.choice([0.0, 3.0]),
            stop_seconds=random.choice([0.0, 2.0]),
            crash_after=partial(_crash, random),
        )
        random_traffic(simulation, random, calls=12, span=random.choice([1.0, 20.0]))
        for _ in range(4):
            simulation.unload_at(random.uniform(0, 20), random.choice(MODELS), random.random() < 0.2)
        try:
            simulation.play()
            simulation.assert_at_rest()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("seed", range(10))
def test_g02_the_end_of_an_unloaded_start_is_never_taken_for_the_end_of_a_fresh_one(seed: int) -> None:
    """Ask, unload, ask again, 10 000 times in all; the unload comes anywhere in the first process's life."""
    random = Random(seed)
    simulation = Simulation([ModelSpec(A), ModelSpec(B)], ExclusivePlanner(), load_seconds=5, stop_seconds=2)
    fresh = []
    for n in range(1000):
        at, model = 60.0 * n, MODELS[n % 2]  # the other one is evicted first
        simulation.call_at(at, model, hold=2)
        unload = at + random.choice([0.0, 1.0, 2.0, 7.0, 9.0, random.uniform(0, 10)])
        simulation.unload_at(unload, model, drain=False)
        fresh.append(simulation.call_at(unload + random.choice([0.0, 0.0, 1.0, 2.0]), model, hold=2))
    simulation.play()
    simulation.assert_at_rest()
    assert [caller.error for caller in fresh if caller.error is not None] == []
    assert max((caller.granted_at or inf) - caller.asked_at for caller in fresh) <= 2 + 2 + 5


@pytest.mark.parametrize("seed", range(10))
def test_g09_no_request_ever_fails_because_of_a_ttl_and_no_process_outlives_it(seed: int) -> None:
    """100 000 arrivals in all, around the moment at which the process has been idle for too long."""
    random, ttl = Random(seed), 3.0
    specs = [ModelSpec(model, ttl=ttl) for model in (A, B)]
    simulation = Simulation(specs, LruPlanner(2), load_seconds=2, stop_seconds=1)
    at, callers = 0.0, []
    for _ in range(10_000):
        at += random.choice([0.0, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0, random.uniform(2.9, 3.1), 4.0, 7.0])
        callers.append(simulation.call_at(at, random.choice((A, B)), hold=random.choice([0.0, 0.0, 1.0])))
    simulation.play()
    simulation.assert_at_rest()
    assert [caller.error for caller in callers if caller.error is not None] == []
    # The worst: it has just begun to stop.
    assert max((caller.granted_at or inf) - caller.asked_at for caller in callers) == pytest.approx(1 + 2)
    assert simulation.now <= at + (1 + 2) + 1 + ttl + 1
    assert all(simulation.scheduler.fleet.slots[model].state is ProcState.STOPPED for model in (A, B))


@attrs.define(eq=False)
class Ending(Simulation):
    """A simulation that is shut down in the middle of its traffic."""

    def shut_down(self) -> None:
        self._apply(self.scheduler.on_shutdown(self.now))


@pytest.mark.rule("L92")
def test_g15_nothing_is_started_once_the_shutdown_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_simulation.ASKED_FOR", (*ASKED_FOR, "shutdown"))
    started = 0
    for seed in range(1000):
        random = Random(seed)
        simulation = Ending(
            [ModelSpec(model, ttl=5, restart=ALWAYS) for model in MODELS],
            random.choice([ExclusivePlanner(), LruPlanner(2)]),
            load_seconds=3,
            stop_seconds=2,
            crash_after=partial(_crash, random),
            check_fails=random.choice([None, lambda check: False]),
        )
        random_traffic(simulation, random, calls=15, span=30)
        simulation.play(until=random.uniform(0, 40))
        before = simulation.launches
        started += before
        simulation.shut_down()
        simulation.play()
        assert simulation.launches == before, f"seed {seed}"
        assert simulation.scheduler.is_finished, f"seed {seed}"
        assert not simulation.callers, f"seed {seed}: nobody is left without an answer"
    assert started > 1000
