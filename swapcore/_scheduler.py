"""Scheduling as a pure state machine: events and the time in, effects out. No trio, no I/O.

A request for a model that is ready is granted at once; this is what turns the
arrivals A B C A B C into the services A A B B C C. Every other request waits
in the queue. Whenever something changed that could let somebody in, `_settle`
asks the planner who is next and what must go for it, and commits a swap once
everything that must go may go.

A swap stops its evictees, waits until each is confirmed gone, and launches its
target if somebody still waits for it. Committed targets count as running in
every later decision, so nothing is ever started beside what it excludes.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence, Set as AbstractSet
from math import inf

import attrs

from ._effects import Effect, Grant, Launch, Reject, Run, Stop, Ticket
from ._errors import Closed, Overloaded, PlannerFailed, StartFailed, UnknownModel, Unloaded
from ._planner import Refusal, SwapPlan, SwapPlanner
from ._queue import WaitingQueue
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import BecameReady, Exited, ProcEvent, ProcState, StartRequested, StopRequested, next_state
from ._view import FleetView, LazyMapping, LazySequence, ModelView


@attrs.frozen(kw_only=True)
class SchedulingPolicy:
    """Bounds on waiting that hold whatever the planner says. Seconds on the trio clock."""

    max_wait: float = 120.0
    """A caller that waited so long closes the busy models in its way to new callers; ``inf``: never."""
    min_residency: float = 0.0
    """A ready model is not evicted sooner than this, unless a caller is overdue."""


@attrs.define(eq=False)
class _Slot:
    """Everything about one model that changes."""

    spec: ModelSpec
    state: ProcState = ProcState.STOPPED
    run: Run | None = None
    """The current life of its process; ``None`` exactly while the state is stopped."""
    endpoint: Endpoint | None = None
    """Where it answers; set exactly while it is ready."""
    closed_for: ModelId | None = None
    """New callers wait, because an overdue caller of that model needs this one gone."""
    draining: bool = False
    """New callers wait; the process is stopped once the last lease ends."""
    approved_at: int = -1
    """The version of the running set beside which the planner has said it may run."""
    load_seconds: float | None = None
    stop_seconds: float | None = None


@attrs.define(eq=False)
class _Swap:
    """Room being made for one target. Ends when the target is ready, or gives up."""

    target: ModelId
    reason: str
    leaving: set[ModelId]
    """Evictees that are not confirmed gone yet."""


@attrs.define(eq=False)
class Scheduler:
    """Owns every model's state. Each ``on_*`` takes the time and returns what is to be done, in order."""

    _planner: SwapPlanner
    _policy: SchedulingPolicy
    _slots: dict[ModelId, _Slot]
    _queue: WaitingQueue
    # Models that are not stopped, in the order in which they were launched (a dict as an ordered set).
    _occupied: dict[ModelId, None] = attrs.field(factory=dict[ModelId, None], init=False)
    _swaps: dict[ModelId, _Swap] = attrs.field(factory=dict[ModelId, _Swap], init=False)
    _running_version: int = attrs.field(default=0, init=False)
    # One alarm a model, the earliest that it needs; what is due is worked out from the state once it rings.
    _alarms: dict[ModelId, float] = attrs.field(factory=dict[ModelId, float], init=False)
    _alarm_heap: list[tuple[float, ModelId]] = attrs.field(factory=list[tuple[float, ModelId]], init=False)
    _sequence: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _effects: list[Effect] = attrs.field(factory=list[Effect], init=False)

    @classmethod
    def for_specs(
        cls, specs: Mapping[ModelId, ModelSpec], planner: SwapPlanner, policy: SchedulingPolicy
    ) -> Scheduler:
        slots = {model: _Slot(spec) for model, spec in specs.items()}
        return cls(planner, policy, slots, WaitingQueue(policy.max_wait))

    # -- reading ---------------------------------------------------------------

    def state_of(self, model: ModelId) -> ProcState:
        return self._slots[model].state

    def run_of(self, model: ModelId) -> Run | None:
        """The current life of *model*'s process; ``None`` while it is stopped."""
        return self._slots[model].run

    def leases_of(self, model: ModelId) -> int:
        run = self._slots[model].run
        return run.leases if run is not None else 0

    def waiting_for(self, model: ModelId) -> int:
        return self._queue.count(model)

    @property
    def is_finished(self) -> bool:
        """Shut down, and every process is gone."""
        return self._ending and not self._occupied

    def next_deadline(self) -> float:
        """When `on_tick` is wanted next; ``inf`` if never."""
        return min(self._alarm_heap[0][0] if self._alarm_heap else inf, self._queue.next_expiry())

    # -- events ----------------------------------------------------------------

    def on_request(self, ticket: Ticket, now: float) -> Sequence[Effect]:
        """A caller wants *ticket*'s model."""
        self._now = now
        slot = self._slots.get(ticket.model)
        if slot is None:
            self._reject(ticket, UnknownModel(ticket.model))
        elif self._closed:
            self._reject(ticket, Closed())
        else:
            self._admit(ticket, slot)
        return self._take_effects()

    def on_release(self, ticket: Ticket, now: float) -> Sequence[Effect]:
        """The holder left, or gave up waiting. Exactly once for each ticket."""
        self._now = now
        run = ticket.run
        if run is None:
            if self._queue.remove(ticket) and ticket.model not in self._queue:
                self._arm_ttl(self._slots[ticket.model])
                self._settle()  # what was kept from others for this model's sake is free again
        else:
            run.leases -= 1
            slot = self._slots[run.model]
            if slot.run is run and slot.state is ProcState.READY:
                self._serve(slot)
                if run.leases == 0:
                    self._became_idle(slot, run)
        return self._take_effects()

    def on_process(self, run: Run, event: BecameReady | Exited, now: float) -> Sequence[Effect]:
        """The task of *run* reports."""
        self._now = now
        slot = self._slots[run.model]
        assert slot.run is run, "a run reports until it has exited, and the next starts after that"
        before = slot.state
        self._change(slot, event)
        match event:
            case BecameReady(endpoint):
                if slot.state is ProcState.READY:
                    self._became_ready(slot, run, endpoint)
            case Exited(error):
                self._exited(slot, run, before, error)
        return self._take_effects()

    def on_unload(self, models: Sequence[ModelId], drain: bool, now: float) -> Sequence[Effect]:
        """Stop *models* and turn away who waits for them; with *drain*, who uses them may finish."""
        self._now = now
        for model in models:
            slot = self._slots[model]
            self._turn_away(model, Unloaded(model, "it was unloaded"))
            self._drop_swap(model)
            if drain and slot.run is not None and slot.run.leases:
                slot.draining = True
            else:
                self._stop(slot, "unload")
        self._settle()
        return self._take_effects()

    def on_tick(self, now: float) -> Sequence[Effect]:
        """Time has passed; see `next_deadline`."""
        self._now = now
        due = self._queue.expire(now)
        while self._alarm_heap and self._alarm_heap[0][0] <= now:
            when, model = heapq.heappop(self._alarm_heap)
            if self._alarms.get(model) != when:
                continue  # replaced by an earlier one, which has rung
            del self._alarms[model]
            due = True
            if self._idle_deadline(self._slots[model]) <= now:
                self._stop(self._slots[model], "ttl")
            self._arm_ttl(self._slots[model])
        if due:
            self._settle()
        return self._take_effects()

    def on_close(self, now: float) -> Sequence[Effect]:
        """Turn everybody away from now on; leases that are held go on."""
        self._now = now
        self._closed = True
        self._swaps = {model: swap for model, swap in self._swaps.items() if model in self._occupied}
        for ticket in self._queue.all_tickets():
            self._queue.remove(ticket)
            self._reject(ticket, Closed())
        return self._take_effects()

    def on_shutdown(self, now: float) -> Sequence[Effect]:
        """Close, and stop every process."""
        closing = self.on_close(now)
        self._ending = True
        for model in list(self._occupied):
            self._stop(self._slots[model], "shutdown")
        return [*closing, *self._take_effects()]

    # -- one model -------------------------------------------------------------

    def _admit(self, ticket: Ticket, slot: _Slot) -> None:
        ticket.arrived_at = self._now
        ticket.priority += slot.spec.priority
        ticket.sequence = self._sequence = self._sequence + 1
        limit = slot.spec.max_waiting
        newly_wanted = ticket.model not in self._queue
        self._queue.add(ticket)
        self._serve(slot)
        if ticket.run is not None:
            return
        if limit is not None and self._queue.count(ticket.model) > limit:
            self._queue.remove(ticket)
            self._reject(ticket, Overloaded(ticket.model, f"{limit} callers wait for it already"))
        elif newly_wanted or ticket.priority:
            self._settle()

    def _serve(self, slot: _Slot, *, even_if_closed: bool = False) -> None:
        """Grant as many waiting tickets as the model takes right now."""
        model, run, endpoint = slot.spec.id, slot.run, slot.endpoint
        if model not in self._queue or run is None or endpoint is None or slot.draining:
            return
        if slot.closed_for is not None and not even_if_closed:
            return
        if slot.approved_at != self._running_version:
            plan = self._ask_evictions(model)
            if plan is None or plan.evict:
                return  # it is ready beside something that excludes it: `_settle` makes room first
            slot.approved_at = self._running_version
        room = inf if slot.spec.concurrency is None else slot.spec.concurrency - run.leases
        while room > 0 and model in self._queue:
            ticket = self._queue.first(model)
            self._queue.remove(ticket)
            ticket.run = run
            run.leases += 1
            room -= 1
            self._effects.append(Grant(ticket, endpoint))

    def _became_ready(self, slot: _Slot, run: Run, endpoint: Endpoint) -> None:
        slot.endpoint = endpoint
        run.ready_at = run.idle_since = self._now
        slot.load_seconds = _smoothed(slot.load_seconds, self._now - run.launched_at)
        self._swaps.pop(run.model, None)
        # Those who had it loaded are served before anybody, even an overdue caller, may take it away.
        self._serve(slot, even_if_closed=True)
        if run.leases == 0:
            self._became_idle(slot, run)
        else:
            self._settle()

    def _became_idle(self, slot: _Slot, run: Run) -> None:
        run.idle_since = self._now
        if slot.draining:
            self._stop(slot, "unload")
        self._arm_ttl(slot)
        self._settle()

    def _idle_deadline(self, slot: _Slot) -> float:
        run, ttl = slot.run, slot.spec.ttl
        if run is None or ttl is None or slot.state is not ProcState.READY:
            return inf
        if run.leases or slot.spec.id in self._queue:
            return inf
        return run.idle_since + ttl

    def _arm_ttl(self, slot: _Slot) -> None:
        if (deadline := self._idle_deadline(slot)) < inf:
            self._wake_at(deadline, slot.spec.id)

    def _exited(self, slot: _Slot, run: Run, before: ProcState, error: Exception | None) -> None:
        model = run.model
        slot.run = slot.endpoint = slot.closed_for = None
        slot.draining = False
        del self._occupied[model]
        self._running_version += 1
        if before is ProcState.STOPPING:
            slot.stop_seconds = _smoothed(slot.stop_seconds, self._now - run.stop_asked_at)
        elif before is ProcState.STARTING:
            self._swaps.pop(model, None)
            failure = (
                error if isinstance(error, StartFailed) else StartFailed(model, str(error or "ended at once"))
            )
            failure.__cause__ = None if failure is error else error
            self._turn_away(model, failure)
        for swap in list(self._swaps.values()):
            if model in swap.leaving:
                swap.leaving.remove(model)
                self._proceed(swap)
        self._settle()

    def _stop(self, slot: _Slot, reason: str) -> None:
        if slot.state not in (ProcState.STARTING, ProcState.READY):
            return
        assert slot.run is not None
        slot.run.stop_asked_at = self._now
        self._effects.append(Stop(slot.run, slot.endpoint, reason))
        slot.endpoint = slot.closed_for = None
        self._swaps.pop(slot.spec.id, None)
        self._change(slot, StopRequested(reason))

    def _change(self, slot: _Slot, event: ProcEvent) -> None:
        slot.state = next_state(slot.state, event)

    def _turn_away(self, model: ModelId, error: Exception) -> None:
        for ticket in self._queue.tickets(model):
            self._queue.remove(ticket)
            self._reject(ticket, error)

    def _reject(self, ticket: Ticket, error: Exception) -> None:
        self._effects.append(Reject(ticket, error))

    # -- the fleet -------------------------------------------------------------

    def _settle(self) -> None:
        """Let in whom the planner names, one after the other, until it names nobody."""
        if self._closed:
            return
        self._reopen()
        promised = {model for model in self._swaps if model in self._queue}
        held: list[ModelId] = []
        while (target := self._ask_next(promised)) is not None:
            promised.add(target)
            self._make_room(target, promised, held)

    def _reopen(self) -> None:
        """Open what was closed for the sake of callers who are gone, or served, by now."""
        for model in self._occupied:
            slot = self._slots[model]
            if slot.closed_for is not None and not self._queue.is_overdue(slot.closed_for):
                slot.closed_for = None
                self._serve(slot)

    def _make_room(self, target: ModelId, promised: AbstractSet[ModelId], held: list[ModelId]) -> None:
        """Commit a swap to *target* if all in its way may go; *held* collects overdue targets that wait."""
        slot = self._slots[target]
        if slot.state is ProcState.STOPPING:
            return  # once it is gone the question is asked again
        plan = self._ask_evictions(target)
        if plan is None or self._would_delay(target, held):
            return
        overdue = self._queue.is_overdue(target)
        obstacles = [m for m in plan.evict if not self._may_go(m, promised, overdue)]
        if obstacles:
            if overdue:
                held.append(target)
                for model in obstacles:
                    if self._slots[model].closed_for is None:
                        self._slots[model].closed_for = target
            return
        swap = self._swaps[target] = _Swap(target, plan.reason, set())
        if target not in self._occupied:
            self._running_version += 1
        for model in plan.evict:
            self._drop_swap(model)  # an abandoned load gives way
            self._stop(self._slots[model], plan.reason)
            if model in self._occupied:
                swap.leaving.add(model)
        self._proceed(swap)

    def _proceed(self, swap: _Swap) -> None:
        """Launch the target once everything is gone, unless nobody waits for it any more."""
        slot = self._slots[swap.target]
        if swap.leaving:
            return
        if slot.state is ProcState.READY or swap.target not in self._queue:
            self._drop_swap(swap.target)
            self._serve(slot)
            return
        slot.run = Run(swap.target, launched_at=self._now)
        self._occupied[swap.target] = None  # it has counted as running since the swap was committed
        self._change(slot, StartRequested())
        self._effects.append(Launch(slot.run))

    def _drop_swap(self, target: ModelId) -> None:
        if self._swaps.pop(target, None) is not None and target not in self._occupied:
            self._running_version += 1

    def _may_go(self, model: ModelId, promised: AbstractSet[ModelId], overdue: bool) -> bool:
        slot = self._slots[model]
        if model in promised:
            return False  # else two callers would take turns stopping each other's model
        run = slot.run
        if run is None or slot.state is ProcState.STOPPING:
            return True
        if run.leases:
            return False
        if slot.state is ProcState.READY and not overdue:
            resident_until = run.ready_at + self._policy.min_residency
            if resident_until > self._now:
                self._wake_at(resident_until, model)
                return False
        return True

    def _would_delay(self, target: ModelId, held: Sequence[ModelId]) -> bool:
        """Whether *target* would get in the way of an overdue caller that waits for busy models to end."""
        for waiting in held:
            plan = self._ask_evictions(waiting, beside=target)
            if plan is not None and target in plan.evict:
                return True
        return False

    # -- asking the planner ----------------------------------------------------

    def _ask_next(self, promised: AbstractSet[ModelId]) -> ModelId | None:
        view = self._view(None, promised)
        while view.waiting:
            try:
                answer = self._planner.choose_next(view)
                if answer is None or answer in view.waiting:
                    return answer
                reason = f"choose_next named {answer!r}, for which nobody waits"
            except Exception as exc:
                reason = f"choose_next raised {exc!r}"
            self._blame_planner(view.waiting[0], reason)
        return None

    def _ask_evictions(self, target: ModelId, beside: ModelId | None = None) -> SwapPlan | None:
        """Return a plan that can be carried out; ``None``: the target's callers were turned away."""
        view = self._view(target, frozenset(), beside)
        try:
            match self._planner.evictions(target, view):
                case Refusal(reason):
                    self._turn_away(target, PlannerFailed(target, reason))
                    return None
                case plan:
                    nonsense = [m for m in plan.evict if m == target or m not in view.running]
                    if not nonsense:
                        return plan
                    reason = f"evictions named {nonsense[0]!r}, which does not run"
        except Exception as exc:
            reason = f"evictions raised {exc!r}"
        self._blame_planner(target, reason)
        return None

    def _blame_planner(self, target: ModelId, reason: str) -> None:
        self._turn_away(target, PlannerFailed(target, f"{type(self._planner).__name__}.{reason}"))

    def _view(
        self, target: ModelId | None, promised: AbstractSet[ModelId], beside: ModelId | None = None
    ) -> FleetView:
        running = [*self._occupied]
        running += [m for m in self._swaps if m not in self._occupied and m != target]
        if beside is not None and beside not in running:
            running.append(beside)

        def asks(model: ModelId) -> bool:
            return model in self._queue and model not in promised and self._wants_room(model)

        return FleetView(
            running=running,
            waiting=LazySequence(lambda: filter(asks, self._queue.models()), asks),
            overdue=LazySequence(lambda: filter(asks, self._queue.overdue_models()), asks),
            promised=promised,
            models=LazyMapping(self.view_of, self._slots),
            now=self._now,
        )

    def _wants_room(self, model: ModelId) -> bool:
        """Whether those in line for *model* wait for a decision, rather than for a swap or a lease to end."""
        slot = self._slots[model]
        if slot.state is not ProcState.READY:
            return model not in self._swaps
        return (
            model not in self._swaps
            and slot.closed_for is None
            and not slot.draining
            and slot.approved_at != self._running_version
        )

    def view_of(self, model: ModelId) -> ModelView:
        """Return one model as planners see it."""
        slot, run = self._slots[model], self._slots[model].run
        idle = run is not None and slot.state is ProcState.READY and run.leases == 0
        waiting = self._queue.tickets(model)
        return ModelView(
            model,
            state=slot.state,
            leases=run.leases if run is not None else 0,
            waiting=len(waiting),
            oldest_wait=self._now - self._queue.oldest_arrival(model) if waiting else 0.0,
            priority=max((ticket.priority for ticket in waiting), default=0),
            idle_for=self._now - run.idle_since if run is not None and idle else None,
            load_seconds=slot.load_seconds,
            stop_seconds=slot.stop_seconds,
        )

    # -- small things ----------------------------------------------------------

    def _wake_at(self, when: float, model: ModelId) -> None:
        if when < self._alarms.get(model, inf):
            self._alarms[model] = when
            heapq.heappush(self._alarm_heap, (when, model))

    def _take_effects(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects


def _smoothed(before: float | None, sample: float) -> float:
    return sample if before is None else 0.7 * before + 0.3 * sample
