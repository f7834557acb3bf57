"""What is done for a start before it begins, off the loop: the launcher looks at it, and reads its files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import attrs
import trio

from ._effects import Check
from ._errors import StartFailed
from ._launch import Launcher
from ._own_threads import OwnThreads
from ._raised import as_failure, reason_of, repr_of
from ._spec import ModelId, ModelSpec

logger = logging.getLogger("swapcore")

_CHECK_BOUND = 2.0
"""Seconds for a launcher's check. A start that goes wrong after it is found out all the same."""


@runtime_checkable
class CheckingLauncher(Protocol):
    """A launcher that can be asked about a start before anything is stopped for it."""

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        """Look for what would make a start fail for certain. Called in a worker thread.

        Args:
          beside: what runs now, and will have been stopped by then.
        Raises:
          StartFailed: it would fail, and why.
        """
        ...


@runtime_checkable
class PrefetchingLauncher(Protocol):
    """A launcher that can bring a start forward while room is still being made for it."""

    def prefetch(self, spec: ModelSpec) -> None:
        """Do what takes none of the room, such as reading files. Called in a worker thread of trio's.

        Cancellation: the thread is left alone; poll `trio.from_thread.check_cancelled`.
        """
        ...


async def check_start(launch: Launcher, check: Check, threads: OwnThreads) -> StartFailed | None:
    """Ask the launcher, in a thread: file systems can be slow. Takes 2 s at most."""
    assert isinstance(launch, CheckingLauncher)
    try:
        with trio.move_on_after(_CHECK_BOUND):
            await threads.run(check.spec.id, partial(launch.preflight, check.spec, check.beside))
    except StartFailed as failure:
        return failure
    except BaseException as raised:
        what = repr_of(as_failure(raised))
        return StartFailed(check.spec.id, f"its check before the start failed: {what}")
    return None


@attrs.define(eq=False)
class Prefetches:
    """Those under way. Nobody waits for one, and none outlasts the swap that it is for."""

    _launch: Launcher
    _nursery: trio.Nursery
    _scopes: dict[ModelId, trio.CancelScope] = attrs.field(
        factory=dict[ModelId, trio.CancelScope], init=False
    )
    # One after the other: a disk that reads two files at once reads both slowly.
    _one_at_a_time: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    def begin(self, spec: ModelSpec) -> None:
        """Start one in the background, if the launcher can."""
        if isinstance(self._launch, PrefetchingLauncher):
            self.end(spec.id)
            scope = self._scopes[spec.id] = trio.CancelScope()
            self._nursery.start_soon(self._run, self._launch, spec, scope, name=f"prefetch {spec.id}")

    def end(self, model: ModelId) -> None:
        if scope := self._scopes.pop(model, None):
            scope.cancel()

    def end_all(self) -> None:
        for model in list(self._scopes):
            self.end(model)

    async def _run(self, launch: PrefetchingLauncher, spec: ModelSpec, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await trio.to_thread.run_sync(
                    launch.prefetch, spec, abandon_on_cancel=True, limiter=self._one_at_a_time
                )
        except BaseException as raised:
            logger.warning("%s: its files are not prefetched: %s", spec.id, reason_of(as_failure(raised)))
