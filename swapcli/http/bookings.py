"""Requests that are on their way to a destination, as far as no lease tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import attrs

from .destinations import Destination


@attrs.define(eq=False)
class Booking:
    """One request's; `Bookings.booked` makes and ends it."""

    _counts: Counter[Destination]
    _destination: Destination
    _holds: bool = attrs.field(default=True, init=False)

    def release(self) -> None:
        """The request is counted elsewhere from now on, or is over. Twice is once."""
        if self._holds:
            self._holds = False
            self._counts[self._destination] -= 1
            if not self._counts[self._destination]:
                del self._counts[self._destination]


@attrs.define(eq=False)
class Bookings:
    """For the whole server, whichever way requests come; it outlives configurations.

    A request to a local model is counted here from the choice of the model until it stands in line for it,
    from where the supervisor counts it. One to a peer is counted here to its end.
    """

    _counts: Counter[Destination] = attrs.field(factory=Counter[Destination], init=False)
    _turns: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def count(self, destination: Destination) -> int:
        return self._counts[destination]

    @contextmanager
    def booked(self, destination: Destination) -> Generator[Booking]:
        """Count one request for the length of the block, or until it is released."""
        self._counts[destination] += 1
        booking = Booking(self._counts, destination)
        try:
            yield booking
        finally:
            booking.release()

    def turn(self, selector: str, of: int) -> int:
        """Return whose turn it is among ``of`` equals, and give the next turn to the next one."""
        turn = self._turns[selector]
        self._turns[selector] += 1
        return turn % of
