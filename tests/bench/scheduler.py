"""What one event costs the scheduler, with few and with many tickets in line, and few and many models."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from table import Row

sys.path.insert(0, str(Path(__file__).parents[1]))
from scheduler_simulation import Simulation

from swapcore import ExclusivePlanner, ModelId, ModelSpec, SchedulingPolicy

EVENTS = 30_000
ROUNDS = 5


def _seconds_per_event(models: int, tickets: int) -> float:
    """Play traffic in which about *tickets* callers are always in line for *models* models, one at a time.

    Every caller that is done is replaced by a new one, so the line keeps its length.
    """
    names = [ModelId(f"m{n}") for n in range(models)]
    simulation = Simulation(
        [ModelSpec(name) for name in names],
        ExclusivePlanner(),
        SchedulingPolicy(max_wait=1e9),
        load_seconds=1.0,
        stop_seconds=0.5,
    )
    for n in range(tickets):
        simulation.call_at(n * 1e-6, names[n % models], hold=0.25)
    arrivals = 0

    def replace() -> None:
        nonlocal arrivals
        while arrivals < len(simulation.finished):
            simulation.call_at(simulation.now, names[(arrivals * 7919) % models], hold=0.25)
            arrivals += 1

    while simulation.events < tickets + 50:  # until everybody stands in line
        simulation.play(until=simulation.now + 1)
        replace()
    before, started = simulation.events, time.process_time()
    while simulation.events < before + EVENTS:
        simulation.play(until=simulation.now + 1)
        replace()
    return (time.process_time() - started) / (simulation.events - before)


def measure() -> list[Row]:
    few, many, wide = (
        statistics.median(_seconds_per_event(models, tickets) for _ in range(ROUNDS))
        for models, tickets in ((10, 10), (10, 10_000), (1_000, 10_000))
    )
    return [
        Row(what="scheduler: events/s, 10 models, 10 waiting", value=1 / few, unit="/s"),
        Row(what="scheduler: cost of an event, 10,000 waiting / 10 waiting", value=many / few, at_most=1.5),
        Row(what="scheduler: cost of an event, 1,000 models / 10 models", value=wide / many, at_most=1.5),
    ]
