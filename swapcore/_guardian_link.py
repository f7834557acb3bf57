"""The supervisor's end of one guardian: spawn it, command it, hear what it reports.

POSIX only; `_guardian_plain` has the same methods where there is no guardian.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import final

import attrs
import trio

from . import _guardian
from ._guardian_protocol import Guarded, Job
from ._guardian_sweep import family, sweep
from ._logs import ModelLog

logger = logging.getLogger("swapcore")

RUN_MARKER = "SWAPCORE_RUN"
"""Environment variable of every model process; its value is one run's own."""

_ORPHAN_STOP_BOUND = 10.0
_READ_SIZE = 65536
_LOOK_AGAIN = 0.25


@final
@attrs.define(eq=False, repr=False)
class GuardianLink:
    """A guardian process, idle until `start`. Made by `spawn`; a `Guard`."""

    _process: subprocess.Popen[bytes]
    _control: trio.lowlevel.FdStream
    _status: trio.lowlevel.FdStream
    _output: trio.lowlevel.FdStream
    run: Guarded = attrs.field(factory=Guarded, init=False)
    _mark: str = attrs.field(factory=lambda: os.urandom(16).hex(), init=False)
    _started: bool = attrs.field(default=False, init=False)
    """The job was sent whole."""
    _swept: bool = attrs.field(default=False, init=False)
    """The guardian has said that nothing is left."""
    _serving: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    # Shielded: output and reports are read while the run is stopped, too. `close` bounds it.

    def __repr__(self) -> str:
        return f"<GuardianLink of process {self._process.pid}: {self.run}>"

    @classmethod
    def spawn(cls) -> GuardianLink:
        """Start a guardian, in a session of its own: a terminal's Ctrl-C reaches neither it nor the model.

        Takes 1 or 2 ms; its interpreter needs some 15 ms more before it acts on a `start`.

        Raises:
          OSError: no process or no descriptor can be had.
        """
        with ExitStack() as theirs, ExitStack() as unless_it_starts:

            def pipe() -> tuple[int, int]:
                ends = os.pipe()  # may be the one for which no descriptor is left
                for end in ends:
                    unless_it_starts.callback(os.close, end)
                return ends

            control, status, output = pipe(), pipe(), pipe()
            # Not by trio: that would spawn from another thread, and wait, and waiting may be cancelled.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(_guardian.__file__))],
                stdin=control[0],
                stdout=status[1],
                stderr=output[1],
                start_new_session=True,
            )
            unless_it_starts.pop_all()
            for end in (control[0], status[1], output[1]):
                theirs.callback(os.close, end)
        return cls(process, *map(trio.lowlevel.FdStream, (control[1], status[0], output[0])))

    @property
    def alive(self) -> bool:
        """Whether the guardian process still runs."""
        return self._process.poll() is None

    def discard(self) -> None:
        """Get rid of it when it was never started, at once: it has no child, so killing it leaves nothing."""
        self._process.kill()
        self._process.wait()
        self._close_pipes()

    # -- commands ----------------------------------------------------------------

    async def start(self, job: Job) -> None:
        env = {**job.env, RUN_MARKER: self._mark}
        await self._send(
            "start",
            [os.fsencode(word) for word in job.command],
            {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
            None if job.cwd is None else os.fsencode(job.cwd),
            [os.fsencode(word) for word in job.stop_command],
            min(job.stop_bound, _ORPHAN_STOP_BOUND),
        )
        self._started = True

    async def signal(self, number: int) -> None:
        await self._send("signal", int(number))

    async def run_stop_command(self) -> None:
        await self._send("stop")

    async def kill(self) -> None:
        if self._started:
            await self._send("kill")
        else:  # half a job can only be dropped
            self._control.close()

    async def _send(self, *message: object) -> None:
        # A broken pipe is a dead guardian: the reader of its reports finds out, and acts.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._control.send_all(_guardian.pack(*message))

    # -- reports -----------------------------------------------------------------

    async def serve(self, log: ModelLog) -> None:
        try:
            with self._serving:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_output, log)
                    nursery.start_soon(self._read_reports)
        finally:
            self._close_pipes()

    async def _read_output(self, log: ModelLog) -> None:
        while data := await self._output.receive_some(_READ_SIZE):
            log.write(data)
        self.run.output_ended = True
        self.run.tell()

    async def _read_reports(self) -> None:
        frames = _guardian.Frames()
        while data := await self._status.receive_some(_READ_SIZE):
            for name, *arguments in frames.feed(data):
                self._on_report(name, *arguments)
        if not self._swept:
            logger.error("the guardian of process %s has been killed; ending what it guarded", self.run.pid)
            # The guardian is not reaped yet: so its pid, which names its session, cannot be another's.
            await sweep(self._process.pid, f"{RUN_MARKER}={self._mark}", self.run.pid)
        # Its descriptors close as the last thing in its life, so this takes microseconds.
        self._process.wait()
        self.run.gone = True
        self.run.tell()

    def _on_report(self, name: str, *arguments: int | str) -> None:
        match name, arguments:
            case "spawned", [int(pid)]:
                self.run.pid = pid
            case "failed", [str(text)]:
                self.run.failure = text
            case "exited", [int(status)]:
                self.run.status = status
            case "stop_ended", [int(status)]:
                self.run.stop_status = status
            case "gone", []:
                self._swept = True
            case _:
                raise AssertionError(f"unknown report {name!r} {arguments!r}")
        self.run.tell()

    # -- the end -----------------------------------------------------------------

    def survivors(self) -> list[int]:
        return sorted(one.pid for one in family(self._process.pid, f"{RUN_MARKER}={self._mark}"))

    async def wait_gone(self) -> None:
        if self.run.gone:
            return
        # It does not end before the last of what it guards has, unless somebody kills it.
        while not self._has_ended():  # noqa: ASYNC110 - its pipes are closed: nothing else tells
            await trio.sleep(_LOOK_AGAIN)
        await sweep(self._process.pid, f"{RUN_MARKER}={self._mark}", self.run.pid)
        self._process.wait()

    def _has_ended(self) -> bool:
        if sys.platform != "linux":
            return not self.alive
        # Without reaping it: until then its pid, which names its session, cannot be another's.
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._process.returncode is not None or os.waitid(os.P_PID, self._process.pid, how) is not None

    def close(self) -> None:
        self._serving.cancel()

    def _close_pipes(self) -> None:
        for pipe in (self._control, self._status, self._output):
            pipe.close()
