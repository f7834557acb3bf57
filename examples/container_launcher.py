"""A launcher that runs each model in a container of its own, with podman or docker, and a test of it.

Run it: ``pytest examples/container_launcher.py`` (with a stand-in, so no engine is needed)
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import attrs
import trio

from swapcore import Endpoint, ModelId, ModelSpec, SubprocessLauncher, launch_subprocess, open_supervisor


def installed_engine() -> str:
    return next((name for name in ("podman", "docker") if shutil.which(name)), "podman")


@attrs.frozen
class ContainerLauncher:
    """Runs a spec's command in *image*, which must be there already, with the port of its URL published.

    The engine's client is a child process like any other, so `launch_subprocess` does the rest: output, health
    check, ``engine stop`` instead of a signal, even if this program is killed. But a client may be gone while its
    container is not. Hence the check at the end.
    """

    image: str
    options: tuple[str, ...] = ()
    engine: str = attrs.field(factory=installed_engine)
    run_client: SubprocessLauncher = launch_subprocess

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ContainerLauncher]:
        async with self.run_client.open() as warm:
            yield attrs.evolve(self, run_client=warm)

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        self.run_client.preflight(self.client(spec, "name"), beside)

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        name = f"swapcore-{uuid4().hex[:12]}"  # new each time: nobody else's container is ever removed
        client = self.client(spec, name)
        self.run_client.preflight(client, ())  # what fails here has made no container
        try:
            await self.run_client(client, task_status=task_status)
        finally:  # however it ended: ready or not, cancelled or not
            with trio.move_on_after(spec.unload_timeout + 10, shield=True) as bound:
                while not await self.is_gone(name):
                    await self.ask("kill", name)  # rm would be polite, for another ten seconds
                    await self.ask("rm", "--force", name)
            if bound.cancelled_caught:
                logging.getLogger(__name__).error("%s: cannot remove container %s", spec.id, name)

    def client(self, spec: ModelSpec, name: str) -> ModelSpec:
        """Return the client's own spec. Its environment is the spec's, from where ``--env`` takes the values."""
        port, patience = Endpoint(spec.url).port, max(1, int(spec.unload_timeout / 2))
        run = (self.engine, "run", "--name", name, "--rm", "--pull=never", f"--publish=127.0.0.1:{port}:{port}")
        env = tuple(f"--env={variable}" for variable in spec.env)
        command = (*run, f"--stop-signal={int(spec.stop_signal)}", *env, *self.options, self.image, *spec.command)
        stop = (self.engine, "stop", "-t", str(patience), name)
        return attrs.evolve(spec, command=command, stop_command=stop)

    async def is_gone(self, name: str) -> bool:
        """Not by ``inspect``, which fails in the same way when there is no container and when the engine is ill."""
        listed = await self.ask("ps", "--all", "--quiet", "--filter", f"name=^{name}$")
        return listed.returncode == 0 and not listed.stdout.strip()

    async def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return await trio.run_process((self.engine, *words), capture_stdout=True, capture_stderr=True, check=False)


# Enough of an engine for the test: what follows the image is run as it is, and remembered by name.
STAND_IN = """#!/bin/sh
case $1 in run) echo $$ >"$0.$4"; shift 9; exec "$@" ;; stop) kill "$(cat "$0.$4")" ;; ps) ;; esac
"""
