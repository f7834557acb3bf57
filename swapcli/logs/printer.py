"""Standard output, written by a thread of its own: a pager that is not scrolled must not stop the server."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from functools import partial

import attrs

CAPACITY = 1024 * 1024
"""Bytes that wait to be printed while nobody reads."""
_PAUSE = 0.02
"""Seconds after each batch: a thread that wakes for every line makes each request a tenth longer."""
_SLICE = 16 * 1024
"""Written at once, so that it is seen whether somebody reads."""


@attrs.define(eq=False)
class Printer:
    """Prints without ever making who prints wait. Usable from any thread.

    What nobody reads in time is dropped, newest first, and counted. Once somebody reads again a line in its
    place says how much it was.
    """

    _descriptor: int
    """Of an open file, which stays open."""
    _report: Callable[[int], bytes]
    """Makes that line, for a number of lines."""
    dropped: int = attrs.field(default=0, init=False)
    """Lines that were not printed, ever."""
    _pending: list[bytes] = attrs.field(factory=list[bytes], init=False)
    _size: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)
    """Lines dropped after what is pending, because it is too much."""
    _failed: int = attrs.field(default=0, init=False)
    """Lines before what is pending that could not be written."""
    _is_writing: bool = attrs.field(default=False, init=False)
    _slices: int = attrs.field(default=0, init=False)
    """Written so far; as long as it grows, somebody reads."""
    _closed: bool = attrs.field(default=False, init=False)
    _changed: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _hurry: threading.Event = attrs.field(factory=threading.Event, init=False)
    """It is being closed."""
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def write(self, data: bytes) -> None:
        """Print *data*, soon. Never blocks."""
        with self._changed:
            if self._closed:
                return
            if self._pending and (self._lost or self._size + len(data) > CAPACITY):
                self._lost += self._count(data)
                return
            self._pending.append(data)
            self._size += len(data)
            if self._thread is None:
                # A daemon: it may be blocked for as long as the other end of the pipe likes.
                self._thread = threading.Thread(target=self._run, name="standard output", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, *, patience: float, limit: float) -> None:
        """Wait until everything is printed, and print no more after it.

        Args:
          patience: seconds without progress after which the rest is given up.
          limit: the same, with progress.
        """
        give_up = time.monotonic() + limit
        self._hurry.set()
        with self._changed:
            while self._is_busy:
                went_on = partial(self._has_gone_on, since=self._slices)
                if not self._changed.wait_for(went_on, min(patience, give_up - time.monotonic())):
                    break
            self._closed = True
            self._changed.notify_all()

    def _has_gone_on(self, *, since: int) -> bool:
        return self._slices != since or not self._is_busy

    @property
    def _is_busy(self) -> bool:
        return bool(self._pending) or self._is_writing

    def _count(self, data: bytes) -> int:
        lines = max(1, data.count(b"\n"))
        self.dropped += lines
        return lines

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            for start in range(0, len(batch), _SLICE):
                part = batch[start : start + _SLICE]
                try:
                    self._write_out(part)
                except OSError:  # nobody reads any more, or the disk is full
                    with self._changed:
                        self._failed += self._count(part)
                with self._changed:
                    self._slices += 1
                    self._changed.notify_all()
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
            self._hurry.wait(_PAUSE)

    def _next_batch(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            if self._closed:
                return None
            before, after = (self._report(lines) if lines else b"" for lines in (self._failed, self._lost))
            batch = b"".join((before, *self._pending, after))
            self._pending.clear()
            self._size = self._lost = self._failed = 0
            self._is_writing = True
            return batch

    def _write_out(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program made our terminal non-blocking
                select.select((), (self._descriptor,), ())
