"""Where requests that have ended are written down, beside the answers that are under way.

`Journal.add` only puts a request into a queue. What comes then, reading its figures, compressing its capture
and writing it to the database, is done together for all that ended within a moment: in a worker thread,
unless it is certain to be short.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import attrs
import trio

from .captures import Capture, CaptureBuffer, unpack
from .database import ActivityDatabase, Page, Totals
from .database_file import foreign_file
from .ended_request import EndedRequest
from .query import ActivityQuery
from .retention import FOR_EVER, Retention
from .schema import NewerFile

log = logging.getLogger("swapcli.activity")

GATHER_SECONDS = 0.1
"""What ends within this time is written together."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
"""For what is left at the end."""
_BATCH = 1000
_AT_ONCE = 64
"""Requests that are written within a millisecond, if the database is in memory and they are short."""
_SHORT = 64 * 1024
"""Bytes of their bodies, all together."""
MOST_WAITING = 10_000
"""Requests in the queue; while the disk fails, the oldest are forgotten beyond that."""
MOST_WAITING_BYTES = 64 * 1024 * 1024
"""Of bodies in the queue; beyond that, further requests give up their captures."""

_T = TypeVar("_T")


class StoreRefused(Exception):
    """The file holds something else than our records. The text says what, for people."""


@attrs.frozen
class JournalStatistics:
    """Counts since the start."""

    written: int
    waiting: int
    lost: int
    """Records that could not be written, and had to be forgotten."""
    failures: int
    """Attempts to write, or to open the file, that failed."""


@attrs.define(eq=False, kw_only=True)
class Journal:
    """Owner of the database and of the captures. Made by `open_journal`; for use in one trio run.

    It outlives a configuration: `reconfigure` tells it what another one says.
    """

    captures: CaptureBuffer
    on_recorded: Callable[[int], None]
    """Called with the id of each record once it, and its capture, can be read."""
    _database: ActivityDatabase
    _keep: int
    """Records in memory."""
    _retention: Retention = FOR_EVER
    """Of a file."""
    _wanted_path: str = attrs.field(init=False)
    _last_id: int = attrs.field(init=False)
    _queue: deque[EndedRequest] = attrs.field(factory=deque[EndedRequest], init=False)
    _queued_bytes: int = attrs.field(default=0, init=False)
    _batch: list[EndedRequest] = attrs.field(factory=list[EndedRequest], init=False)
    """Out of the queue, and not yet in the database."""
    _suspects: int = attrs.field(default=0, init=False)
    """So many of the next requests are written one by one: with one of them a batch failed."""
    _arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    _in_thread: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """Held by whoever uses the database."""
    # A thread that a disk holds up is left to itself, and is the only one: what it needs is its own.
    _one_at_a_time: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _is_failing: bool = attrs.field(default=False, init=False)
    _written: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last_id = self._database.last_id
        self._wanted_path = self._database.path
        self._failures = int(self._database.stands_in)

    def __repr__(self) -> str:
        return f"<Journal in {self._database.path or 'memory'}: {self.statistics()}>"

    def statistics(self) -> JournalStatistics:
        """Return the counts."""
        return JournalStatistics(
            self._written, len(self._queue) + len(self._batch), self._lost, self._failures
        )

    # -- writing -----------------------------------------------------------------

    def next_id(self) -> int:
        """Return an id that no record ever had."""
        self._last_id += 1
        return self._last_id

    def add(self, ended: EndedRequest) -> None:
        """Have it written down soon. Never blocks, never fails."""
        size = ended.size
        if self._queued_bytes + size > MOST_WAITING_BYTES:
            ended.forget_capture()
            ended.measure()  # what is left to look at is short
            size = 0
        if len(self._queue) >= MOST_WAITING:
            self._queued_bytes -= self._queue.popleft().size
            self._lost += 1
        self._queue.append(ended)
        self._queued_bytes += size
        self._arrived.set()

    async def run(self) -> None:
        """Write down what arrives, until cancelled; then what is left, unless that takes too long."""
        try:
            while True:
                await self._arrived.wait()
                await trio.sleep(RETRY_SECONDS if self._is_failing else GATHER_SECONDS)
                self._arrived = trio.Event()
                async with self._in_thread:
                    await self._flush()
                if self._batch:
                    self._arrived.set()
        finally:
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                async with self._in_thread:
                    await self._flush()
                    await self._beside(self._database.close)
            if left := self.statistics().waiting:
                log.warning("%d requests could not be recorded before the end", left)

    async def _beside(self, work: Callable[[], _T]) -> _T:
        """Use the database, in a thread. Cancellation: that goes on; a disk that hangs holds up nobody."""
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._one_at_a_time)

    async def _flush(self) -> None:
        """With ``_in_thread`` held. Cancellation: what may not have been written is tried again."""
        while self._wanted_path != self._database.path:
            await self._change_file()
        while self._batch or self._queue:
            most = 1 if self._suspects else _BATCH if self._database.path else _AT_ONCE
            while self._queue and len(self._batch) < most:
                ended = self._queue.popleft()
                self._queued_bytes -= ended.size
                self._batch.append(ended)
            batch = self._batch
            retention = self._retention if self._database.path else Retention(self._keep)
            write = partial(_write, self._database, batch, retention)
            try:
                if self._is_quickly_written(batch):
                    write()
                    await trio.lowlevel.checkpoint()
                else:
                    await self._beside(write)
            except sqlite3.Error as error:
                self._failures += 1
                if not self._is_failing:
                    log.warning("requests cannot be recorded for now: %s", error)
                self._is_failing = True
                return
            except Exception:
                # A mistake of ours. Only the request that it is about has to be lost.
                self._failures, self._batch = self._failures + 1, []
                if len(batch) > 1:
                    self._suspects = len(batch)
                    self._queue.extendleft(reversed(batch))
                    self._queued_bytes += sum(ended.size for ended in batch)
                else:
                    log.exception("a request could not be recorded")
                    self._suspects, self._lost = max(self._suspects - 1, 0), self._lost + 1
                continue
            if self._is_failing:
                log.warning("requests are recorded again; %d were lost so far", self._lost)
            self._is_failing, self._batch = False, []
            self._suspects = max(self._suspects - len(batch), 0)
            for ended in batch:
                self._settle(ended)

    def _is_quickly_written(self, batch: Sequence[EndedRequest]) -> bool:
        """A thread would cost more: both then wait for their turns with the interpreter."""
        return (
            not self._database.path
            and not self._one_at_a_time.borrowed_tokens  # by a reader that was called off, and goes on
            and sum(ended.unread for ended in batch) <= _SHORT
        )

    def _settle(self, ended: EndedRequest) -> None:
        capture = ended.measure().capture
        if capture is not None:
            self.captures.put(ended.id, capture)
        self._written += 1
        self.on_recorded(ended.id)

    # -- reading -----------------------------------------------------------------

    async def page(self, query: ActivityQuery) -> Page:
        """Return records, with all that ended before the call.

        Raises:
          sqlite3.Error: the database is damaged, or locked for too long.
        Cancellation: nothing changed.
        """
        async with self._in_thread:
            await self._flush()
            return await self._beside(partial(self._database.page, query))

    async def totals(self, model: str = "") -> Totals:
        """Return the sums over a model's records; empty: over all. Raises and cancels like `page`."""
        async with self._in_thread:
            await self._flush()
            return await self._beside(partial(self._database.totals, model))

    async def capture(self, id: int) -> Capture | None:
        """Return what was kept of a request. Raises and cancels like `page`."""
        if id not in self.captures and self._is_on_its_way(id):
            async with self._in_thread:
                await self._flush()
        packed = self.captures.get(id)
        return None if packed is None else await trio.to_thread.run_sync(unpack, packed)

    def _is_on_its_way(self, id: int) -> bool:
        return any(ended.id == id for ended in (*self._batch, *self._queue))

    # -- another configuration -------------------------------------------------------

    def reconfigure(
        self, path: str, *, keep: int, capture_bytes: int, retention: Retention = FOR_EVER
    ) -> None:
        """Go on with another file, and other limits; see `open_journal`. Never blocks.

        Ids go on from the higher of both files, so none is given twice. A file that cannot be used is a
        warning, and everything goes on with the one before.
        """
        self._keep, self._retention = keep, retention
        self.captures.resize(capture_bytes)
        self._wanted_path = path
        self._arrived.set()

    async def _change_file(self) -> None:
        """With ``_in_thread`` held. Cancellation: nothing changed, or all."""
        done_with, wanted = self._database, self._wanted_path
        try:
            opened = await self._beside(partial(open_database, wanted))
        except StoreRefused as refusal:
            log.warning("requests are recorded where they were: %s", refusal)
            opened = done_with
        else:
            self._failures += opened.stands_in
            if opened.stands_in and done_with.stands_in:  # as before, and that one has records
                opened, done_with = done_with, opened
        self._database = opened
        if self._wanted_path == wanted:  # else it is the next one's turn
            self._wanted_path = opened.path
        self._last_id = max(self._last_id, opened.last_id)
        if done_with is not opened:
            with suppress(sqlite3.Error):  # all that it was to keep is in it
                await self._beside(done_with.close)


