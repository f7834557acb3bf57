"""Scheduling as a pure state machine: events and the time in, effects out. No trio, no I/O.

A request for a model that is ready is granted at once; this is what turns the
arrivals A B C A B C into the services A A B B C C. Every other request waits
in the queue. Whenever something changed that could let somebody in, `_settle`
asks the planner who is next and what must go for it, and commits a swap once
everything that must go may go and the launcher sees no reason why the target
could not be started.

A swap stops its evictees, waits until each is confirmed gone, and launches its
target if somebody still waits for it. Committed targets count as running in
every later decision, so nothing is ever started beside what it excludes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set as AbstractSet
from math import inf

import attrs

from ._alarms import Alarms
from ._asking import PlannerQuestions
from ._effects import Announce, Check, Effect, Grant, Launch, Prefetch, Reject, Run, Stop, Ticket
from ._errors import (
    BackingOff,
    Closed,
    Overloaded,
    PlannerFailed,
    StartFailed,
    StillAlive,
    UnknownModel,
    Unloaded,
)
from ._events import Crashed, Event, LeaseGranted, LeaseRefused, StateChanged, SwapCommitted, SwapEnded
from ._fleet import Fleet
from ._planner import SwapPlan, SwapPlanner
from ._policy import SchedulingPolicy
from ._raised import reason_of
from ._restart import RestartWhen
from ._slot import Closure, Drain, Slot, Swap, smoothed
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import BecameReady, Exited, ProcEvent, ProcState, StartRequested, StopRequested, next_state


@attrs.define(eq=False)
class Scheduler:
    """Owns every model's state. Each ``on_*`` takes the time and returns what is to be done, in order."""

    _planner: PlannerQuestions
    _policy: SchedulingPolicy
    fleet: Fleet
    _checks: bool
    """The launcher can be asked about a model before anything is stopped for it."""
    _alarms: Alarms = attrs.field(factory=Alarms, init=False)
    _sequence: int = attrs.field(default=0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _effects: list[Effect] = attrs.field(factory=list[Effect], init=False)

    @classmethod
    def for_specs(
        cls,
        specs: Mapping[ModelId, ModelSpec],
        planner: SwapPlanner,
        policy: SchedulingPolicy,
        *,
        checks: bool = False,
    ) -> Scheduler:
        fleet = Fleet.of(specs, policy.max_wait, policy.usable_leeway)
        return cls(PlannerQuestions(planner, fleet), policy, fleet, checks)

    @property
    def is_finished(self) -> bool:
        """Shut down, and every process is gone, but for those that nothing ends."""
        return self._ending and all(self._survivor(model) for model in self.fleet.occupied)

    def next_deadline(self) -> float:
        """When `on_tick` is wanted next; ``inf`` if never."""
        return min(self._alarms.next(), self.fleet.queue.next_expiry())

    # -- events ----------------------------------------------------------------

    def on_request(self, ticket: Ticket, now: float) -> Sequence[Effect]:
        """A caller wants *ticket*'s model."""
        self._now = ticket.arrived_at = now
        slot = self.fleet.slots.get(ticket.model)
        if slot is None or slot.retired:
            self._reject(ticket, UnknownModel(ticket.model))
        elif self._closed:
            self._reject(ticket, Closed())
        else:
            self._admit(ticket, slot)
        return self._take_effects()

    def on_release(self, ticket: Ticket, now: float) -> Sequence[Effect]:
        """The holder left, or gave up waiting. Once for each ticket, whether it ever stood in line or not."""
        self._now = now
        run = ticket.run
        if run is None:
            if self.fleet.queue.remove(ticket) and ticket.model not in self.fleet.queue:
                left = self.fleet.slots[ticket.model]
                left.check = None  # what was found out for those who left may be wrong for the next
                self._arm(left)
                self._settle()  # what was kept from others for this model's sake is free again
        else:
            run.leases -= 1
            slot = self.fleet.slots.get(run.model)
            if slot is not None:
                if not ticket.preload:
                    slot.service_seconds = smoothed(slot.service_seconds, now - ticket.granted_at)
                for model in run.evicted:
                    if evicted := self.fleet.slots.get(model):
                        evicted.returns.others_served()
                run.evicted = ()
                if slot.run is run and slot.state is ProcState.READY:
                    self._serve(slot)
                    if run.leases == 0:
                        self._became_idle(slot, run)
        return self._take_effects()

    def on_process(self, run: Run, event: BecameReady | Exited, now: float) -> Sequence[Effect]:
        """The task of *run* reports."""
        self._now = now
        slot = self.fleet.slots[run.model]
        assert slot.run is run, "a run reports until it has exited, and the next starts after that"
        match event:
            case BecameReady(endpoint):
                self._change(slot, event, "ready")
                if slot.state is ProcState.READY:
                    self._became_ready(slot, run, endpoint)
            case Exited(error):
                before = slot.state
                why = "it left" if error is None else reason_of(error)
                self._change(slot, event, "stopped" if before is ProcState.STOPPING else why)
                self._exited(slot, run, before, error)
        return self._take_effects()

    def on_hung(self, run: Run, error: Exception, now: float) -> Sequence[Effect]:
        """*run* does not answer any more: it is stopped, and that counts as a crash."""
        self._now = now
        slot = self.fleet.slots.get(run.model)
        if slot is not None and slot.run is run and slot.state is ProcState.READY:
            run.failure = error
            self._stop(slot, str(error))
        return self._take_effects()

    def on_survived(self, run: Run, error: StillAlive, now: float) -> Sequence[Effect]:
        """*run* was killed, and is there all the same. Its end may never come: nobody is to wait for it."""
        self._now = now
        slot = self.fleet.slots[run.model]
        run.survived = error
        match slot.state:
            case ProcState.READY:
                run.failure = error  # it ended by itself, and left something behind
            case ProcState.STARTING:
                self._failed(slot, error, was_ready=False)
            case _:
                pass
        self._stop(slot, error.reason)
        self._turn_away(slot.id, self._no_room(slot.id, error))
        for swap in list(self.fleet.swaps.values()):
            if slot.id in swap.leaving:
                no_room = self._no_room(swap.target, error)
                self._end_swap(swap.target, no_room)
                self._turn_away(swap.target, no_room)
        self._settle()
        return self._take_effects()

    def on_checked(self, check: Check, error: StartFailed | None, now: float) -> Sequence[Effect]:
        """The launcher's answer about a model that room would have to be made for."""
        self._now = now
        slot = self.fleet.slots.get(check.spec.id)
        if slot is not None and slot.check is check:
            if error is None:
                check.passed = True
            else:
                slot.check = None
                self._failed(slot, error, was_ready=False)
            self._settle()
        return self._take_effects()

    def on_unload(self, models: Sequence[ModelId], drain: bool, now: float) -> Sequence[Effect]:
        """Stop *models* and turn away who waits for them; with *drain*, who uses them may finish."""
        self._now = now
        for slot in [self.fleet.slots[model] for model in models if model in self.fleet.slots]:
            self._turn_away(slot.id, Unloaded(slot.id, "it was unloaded"))
            self._drop_swap(slot.id)
            slot.failures.forgive()
            slot.restart_due = False
            self._end_run(slot, Drain("unload", may_be_called_off=False), inf if drain else 0.0)
        self._settle()
        return self._take_effects()

    def on_pin(self, model: ModelId, pinned: bool, now: float) -> Sequence[Effect]:
        """Protect *model* from eviction and ttl, or no longer."""
        self._now = now
        if slot := self.fleet.slots.get(model):  # else it was taken out of the configuration meanwhile
            slot.pinned = pinned
            self._arm(slot)
            self._settle()
        return self._take_effects()

    def on_reconfigure(
        self,
        specs: Mapping[ModelId, ModelSpec],
        planner: SwapPlanner,
        policy: SchedulingPolicy | None,
        drain_limit: float,
        now: float,
    ) -> Sequence[Effect]:
        """From now on the fleet is *specs*. What is launched in the same way keeps running.

        Args:
          policy: ``None``: as before.
        """
        self._now = now
        self._planner = PlannerQuestions(planner, self.fleet)
        if policy is not None:
            self._policy = policy
            self.fleet.queue.max_wait = policy.max_wait
            self.fleet.queue.leeway = policy.usable_leeway
        slots = self.fleet.slots
        for model, slot in list(slots.items()):
            if model not in specs:
                self._turn_away(model, Unloaded(model, "it was taken out of the configuration"))
                self._drop_swap(model)
                slot.retired, slot.restart_due = True, False
                self._end_run(slot, Drain("no longer configured", may_be_called_off=True), drain_limit)
                if slot.run is None:
                    del slots[model]
            else:
                self._respecify(slot, specs[model], drain_limit)
        for model, spec in specs.items():
            if model not in slots:
                slots[model] = Slot(spec, spec.pinned)
        self.fleet.version += 1
        self._reconsider_swaps()
        self._settle()
        return self._take_effects()

    def on_tick(self, now: float) -> Sequence[Effect]:
        """Time has passed; see `next_deadline`."""
        self._now = now
        due = self.fleet.queue.expire(now)
        for model in self._alarms.ring(now):
            due = True
            if slot := self.fleet.slots.get(model):
                self._ring(slot)
                self._arm(slot)
        if due:
            self._settle()
        return self._take_effects()

    def on_close(self, now: float) -> Sequence[Effect]:
        """Turn everybody away from now on; leases that are held go on."""
        self._now = now
        self._closed = True
        for target in [target for target in self.fleet.swaps if target not in self.fleet.occupied]:
            self._drop_swap(target)
        for ticket in self.fleet.queue.all_tickets():
            self.fleet.queue.remove(ticket)
            self._reject(ticket, Closed())
        return self._take_effects()

    def on_shutdown(self, now: float) -> Sequence[Effect]:
        """Close, and stop every process."""
        closing = self.on_close(now)
        self._ending = True
        for model in list(self.fleet.occupied):
            self._stop(self.fleet.slots[model], "shutdown")
        return [*closing, *self._take_effects()]

    # -- callers ---------------------------------------------------------------

    def _admit(self, ticket: Ticket, slot: Slot) -> None:
        if slot.run is None and slot.failures.closed_until > self._now:
            self._reject(ticket, self._backing_off(slot))
            return
        ticket.priority += slot.spec.priority
        ticket.sequence = self._sequence = self._sequence + 1
        queue = self.fleet.queue
        newly_wanted = ticket.model not in queue
        slot.returns.asked_for(self._now)
        queue.add(ticket, slot.turn_seconds)
        self._serve(slot)
        if ticket.run is not None:
            return
        if ticket.model not in queue:
            self._settle()  # turned away, with all in line before: what was kept from others is free again
        elif self._is_overloaded(slot):
            retry_after = self.fleet.until_a_place_is_free(ticket, self._now)
            queue.remove(ticket)
            reason = f"{slot.leases} callers use it and {queue.count(ticket.model)} wait for it"
            self._reject(ticket, Overloaded(ticket.model, reason, retry_after))
        elif newly_wanted or ticket.priority:
            self._settle()

    def _is_overloaded(self, slot: Slot) -> bool:
        limit, concurrency = slot.spec.max_waiting, slot.spec.concurrency
        if limit is None:
            return False
        served_at_once = 0 if concurrency is None else max(0, concurrency - slot.leases)
        return self.fleet.queue.count(slot.id) - served_at_once > limit

    def _serve(self, slot: Slot, *, even_if_closed: bool = False) -> None:
        """Grant as many waiting tickets as the model takes right now."""
        model, run, endpoint, queue = slot.id, slot.run, slot.endpoint, self.fleet.queue
        if model not in queue or run is None or endpoint is None or slot.drain is not None:
            return
        if slot.closure is not None and not even_if_closed:
            return
        if slot.approved_at != self.fleet.version and not even_if_closed:
            plan = self._ask_evictions(model)
            if plan is None or plan.evict:
                return  # it is ready beside something that excludes it: `_settle` makes room first
            slot.approved_at = self.fleet.version
        room = inf if slot.spec.concurrency is None else slot.spec.concurrency - run.leases
        while room > 0 and model in queue:
            ticket = queue.first(model)
            queue.remove(ticket)
            if ticket.automatic:
                continue  # it runs, which is all that was wanted
            ticket.run, ticket.granted_at = run, self._now
            if run.leases == 0:
                run.busy_since = self._now
            run.leases += 1
            room -= 1
            slot.granted += not ticket.preload
            self._effects.append(Grant(ticket, endpoint))
            self._announce(LeaseGranted(self._now, model, self._now - ticket.arrived_at))

    def _turn_away(self, model: ModelId, error: Exception) -> None:
        for ticket in self.fleet.queue.tickets(model):
            self.fleet.queue.remove(ticket)
            self._reject(ticket, error)
        if slot := self.fleet.slots.get(model):
            self._arm(slot)  # nobody is in line: its ttl counts again

    def _reject(self, ticket: Ticket, error: Exception) -> None:
        if not ticket.automatic:
            self._effects.append(Reject(ticket, error))
            self._announce(LeaseRefused(self._now, ticket.model, error))

    def _backing_off(self, slot: Slot) -> BackingOff:
        wait = slot.failures.closed_until - self._now
        return BackingOff(slot.id, slot.failures.reason, wait if wait < inf else None)

    # -- processes -------------------------------------------------------------

    def _became_ready(self, slot: Slot, run: Run, endpoint: Endpoint) -> None:
        slot.endpoint = endpoint
        run.ready_at = run.idle_since = self._now
        slot.load_seconds = smoothed(slot.load_seconds, self._now - run.launched_at)
        self._end_swap(run.model, None)
        # Those who had it loaded are served before anybody, even an overdue caller, may take it away.
        self._serve(slot, even_if_closed=True)
        if slot.closure is not None:
            slot.closure = self._closure(slot, slot.closure.target)
        if run.leases == 0:
            self._became_idle(slot, run)
        else:
            self._arm(slot)
            self._settle()

    def _became_idle(self, slot: Slot, run: Run) -> None:
        run.idle_since = self._now
        if slot.id not in self.fleet.queue:
            slot.returns.went_idle(self._now)
        if slot.drain is not None:
            self._stop(slot, slot.drain.reason)
        self._arm(slot)
        self._settle()

    def _exited(self, slot: Slot, run: Run, before: ProcState, error: Exception | None) -> None:
        model, fleet = run.model, self.fleet
        slot.run = slot.endpoint = slot.closure = slot.drain = None
        del fleet.occupied[model]
        fleet.version += 1
        if run.failure is not None:
            self._crashed(slot, run.failure)
        elif before is ProcState.STOPPING:
            slot.stop_seconds = smoothed(slot.stop_seconds, self._now - run.stop_asked_at)
        elif before is ProcState.READY:
            self._crashed(slot, error)
        else:
            swap = fleet.swaps.get(model)
            self._failed(slot, error, was_ready=False)
            self._put_back(swap)
        if slot.retired:
            del fleet.slots[model]
        else:
            self._arm(slot)
        for swap in list(fleet.swaps.values()):
            if model in swap.leaving:
                swap.leaving.remove(model)
                self._proceed(swap)
        self._settle()

    def _crashed(self, slot: Slot, error: Exception | None) -> None:
        slot.crashes += 1
        self._announce(Crashed(self._now, slot.id, error))
        self._failed(slot, error, was_ready=True)

    def _failed(self, slot: Slot, error: Exception | None, *, was_ready: bool) -> None:
        """It ended by itself, or could not be started: count it, and tell those who wait why."""
        policy, reason = (
            slot.spec.restart,
            "it ended by itself" if error is None else reason_of(error),
        )
        slot.failures.add(policy, self._now, reason, was_ready=was_ready)
        if not was_ready:
            failure = error if isinstance(error, StartFailed) else StartFailed(slot.id, reason)
            failure.__cause__ = None if failure is error else error
            self._end_swap(slot.id, failure)
            self._turn_away(slot.id, failure)
        elif slot.failures.closed_until > self._now:
            self._turn_away(slot.id, self._backing_off(slot))
        if policy.when is RestartWhen.ALWAYS and not self._closed and not slot.retired:
            slot.restart_due = True
            self._arm(slot)

    def _put_back(self, swap: Swap | None) -> None:
        """Load again what the failed target had driven out, unless somebody waits for something else."""
        if swap is None or self._closed or self.fleet.queue:
            return
        for model in reversed(swap.evicted):
            slot = self.fleet.slots.get(model)
            if slot is not None and slot.state is ProcState.STOPPED and not slot.retired:
                self._want(slot)
                return

    def _want(self, slot: Slot) -> None:
        """Stand in line for *slot*'s model, for nobody but the supervisor itself."""
        if not self._closed and slot.id not in self.fleet.queue and slot.failures.closed_until <= self._now:
            self._sequence += 1
            ticket = Ticket(
                slot.id, slot.spec.priority, automatic=True, arrived_at=self._now, sequence=self._sequence
            )
            self.fleet.queue.add(ticket, slot.turn_seconds)

    def _end_run(self, slot: Slot, drain: Drain, limit: float) -> None:
        """Stop the process, at once or when its leases have ended, within *limit* seconds."""
        if slot.state is ProcState.READY and slot.leases and limit > 0:
            before, cut_at = slot.drain, self._now + limit
            if before is not None:
                cut_at = min(cut_at, before.cut_at)
                drain = drain if before.may_be_called_off else before
            slot.drain = attrs.evolve(drain, cut_at=cut_at)
            self._arm(slot)
        else:
            self._stop(slot, drain.reason)

    def _call_off_drain(self, slot: Slot) -> None:
        """The process is wanted again just as it runs: let callers in as if nothing had been."""
        if slot.drain is not None and slot.drain.may_be_called_off:
            slot.drain = None
            self._serve(slot)

    def _stop(self, slot: Slot, reason: str) -> None:
        if slot.state not in (ProcState.STARTING, ProcState.READY):
            return
        assert slot.run is not None
        slot.run.stop_asked_at = self._now
        self._effects.append(Stop(slot.run, slot.endpoint, reason))
        slot.endpoint = slot.closure = slot.drain = None
        self._drop_swap(slot.id)
        self._change(slot, StopRequested(reason), reason)

    def _change(self, slot: Slot, event: ProcEvent, reason: str) -> None:
        before, slot.state = slot.state, next_state(slot.state, event)
        if before is not slot.state:
            self._announce(StateChanged(self._now, slot.id, before, slot.state, reason))

    def _respecify(self, slot: Slot, spec: ModelSpec, drain_limit: float) -> None:
        before, slot.spec, slot.retired = slot.spec, spec, False
        if spec.pinned is not before.pinned:
            slot.pinned = spec.pinned
        if not spec.launches_like(before):
            slot.failures.forgive()
            slot.check = None
        if slot.run is not None and not spec.launches_like(slot.run.spec):
            self._end_run(slot, Drain("its configuration changed", may_be_called_off=True), drain_limit)
        else:
            self._call_off_drain(slot)
            self._arm(slot)

    # -- the fleet -------------------------------------------------------------

    def _settle(self) -> None:
        """Let in whom the planner names, one after the other, until it names nobody."""
        if self._closed:
            return
        self._reopen()
        promised = self.fleet.promised()
        held: list[ModelId] = []
        while (target := self._ask_next(promised)) is not None:
            promised.add(target)
            self._make_room(self.fleet.slots[target], promised, held)
            if target not in self.fleet.queue:
                promised.discard(target)  # it was turned away: the room is still to be had
                self._reopen()

    def _reconsider_swaps(self) -> None:
        """Give up those whose room is too small by now; `_settle` makes more for whoever still waits."""
        for swap in [swap for swap in self.fleet.swaps.values() if swap.leaving]:
            plan = self._ask_evictions(swap.target)
            if plan is None or not swap.leaving.issuperset(plan.evict):
                self._drop_swap(swap.target)

    def _reopen(self) -> None:
        """Open what was closed for the sake of callers who are gone, or served, by now."""
        for model in self.fleet.occupied:
            slot = self.fleet.slots[model]
            if slot.closure is not None and not self.fleet.queue.is_overdue(slot.closure.target):
                slot.closure = None
                self._serve(slot)

    def _make_room(self, slot: Slot, promised: AbstractSet[ModelId], held: list[ModelId]) -> None:
        """Commit a swap if all in the model's way may go; *held* collects overdue targets that wait."""
        target = slot.id
        if slot.state is ProcState.STOPPING:
            if survivor := self._survivor(target):
                self._turn_away(target, self._no_room(target, survivor))
            return  # once it is gone the question is asked again
        if slot.run is None and slot.failures.closed_until > self._now:
            self._turn_away(target, self._backing_off(slot))
            return
        plan = self._ask_evictions(target)
        if plan is None or any(self._planner.would_evict(target, waiting, self._now) for waiting in held):
            return
        if survivor := next(filter(None, map(self._survivor, plan.evict)), None):
            self._turn_away(target, self._no_room(target, survivor))
            return
        overdue = self.fleet.queue.is_overdue(target)
        obstacles = [m for m in plan.evict if not self._may_go(self.fleet.slots[m], promised, slot)]
        if obstacles:
            slot.check = None
            if overdue:
                held.append(target)
                self._close(plan.evict, target)
        elif self._takes_room_of_another(target, plan):
            return  # once that one has it, the question is asked again
        elif not plan.evict or self._is_checked(slot, plan):
            self._commit(slot, plan)

    def _takes_room_of_another(self, target: ModelId, plan: SwapPlan) -> bool:
        """Whether it would come into the room that is being made for a model that excludes it.

        A planner may let it load beside such a model. But two of its kind that take turns in doing so would
        keep that one waiting for ever.
        """
        return any(
            self._planner.would_evict(target, model, self._now, without=swap.leaving.union(plan.evict))
            for model, swap in self.fleet.swaps.items()
            if swap.leaving and model not in plan.evict
        )

    def _survivor(self, model: ModelId) -> StillAlive | None:
        run = self.fleet.run_of(model)
        return None if run is None else run.survived

    def _no_room(self, target: ModelId, survivor: StillAlive) -> StartFailed:
        whose = "its process" if survivor.model == target else f"the process of {survivor.model}"
        return StartFailed(target, f"{whose} is in the way, and cannot be ended: {survivor.reason}")

    def _close(self, obstacles: Sequence[ModelId], target: ModelId) -> None:
        for slot in [self.fleet.slots[model] for model in obstacles]:
            if slot.closure is None:
                slot.closure = self._closure(slot, target)
                self._arm(slot)

    def _closure(self, slot: Slot, target: ModelId) -> Closure:
        # A load is not cut: two overdue callers would take turns stopping each other's, for ever.
        has_leases = slot.state is ProcState.READY
        return Closure(target, self._now + self._policy.max_drain if has_leases else inf)

    def _is_checked(self, slot: Slot, plan: SwapPlan) -> bool:
        """Whether the launcher sees no obstacle; if not asked yet, it is, and its answer settles again."""
        if not self._checks or slot.state is ProcState.READY:
            return True
        beside = tuple(self.fleet.slots[model].spec for model in plan.evict)
        if slot.check is None or slot.check.beside != beside:
            slot.check = Check(slot.spec, beside)
            self._effects.append(slot.check)
        return slot.check.passed

    def _commit(self, slot: Slot, plan: SwapPlan) -> None:
        slot.check = None
        swap = self.fleet.swaps[slot.id] = Swap(slot.id, plan.evict, plan.reason, self._now)
        if slot.id not in self.fleet.occupied:
            self.fleet.version += 1
        self._announce(SwapCommitted(self._now, slot.id, plan.evict, plan.reason))
        for model in plan.evict:
            self._drop_swap(model)  # an abandoned load gives way
            self._stop(self.fleet.slots[model], plan.reason)
            if model in self.fleet.occupied:
                swap.leaving.add(model)
        if swap.leaving and slot.state is ProcState.STOPPED:
            self._effects.append(Prefetch(slot.spec))
        self._proceed(swap)

    def _proceed(self, swap: Swap) -> None:
        """Launch the target once everything is gone, unless nobody waits for it any more."""
        if swap.leaving:
            return
        swap.cleared_at = self._now
        slot = self.fleet.slots[swap.target]
        if slot.state is ProcState.READY or swap.target not in self.fleet.queue:
            self._drop_swap(swap.target)
            self._serve(slot)
            return
        slot.run = Run(slot.spec, launched_at=self._now, evicted=swap.evicted)
        slot.starts += 1
        self.fleet.occupied[swap.target] = None  # it has counted as running since the swap was committed
        self._change(slot, StartRequested(), "request")
        self._effects.append(Launch(slot.run))

    def _drop_swap(self, target: ModelId) -> None:
        self._end_swap(target, None)

    def _end_swap(self, target: ModelId, error: Exception | None) -> None:
        swap = self.fleet.swaps.pop(target, None)
        if swap is None:
            return
        if target not in self.fleet.occupied:
            self.fleet.version += 1
        cleared = self._now if swap.cleared_at is None else swap.cleared_at
        stop, load = cleared - swap.committed_at, self._now - cleared
        self._announce(SwapEnded(self._now, target, swap.evicted, swap.reason, stop, load, error))

    def _may_go(self, slot: Slot, promised: AbstractSet[ModelId], target: Slot) -> bool:
        if slot.id in promised:
            return False  # else two callers would take turns stopping each other's model
        run = slot.run
        if run is None or slot.state is ProcState.STOPPING:
            return True
        if run.leases:
            return False
        if slot.state is ProcState.READY and not self.fleet.queue.is_overdue(target.id):
            resident_until = max(
                run.ready_at + self._policy.min_residency, self.fleet.awaited_until(slot, target, self._now)
            )
            if resident_until > self._now:
                self._alarms.set(slot.id, resident_until)
                return False
        return True

    # -- asking the planner ----------------------------------------------------

    def _ask_next(self, promised: AbstractSet[ModelId]) -> ModelId | None:
        while isinstance(answer := self._planner.next(promised, self._now), PlannerFailed):
            self._turn_away(answer.model, answer)
            self._reopen()
        return answer

    def _ask_evictions(self, target: ModelId) -> SwapPlan | None:
        """Return a plan that can be carried out; ``None``: the target's callers were turned away."""
        match self._planner.evictions(target, self._now):
            case SwapPlan() as plan:
                return plan
            case error:
                self._turn_away(target, error)
                return None

    # -- time ------------------------------------------------------------------

    def _ring(self, slot: Slot) -> None:
        """Do what is due for one model now."""
        if self.fleet.idle_deadline(slot) <= self._now:
            self._stop(slot, "ttl")
        elif slot.cut_at <= self._now:
            self._stop(slot, self._reason_to_cut(slot))
        elif self._restart_time(slot) <= self._now:
            slot.restart_due = False
            self._want(slot)

    def _reason_to_cut(self, slot: Slot) -> str:
        if slot.drain is not None:
            return slot.drain.reason
        assert slot.closure is not None
        return f"{slot.closure.target} has waited too long"

    def _arm(self, slot: Slot) -> None:
        """See to it that `_ring` is called when something becomes due."""
        self._alarms.set(slot.id, min(self.fleet.idle_deadline(slot), slot.cut_at, self._restart_time(slot)))

    def _restart_time(self, slot: Slot) -> float:
        return slot.failures.closed_until if slot.restart_due and slot.run is None else inf

    # -- small things ----------------------------------------------------------

    def _announce(self, event: Event) -> None:
        self._effects.append(Announce(event))

    def _take_effects(self) -> Sequence[Effect]:
        effects, self._effects = self._effects, []
        return effects
