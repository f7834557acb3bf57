"""The example's container launcher, with an engine whose containers are real processes.

As with docker, they are children of a daemon (this test) and not of the client that asks for them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from real_children import SERVE, WAIT, Children, launched
from time_taken import takes

from swapcore import (
    ModelId,
    ProcessExited,
    ProcState,
    StartFailed,
    StartTimeout,
    StateChanged,
    open_supervisor,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "container_launcher.py"

CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
daemon = socket.create_connection(("127.0.0.1", PORT))
daemon.sendall(json.dumps([sys.argv[1:], dict(os.environ)]).encode() + b"\\n")
for line in daemon.makefile():
    output, status = json.loads(line)
    os.write(1, output.encode())
    if status is not None:
        os._exit(status)
"""


def example() -> Any:
    spec = importlib.util.spec_from_file_location("container_launcher", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@attrs.define(eq=False)
class Engine:
    """Behaves like podman or docker, as far as the launcher uses them."""

    client: Path
    containers: dict[str, trio.Process] = attrs.field(factory=dict[str, trio.Process])
    calls: list[list[str]] = attrs.field(factory=list[list[str]])
    most_at_once: int = 0
    stop_hangs: bool = False
    forgets_rm: bool = False
    is_ill: bool = False

    def launcher(self, **more: Any) -> Any:
        return example().ContainerLauncher("image", engine=str(self.client), **more)

    def count(self, verb: str) -> int:
        return sum(call[0] == verb for call in self.calls)

    async def serve(self, stream: trio.SocketStream) -> None:
        async def answer(output: str, status: int | None) -> None:
            with suppress(trio.BrokenResourceError):  # the client is gone; the container stays
                await stream.send_all(json.dumps([output, status]).encode() + b"\n")

        async with stream:
            request = b""
            while not request.endswith(b"\n"):
                if not (received := await stream.receive_some()):
                    return  # the client was killed before it could ask
                request += received
            words, environ = json.loads(request)
            self.calls.append(words)
            match words:
                case _ if self.is_ill:
                    await answer("cannot connect to the daemon\n", 125)
                case ["run", "--name", name, *rest]:
                    where = rest.index("image")
                    await answer("", await self.run(name, rest[:where], rest[where + 1 :], environ, answer))
                case ["stop", "-t", seconds, name]:
                    if self.stop_hangs:
                        await trio.sleep_forever()
                    await answer("", await self.stop(name, float(seconds)))
                case ["kill", name] if name in self.containers:
                    self.containers[name].kill()
                    await answer("", 0)
                case ["rm", "--force", name] if name in self.containers:
                    self.containers[name].kill()
                    await self.containers.pop(name).wait()
                    await answer("", 0)
                case ["ps", "--all", "--quiet", "--filter", wanted]:
                    await answer(
                        "".join(f"{name}\n" for name in self.containers if wanted == f"name=^{name}$"), 0
                    )
                case _:
                    await answer("no such container\n", 1)

    async def run(
        self, name: str, options: list[str], command: list[str], environ: dict[str, str], answer: Any
    ) -> int:
        handed = [option.removeprefix("--env=") for option in options if option.startswith("--env=")]
        process = await trio.lowlevel.open_process(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={variable: environ[variable] for variable in handed},
        )
        self.containers[name] = process
        self.most_at_once = max(self.most_at_once, len(self.containers))
        assert process.stdout is not None
        async with process.stdout as output:
            async for data in output:
                await answer(data.decode(), None)
        status = await process.wait()
        if "--rm" in options and not self.forgets_rm:
            self.containers.pop(name, None)
        return status if status >= 0 else 128 - status

    async def stop(self, name: str, seconds: float) -> int:
        if name not in self.containers:
            return 1
        process = self.containers[name]
        process.terminate()
        with trio.move_on_after(seconds):
            await process.wait()
        process.kill()
        await process.wait()
        return 0


@asynccontextmanager
async def running_engine(folder: Path) -> AsyncGenerator[Engine]:
    """Run the daemon for the length of the block, and end what is left of its containers then."""
    client = folder / "podman"
    engine = Engine(client)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        client.write_text(CLIENT.replace("PORT", str(listener.socket.getsockname()[1])))
        client.chmod(0o755)
        nursery.start_soon(trio.serve_listeners, engine.serve, [listener])
        try:
            yield engine
        finally:
            nursery.cancel_scope.cancel()
            for process in engine.containers.values():
                process.kill()


async def test_two_models_take_turns_in_containers_of_their_own(tmp_path: Path, children: Children) -> None:
    specs = [
        attrs.evolve(children.spec(SERVE, check_path="/"), id=ModelId(name)) for name in ("qwen", "llama")
    ]
    async with running_engine(tmp_path) as engine:
        async with open_supervisor(specs, launch=engine.launcher()) as supervisor:
            for spec in (*specs, specs[0]):
                with supervisor.log(spec.id).subscribe() as output, trio.fail_after(20):
                    async with supervisor.lease(spec.id):
                        assert len(engine.containers) == 1
                        assert (await anext(output)).data == b"up\n"
        assert engine.containers == {}
    names = [call[2] for call in engine.calls if call[0] == "run"]
    assert len(set(names)) == 3
    assert (engine.most_at_once, engine.count("stop"), engine.count("kill")) == (1, 3, 0)


async def test_the_environment_gets_into_the_container_and_not_into_the_command_line(
    tmp_path: Path, children: Children
) -> None:
    spec = children.spec("print(os.environ['SECRET'], os.environ.get('HOME'), flush=True)" + WAIT)
    spec = attrs.evolve(spec, env={**spec.env, "SECRET": "hush"})
    async with running_engine(tmp_path) as engine:
        async with launched(spec, launch=engine.launcher()) as run:
            await run.wait_output(b"hush None\n")
    assert "hush" not in str(engine.calls)


async def test_a_start_that_fails_leaves_no_container(tmp_path: Path, children: Children) -> None:
    spec = children.spec("print('no such model', flush=True); sys.exit(3)", check_path="/")
    async with running_engine(tmp_path) as engine:
        engine.forgets_rm = True
        async with open_supervisor([spec], launch=engine.launcher()) as supervisor:
            with pytest.raises(
                StartFailed, match="status 3 before it was ready; its last output: no such model"
            ):
                await supervisor.load(spec.id)
            assert engine.containers == {}


async def test_a_start_that_takes_too_long_leaves_no_container(tmp_path: Path, children: Children) -> None:
    async with running_engine(tmp_path) as engine:
        for seconds in (0.5, 2.0, 10.0):  # enough for a container to be there, which is to go again
            spec = children.spec(WAIT, check_path="/", start_timeout=seconds)
            async with open_supervisor([spec], launch=engine.launcher()) as supervisor:
                with pytest.raises(StartTimeout):
                    await supervisor.load(spec.id)
                assert engine.containers == {}
            if engine.most_at_once:
                break
    assert engine.most_at_once == 1


@pytest.mark.parametrize("deaf", [False, True], ids=["willing", "deaf"])
async def test_a_stop_that_hangs_is_followed_by_force(tmp_path: Path, children: Children, deaf: bool) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" * deaf + SERVE
    async with running_engine(tmp_path) as engine:
        engine.stop_hangs = True
        async with launched(
            children.spec(code, check_path="/", unload_timeout=0.6), launch=engine.launcher()
        ) as run:
            with takes(most=5):
                await run.stop()
            assert engine.containers == {}
    assert engine.count("kill") == 1


@pytest.mark.rule("L186")
async def test_a_container_does_not_outlive_its_client(tmp_path: Path, children: Children) -> None:
    async with running_engine(tmp_path) as engine:
        async with launched(children.spec(SERVE, check_path="/"), launch=engine.launcher()) as run:
            [client] = set(children.alive()) - {process.pid for process in engine.containers.values()}
            os.kill(client, signal.SIGKILL)
            with trio.fail_after(20):
                await run.ended.wait()
            assert engine.containers == {}
        assert isinstance(run.error, ProcessExited)


async def test_a_container_does_not_outlive_its_supervisor(tmp_path: Path, children: Children) -> None:
    spec = children.spec(SERVE, check_path="/")
    async with running_engine(tmp_path) as engine:
        program = f"""if True:
            import os, trio
            from container_launcher import ContainerLauncher
            from swapcore import ModelSpec, open_supervisor
            async def main():
                spec = ModelSpec("model", {spec.command}, {spec.url!r}, env={dict(spec.env)}, check_path="/")
                launch = ContainerLauncher("image", engine={str(engine.client)!r})
                async with open_supervisor([spec], launch=launch) as supervisor:
                    await supervisor.load(spec.id)
                    os.write(1, b"ready")
                    await trio.sleep_forever()
            trio.run(main)
        """
        root = EXAMPLE.parents[1]
        supervisor = await trio.lowlevel.open_process(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(EXAMPLE.parent)))},
        )
        assert supervisor.stdout is not None
        try:
            with trio.fail_after(20):
                assert await supervisor.stdout.receive_some() == b"ready"
            assert len(engine.containers) == 1
        finally:
            supervisor.kill()
        await supervisor.wait()
        await supervisor.stdout.aclose()
        await children.wait_alive(lambda pids: not pids)
        assert engine.count("stop") == 1


