"""Live events on their way to the clients of ``/api/events``. Who publishes never waits for a client.

For use in one trio run, from its thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sized
from contextlib import contextmanager

import attrs
import trio

from .event_messages import ActivityRecorded, LogData, LogSource, Message, frame

MOST_FRAMES = 1024
MOST_BYTES = 2 * 1024 * 1024
"""What is held for one client that does not keep up."""


@attrs.frozen
class Missed:
    """The client was too slow. What was held for it is gone; the state of everything has to be told anew."""

    lines: Mapping[LogSource, int]
    """Lines of each log that it did not get."""
    last_activity: int | None
    """The newest record that it was not told of."""


@attrs.define
class _Gap:
    lines: dict[LogSource, int] = attrs.field(factory=dict[LogSource, int])
    last_activity: int | None = None

    def swallow(self, message: Message) -> None:
        match message:
            case LogData(source, text):
                self.lines[source] = self.lines.get(source, 0) + text.count("\n")
            case ActivityRecorded(id):
                self.last_activity = id
            case _:
                pass  # superseded by what is true when the client goes on


@attrs.define(eq=False)
class EventSubscription:
    """Made by `EventHub.subscribe`; for one task.

    Cancellation of its iteration: nothing is lost, what came stays pending.
    """

    _pending: deque[tuple[Message, bytes]] = attrs.field(factory=deque[tuple[Message, bytes]], init=False)
    _size: int = attrs.field(default=0, init=False)
    _gap: _Gap | None = attrs.field(default=None, init=False)
    _published: trio.Event = attrs.field(factory=trio.Event, init=False)

    def push(self, message: Message, data: bytes) -> None:
        """For `EventHub.publish`."""
        if self._gap is None and (
            len(self._pending) == MOST_FRAMES or (self._size + len(data) > MOST_BYTES and self._pending)
        ):
            self._gap = _Gap()
            for lost, _ in self._pending:
                self._gap.swallow(lost)
            self._pending.clear()
        if self._gap is None:
            self._pending.append((message, data))
            self._size += len(data)
        else:
            self._gap.swallow(message)
        self._published.set()

    def __aiter__(self) -> EventSubscription:
        return self

    async def __anext__(self) -> bytes | Missed:
        """Return the frames that came since the last call, in order, or that they were too many."""
        await self._published.wait()
        self._published = trio.Event()
        self._size = 0
        if (gap := self._gap) is not None:
            self._gap = None
            return Missed(gap.lines, gap.last_activity)
        frames = b"".join(data for _, data in self._pending)
        self._pending.clear()
        return frames


@attrs.define(eq=False)
class EventHub:
    """Hands every message to every client. One for the whole server; it outlives configurations."""

    _subscriptions: set[EventSubscription] = attrs.field(factory=set[EventSubscription], init=False)

    @property
    def clients(self) -> Sized:
        """Who listens, always the same object. What is costly to tell need not be put together for nobody."""
        return self._subscriptions

    def publish(self, message: Message) -> None:
        """Tell every client. Never blocks."""
        if self._subscriptions:
            data = frame(message)
            for subscription in self._subscriptions:
                subscription.push(message, data)

    @contextmanager
    def subscribe(self) -> Generator[EventSubscription]:
        """Get what is published from now on, with ``async for`` over the subscription."""
        subscription = EventSubscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
