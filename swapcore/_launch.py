"""Start one model as a child process, wait until it is ready, and stop it with its whole tree."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final, Protocol, final

import attrs
import trio

from ._errors import ModelError, StartFailed
from ._guardian_link import GuardianLink
from ._guardian_protocol import Guard, Guarded, Job
from ._health import addresses_of, wait_healthy
from ._logs import current_log
from ._spec import Endpoint, ModelId, ModelSpec

logger = logging.getLogger("swapcore")

# After the grace: how long killing may take before it is reported instead of waited for.
_KILL_BOUND = 5.0

# Once the tree is gone nobody writes any more; what is in the pipe is read, unless someone outside holds it.
_DRAIN_BOUND = 0.1

# What a service manager told this process is not meant for a model, which would answer in its name.
_NOT_FOR_MODELS = frozenset(
    ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC")
)

# llama-server's flags that take a file of this machine. Elsewhere it may be one in a container, or a name.
_LLAMA_FILE_FLAGS = frozenset(("-m", "--model", "-mm", "--mmproj", "-md", "--model-draft", "--lora"))

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
          Exception: any, after it was ready: it has crashed.
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

    _keeps_spare: bool = attrs.field(default=False, init=False)
    _spare: GuardianLink | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[SubprocessLauncher]:
        """Give a launcher with a warm guardian, for use in the block and its trio run."""
        warm = SubprocessLauncher()
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
        preflight(spec)
        endpoint, log = Endpoint(spec.url), current_log()
        place = log.written
        guard = self._take_guard(spec.id)
        was_ready = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guard.serve, log)
            try:
                await guard.start(_job_of(spec))
                self._warm_up()  # now: the next swap may come as soon as this one is done
                if await _wait_ready(spec, endpoint, guard.run):
                    was_ready = True
                    task_status.started(endpoint)
                    await guard.run.wait(_has_ended)
            finally:
                with trio.move_on_after(spec.unload_timeout + _KILL_BOUND, shield=True) as bound:
                    await _stop(spec, guard)
                if bound.cancelled_caught:
                    logger.error("%s: still alive after SIGKILL: processes %s", spec.id, guard.survivors())
                guard.close()
        raise _problem(spec.id, guard.run, was_ready, log.tail(since=place))

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        """See the function `preflight`; one of *beside*, which will have been stopped, may hold the port."""
        check_port = not any(_same_port(spec, other) for other in beside)
        preflight(spec, check_port=check_port)

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


# -- before the start -------------------------------------------------------------


def preflight(spec: ModelSpec, *, check_port: bool = True) -> None:
    """Look for what would make a start fail for certain, without starting anything. Takes well under 1 ms.

    Args:
      check_port: also require that nobody listens at the URL's port. Leave it out
        while a model that is to be stopped first listens there.
    Raises:
      StartFailed: no command or no usable URL; the program or the working
        directory is not there; the port is taken.
    """
    if problem := _problem_before_start(spec, check_port):
        raise StartFailed(spec.id, problem)


def _problem_before_start(spec: ModelSpec, check_port: bool) -> str | None:
    if not spec.url:
        return "it has no URL"
    if not spec.command or not spec.command[0]:
        return "it has no command"
    try:
        endpoint = Endpoint(spec.url)
    except ValueError as error:
        return f"its URL cannot be used: {error}"
    if endpoint.scheme not in ("http", "https"):
        return f"its URL cannot be used: {spec.url!r} is neither http nor https"
    if any("\0" in word for word in (*spec.command, *spec.env, *spec.env.values())):
        return "its command or environment has a zero byte"
    if spec.cwd is not None and not os.path.isdir(spec.cwd):
        return f"its working directory {spec.cwd!r} does not exist"
    if problem := _problem_with_program(spec) or _problem_with_files(spec):
        return problem
    if check_port and is_port_taken(endpoint):
        return f"port {endpoint.port} of {endpoint.host} is used by another process"
    return None


def _problem_with_program(spec: ModelSpec) -> str | None:
    program = spec.command[0]
    if os.path.dirname(program):  # as exec does: relative to the working directory it will have
        path = os.path.join(spec.cwd or "", program)
        if shutil.which(path) is not None:
            return None
        if not os.path.exists(path):
            return f"program {program!r} does not exist"
        return f"program {program!r} is not an executable file"
    if shutil.which(program, path=_environment(spec).get("PATH", os.defpath)) is None:
        return f"program {program!r} was not found in PATH"
    return None


def _problem_with_files(spec: ModelSpec) -> str | None:
    if not any(os.path.basename(word).startswith("llama-server") for word in spec.command):
        return None
    for flag, value in pairwise(spec.command):
        if flag in _LLAMA_FILE_FLAGS and not os.path.exists(os.path.join(spec.cwd or "", value)):
            return f"file {value!r}, which its command names, does not exist"
    return None


def is_port_taken(endpoint: Endpoint) -> bool:
    """Tell whether somebody holds the endpoint's port. False for a name, and for a host that is not this one.

    Tries to bind it, for an instant; nobody is connected to.
    """
    for host in addresses_of(endpoint):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if os.name == "posix":  # connections of an earlier run that are still closing do not count
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def _same_port(one: ModelSpec, other: ModelSpec) -> bool:
    try:
        return Endpoint(one.url).port == Endpoint(other.url).port
    except ValueError:
        return False


def _environment(spec: ModelSpec) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_MODELS}
    return ours | dict(spec.env)


def _job_of(spec: ModelSpec) -> Job:
    return Job(
        command=spec.command,
        env=_environment(spec),
        cwd=spec.cwd,
        stop_command=spec.stop_command,
        stop_bound=spec.unload_timeout,
    )


# -- the start ----------------------------------------------------------------------


def _has_ended(run: Guarded) -> bool:
    return run.ended


async def _wait_ready(spec: ModelSpec, endpoint: Endpoint, run: Guarded) -> bool:
    """Block until it is ready, or has ended, which ends the probing at once. Return whether it is ready."""
    await run.wait(lambda run: run.pid is not None or run.ended)
    if spec.check_path is not None and not run.ended:
        async with trio.open_nursery() as nursery:

            async def end_with_the_run() -> None:
                await run.wait(_has_ended)
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


# -- the stop -----------------------------------------------------------------------


async def _stop(spec: ModelSpec, guard: Guard) -> None:
    """The ladder: ask; ask again at half the grace, or once asking has failed; kill at its end; confirm.

    Runs after every run, however it ended: also what a dead leader has left behind must go.
    """
    run = guard.run
    with trio.move_on_after(spec.unload_timeout):
        if run.pid is not None:
            await _ask_to_stop(spec, guard)
        if run.ended:  # a stop command may still clean up
            await run.wait(lambda run: run.gone)
    if not run.gone:
        await guard.kill()
        await run.wait(lambda run: run.gone)
    with trio.move_on_after(_DRAIN_BOUND):
        await run.wait(lambda run: run.output_ended)


async def _ask_to_stop(spec: ModelSpec, guard: Guard) -> None:
    run = guard.run
    if run.ended:
        return
    with trio.move_on_after(spec.unload_timeout / 2):
        if spec.stop_command:
            await guard.run_stop_command()
            await run.wait(lambda run: run.ended or run.stop_status not in (None, 0))
            if not run.ended:
                logger.warning("%s: its stop command failed with status %s", spec.id, run.stop_status)
                await guard.signal(signal.SIGTERM)
        else:
            await guard.signal(spec.stop_signal)
        await run.wait(_has_ended)
    if not run.ended:
        # Some servers (llama-server with a request in flight) end only on a second SIGTERM.
        await guard.signal(signal.SIGTERM)
        await run.wait(_has_ended)