async def test_while_an_engine_is_ill_nothing_is_started_in_place_of_its_container(
    tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapcore._stop_ladder._KILL_BOUND", 0.5)
    fine, other = (
        attrs.evolve(children.spec(SERVE, check_path="/", unload_timeout=0.5), id=ModelId(name))
        for name in "ab"
    )
    async with (
        running_engine(tmp_path) as engine,
        open_supervisor([fine, other], launch=engine.launcher()) as supervisor,
    ):
        await supervisor.load(fine.id)
        engine.is_ill = True
        with trio.fail_after(20), pytest.raises(StartFailed, match="the process of a is in the way"):
            await supervisor.load(other.id)
        assert supervisor.state_of(fine.id) is ProcState.STOPPING
        engine.is_ill = False
        with trio.fail_after(20):
            async with supervisor.events() as events:
                async for event in events:
                    if isinstance(event, StateChanged) and event.after is ProcState.STOPPED:
                        break
            await supervisor.load(other.id)
        assert len(engine.containers) == 1


async def test_without_an_engine_nothing_is_stopped_for_a_start(tmp_path: Path, children: Children) -> None:
    fine, other = (attrs.evolve(children.spec(SERVE, check_path="/"), id=ModelId(name)) for name in "ab")
    async with running_engine(tmp_path) as engine:
        async with open_supervisor([fine, other], launch=engine.launcher()) as supervisor:
            await supervisor.load(fine.id)
            engine.client.rename(tmp_path / "away")
            with pytest.raises(StartFailed, match="does not exist"):
                await supervisor.load(other.id)
            assert supervisor.state_of(fine.id) is ProcState.READY
            (tmp_path / "away").rename(engine.client)


def test_the_engine_is_the_one_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for installed in ("docker", "podman"):
        (tmp_path / installed).touch(0o755)
        assert example().ContainerLauncher("image").engine == installed
