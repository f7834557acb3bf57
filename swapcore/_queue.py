"""Who waits, in which order, and who has waited too long.

The callers of a model are served together, so the order is one of models. A
model's place is the claim of its first caller, put back by what its turn takes
for each of its callers, within the leeway. That is Smith's rule (the shortest
time for each who waits goes first: the least waiting on average), tempered: who
came more than the leeway later overtakes nobody.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Iterator
from math import inf
from typing import TypeAlias

import attrs

from ._effects import Ticket
from ._spec import ModelId

PRIORITY_STEP = 30.0
"""Seconds of waiting that one step of priority is worth.

Everybody ages at the same rate, so who goes first between two callers never
changes while they wait, and the order can be kept instead of computed.
"""

DELAY_FOR_EACH_SECOND = 5.0
"""Seconds by which a model is put back for each second that its turn takes for each of its callers.

Measured on traces of agents: from 2 to 10 it makes little difference.
"""

_Claim: TypeAlias = tuple[float, int]


def claim(ticket: Ticket) -> _Claim:
    """Where a ticket stands in line: the smaller, the earlier. Arrival breaks ties."""
    return (ticket.arrived_at - ticket.priority * PRIORITY_STEP, ticket.sequence)


@attrs.define(eq=False)
class _Line:
    """The callers of one model: ``tickets`` sorted by ``claims``."""

    turn_seconds: float | None = None

    claims: list[_Claim] = attrs.field(factory=list[_Claim])
    tickets: list[Ticket] = attrs.field(factory=list[Ticket])
    arrivals: OrderedDict[Ticket, None] = attrs.field(factory=OrderedDict[Ticket, None])
    """The same, by arrival."""
    priorities: Counter[int] = attrs.field(factory=Counter[int])
    overdue: int = 0
    place: _Claim = (0.0, 0)


@attrs.define(eq=False)
class WaitingQueue:
    """Waiting tickets by model, and the models by their place.

    Every operation costs the same, but for a logarithm and a memmove, however
    many wait.
    """

    max_wait: float = inf
    """Seconds after which a ticket is overdue."""
    leeway: float = 0.0
    """Seconds by which a model is put back at most; 0: whoever has the best claim goes first."""
    _lines: dict[ModelId, _Line] = attrs.field(factory=dict[ModelId, _Line], init=False)
    _order: list[tuple[_Claim, ModelId]] = attrs.field(factory=list[tuple[_Claim, ModelId]], init=False)
    _longest_turn: float = attrs.field(default=0.0, init=False)
    """What a turn that nobody knows is reckoned to take: as long as any so far."""
    # All by arrival; the first entry is the oldest. OrderedDict: its first key is O(1) after many deletions.
    _fresh: OrderedDict[Ticket, None] = attrs.field(factory=OrderedDict[Ticket, None], init=False)
    _overdue: OrderedDict[Ticket, None] = attrs.field(factory=OrderedDict[Ticket, None], init=False)
    _patient: OrderedDict[Ticket, None] = attrs.field(factory=OrderedDict[Ticket, None], init=False)
    """The automatic ones, which are never overdue: nobody waits, for whose sake others could be kept out."""

    def __len__(self) -> int:
        """Return how many callers wait."""
        return len(self._fresh) + len(self._overdue)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, model_or_ticket: ModelId | Ticket) -> bool:
        if isinstance(model_or_ticket, Ticket):
            return any(model_or_ticket in each for each in (self._fresh, self._overdue, self._patient))
        return model_or_ticket in self._lines

    def count(self, model: ModelId) -> int:
        return len(self._lines[model].tickets) if model in self._lines else 0

    def add(self, ticket: Ticket, turn_seconds: float | None = None) -> None:
        """Let *ticket* stand in line; a turn of its model takes *turn_seconds*, ``None`` if nobody knows."""
        line = self._lines.get(ticket.model)
        if line is None:
            line = self._lines[ticket.model] = _Line()
        else:
            self._forget_order(ticket.model, line)
        key = claim(ticket)
        at = bisect_left(line.claims, key)
        line.claims.insert(at, key)
        line.tickets.insert(at, ticket)
        line.arrivals[ticket] = None
        line.priorities[ticket.priority] += 1
        line.turn_seconds = turn_seconds
        self._longest_turn = max(self._longest_turn, turn_seconds or 0.0)
        self._enter_order(ticket.model, line)
        (self._patient if ticket.automatic else self._fresh)[ticket] = None

    def remove(self, ticket: Ticket) -> bool:
        """Take *ticket* out wherever it stands; ``False`` if it does not wait."""
        line = self._lines.get(ticket.model)
        if line is None:
            return False
        at = bisect_left(line.claims, claim(ticket))
        if at == len(line.tickets) or line.tickets[at] is not ticket:
            return False
        self._forget_order(ticket.model, line)
        del line.claims[at], line.tickets[at], line.arrivals[ticket]
        line.priorities[ticket.priority] -= 1
        if not line.priorities[ticket.priority]:
            del line.priorities[ticket.priority]
        if ticket in self._overdue:
            del self._overdue[ticket]
            line.overdue -= 1
        else:
            del (self._patient if ticket.automatic else self._fresh)[ticket]
        if line.tickets:
            self._enter_order(ticket.model, line)
        else:
            del self._lines[ticket.model]
        return True

    def first(self, model: ModelId) -> Ticket:
        return self._lines[model].tickets[0]

    def tickets(self, model: ModelId) -> tuple[Ticket, ...]:
        """Those who wait for *model*, first in line first."""
        return tuple(self._lines[model].tickets) if model in self._lines else ()

    def all_tickets(self) -> tuple[Ticket, ...]:
        return (*self._overdue, *self._fresh, *self._patient)

    def models(self) -> Iterator[ModelId]:
        """Models with somebody in line, by their place."""
        return (model for _, model in self._order)

    def expire(self, now: float) -> bool:
        """Mark those who have waited for ``max_wait``; true if there is a new one."""
        expired = False
        while self._fresh and self.next_expiry() <= now:
            ticket, _ = self._fresh.popitem(last=False)
            self._overdue[ticket] = None
            self._lines[ticket.model].overdue += 1
            expired = True
        return expired

    def next_expiry(self) -> float:
        """When the next ticket becomes overdue; ``inf`` if none will."""
        return next(iter(self._fresh)).arrived_at + self.max_wait if self._fresh else inf

    def would_be_late(self, front: ModelId, now: float) -> ModelId | None:
        """Return whose caller is the next to be overdue, if that is before a turn of *front* could end."""
        turn = self._lines[front].turn_seconds
        if not self._fresh or now + (self._longest_turn if turn is None else turn) <= self.next_expiry():
            return None
        return next(iter(self._fresh)).model

    def is_overdue(self, model: ModelId) -> bool:
        return model in self._lines and self._lines[model].overdue > 0

    def overdue_models(self) -> Iterator[ModelId]:
        """Models with an overdue ticket, the longest wait first, each once."""
        seen: set[ModelId] = set()
        for ticket in self._overdue:
            if ticket.model not in seen:
                seen.add(ticket.model)
                yield ticket.model

    def oldest_arrival(self, model: ModelId | None = None) -> float:
        """When the first who waits for *model*, or the first caller of any, came; ``inf``: nobody."""
        if model is None:
            ticket = next(iter(self._overdue), None) or next(iter(self._fresh), None)
        else:
            ticket = next(iter(self._lines[model].arrivals)) if model in self._lines else None
        return inf if ticket is None else ticket.arrived_at

    def highest_priority(self, model: ModelId) -> int:
        """0 if nobody waits for it."""
        return max(self._lines[model].priorities) if model in self._lines else 0

    def place_in_line(self, ticket: Ticket) -> int:
        """How many wait for the same model and have a better claim."""
        return bisect_left(self._lines[ticket.model].claims, claim(ticket))

    def _enter_order(self, model: ModelId, line: _Line) -> None:
        best, sequence = line.claims[0]
        delay = DELAY_FOR_EACH_SECOND * (line.turn_seconds or 0.0) / len(line.tickets)
        line.place = (best + min(self.leeway, delay), sequence)
        insort(self._order, (line.place, model))

    def _forget_order(self, model: ModelId, line: _Line) -> None:
        del self._order[bisect_left(self._order, (line.place, model))]
