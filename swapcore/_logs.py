"""What a model writes to its standard output and error: kept, and passed on to whoever follows it.

For use in one trio run, from its thread. Nothing here ever makes the writer wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TypeAlias

import attrs
import trio

from ._spec import ModelId

logger = logging.getLogger("swapcore")

OnOutput: TypeAlias = Callable[[ModelId, bytes], None]

DEFAULT_BYTES = 100 * 1024
_TAIL_LINES = 20


@attrs.frozen
class LogChunk:
    """Output as it came, cut anywhere."""

    data: bytes
    lost: int = 0
    """Bytes from just before *data* that were dropped because the follower was slow."""
    lost_lines: int = 0
    """Line ends among those."""


@attrs.define
class _Newest:
    """The newest *capacity* bytes of what was written."""

    capacity: int
    kept: bytearray = attrs.field(factory=bytearray, init=False)
    dropped: int = attrs.field(default=0, init=False)
    dropped_lines: int = attrs.field(default=0, init=False)

    def write(self, data: bytes) -> None:
        self.kept += data
        if (excess := len(self.kept) - self.capacity) > 0:
            self.dropped_lines += self.kept.count(b"\n", 0, excess)
            del self.kept[:excess]  # cheap: a bytearray moves its start, not its bytes
            self.dropped += excess


@attrs.define(eq=False)
class Subscription:
    """Made by `ModelLog.subscribe`. Iterate it in one task; it ends only with its block.

    Cancellation: nothing is lost, what came stays pending.
    """

    _pending: _Newest
    _written: trio.Event = attrs.field(factory=trio.Event, init=False)

    def feed(self, data: bytes) -> None:
        """For `ModelLog.write`."""
        self._pending.write(data)
        self._written.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> LogChunk:
        await self._written.wait()
        self._written = trio.Event()
        pending, self._pending = self._pending, _Newest(self._pending.capacity)
        return LogChunk(bytes(pending.kept), pending.dropped, pending.dropped_lines)


@attrs.define(eq=False, repr=False)
class ModelLog:
    """The output of one model, over all its runs: the newest *capacity* bytes of it, and its followers.

    Args:
      capacity: bytes kept; one more, and the oldest goes.
      on_write: called with each piece that is written; must not raise.
    """

    capacity: int = DEFAULT_BYTES
    on_write: Callable[[bytes], None] | None = None
    _newest: _Newest = attrs.field(init=False)
    _subscriptions: set[Subscription] = attrs.field(factory=set[Subscription], init=False)

    def __attrs_post_init__(self) -> None:
        self._newest = _Newest(self.capacity)

    def __repr__(self) -> str:
        return f"<ModelLog: {self.written} bytes written, {len(self._subscriptions)} followers>"

    @property
    def written(self) -> int:
        """Bytes written so far, those dropped since among them. A place in the log, for `tail`."""
        return self._newest.dropped + len(self._newest.kept)

    def write(self, data: bytes) -> None:
        """Append *data* and hand it to every subscriber. Never blocks."""
        if data:
            self._newest.write(data)
            for subscription in self._subscriptions:
                subscription.feed(data)
            if self.on_write is not None:
                self.on_write(data)

    def history(self) -> bytes:
        """Return what is kept, oldest byte first."""
        return bytes(self._newest.kept)

    def tail(self, lines: int = _TAIL_LINES, *, since: int = 0) -> list[str]:
        """Return the last *lines* lines, without their ends; bytes that are not UTF-8 are replaced.

        Args:
          since: a former value of `written`; only what came after it counts.
        """
        start = max(0, since - self._newest.dropped)
        text = self._newest.kept[start:].decode(errors="replace")
        if not text or lines <= 0:
            return []
        return text.replace("\r\n", "\n").removesuffix("\n").split("\n")[-lines:]

    @contextmanager
    def subscribe(self, capacity: int = DEFAULT_BYTES) -> Generator[Subscription]:
        """Follow the log from now on, with ``async for chunk in subscription``.

        `history` called before the next checkpoint ends exactly where the first chunk begins.

        Args:
          capacity: bytes held for a subscriber that does not keep up; then it
            loses the oldest, and is told how many in `LogChunk.lost`.
        """
        subscription = Subscription(_Newest(capacity))
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)


@attrs.define(eq=False)
class Logs:
    """The log of every model that was ever configured: its process may write for longer than it is."""

    _on_output: OnOutput | None
    _by_model: dict[ModelId, ModelLog] = attrs.field(factory=dict[ModelId, ModelLog], init=False)

    def __getitem__(self, model: ModelId) -> ModelLog:
        return self._by_model[model]

    def add(self, models: Iterable[ModelId]) -> None:
        """Make a log for each of *models* that has none."""
        for model in models:
            if model not in self._by_model:
                on_write = None if self._on_output is None else partial(self._tell, model)
                self._by_model[model] = ModelLog(on_write=on_write)

    def _tell(self, model: ModelId, data: bytes) -> None:
        assert self._on_output is not None
        try:
            self._on_output(model, data)
        except Exception:
            logger.exception("on_output failed for %s; its log has the output all the same", model)


_current: ContextVar[ModelLog] = ContextVar("swapcore_log")


def current_log() -> ModelLog:
    """Return the log of the model that is being launched; a launcher writes its process's output there.

    Outside a supervisor: a new one that nobody else sees.
    """
    return _current.get(None) or ModelLog()


@contextmanager
def writing_to(log: ModelLog) -> Generator[None]:
    """Make *log* the `current_log` of this block and of every task started in it."""
    token = _current.set(log)
    try:
        yield
    finally:
        _current.reset(token)
