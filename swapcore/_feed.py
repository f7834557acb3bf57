"""Events on their way to those who watch. The loop never waits for a subscriber."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from ._events import Event, EventsMissed

BACKLOG = 1000
"""Events kept for a subscriber that is slow; older ones are counted and dropped."""


@attrs.define(eq=False)
class Subscriber:
    """One who watches: an iterator over every event from its subscription on, until there will be no more.

    Iterate it in one task. Cancellation: nothing is lost, and the iteration can go on.
    """

    _kinds: frozenset[type[Event]] = frozenset()
    """Only these; empty: all."""
    _backlog: deque[Event] = attrs.field(factory=deque[Event], init=False)
    _missed: int = attrs.field(default=0, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def push(self, event: Event) -> None:
        if self._kinds and type(event) not in self._kinds:
            return
        if len(self._backlog) == BACKLOG:
            self._backlog.popleft()
            self._missed += 1
        self._backlog.append(event)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    def __aiter__(self) -> Subscriber:
        return self

    async def __anext__(self) -> Event:
        # Many events of one instant cost one wait. No generator: a cancelled one would have ended.
        while not self._backlog:
            if self._ended:
                raise StopAsyncIteration
            self._arrived = trio.Event()
            await self._arrived.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return EventsMissed(missed)
        return self._backlog.popleft()


@attrs.define(eq=False)
class Recorder:
    """Has every event in the instant in which it happens, and keeps them all: for tests."""

    events: list[Event] = attrs.field(factory=list[Event], init=False)

    def push(self, event: Event) -> None:
        self.events.append(event)

    def end(self) -> None:
        """There will be no more, which nobody waits for."""


@attrs.define(eq=False)
class Feed:
    """Every subscriber gets every event, in order, from its subscription on."""

    _subscribers: set[Subscriber | Recorder] = attrs.field(factory=set[Subscriber | Recorder], init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def publish(self, event: Event) -> None:
        for subscriber in self._subscribers:
            subscriber.push(event)

    def add(self, subscriber: Subscriber | Recorder) -> None:
        self._subscribers.add(subscriber)
        if self._ended:
            subscriber.end()

    def end(self) -> None:
        """Nothing happens any more: those who watch get to the end of what has happened."""
        self._ended = True
        for subscriber in self._subscribers:
            subscriber.end()

    def remove(self, subscriber: Subscriber | Recorder) -> None:
        self._subscribers.discard(subscriber)
