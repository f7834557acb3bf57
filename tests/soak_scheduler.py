"""``make soak``: random histories against the scheduler, for as long as you like; every event is checked.

    python tests/soak_scheduler.py [--minutes 10] [--seed 0]

Each history has its own fleet, policy and planner, drawn from its seed; a
failure names the seed, with which it happens again.
"""

from __future__ import annotations

import argparse
import sys
import time
from math import inf
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from scheduler_simulation import Simulation, random_traffic  # noqa: E402

from swapcore import (  # noqa: E402
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    SchedulingPolicy,
    SwapPlan,
    SwapPlanner,
)

MODELS = [ModelId(name) for name in "abcdef"]
CALLS = 400


class Neighbours(SwapPlanner):
    """A model may run beside those whose letter is further than one away."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan(tuple(m for m in view.running if abs(ord(m) - ord(target)) == 1), "too near")


def play(seed: int) -> Simulation:
    random = Random(seed)
    crashes, hangs, fails = random.choice([0.0, 0.2]), random.choice([0.0, 0.1]), random.choice([0.0, 0.1])
    max_drain = random.choice([inf, inf, 0.0, 2.0])
    survive = random.choice([0.0, 0.0, 0.02])
    load, stop = random.choice([(0.0, 0.0), (5.0, 1.0), (1.0, 6.0)])
    simulation = Simulation(
        [
            ModelSpec(
                model,
                ttl=random.choice([None, 5.0]),
                concurrency=random.choice([None, 1, 2]),
                max_waiting=random.choice([None, None, 20]),
            )
            for model in MODELS
        ],
        random.choice([ExclusivePlanner(), Neighbours()]),
        SchedulingPolicy(
            max_wait=random.choice([10.0, 120.0, inf]),
            leeway=random.choice([0.0, 60.0]),
            min_residency=random.choice([0.0, 8.0]),
            max_drain=max_drain,
        ),
        load_seconds=load,
        stop_seconds=stop,
        cuts=max_drain < inf,
        crash_after=lambda run: random.choice([0.0, 3.0, 30.0]) if random.random() < crashes else inf,
        hang_after=lambda run: random.choice([0.0, 3.0, 30.0]) if random.random() < hangs else inf,
        survives_for=lambda run: 40.0 if random.random() < survive else 0.0,
        check_fails=lambda check: random.random() < fails,
    )
    random_traffic(simulation, random, CALLS, span=random.choice([50.0, 400.0]))
    simulation.play()
    simulation.assert_at_rest()
    assert len(simulation.finished) == CALLS, "somebody was never answered"
    return simulation


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    options = parser.parse_args()
    started, events, served, seed = time.monotonic(), 0, 0, options.seed
    reported = started
    while (now := time.monotonic()) < started + 60 * options.minutes:
        try:
            simulation = play(seed)
        except BaseException:
            print(f"\nseed {seed}:", file=sys.stderr)
            raise
        events += simulation.events
        served += sum(caller.granted_at is not None for caller in simulation.finished)
        seed += 1
        if now > reported + 10:
            reported = now
            print(f"{now - started:5.0f} s  {seed - options.seed} histories, {events:,} events", flush=True)
    histories = seed - options.seed
    callers = histories * CALLS
    print(f"{histories} histories, {events:,} events, {served:,} of {callers:,} callers served, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
