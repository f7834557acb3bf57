"""Measures the machine every few seconds and remembers an hour of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf
from typing import Any, TypeAlias

import attrs
import trio

from swapcli.config import Performance

from .samples import GpuSample, SystemSample

log = logging.getLogger("swapcli.machine")

Reading: TypeAlias = tuple[SystemSample, Sequence[GpuSample]]
Read: TypeAlias = Callable[[], Reading]

_REMEMBERED = 3600.0
"""Seconds."""


def open_machine() -> Read:
    """Return what measures this machine. Both are for worker threads: they import, and ask drivers."""
    from .gpus import open_gpus
    from .system import begin, read_system

    gpus = open_gpus()
    begin()
    return lambda: (read_system(), gpus.read())


@attrs.define(eq=False)
class PerformanceMonitor:
    """One for the whole server; it outlives configurations. The newest sample is the last."""

    _settings: Performance
    _open: Callable[[], Read] = open_machine
    system: deque[SystemSample] = attrs.field(init=False)
    gpus: deque[Sequence[GpuSample]] = attrs.field(init=False)
    _read: Read | None = attrs.field(default=None, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_failing: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._forget()

    @property
    def is_enabled(self) -> bool:
        """Somebody wants the machine to be measured."""
        return not self._settings.disabled

    def apply(self, settings: Performance) -> None:
        """Measure in this way from now on. What is known stays only if nothing is different."""
        now, then = self._settings, settings
        if (now.disabled, now.every_seconds) != (then.disabled, then.every_seconds):
            self._settings = settings
            self._forget()
            self._changed.set()

    async def run(self) -> None:
        """Measure until cancelled; the first time after one interval."""
        while True:
            every = self._settings.every_seconds if self.is_enabled else inf
            next_at = trio.current_time() + every
            while not self._changed.is_set():
                if self.is_enabled and self._read is None:
                    await self._attempt(self._begin)
                with trio.move_on_at(next_at) as waiting:
                    await self._changed.wait()
                if waiting.cancelled_caught:
                    await self._attempt(self._sample)
                    next_at = max(next_at + every, trio.current_time())
            self._changed = trio.Event()

    def as_json(self, after: datetime | None) -> dict[str, Any]:
        """Return the document of ``/api/performance``.

        Args:
          after: only samples newer than this; then a series without any is empty, else it is null.
        """
        gpus = [sample.as_json() for samples in self.gpus for sample in samples if _is_newer(sample, after)]
        system = [sample.as_json() for sample in self.system if _is_newer(sample, after)]
        nothing: list[Any] | None = None if after is None else []
        return {"enabled": True, "gpu_stats": gpus or nothing, "sys_stats": system or nothing}

    def _forget(self) -> None:
        kept = max(1, int(_REMEMBERED // self._settings.every_seconds))
        self.system, self.gpus = deque(maxlen=kept), deque(maxlen=kept)

    async def _begin(self) -> None:
        self._read = await trio.to_thread.run_sync(self._open, abandon_on_cancel=True)

    async def _sample(self) -> None:
        if self._read is None:
            return
        settings = self._settings
        system, gpus = await trio.to_thread.run_sync(self._read, abandon_on_cancel=True)
        if settings is self._settings:
            self.system.append(system)
            self.gpus.append(gpus)

    async def _attempt(self, step: Callable[[], Any]) -> None:
        """A machine that cannot be measured is no reason not to serve models."""
        try:
            await step()
        except Exception as error:
            if not self._is_failing:
                log.warning("the machine cannot be measured: %r", error)
            self._is_failing = True
        else:
            self._is_failing = False


def _is_newer(sample: SystemSample | GpuSample, after: datetime | None) -> bool:
    return after is None or sample.at > after
