"""A fleet in fast motion around the real scheduler: no trio, no processes, one heap of things to come.

For property tests and for the benchmark. After every event it checks what must
always hold, so any history it plays is a test.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from random import Random

import attrs

from swapcore import (
    Endpoint,
    FleetView,
    Hung,
    ModelId,
    ModelSpec,
    ProcState,
    SchedulingPolicy,
    StartFailed,
    StillAlive,
    SwapPlanner,
)
from swapcore._effects import Announce, Check, Effect, Grant, Launch, Prefetch, Reject, Run, Stop, Ticket
from swapcore._scheduler import Scheduler
from swapcore._states import BecameReady, Exited

ASKED_FOR = ("unload", "no longer configured", "its configuration changed")
ENDPOINT = Endpoint("http://127.0.0.1:1")


@attrs.define(eq=False)
class Caller:
    """One request: how long it holds its lease, and when it loses patience (counted from its arrival)."""

    ticket: Ticket
    hold: float
    asked_at: float
    left: bool = False
    granted_at: float | None = None
    error: Exception | None = None
    then: Callable[[], None] | None = None
    """What it does next."""


@attrs.define(eq=False)
class Simulation:
    """Plays calls against a scheduler, with processes that load and stop in a given time."""

    specs: Sequence[ModelSpec]
    planner: SwapPlanner
    policy: SchedulingPolicy = attrs.field(factory=SchedulingPolicy)
    load_seconds: float | Mapping[ModelId, float] = 5.0
    """Of all models, or of each."""
    stop_seconds: float = 1.0
    crash_after: Callable[[Run], float] = lambda run: inf
    """When a run ends by itself, counted from its launch."""
    survives_for: Callable[[Run], float] = lambda run: 0.0
    """How long a run stays after it was killed."""
    hang_after: Callable[[Run], float] = lambda run: inf
    """When a run is found to hang, counted from when it is ready."""
    check_fails: Callable[[Check], bool] | None = None
    """What a launcher's check finds; ``None``: the launcher has none."""
    cuts: bool = False
    """Leases may be cut for an overdue caller."""
    now: float = 0.0
    events: int = 0
    callers: dict[Ticket, Caller] = attrs.field(factory=dict[Ticket, Caller])
    finished: list[Caller] = attrs.field(factory=list[Caller])
    scheduler: Scheduler = attrs.field(init=False)
    _agenda: list[tuple[float, int, Callable[[], Sequence[Effect]]]] = attrs.field(factory=list, init=False)
    _sequence: int = attrs.field(default=0, init=False)
    launches: int = attrs.field(default=0, init=False)
    _alive: dict[Run, None] = attrs.field(factory=dict[Run, None], init=False)

    def __attrs_post_init__(self) -> None:
        self.scheduler = Scheduler.for_specs(
            {s.id: s for s in self.specs}, self.planner, self.policy, checks=self.check_fails is not None
        )

    # -- what callers do ---------------------------------------------------------

    def call_at(
        self,
        when: float,
        model: ModelId,
        *,
        hold: float,
        patience: float = inf,
        priority: int = 0,
        then: Callable[[], None] | None = None,
    ) -> Caller:
        caller = Caller(Ticket(model, priority), hold, when, then=then)

        def arrive() -> Sequence[Effect]:
            self.callers[caller.ticket] = caller
            if patience < inf:
                self._at(self.now + patience, partial(self._leave, caller))
            return self.scheduler.on_request(caller.ticket, self.now)

        self._at(when, arrive)
        return caller

    def unload_at(self, when: float, model: ModelId, drain: bool) -> None:
        self._at(when, lambda: self.scheduler.on_unload([model], drain, self.now))

    def pin_at(self, when: float, model: ModelId, pinned: bool) -> None:
        self._at(when, lambda: self.scheduler.on_pin(model, pinned, self.now))

    def reconfigure_at(self, when: float, specs: Sequence[ModelSpec], drain_limit: float) -> None:
        self._at(when, partial(self._reconfigure, specs, drain_limit))

    def _reconfigure(self, specs: Sequence[ModelSpec], drain_limit: float) -> Sequence[Effect]:
        self.specs = specs
        by_id = {spec.id: spec for spec in specs}
        return self.scheduler.on_reconfigure(by_id, self.planner, None, drain_limit, self.now)

    def replan_at(self, when: float, planner: SwapPlanner) -> None:
        def replan() -> Sequence[Effect]:
            self.planner = planner
            return self._reconfigure(self.specs, inf)

        self._at(when, replan)

    def play(self, until: float = inf) -> None:
        """Let happen what is to come, in order, with the scheduler's own deadlines between."""
        while True:
            due = self._agenda[0][0] if self._agenda else inf
            tick = self.scheduler.next_deadline()
            if min(due, tick) > until or min(due, tick) == inf:
                return
            if tick <= due:
                self.now = max(self.now, tick)
                self._apply(self.scheduler.on_tick(self.now))
            else:
                when, _, happen = heapq.heappop(self._agenda)
                self.now = max(self.now, when)
                self._apply(happen())

    # -- what processes do -------------------------------------------------------

    def _load_seconds_of(self, model: ModelId) -> float:
        return self.load_seconds[model] if isinstance(self.load_seconds, Mapping) else self.load_seconds

    def _apply(self, effects: Sequence[Effect]) -> None:
        self.events += 1
        for effect in effects:
            match effect:
                case Launch(run):
                    self._check_launch(run)
                    self._alive[run] = None
                    self.launches += 1
                    self._at(self.now + self._load_seconds_of(run.model), partial(self._ready, run))
                    if (life := self.crash_after(run)) < inf:
                        crash = RuntimeError("crashed")
                        self._at(self.now + life, partial(self._end_of_life, run, crash))
                case Stop(run, _, reason):
                    went_wrong = run.survived or run.failure
                    cut = self.cuts and reason.endswith("has waited too long")
                    assert reason in ASKED_FOR or run.leases == 0 or went_wrong or cut, (
                        f"{run.model} is stopped while in use: {reason}"
                    )
                    if run.survived is None:
                        self._at(self.now + self.stop_seconds, partial(self._stopped, run))
                case Check():
                    self._at(self.now + 0.001, partial(self._checked, effect))
                case Announce():
                    pass
                case Prefetch(spec):
                    assert self.scheduler.fleet.swaps[spec.id].leaving, "there is no time to use"
                case Grant(ticket, _):
                    caller = self.callers[ticket]
                    caller.granted_at = self.now
                    assert not caller.left, "granted after it left"
                    self._at(self.now + caller.hold, partial(self._leave, caller))
                case Reject(ticket, error):
                    caller = self.callers[ticket]
                    caller.error = error
                    self._at(self.now, partial(self._leave, caller))

    def _checked(self, check: Check) -> Sequence[Effect]:
        failed = self.check_fails is not None and self.check_fails(check)
        error = StartFailed(check.spec.id, "no such file") if failed else None
        return self.scheduler.on_checked(check, error, self.now)

    def _ready(self, run: Run) -> Sequence[Effect]:
        if run not in self._alive or run.survived is not None:
            return ()
        if (patience := self.hang_after(run)) < inf:
            self._at(self.now + patience, partial(self._hung, run))
        return self.scheduler.on_process(run, BecameReady(ENDPOINT), self.now)

    def _stopped(self, run: Run) -> Sequence[Effect]:
        return self._end_of_life(run, None)

    def _end_of_life(self, run: Run, error: Exception | None) -> Sequence[Effect]:
        """It ends, or was to: then nothing changes before it does."""
        if run not in self._alive or run.survived is not None:
            return ()
        if (stays := self.survives_for(run)) <= 0:
            return self._end(run, error)
        survived = StillAlive(run.model, "it is in the kernel", _nobody_waits)
        self._at(self.now + stays, partial(self._end, run, survived))
        return self.scheduler.on_survived(run, survived, self.now)

    def _hung(self, run: Run) -> Sequence[Effect]:
        return self.scheduler.on_hung(run, Hung(run.model, "silent"), self.now)

    def _end(self, run: Run, error: Exception | None) -> Sequence[Effect]:
        if run not in self._alive:
            return ()
        del self._alive[run]
        return self.scheduler.on_process(run, Exited(error), self.now)

    def _leave(self, caller: Caller) -> Sequence[Effect]:
        if caller.left or caller.ticket not in self.callers:
            return ()
        caller.left = True
        del self.callers[caller.ticket]
        self.finished.append(caller)
        if caller.then is not None:
            caller.then()
        return self.scheduler.on_release(caller.ticket, self.now)

    # -- what must always hold ---------------------------------------------------

    def _check_launch(self, run: Run) -> None:
        assert self.scheduler.fleet.queue.count(run.model) > 0, f"{run.model} is started for nobody"
        occupied = [other.model for other in self._alive]
        assert run.model not in occupied, f"{run.model} is started twice"
        plan = self.planner.evictions(run.model, FleetView(running=[*occupied, run.model]))
        assert not set(getattr(plan, "evict", ())) & set(occupied), f"{run.model} beside {occupied}"

    def assert_at_rest(self) -> None:
        """Nobody waits, nobody holds anything, and every count is zero."""
        assert not self.callers
        for spec in self.specs:
            assert self.scheduler.fleet.slots[spec.id].leases == 0
            assert self.scheduler.fleet.queue.count(spec.id) == 0
            assert self.scheduler.fleet.slots[spec.id].state in (ProcState.READY, ProcState.STOPPED)

    def _at(self, when: float, happen: Callable[[], Sequence[Effect]]) -> None:
        self._sequence += 1
        heapq.heappush(self._agenda, (when, self._sequence, happen))


