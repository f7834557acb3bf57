"""All models, who waits and what is under way: the state that decisions are made on, and views of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set as AbstractSet
from itertools import chain, takewhile
from math import inf

import attrs

from ._effects import Run, Ticket
from ._queue import WaitingQueue
from ._slot import Slot, Swap
from ._spec import ModelId, ModelSpec
from ._states import ProcState
from ._view import FleetView, LazyMapping, LazySequence, ModelView


@attrs.define(eq=False)
class Fleet:
    """Read by planners' views and by the supervisor's display; written by the scheduler only."""

    slots: dict[ModelId, Slot]
    queue: WaitingQueue
    # Models that are not stopped, in the order in which they were launched (a dict as an ordered set).
    occupied: dict[ModelId, None] = attrs.field(factory=dict[ModelId, None], init=False)
    swaps: dict[ModelId, Swap] = attrs.field(factory=dict[ModelId, Swap], init=False)
    version: int = attrs.field(default=0, init=False)
    """Changes with the set of models that run or are committed to."""

    @classmethod
    def of(cls, specs: Mapping[ModelId, ModelSpec], max_wait: float, leeway: float) -> Fleet:
        slots = {model: Slot(spec, spec.pinned) for model, spec in specs.items()}
        return cls(slots, WaitingQueue(max_wait, leeway))

    def run_of(self, model: ModelId) -> Run | None:
        """The current life of *model*'s process; ``None`` while it is stopped, or unknown."""
        slot = self.slots.get(model)
        return None if slot is None else slot.run

    def promised(self) -> set[ModelId]:
        """Targets of swaps that somebody still waits for."""
        return {model for model in self.swaps if model in self.queue}

    def wants_room(self, model: ModelId) -> bool:
        """Whether those in line for *model* wait for a decision, rather than for a swap or a lease to end."""
        slot = self.slots[model]
        if model in self.swaps:
            return False
        if slot.state is not ProcState.READY:
            return True
        return slot.closure is None and slot.drain is None and slot.approved_at != self.version

    def view(
        self,
        now: float,
        *,
        target: ModelId | None = None,
        promised: AbstractSet[ModelId] = frozenset(),
        beside: ModelId | None = None,
        without: AbstractSet[ModelId] = frozenset(),
    ) -> FleetView:
        """Show the fleet to a planner.

        Args:
          target: whom the question is about; its own committed start does not count as running.
          promised: who has been chosen already.
          beside: pretend that this one runs, too.
          without: pretend that these do not.
        """
        running = [*self.occupied]
        running += [m for m in self.swaps if m not in self.occupied and m != target]
        if without:
            running = [m for m in running if m not in without]
        if beside is not None and beside not in running:
            running.append(beside)

        def asks(model: ModelId) -> bool:
            return model in self.queue and model not in promised and self.wants_room(model)

        return FleetView(
            running=running,
            waiting=LazySequence(lambda: self._in_time(asks, now), asks),
            overdue=LazySequence(
                lambda: filter(asks, self.queue.overdue_models()),
                lambda model: self.queue.is_overdue(model) and asks(model),
            ),
            promised=promised,
            models=LazyMapping(lambda model: self.model_view(model, now), self.slots),
            now=now,
        )

    def model_view(self, model: ModelId, now: float) -> ModelView:
        slot, run = self.slots[model], self.slots[model].run
        idle = run is not None and slot.state is ProcState.READY and run.leases == 0
        waiting = self.queue.count(model)
        return ModelView(
            model,
            state=slot.state,
            pinned=slot.pinned,
            leases=slot.leases,
            stuck=run is not None and run.survived is not None,
            waiting=waiting,
            oldest_wait=now - self.queue.oldest_arrival(model) if waiting else 0.0,
            priority=self.queue.highest_priority(model),
            idle_for=now - run.idle_since if run is not None and idle else None,
            load_seconds=slot.load_seconds,
            stop_seconds=slot.stop_seconds,
        )

    def idle_deadline(self, slot: Slot) -> float:
        """When it has been idle for its ttl; ``inf`` while it is in use, wanted, pinned, or has none."""
        run, ttl = slot.run, slot.spec.ttl
        if run is None or ttl is None or slot.pinned or slot.state is not ProcState.READY:
            return inf
        if run.leases or slot.id in self.queue:
            return inf
        return run.idle_since + ttl

    def awaited_until(self, idle: Slot, target: Slot, now: float) -> float:
        """Until when *idle* had better wait for callers of its own than make room for *target*.

        In the past if it had not, or once somebody has waited for as long as the leeway.
        """
        run = idle.run
        patience = self.queue.oldest_arrival() + self.queue.leeway
        if run is None or patience <= now:
            return -inf
        away = (idle.stop_seconds or 0.0) + (target.turn_seconds or 0.0) + (idle.load_seconds or 0.0)
        worth = idle.returns.worth_waiting(
            now - run.idle_since, others=len(self.queue), away=away, service=idle.service_seconds or 0.0
        )
        return min(run.idle_since + worth, patience)

    def _in_time(self, asks: Callable[[ModelId], bool], now: float) -> Iterator[ModelId]:
        """Models in line by their place, but nobody takes a turn that makes another's caller overdue."""
        line = filter(asks, self.queue.models())
        front = next(line, None)
        if front is None:
            return
        late = self.queue.would_be_late(front, now)
        if late is not None and late != front and asks(late):
            yield late
        yield front
        yield from (model for model in line if model != late)

    def order_of_service(self, now: float) -> Iterator[ModelId]:
        """Models with somebody in line, as they will be served if nothing new happens: the first is next."""
        seen: set[ModelId] = set()
        for model in chain(filter(self.queue.__contains__, self.swaps), self.queue.overdue_models()):
            if model not in seen:
                seen.add(model)
                yield model
        yield from self._in_time(lambda model: model not in seen, now)

    def position(self, ticket: Ticket, now: float) -> int:
        """How many are ahead of *ticket*, which waits, plus one: a model's callers are served as a whole."""
        ahead = takewhile(lambda model: model != ticket.model, self.order_of_service(now))
        return sum(map(self.queue.count, ahead)) + self.queue.place_in_line(ticket) + 1

    def estimate(self, ticket: Ticket, now: float) -> float | None:
        """Seconds until *ticket* is granted, from what loads, stops and leases took so far.

        ``None`` if something that counts was never measured. Assumes that the
        models ahead are served one after the other.
        """
        total = 0.0
        for model in self.order_of_service(now):
            mine = model == ticket.model
            slot = self.slots[model]
            if slot.state is ProcState.READY:
                pass
            elif slot.load_seconds is None:
                return None
            elif slot.state is ProcState.STARTING and slot.run is not None:
                total += max(0.0, slot.load_seconds - (now - slot.run.launched_at))
            else:
                total += slot.load_seconds + self._stop_seconds_now(slot)
            if mine:
                return total
            if slot.service_seconds is None:
                return None
            total += slot.service_seconds
        return None

    def until_a_place_is_free(self, ticket: Ticket, now: float) -> float | None:
        """Seconds until one of those who use the model, or wait for it, makes room for one like *ticket*.

        *ticket* is in line. ``None`` if something that counts was never measured.
        """
        slot = self.slots[ticket.model]
        if slot.leases:
            # They came at different times, so that one of them goes sooner than one lease takes.
            return None if slot.service_seconds is None else slot.service_seconds / slot.leases
        until_first = self.estimate(ticket, now)
        if until_first is None or slot.spec.max_waiting:  # who gets the model leaves a place in line
            return until_first
        return None if slot.service_seconds is None else until_first + slot.service_seconds

    def _stop_seconds_now(self, target: Slot) -> float:
        """What those that run take to leave: the rest of a lease, then the slowest stop."""
        busy = stop = 0.0
        for model in self.occupied:
            slot = self.slots[model]
            if slot is not target:
                busy = max(busy, slot.service_seconds or 0.0 if slot.leases else 0.0)
                stop = max(stop, slot.stop_seconds or 0.0)
        return busy + stop
