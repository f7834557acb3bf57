"""Real child processes for tests: tiny programs, how to launch one, and the proof that nothing is left.

Every process of a test carries its mark, in its arguments if it has thrown its environment away.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from free_ports import free_port as free_port

from swapcore import Endpoint, Launcher, ModelLog, ModelSpec, launch_subprocess
from swapcore._logs import writing_to

PYTHON = (sys.executable, "-I", "-S", "-c")

# Serves 200 on the port in its first argument, after what stands before it.
# "up" is one system call: a signal handler that prints must not meet a half-done print().
SERVE = """
import socket
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.write(1, b"up\\n")
while True:
    client = server.accept()[0]
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    client.close()
"""

WAIT = """
os.write(1, b"up\\n")
while True:
    time.sleep(60)
"""

# Starts one child of each kind that has ever escaped a supervisor, then says "up".
FAMILY = """
MARK = sys.argv[-1]
def child(*, stubborn=False, session=False, orphan=False, empty=False):
    if os.fork() == 0:
        if session:
            os.setsid()
        if orphan and os.fork():
            os._exit(0)
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        argv = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)", MARK]
        os.execve(sys.executable, argv, {} if empty else os.environ)
child()
child(stubborn=True)
child(stubborn=True, session=True)
child(session=True, orphan=True)
child(orphan=True, empty=True)
child(session=True, empty=True)
"""
FAMILY_SIZE = 7  # with the leader

# The one kind that nobody but a living guardian can find.
GHOST = FAMILY + "child(stubborn=True, session=True, orphan=True, empty=True)\n"
GHOST_SIZE = FAMILY_SIZE + 1


@attrs.frozen
class Children:
    """The processes of one test."""

    mark: str = attrs.field(factory=lambda: f"mark-{uuid.uuid4().hex}")

    def spec(self, code: str, *, port: int | None = None, **more: Any) -> ModelSpec:
        """Return a model that runs *code*, in an interpreter with the usual modules imported."""
        port = port or free_port()
        command = (*PYTHON, "import os, signal, sys, time\n" + code, str(port), self.mark)
        env = {"TEST_MARK": self.mark, **more.pop("env", {})}
        more.setdefault("check_path", None)
        return ModelSpec("model", command, f"http://127.0.0.1:{port}", env=env, **more)

    def alive(self) -> list[int]:
        """Return the pids that carry the mark and are no zombies."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if self.mark.encode() in text and state not in "ZX":
                    found.append(int(entry.name))
        return sorted(found)

    async def wait_alive(self, holds: Callable[[list[int]], bool]) -> None:
        """Block until *holds* of the living pids, for up to 20 s."""
        with trio.fail_after(20):
            while not holds(self.alive()):  # noqa: ASYNC110 - the processes of others send no events
                await trio.sleep(0.002)


@attrs.define(eq=False)
class Launched:
    """One launch under way."""

    spec: ModelSpec
    launch: Launcher
    log: ModelLog = attrs.field(factory=ModelLog)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None
    """How it ended, if by itself."""

    async def run(self, *, task_status: trio.TaskStatus[Endpoint] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            try:
                with writing_to(self.log):
                    await self.launch(self.spec, task_status=task_status)
            except Exception as error:
                self.error = error
            finally:
                self.ended.set()

    async def wait_output(self, text: bytes) -> None:
        """Block until the process has written *text*."""
        with self.log.subscribe() as chunks, trio.fail_after(20):
            while text not in self.log.history():
                await anext(chunks)

    async def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self.scope.cancel()
        with trio.fail_after(20):
            await self.ended.wait()


@asynccontextmanager
async def launched(spec: ModelSpec, *, launch: Launcher = launch_subprocess) -> AsyncGenerator[Launched]:
    """Launch *spec* and wait until it is ready; stop it at the end of the block."""
    async with trio.open_nursery() as nursery:
        run = Launched(spec, launch)
        with trio.fail_after(20):
            await nursery.start(run.run)
        try:
            yield run
        finally:
            run.scope.cancel()
