"""What the launcher asks of whoever guards one run, and what it learns in return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
import trio

from ._logs import ModelLog


@attrs.frozen
class Job:
    """What to run: the command, and the command that asks it to stop."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    """The whole of it."""
    cwd: str | None
    stop_command: tuple[str, ...]
    stop_bound: float
    """Seconds that the stop command may take when the supervisor itself is gone."""


@attrs.define(eq=False)
class Guarded:
    """What is known of one run. Written by its guard, read by anyone."""

    pid: int | None = None
    """Of the leader, once it runs the model's program."""
    failure: str | None = None
    """Why the program could not be started."""
    status: int | None = None
    """The leader's exit code, or minus the number of the signal that killed it."""
    stop_status: int | None = None
    """How the stop command ended."""
    gone: bool = False
    """No process of the tree is left."""
    output_ended: bool = False
    """All of the output has been passed on."""
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    @property
    def ended(self) -> bool:
        """The leader has ended, or never was."""
        return self.status is not None or self.failure is not None or self.gone

    def tell(self) -> None:
        """For the guard, after it has set any of the above: wake those who wait."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, holds: Callable[[Guarded], bool]) -> None:
        """Block until *holds*. Cancellation: nothing changed."""
        while not holds(self):
            await self._changed.wait()


class Guard(Protocol):
    """Runs one job, once, and makes sure that nothing of it is left."""

    @property
    def run(self) -> Guarded:
        """What is known so far."""
        ...

    async def start(self, job: Job) -> None:
        """Ask for the start; `Guarded` tells how it went. Cancellation: call `kill`, as it may have begun."""
        ...

    async def serve(self, log: ModelLog) -> None:
        """Pass the output to *log* and keep `run` up to date, until `close`. Not cancelled from outside."""
        ...

    async def signal(self, number: int) -> None:
        """Signal the process group of the leader."""
        ...

    async def run_stop_command(self) -> None:
        """Run the job's stop command; see `Guarded.stop_status`."""
        ...

    async def kill(self) -> None:
        """Kill the whole tree, whatever it is doing; see `Guarded.gone`."""
        ...

    def survivors(self) -> list[int]:
        """Return the pids of the tree that are alive, as far as can be seen."""
        ...

    async def wait_gone(self) -> None:
        """After `close`: block until nothing is left, whenever that is. Cancellation: nothing changed."""
        ...

    def close(self) -> None:
        """Let go of it, and end `serve`. What is still alive then is killed as soon as it can be."""
        ...
