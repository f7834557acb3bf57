"""What a decision costs: of a matrix with few and many combinations, and of each planner with a long line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from table import Row

sys.path.insert(0, str(Path(__file__).parents[1]))
from scheduler_simulation import Simulation

from swapcore import ExclusivePlanner, FleetView, ModelId, ModelSpec, ModelView, ProcState, SwapPlanner
from swapcore.planners import AllOf, AnyOf, Group, GroupsPlanner, LruPlanner, MatrixPlanner, Model

ROUNDS = 7
LINE = 1_000


def _microseconds(decide: Callable[[], object], calls: int) -> float:
    """The quickest of several rounds: what else the machine does only adds."""
    rounds = list[float]()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(calls):
            decide()
        rounds.append((time.perf_counter() - started) / calls)
    return min(rounds) * 1e6


def _matrix_decision(columns: int, rows: int) -> float:
    """Of each of *columns* groups one of *rows* models runs; another one of the first group is asked for."""
    names = [[ModelId(f"{column}-{row}") for row in range(rows)] for column in range(columns)]
    planner = MatrixPlanner({"all": AllOf(tuple(AnyOf(tuple(map(Model, column))) for column in names))})
    running = [column[(rows - 1) // 2] for column in names]
    view = FleetView(
        running=running, models={m: ModelView(m, state=ProcState.READY, idle_for=1.0) for m in running}
    )
    target = names[0][rows - 1]
    assert planner.choose(target, running).evict == (running[0],)
    return _microseconds(lambda: planner.evictions(target, view), 500)


def _milliseconds_per_event(planner: SwapPlanner, models: list[ModelId]) -> float:
    """Play traffic in which callers of all *models* stand in line, for those of two at a time at best."""
    simulation = Simulation([ModelSpec(m) for m in models], planner, load_seconds=1.0, stop_seconds=0.5)
    for n in range(3 * len(models)):
        simulation.call_at(n * 1e-6, models[n * 7 % len(models)], hold=0.25)
    simulation.play(until=1)
    before, started = simulation.events, time.process_time()
    simulation.play(until=110)  # nobody is overdue yet, then everybody is
    simulation.play(until=150)
    return (time.process_time() - started) / (simulation.events - before) * 1e3


def measure() -> list[Row]:
    rows = [
        Row(
            what=f"matrix: one decision, 10^{columns} combinations",
            value=_matrix_decision(columns, 10),
            unit="us",
            at_most=100,
        )
        for columns in range(2, 7)
    ]
    rows.append(
        Row(what="matrix: one decision, 70 of 140 models run", value=_matrix_decision(70, 2), unit="us")
    )
    models = [ModelId(f"m{n:04}") for n in range(LINE)]
    alone = AnyOf(tuple(map(Model, models[1:])))
    planners: dict[str, SwapPlanner] = {
        "exclusive": ExclusivePlanner(),
        "groups": GroupsPlanner({"side": Group(models[:1], exclusive=False, persistent=True)}),
        "matrix": MatrixPlanner({"any": Model(models[0]) & alone}),
        "lru": LruPlanner(2, pinned=models[:1]),
    }
    return rows + [
        Row(
            what=f"{name} planner: an event with {LINE:,} models in line",
            value=_milliseconds_per_event(planner, models),
            unit="ms",
            at_most=5,
        )
        for name, planner in planners.items()
    ]
