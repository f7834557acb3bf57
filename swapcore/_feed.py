"""Events on their way to those who watch. The loop never waits for a subscriber."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

import attrs
import trio

from ._events import Event, EventsMissed

BACKLOG = 1000
"""Events kept for a subscriber that is slow; older ones are counted and dropped."""


@attrs.define(eq=False)
class Subscriber:
    _backlog: deque[Event] = attrs.field(factory=deque[Event], init=False)
    _missed: int = attrs.field(default=0, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)

    def push(self, event: Event) -> None:
        if len(self._backlog) == BACKLOG:
            self._backlog.popleft()
            self._missed += 1
        self._backlog.append(event)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    async def events(self) -> AsyncGenerator[Event]:
        """Every event from the subscription on, until there will be no more."""
        while self._backlog or not self._ended:
            await self._arrived.wait()
            self._arrived = trio.Event()
            if self._ended:
                self._arrived.set()
            while self._backlog:
                if self._missed:
                    missed, self._missed = self._missed, 0
                    yield EventsMissed(missed)
                yield self._backlog.popleft()


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
