"""What is left when the supervisor, or the guardian itself, is killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from process_tree import children_of, is_alive, parent_of
from real_children import FAMILY, FAMILY_SIZE, GHOST, GHOST_SIZE, WAIT, Children, Launched, launched
from time_taken import takes

from swapcore import ModelSpec, StartFailed, launch_subprocess
from swapcore._guardian import Frames, Process, descendants, pack
from swapcore._guardian_link import GuardianLink
from swapcore._launch import ProcessExited

TESTS = Path(__file__).parents[1]

# A supervisor: launches what it is told to, prints the model's first words, and waits to be killed.
SUPERVISOR = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
import ast, trio
from swapcore import ModelSpec, launch_subprocess
from real_children import launched

async def main():
    spec = ModelSpec(**ast.literal_eval(sys.argv[1]))
    async with launch_subprocess.open() as warm, launched(spec, launch=warm) as run:
        await run.wait_output(b"up")
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


# Whatever it starts has no capability, and can gain none: prctl(2), PR_CAPBSET_DROP and PR_SET_NO_NEW_PRIVS.
DROP_PRIVILEGES = """
import ctypes
prctl = ctypes.CDLL(None).prctl
for capability in range(64):
    prctl(24, capability, 0, 0, 0)
prctl(38, 1, 0, 0, 0)
"""

TELL_PID = "print(os.getpid(), flush=True)\n"


def arguments_of(spec: ModelSpec) -> dict[str, Any]:
    """Return what the tests set of *spec*, as literals."""
    names = ("id", "command", "url", "env", "cwd", "check_path", "unload_timeout", "stop_command")
    return {name: getattr(spec, name) for name in names}


@asynccontextmanager
async def supervisor(
    children: Children, code: str, *, prelude: str = "", **more: Any
) -> AsyncGenerator[trio.Process]:
    """Run a supervisor process with one ready model."""
    spec = arguments_of(children.spec(code, **more))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", prelude + SUPERVISOR, repr(spec)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(20):
            assert (await process.stdout.receive_some(100)).startswith(b"up")
        yield process
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            await process.stdout.aclose()
            await children.wait_alive(lambda pids: not pids)


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of it (proc_pid_status(5)), without the blanks around it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# -- the supervisor is killed -----------------------------------------------------------------------


@pytest.mark.rule("G6", "L14", "L49")
async def test_sigkill_of_the_supervisor_ends_every_descendant(children: Children) -> None:
    async with supervisor(children, GHOST + WAIT) as process:
        # The supervisor itself has the mark in its arguments.
        await children.wait_alive(lambda pids: len(pids) == GHOST_SIZE + 1)
        with trio.fail_after(20):
            while len(guardians := children_of(process.pid)) < 2:  # noqa: ASYNC110 - its own, and a spare
                await trio.sleep(0.002)
        process.kill()
        with takes(most=1):
            await children.wait_alive(lambda pids: not pids)
        with takes(most=2), trio.fail_after(20):
            while any(map(is_alive, guardians)):  # noqa: ASYNC110 - the spare goes too
                await trio.sleep(0.002)


@pytest.mark.rule("G6", "L14")
async def test_sigkill_of_the_supervisor_during_a_start(children: Children) -> None:
    spec = children.spec(WAIT, check_path="/never")
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", SUPERVISOR, repr(arguments_of(spec))], start_new_session=True
    )
    await children.wait_alive(lambda pids: len(pids) == 2)
    process.kill()
    await process.wait()
    with takes(most=1):
        await children.wait_alive(lambda pids: not pids)


async def test_the_orphaned_guardian_runs_the_stop_command_first(children: Children, tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1] + '.asked', 'w'), os._exit(0)))" + WAIT
    command = ("sh", "-c", "kill ${PID}; sleep 0.1; touch cleaned")
    async with supervisor(children, code, stop_command=command, cwd=str(tmp_path)) as process:
        process.kill()
        with takes(most=1):
            await children.wait_alive(lambda pids: not pids)
    assert {name.lstrip("0123456789") for name in os.listdir(tmp_path)} == {".asked", "cleaned"}


@pytest.mark.parametrize(
    ("command", "grace", "least", "most"),
    [
        (("sleep", "600"), 0.5, 0.5, 3.0),  # bounded by the model's own grace
        (("true",), 0.5, 0.5, 3.0),  # it was asked: it has until then
        (("false",), 4.0, 0.0, 3.0),  # nobody has asked it: there is nothing to wait for
    ],
)
async def test_the_orphaned_guardian_does_not_wait_for_ever(
    children: Children, command: tuple[str, ...], grace: float, least: float, most: float
) -> None:
    async with supervisor(children, WAIT, stop_command=command, unload_timeout=grace) as process:
        # From before the kill: the guardian's clock may run already while this process waits for its turn.
        with takes(least, most=most):
            process.kill()
            await children.wait_alive(lambda pids: not pids)


async def test_signals_for_a_whole_terminal_do_not_reach_the_model(children: Children) -> None:
    async with supervisor(children, WAIT) as process:
        (pid,) = set(children.alive()) - {process.pid}
        assert os.getpgid(pid) != os.getpgid(process.pid)
        assert os.getsid(pid) != os.getsid(process.pid)
        guardian = parent_of(pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(guardian, number)
        with trio.fail_after(20):
            while is_alive(guardian) and any(  # noqa: ASYNC110 - until it has taken them, or died of them
                int(status_of(guardian)[pending], 16) for pending in ("SigPnd", "ShdPnd")
            ):
                await trio.sleep(0.002)
        assert is_alive(guardian)
        assert parent_of(pid) == guardian, "the guardian takes no notice"


async def test_without_any_privilege(children: Children) -> None:
    async with supervisor(children, GHOST + WAIT, prelude=DROP_PRIVILEGES) as process:
        await children.wait_alive(lambda pids: len(pids) == GHOST_SIZE + 1)
        for pid in set(children.alive()) - {process.pid}:
            status = status_of(pid)
            assert (status["CapEff"], status["NoNewPrivs"]) == ("0000000000000000", "1")
        process.kill()
        with takes(most=1):
            await children.wait_alive(lambda pids: not pids)


# -- the guardian is killed ---------------------------------------------------------------------------


async def guardian_of(run: Launched) -> int:
    """Return the pid of the guardian of a model that printed its own pid first, and then "up"."""
    await run.wait_output(b"up")
    return parent_of(int(run.log.tail()[0]))


async def test_sigkill_of_a_guardian_ends_its_tree_and_no_other(children: Children) -> None:
    async with (
        launched(children.spec(TELL_PID + FAMILY + WAIT)) as run,
        launched(children.spec(WAIT)) as sibling,
    ):
        await sibling.wait_output(b"up")
        guardian = await guardian_of(run)
        await children.wait_alive(lambda pids: len(pids) == FAMILY_SIZE + 1)
        os.kill(guardian, signal.SIGKILL)
        with takes(most=1), trio.fail_after(20):
            await run.ended.wait()
        assert len(children.alive()) == 1
        assert not sibling.ended.is_set()
    assert isinstance(run.error, ProcessExited)
    assert run.error.reason == "was ended, because its guardian process had been killed; its last output: up"
    assert run.error.status is None


async def test_sigkill_of_a_guardian_during_a_start(children: Children) -> None:
    run = Launched(children.spec(TELL_PID + WAIT, check_path="/never"), launch_subprocess)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        os.kill(await guardian_of(run), signal.SIGKILL)
        with takes(most=1), trio.fail_after(20):
            await run.ended.wait()
    assert isinstance(run.error, StartFailed)
    assert "its guardian process had been killed before it was ready" in run.error.reason
    assert children.alive() == []


async def test_sigkill_of_a_guardian_during_a_stop(children: Children) -> None:
    code = TELL_PID + "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + WAIT
    async with launched(children.spec(code, unload_timeout=5)) as run, trio.open_nursery() as nursery:
        guardian = await guardian_of(run)
        nursery.start_soon(run.stop)
        await trio.testing.wait_all_tasks_blocked(0.01)
        os.kill(guardian, signal.SIGKILL)
        with takes(most=1), trio.fail_after(20):
            await run.ended.wait()
        assert children.alive() == []


# -- its parts ------------------------------------------------------------------------------------------


def test_frames_may_be_cut_anywhere() -> None:
    messages = [("start", [b"a", b""], {b"k": b"v"}, None, 1.5), ("kill",), ("signal", 15)]
    data = b"".join(pack(*message) for message in messages)
    for size in range(1, len(data) + 1):
        frames = Frames()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [message for piece in pieces for message in frames.feed(piece)] == messages


def stat(pid: int, parent: int, state: str = "S", name: str = "sh") -> Process:
    return Process(pid, f"{pid} ({name}) {state} {parent} 1 1 " + " ".join(str(n) for n in range(7, 53)))


def test_a_name_may_hold_anything() -> None:
    one = stat(7, 3, "Z", name="a) R 1 (b")
    assert (one.pid, one.parent, one.start, one.alive) == (7, 3, 22, False)


def test_descendants_are_found_through_the_dead() -> None:
    everyone = [stat(1, 0), stat(2, 1), stat(3, 2, "Z"), stat(4, 3), stat(5, 4), stat(6, 1), stat(7, 6)]
    assert {one.pid for one in descendants({2}, everyone)} == {4, 5}
    assert {one.pid for one in descendants({2, 6, 7}, everyone)} == {4, 5}


async def test_no_descriptor_is_lost_when_they_run_out(children: Children) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors()
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    held = list[int]()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
        with suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(3):  # room for one pipe and a half
            os.close(held.pop())
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                GuardianLink.spawn()
        for descriptor in held:
            os.close(descriptor)
        held.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)
    assert descriptors() == before
