"""Start one model as a child process, wait until it is ready, and stop it with its whole tree."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Protocol, final

import attrs
import trio

from ._environment import environment_of
from ._errors import ModelError, StartFailed, StillAlive
from ._guardian_link import GuardianLink
from ._guardian_protocol import Guard, Guarded, Job
from ._health import wait_healthy
from ._logs import current_log
from ._own_threads import OwnThreads
from ._prefetch import prefetch
from ._preflight import is_same_port, preflight
from ._spec import Endpoint, ModelId, ModelSpec
from ._stop_ladder import ConfirmGone, end, has_ended, wait_gone

logger = logging.getLogger("swapcore")

_LAST_OUTPUT_CHARACTERS = 200


class ProcessExited(ModelError):
    """A ready process ended by itself.

    The last lines of its output are attached as a note (``__notes__``).
    """

    def __init__(self, model: ModelId, reason: str, status: int | None = None) -> None:
        super().__init__(model, reason)
        self.status = status
        """Exit code, or minus the number of a signal; ``None`` when it cannot be known."""


class Launcher(Protocol):
    """Runs one process, as a startable task.

    A launcher may also have ``open() -> AbstractAsyncContextManager[Launcher]``: the supervisor
    enters it before the first launch and uses what it gives.
    """

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        """Start the process, call ``task_status.started(endpoint)`` once it is ready, return once it is gone.

        Whatever it writes goes to `current_log()`.

        Raises:
          StartFailed: it ended, or could not be started, before it was ready.
          Exception: any, after it was ready: it has crashed. A ``GeneratorExit`` counts as one; every other
            ``BaseException``, such as ``KeyboardInterrupt``, ends the supervisor once the rest is stopped.
          StillAlive: it could not be ended. Nothing is started in its place before it has gone.
        Cancellation: stops the process, confirms that its whole tree is gone, then raises ``Cancelled``.
        """
        ...


@final
@attrs.define(eq=False)
class SubprocessLauncher:
    """Launches `ModelSpec.command` under a guardian, which outlives neither the model nor this process.

    Use it as it is, or, so that no interpreter has to start on the way of a
    swap, use what `open` gives: it keeps one guardian warm.
    """

    confirm_gone: ConfirmGone | None = attrs.field(default=None)
    """Called once the tree of a process is gone, with its spec; returns when nothing else of it is left.

    For memory that comes back later, and for what runs elsewhere and may have to be ended there. It has
    5 s, then the model is `StillAlive` until it returns.
    """
    _looking: OwnThreads = attrs.field(factory=OwnThreads, init=False)
    _keeps_spare: bool = attrs.field(default=False, init=False)
    _spare: GuardianLink | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[SubprocessLauncher]:
        """Give a launcher with a warm guardian, for use in the block and its trio run."""
        warm = SubprocessLauncher(self.confirm_gone)
        warm._keeps_spare = sys.platform != "win32"
        warm._warm_up()
        try:
            yield warm
        finally:
            warm._keeps_spare = False
            if warm._spare is not None:
                warm._spare.discard()

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        """See `Launcher`. Raises `ProcessExited` when the process ended after it was ready."""
        await self._looking.run(spec.id, partial(preflight, spec))
        endpoint, log = Endpoint(spec.url), current_log()
        place = log.written
        guard = self._take_guard(spec.id)
        was_ready, remains = False, None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guard.serve, log)
                try:
                    await guard.start(_job_of(spec))
                    self._warm_up()  # now: the next swap may come as soon as this one is done
                    if await _wait_ready(spec, endpoint, guard.run):
                        was_ready = True
                        task_status.started(endpoint)
                        await guard.run.wait(has_ended)
                finally:
                    # The port of one that ended before it was ready may have been somebody else's all along.
                    had_port = was_ready or not guard.run.ended
                    try:
                        remains = await end(spec, guard, endpoint if had_port else None, self.confirm_gone)
                    finally:
                        guard.close()
        finally:
            if remains is not None:
                gone = partial(wait_gone, spec, guard, endpoint, self.confirm_gone)
                raise StillAlive(spec.id, remains, gone)
        raise _problem(spec.id, guard.run, was_ready, log.tail(since=place))

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        """See the function `preflight`; one of *beside*, which will have been stopped, may hold the port."""
        check_port = not any(is_same_port(spec, other) for other in beside)
        preflight(spec, check_port=check_port)

    def prefetch(self, spec: ModelSpec) -> None:
        """Read its files into the page cache. For a worker thread of trio's."""
        prefetch(spec)

    def _take_guard(self, model: ModelId) -> Guard:
        spare, self._spare = self._spare, None
        if spare is not None:
            if spare.alive:
                return spare
            spare.discard()
        if sys.platform == "win32":
            from ._guardian_plain import PlainProcess

            return PlainProcess()
        try:
            return GuardianLink.spawn()
        except OSError as error:
            raise StartFailed(model, f"no guardian process can be started: {error.strerror}") from error

    def _warm_up(self) -> None:
        if not self._keeps_spare or self._spare is not None:
            return
        try:
            self._spare = GuardianLink.spawn()
        except OSError as error:  # the next start will try for itself, and say so if it fails too
            logger.warning("no spare guardian process can be started: %s", error.strerror)


launch_subprocess: Final = SubprocessLauncher()
"""Runs a model as a child process of this one. See `SubprocessLauncher`."""


# -- the start ----------------------------------------------------------------------


def _job_of(spec: ModelSpec) -> Job:
    return Job(
        command=spec.command,
        env=environment_of(spec),
        cwd=spec.cwd,
        stop_command=spec.stop_command,
        stop_bound=spec.unload_timeout,
    )


async def _wait_ready(spec: ModelSpec, endpoint: Endpoint, run: Guarded) -> bool:
    """Block until it is ready, or has ended, which ends the probing at once. Return whether it is ready."""
    await run.wait(lambda run: run.pid is not None or run.ended)
    if spec.check_path is not None and not run.ended:
        async with trio.open_nursery() as nursery:

            async def end_with_the_run() -> None:
                await run.wait(has_ended)
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_with_the_run)
            await wait_healthy(endpoint, spec.check_path, name=spec.id)
            nursery.cancel_scope.cancel()
    return not run.ended


def _problem(model: ModelId, run: Guarded, was_ready: bool, output: list[str]) -> ModelError:
    """Say how the run ended by itself: in one line, with the last output as a note."""
    if run.failure is not None:
        reason = f"could not be started: {run.failure.strip()}"
    elif run.status is None:
        reason = "was ended, because its guardian process had been killed"
    elif run.status < 0:
        reason = f"was killed by {_signal_name(-run.status)}"
    else:
        reason = f"exited with status {run.status}"
    if run.failure is None and not was_ready:
        reason += " before it was ready"
    if last := next((line.strip() for line in reversed(output) if line.strip()), ""):
        reason += f"; its last output: {last[:_LAST_OUTPUT_CHARACTERS]}"
    error = ProcessExited(model, reason, run.status) if was_ready else StartFailed(model, reason)
    if output:
        error.add_note("last output:\n" + "\n".join(output))
    return error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