async def _nobody_waits() -> None:
    raise AssertionError("there are no tasks here")


def random_traffic(simulation: Simulation, random: Random, calls: int, span: float) -> None:
    """Script *calls* requests over *span* seconds: bursts, all kinds of holds, impatience, unloads."""
    original = list(simulation.specs)
    models = [spec.id for spec in original]
    when = 0.0
    for _ in range(calls):
        if random.random() < 0.6:
            when += random.expovariate(calls / span)
        simulation.call_at(
            when,
            random.choice(models),
            hold=random.choice([0.0, 0.5, 3.0, 12.0]),
            patience=random.choice([inf, inf, inf, 0.0, 2.0, 20.0]),
            priority=random.choice([0, 0, 0, 1, 5]),
        )
        later = when + random.random() * 5
        match random.randrange(60):
            case 0:
                simulation.unload_at(later, random.choice(models), random.random() < 0.5)
            case 1:
                model = random.choice(models)
                simulation.pin_at(later, model, True)
                simulation.pin_at(later + random.random() * 20, model, False)
            case 2:
                simulation.reconfigure_at(
                    later, [_changed(s, random) for s in original], random.choice([inf, 4.0])
                )
            case 3:  # and one goes, for a while
                gone = random.choice(models)
                simulation.reconfigure_at(
                    later, [s for s in original if s.id != gone], random.choice([inf, 0.0])
                )
                simulation.reconfigure_at(later + random.random() * 20, original, 1.0)
            case _:
                pass
    simulation.reconfigure_at(when + 60, original, inf)


def _changed(spec: ModelSpec, random: Random) -> ModelSpec:
    return attrs.evolve(spec, command=("v", str(random.randrange(2))), ttl=random.choice([None, 3.0]))
