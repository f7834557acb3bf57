"""Where there is no guardian, as on Windows: the same calls, on a plain child process.

What it cannot do: descendants of the child are not killed with it (give the
model a stop command that ends its tree, such as ``taskkill /t /f /pid ${PID}``),
and nothing ends the child if this process is killed.
"""

from __future__ import annotations

import subprocess
from typing import final

import attrs
import trio

from ._guardian_protocol import Guarded, Job
from ._logs import ModelLog

_READ_SIZE = 65536
_LOOK_AGAIN = 0.25


@final
@attrs.define(eq=False)
class PlainProcess:
    """A child process, not there until `start`; a `Guard`."""

    run: Guarded = attrs.field(factory=Guarded, init=False)
    _job: Job | None = attrs.field(default=None, init=False)
    _process: trio.Process | None = attrs.field(default=None, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _serving: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    # Shielded: output is read while the run is stopped, too. `close` bounds it.

    async def start(self, job: Job) -> None:
        self._job = job
        with trio.CancelScope(shield=True):  # short, and a process nobody knows must not be made
            try:
                self._process = await trio.lowlevel.open_process(
                    job.command,
                    env=job.env,
                    cwd=job.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                self.run.pid = self._process.pid
            except OSError as error:
                self.run.failure = f"{error.filename or job.command[0]}: {error.strerror}"
                self.run.gone = True
        self.run.tell()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def serve(self, log: ModelLog) -> None:
        with self._serving:
            await self.run.wait(lambda run: run.pid is not None or run.gone)
            async with trio.open_nursery() as self._nursery:
                if self._process is not None:
                    self._nursery.start_soon(self._read_output, self._process, log)
                    self._nursery.start_soon(self._wait, self._process)

    async def _read_output(self, process: trio.Process, log: ModelLog) -> None:
        assert process.stdout is not None
        async with process.stdout:
            while data := await process.stdout.receive_some(_READ_SIZE):
                log.write(bytes(data))
        self.run.output_ended = True
        self.run.tell()

    async def _wait(self, process: trio.Process) -> None:
        status = await process.wait()
        self.run.status = status
        self.run.gone = True
        self.run.tell()

    async def signal(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        if self._process is not None:
            self._process.send_signal(number)  # on Windows every signal ends it at once

    async def run_stop_command(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._nursery is not None:
            self._nursery.start_soon(self._stop)

    async def _stop(self) -> None:
        assert self._job is not None
        command = [word.replace("${PID}", str(self.run.pid)) for word in self._job.stop_command]
        try:
            done = await trio.run_process(
                command,
                env=self._job.env,
                cwd=self._job.cwd,
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
        except OSError:
            self.run.stop_status = 127
            self.run.tell()
        else:
            self.run.stop_status = done.returncode
            self.run.tell()

    async def kill(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._process is not None:
            self._process.kill()
        else:
            self.run.gone = True
            self.run.tell()

    def survivors(self) -> list[int]:
        running = self._process is not None and self._process.poll() is None
        return [self._process.pid] if self._process is not None and running else []

    async def wait_gone(self) -> None:
        if self._process is not None:
            while self._process.poll() is None:  # noqa: ASYNC110 - its end is no event once we have let go
                await trio.sleep(_LOOK_AGAIN)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._serving.cancel()