@asynccontextmanager
async def open_journal(
    database: ActivityDatabase,
    *,
    keep: int = 1000,
    capture_bytes: int = 0,
    retention: Retention = FOR_EVER,
    on_recorded: Callable[[int], None] = lambda _: None,
) -> AsyncGenerator[Journal]:
    """Write requests down for the length of the block; what came in is written when it ends.

    Args:
      database: made by `open_database`; closed at the end.
      keep: records in memory.
      capture_bytes: memory for captures.
      retention: what stays in a file.
    """
    journal = Journal(
        captures=CaptureBuffer(capture_bytes),
        on_recorded=on_recorded,
        database=database,
        keep=keep,
        retention=retention,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.run)
        try:
            yield journal
        finally:
            nursery.cancel_scope.cancel()


def open_database(path: str = "") -> ActivityDatabase:
    """Open the file, or nothing but memory. Blocks for as long as the disk takes.

    A database in memory takes the place of a file that is damaged or cannot be reached.

    Raises:
      StoreRefused: the file is not ours to write to.
    """
    if not path:
        return ActivityDatabase.open()
    try:
        if (fault := foreign_file(path)) is not None:
            raise StoreRefused(fault)
        return ActivityDatabase.open(path)
    except NewerFile as newer:
        raise StoreRefused(f"{path}: {newer}") from None
    except (OSError, ValueError, sqlite3.Error) as error:  # ValueError: it is no name that a file can have
        log.warning("%r cannot be used: %s; requests are recorded in memory only", path, error)
        return ActivityDatabase.open(stands_in=True)


def _write(database: ActivityDatabase, batch: Sequence[EndedRequest], retention: Retention) -> None:
    database.write([ended.measure().record for ended in batch], retention)
