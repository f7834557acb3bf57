"""A launcher that runs each model in a container of its own, with podman or docker, and a test of it.

Run it: ``pytest examples/container_launcher.py`` (with a stand-in, so no engine is needed)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from swapcore import Endpoint, ModelId, ModelSpec, SubprocessLauncher, open_supervisor


@attrs.frozen
class ContainerLauncher:
    """Runs a spec's command in *image*, which must be there already, with the port of its URL published.

    The engine's client is a child process, so `SubprocessLauncher` does most of it, also if this program is
    killed. A client may be gone and its container not: nothing is started before that is gone.
    """

    image: str
    options: tuple[str, ...] = ()
    engine: str = "podman" if shutil.which("podman") else "docker"
    run_client: SubprocessLauncher = attrs.Factory(
        lambda self: SubprocessLauncher(confirm_gone=self.remove), takes_self=True
    )

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ContainerLauncher]:
        async with self.run_client.open() as warm:
            yield attrs.evolve(self, run_client=warm)

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        self.run_client.preflight(self.client(spec, "any-name"), beside)

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        name = f"swapcore-{os.urandom(6).hex()}"  # new each time: nobody else's container is ever removed
        await self.run_client(self.client(spec, name), task_status=task_status)

    async def remove(self, client: ModelSpec) -> None:
        """Return once the container of a client that has ended is gone, however that takes."""
        name = client.command[3]
        while not await self.is_gone(name):
            await self.ask("kill", name)  # rm alone would be polite, for another ten seconds
            await self.ask("rm", "--force", name)
            await trio.sleep(0.1)

    def client(self, spec: ModelSpec, name: str) -> ModelSpec:
        """Return the spec of the client, from whose environment ``--env`` takes the values."""
        port, patience = Endpoint(spec.url).port, str(max(1, int(spec.unload_timeout / 2) - 1))
        fixed = f"--rm --pull=never --publish=127.0.0.1:{port}:{port} --stop-signal={spec.stop_signal:d}"
        options = (*fixed.split(), *(f"--env={key}" for key in spec.env), *self.options)
        command = (self.engine, "run", "--name", name, *options, self.image, *spec.command)
        return attrs.evolve(spec, command=command, stop_command=(self.engine, "stop", "-t", patience, name))

    async def is_gone(self, name: str) -> bool:
        listed = await self.ask("ps", "--all", "--quiet", "--filter", f"name=^{name}$")
        return listed.returncode == 0 and not listed.stdout.strip()  # inspect can't tell gone from ill

    async def ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = [self.engine, *words]
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


STAND_IN = """#!/bin/sh
case $1 in run) echo $$ >"$0.$3"; shift 8; exec "$@" ;; stop) kill "$(cat "$0.$4")"; rm "$0.$4" ;; esac
"""  # enough of an engine for the test: what runs is a file named after the container


async def test_a_model_in_a_container_is_stopped_by_its_name(tmp_path: Path) -> None:
    (engine := tmp_path / "podman").write_text(STAND_IN)
    engine.chmod(0o755)
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "18415")
    spec = ModelSpec(ModelId("qwen"), command, "http://127.0.0.1:18415", check_path="/")
    async with open_supervisor([spec], launch=ContainerLauncher("image", engine=str(engine))) as supervisor:
        await supervisor.load(spec.id)
        assert len(os.listdir(tmp_path)) == 2
    assert os.listdir(tmp_path) == ["podman"]
