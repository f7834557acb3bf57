"""What agents ask of models, generated: who calls what, for how long, and what it does between two calls.

An agent makes its next call only when the one before has been answered and it has thought about it, so
whoever is served late also asks late. For tests and for the benchmark of the order of service.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random

import attrs
from scheduler_simulation import Caller, Simulation

from swapcore import ExclusivePlanner, ModelId, ModelSpec, SchedulingPolicy


@attrs.frozen
class Call:
    """One request: what its agent does before it, seconds, and how long the answer takes."""

    think: float
    model: ModelId
    hold: float


@attrs.frozen
class Trace:
    """A script for each agent, and how long its models take to load."""

    name: str
    load_seconds: Mapping[ModelId, float]
    stop_seconds: float
    agents: Sequence[Sequence[Call]]

    @property
    def longest_turn(self) -> float:
        """The longest request that others may have to wait for, and the longest swap after it."""
        longest_hold = max(call.hold for script in self.agents for call in script)
        return longest_hold + self.stop_seconds + max(self.load_seconds.values())


def _models(prefix: str, *load_seconds: int) -> dict[ModelId, float]:
    return {ModelId(f"{prefix}{seconds}"): float(seconds) for seconds in load_seconds}


def a_team(seed: int, agents: int = 8, tasks: int = 5, pause: float = 600) -> Trace:
    """Agents that plan with a big model, work in steps with a middling one, and ask small ones in between."""
    random = Random(seed)
    planners, workers, small = _models("plan", 40, 30), _models("work", 20, 15, 10), _models("small", 6, 4, 2)

    def script() -> list[Call]:
        calls, planner, worker = list[Call](), random.choice([*planners]), random.choice([*workers])
        for _ in range(tasks):
            calls.append(Call(random.expovariate(1 / pause), planner, random.uniform(3, 12)))
            for _ in range(random.randint(4, 20)):
                calls.append(Call(random.uniform(0.5, 5), worker, random.uniform(1, 6)))
                if random.random() < 0.2:
                    calls.append(
                        Call(random.uniform(0.1, 1), random.choice([*small]), random.uniform(0.1, 2))
                    )
        return calls

    return Trace("a team", planners | workers | small, 1.0, [script() for _ in range(agents)])


def each_its_own(seed: int, sessions: int = 8, pause: float = 400) -> Trace:
    """Agents that stay with one model each: sessions of many short calls, then a pause of minutes."""
    random = Random(seed)
    loads = _models("own", 3, 5, 8, 12, 20, 30)

    def script(model: ModelId) -> list[Call]:
        calls = list[Call]()
        for _ in range(sessions):
            calls.append(Call(random.expovariate(1 / pause), model, random.uniform(1, 8)))
            calls += [
                Call(random.uniform(0.5, 6), model, random.uniform(1, 8))
                for _ in range(random.randint(3, 14))
            ]
        return calls

    return Trace("each its own", loads, 1.0, [script(model) for model in loads])


def bursts(seed: int, starts: int = 75, people: int = 6) -> Trace:
    """Jobs that put many questions to one model at once, beside people who ask one at a time."""
    random = Random(seed)
    loads = _models("m", 2, 3, 5, 7, 10, 15, 20, 25, 30, 40)
    models = list(loads)
    scripts = list[list[Call]]()
    for begin in [random.uniform(0, 3600) for _ in range(starts)]:
        model = random.choice(models)
        for _ in range(random.randint(4, 20)):
            scripts.append([Call(begin + random.uniform(0, 3), model, random.uniform(0.5, 4))])
    for _ in range(people):
        scripts.append(
            [
                Call(random.expovariate(1 / 120), random.choice(models), random.uniform(1, 10))
                for _ in range(25)
            ]
        )
    return Trace("bursts", loads, 1.0, scripts)


TRACES: Sequence[Callable[[int], Trace]] = (a_team, each_its_own, bursts)


def play(trace: Trace, policy: SchedulingPolicy) -> list[Caller]:
    """Play *trace* against the scheduler, one model at a time; return the callers, all served."""
    simulation = Simulation(
        [ModelSpec(model) for model in trace.load_seconds],
        ExclusivePlanner(),
        policy,
        load_seconds=trace.load_seconds,
        stop_seconds=trace.stop_seconds,
    )

    def ask(script: Sequence[Call], at: int) -> None:
        if at < len(script):
            call = script[at]
            simulation.call_at(
                simulation.now + call.think, call.model, hold=call.hold, then=partial(ask, script, at + 1)
            )

    for script in trace.agents:
        ask(script, 0)
    simulation.play()
    simulation.assert_at_rest()
    return simulation.finished


def waits_of(callers: Sequence[Caller]) -> list[float]:
    return [caller.granted_at - caller.asked_at for caller in callers if caller.granted_at is not None]


def waits_in_strict_order(trace: Trace) -> list[float]:
    """How long each call waits if nobody is served before somebody who asked earlier, loaded or not."""
    waits = list[float]()
    agenda = [(script[0].think, n, script, 0) for n, script in enumerate(trace.agents)]
    heapq.heapify(agenda)
    model: ModelId | None = None
    granted = ready = ended = 0.0
    while agenda:
        asked, n, script, at = heapq.heappop(agenda)
        call = script[at]
        if call.model != model:
            stop = 0.0 if model is None else trace.stop_seconds
            ready = max(asked, granted, ended) + stop + trace.load_seconds[call.model]
            model = call.model
        granted = max(asked, granted, ready)
        ended = max(ended, granted + call.hold)
        waits.append(granted - asked)
        if at + 1 < len(script):
            heapq.heappush(agenda, (granted + call.hold + script[at + 1].think, n, script, at + 1))
    return waits
