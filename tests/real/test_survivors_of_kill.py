"""What is there although it was killed. A stopped guardian stands for a process that hangs in the kernel."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
from process_tree import parent_of
from real_children import SERVE, WAIT, Children, Launched, launched
from time_taken import takes

import swapcore
from swapcore import Endpoint, ModelId, ModelSpec, ProcState, StillAlive, Supervisor, launch_subprocess
from swapcore._guardian_link import GuardianLink
from swapcore._guardian_plain import PlainProcess
from swapcore._launch import SubprocessLauncher

A, B = ModelId("a"), ModelId("b")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swapcore._stop_ladder._KILL_BOUND", 0.3)


@contextmanager
def frozen_later() -> Generator[Callable[[int], None]]:
    """Give a function that stops a process as SIGSTOP does; it goes on after the block, however that ends."""
    frozen = list[int]()

    def freeze(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        frozen.append(pid)

    try:
        yield freeze
    finally:
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def specs(children: Children) -> list[ModelSpec]:
    return [attrs.evolve(children.spec(WAIT, unload_timeout=0.2), id=model) for model in (A, B)]


def port_of(spec: ModelSpec) -> int:
    return Endpoint(spec.url).port


async def wait_stopped(supervisor: Supervisor, model: ModelId) -> None:
    while supervisor.state_of(model) is not ProcState.STOPPED:  # noqa: ASYNC110 - events may have passed
        await trio.sleep(0.01)


@pytest.mark.rule("G19")
async def test_nothing_is_started_beside_it_and_all_goes_on_once_it_has_gone(children: Children) -> None:
    async with swapcore.open_supervisor(specs(children)) as supervisor:
        await supervisor.load(A)
        await children.wait_alive(lambda pids: len(pids) == 1)
        (pid,) = children.alive()
        with frozen_later() as freeze:
            freeze(parent_of(pid))
            with takes(0.5, most=0.9), pytest.raises(swapcore.StartFailed) as caught:
                await supervisor.load(B)
            assert caught.value.reason == (
                "the process of a is in the way, and cannot be ended: "
                f"still alive after SIGKILL: processes [{pid}]"
            )
            with takes(most=0.1), pytest.raises(swapcore.StartFailed, match="in the way"):
                await supervisor.load(B)
            assert (children.alive(), supervisor.state_of(A)) == ([pid], ProcState.STOPPING)
        with takes(most=1):
            await children.wait_alive(lambda pids: not pids)
        with takes(most=2), trio.fail_after(20):
            await wait_stopped(supervisor, A)
            await supervisor.load(B)


async def test_it_does_not_hold_up_the_end_of_the_program(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = GuardianLink.spawn()
    monkeypatch.setattr(SubprocessLauncher, "_take_guard", lambda self, model: link)
    with frozen_later() as freeze:
        with trio.fail_after(20):
            async with swapcore.open_supervisor(specs(children)) as supervisor:
                await supervisor.load(A)
                freeze(link._process.pid)
        assert len(children.alive()) == 1
    with takes(most=1):
        await children.wait_alive(lambda pids: not pids)
    link._process.wait()


async def test_it_is_looked_for_even_when_its_guardian_is_killed(children: Children) -> None:
    """Stopped and then killed, the guardian will never do its work: the supervisor does."""
    async with launched(children.spec(WAIT, unload_timeout=0.2)) as run:
        await run.wait_output(b"up")
        (pid,) = children.alive()
        guardian = parent_of(pid)
        with frozen_later() as freeze:
            freeze(guardian)
            await run.stop()
            assert isinstance(run.error, StillAlive)
            os.kill(guardian, signal.SIGKILL)
        with trio.fail_after(20):
            await run.error.wait_gone()
        assert children.alive() == []


# -- what escapes to where no guardian sees it: a container, after the death of its client ------------


async def test_a_port_that_is_still_answered_counts_as_alive(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One bound for the end of the process and for its port: a busy machine must get past the first.
    monkeypatch.setattr("swapcore._stop_ladder._KILL_BOUND", 2.0)
    one, two = specs(children)
    async with swapcore.open_supervisor([one, two]) as supervisor:
        await supervisor.load(A)
        with socket.create_server(("127.0.0.1", port_of(one))):
            with pytest.raises(swapcore.StartFailed, match=f"answers at port {port_of(one)} of 127"):
                await supervisor.load(B)
            assert children.alive() == []
        with trio.fail_after(20):
            await wait_stopped(supervisor, A)
            await supervisor.load(B)


async def test_a_port_that_is_free_in_the_end_is_waited_for(children: Children) -> None:
    spec = children.spec(WAIT)
    async with launched(spec) as run, trio.open_nursery() as nursery:
        server = socket.create_server(("127.0.0.1", port_of(spec)))

        async def close_later() -> None:
            await trio.sleep(0.1)
            server.close()

        nursery.start_soon(close_later)
        with takes(0.1, most=0.3):
            await run.stop()
    assert run.error is None


async def test_a_port_that_is_held_and_not_answered_is_nobody(children: Children) -> None:
    spec = children.spec(WAIT)
    async with launched(spec) as run:
        with socket.socket() as holder:  # as an outgoing connection may
            holder.bind(("127.0.0.1", port_of(spec)))
            with takes(most=0.2):
                await run.stop()
    assert run.error is None


async def test_a_start_that_lost_its_port_to_a_stranger_does_not_wait_for_him(
    children: Children, tmp_path: Path
) -> None:
    is_taken = tmp_path / "taken"
    until_then = f"while not os.path.exists({str(is_taken)!r}): time.sleep(0.01)\n"
    spec = children.spec(until_then + SERVE, check_path="/health")
    run = Launched(spec, launch_subprocess)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        await children.wait_alive(bool)
        with socket.create_server(("127.0.0.1", port_of(spec)), backlog=1), trio.fail_after(20):
            is_taken.touch()
            await run.ended.wait()
    assert isinstance(run.error, swapcore.StartFailed)
    assert "Address already in use" in run.error.reason


async def test_without_a_guardian_it_is_the_process_itself(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SubprocessLauncher, "_take_guard", lambda self, model: PlainProcess())
    monkeypatch.setattr("trio.Process.kill", lambda self: None)
    monkeypatch.setattr("trio.Process.send_signal", lambda self, number: None)
    async with launched(children.spec(WAIT, unload_timeout=0.1)) as run:
        await run.wait_output(b"up")
        (pid,) = children.alive()
        await run.stop()
    assert isinstance(run.error, StillAlive)
    assert run.error.reason == f"still alive after SIGKILL: processes [{pid}]"
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(20):
        await run.error.wait_gone()
