"""One life of a process: start it in time, and watch it while it is ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

import attrs
import trio

from ._effects import Run
from ._errors import Hung, StartFailed, StartTimeout
from ._health import what_is_wrong
from ._launch import Launcher
from ._logs import ModelLog, Subscription
from ._raised import can_be_told, repr_of
from ._spec import Endpoint, ModelSpec

_MAX_EXTENSION = 5.0


@runtime_checkable
class ProbingLauncher(Protocol):
    """A launcher that can tell better than a GET of ``check_path`` whether its process still works."""

    async def what_is_wrong(self, spec: ModelSpec, endpoint: Endpoint) -> str | None:
        """Look at a ready process; ``None``: it works. Cancelled when the time for an answer is over."""
        ...


@attrs.define(eq=False)
class _Readiness:
    """The launcher's ``task_status``: takes an endpoint, and remembers that it did."""

    _inner: trio.TaskStatus[Endpoint]
    reported: bool = False

    def started(self, value: object = None) -> None:
        if not isinstance(value, Endpoint):
            raise TypeError(f"task_status.started() takes the Endpoint where it answers, not {value!r}")
        self._inner.started(value)
        self.reported = True


@attrs.define(eq=False)
class Life:
    """Made for one `Run`. What it finds out it reports; what becomes of it is decided elsewhere."""

    run: Run
    _log: ModelLog
    _launch: Launcher
    _ready: Callable[[Endpoint], None]
    _hung: Callable[[Hung], None]

    async def live(self) -> None:
        """Launch the process and block until it has ended.

        Raises:
          StartTimeout: it was not ready in time, and is gone.
          Exception: what the launcher raises.
        Cancellation: the launcher stops the process.
        """
        spec = self.run.spec
        async with trio.open_nursery() as nursery:

            async def launch(*, task_status: trio.TaskStatus[Endpoint]) -> None:
                readiness = _Readiness(task_status)
                try:
                    await self._launch(spec, task_status=readiness)
                except BaseException as raised:
                    if can_be_told(raised):
                        raise
                    raise RuntimeError(repr_of(raised)) from raised
                if not readiness.reported:
                    # If it was cancelled and kept that to itself, the cancellation is what ended it.
                    await trio.lowlevel.checkpoint_if_cancelled()
                    raise StartFailed(spec.id, "its launcher returned without task_status.started()")
                nursery.cancel_scope.cancel()  # nothing is left to watch

            endpoint = await self._start(launch, nursery)
            self._ready(endpoint)
            if spec.liveness.every:
                nursery.start_soon(self._probe, endpoint)
            if spec.liveness.silent:
                nursery.start_soon(self._listen)

    async def _start(self, launch: Callable[..., Awaitable[None]], nursery: trio.Nursery) -> Endpoint:
        spec = self.run.spec
        endpoint: Endpoint | None = None
        async with trio.open_nursery() as waiting:
            with self._log.subscribe() as output, trio.move_on_after(spec.start_timeout) as patience:
                waiting.start_soon(_extend, spec, output, patience)
                endpoint = await nursery.start(launch)
            waiting.cancel_scope.cancel()
        if endpoint is None:
            raise self._start_timeout()
        return endpoint

    def _start_timeout(self) -> StartTimeout:
        spec, took = self.run.spec, trio.current_time() - self.run.launched_at
        error = StartTimeout(spec.id, f"not ready after {took:.0f} s")
        if lines := self._log.tail():
            error.add_note("last output:\n" + "\n".join(lines))
        return error

    async def _probe(self, endpoint: Endpoint) -> None:
        every = self.run.spec.liveness.every
        while True:
            await trio.sleep(every)
            problem: str | None = f"no answer to its health check for {every:g} s"
            with trio.move_on_after(every):
                problem = await self._what_is_wrong(endpoint)
            if problem is not None:
                self._hung(Hung(self.run.model, problem))

    async def _what_is_wrong(self, endpoint: Endpoint) -> str | None:
        spec = self.run.spec
        if isinstance(self._launch, ProbingLauncher):
            return await self._launch.what_is_wrong(spec, endpoint)
        return None if spec.check_path is None else await what_is_wrong(endpoint, spec.check_path)

    async def _listen(self) -> None:
        """Report a hang when it is in use and neither writes output nor has anything for its callers."""
        silent = self.run.spec.liveness.silent
        written, written_at = self._log.written, trio.current_time()
        while True:
            now = trio.current_time()
            if self._log.written != written:
                written, written_at = self._log.written, now
            heard_at = max(written_at, self.run.busy_since, self.run.heard_at)
            if self.run.leases and now >= heard_at + silent:
                self._hung(Hung(self.run.model, f"in use, and silent for {silent:g} s"))
            await trio.sleep(max(silent / 10, 0.01))


async def _extend(spec: ModelSpec, output: Subscription, patience: trio.CancelScope) -> None:
    """A start that writes output gets on: give it more time, within a bound."""
    limit = spec.start_timeout_max or _MAX_EXTENSION * spec.start_timeout
    latest = trio.current_time() + limit
    async for _ in output:
        patience.deadline = min(latest, trio.current_time() + spec.start_timeout)
