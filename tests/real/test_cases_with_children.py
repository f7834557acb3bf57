"""What bit the users of other programs that do this job, and targets, where processes matter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from process_tree import children_of, is_alive, parent_of
from real_children import FAMILY, FAMILY_SIZE, GHOST, GHOST_SIZE, SERVE, WAIT, Children, free_port
from time_taken import takes

import swapcore
from swapcore import ModelId, ModelSpec, ProcState, Supervisor
from swapcore.planners import LruPlanner
from swapcore.testing import recorded_events

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
TESTS = Path(__file__).parents[1]

TELL_PID = "print(os.getpid(), flush=True)\n"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def model(children: Children, name: ModelId, code: str, **more: Any) -> ModelSpec:
    return attrs.evolve(children.spec(code, **more), id=name)


async def wait_output(supervisor: Supervisor, name: ModelId, text: bytes) -> None:
    """Block until the model has written *text*."""
    log = supervisor.log(name)
    with log.subscribe() as chunks, trio.fail_after(20):
        while text not in log.history():
            await anext(chunks)


# -- case 11 -------------------------------------------------------------------------------------------

# A whole supervisor: two models are ready, a third is starting for ever.
SUPERVISOR = f"""
import sys
sys.path[:0] = [{str(TESTS.parent)!r}]
import ast, trio
from swapcore import ModelSpec, open_supervisor
from swapcore.planners import LruPlanner
from swapcore.testing import recorded_events

async def main():
    specs = [ModelSpec(**fields) for fields in ast.literal_eval(sys.argv[1])]
    async with open_supervisor(specs, planner=LruPlanner(3)) as supervisor, trio.open_nursery() as nursery:
        await supervisor.load("a")
        await supervisor.load("b")
        nursery.start_soon(supervisor.load, "c")
        for name in "abc":
            with supervisor.log(name).subscribe() as chunks:
                while b"up" not in supervisor.log(name).history():
                    await anext(chunks)
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.rule("G6", "L14")
async def test_case_11_a_supervisor_that_is_killed_leaves_no_child(children: Children) -> None:
    specs = [
        model(children, A, SERVE, check_path="/health"),
        model(children, B, STUBBORN + GHOST + WAIT),
        model(children, C, STUBBORN + FAMILY + WAIT, check_path="/never"),
    ]
    fields = [
        {name: getattr(spec, name) for name in ("id", "command", "url", "env", "check_path")}
        for spec in specs
    ]
    killed = await trio.lowlevel.open_process(
        [sys.executable, "-c", SUPERVISOR, repr(fields)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert killed.stdout is not None
    try:
        with trio.fail_after(30):
            assert (await killed.stdout.receive_some(100)).startswith(b"up")
        # The supervisor itself has the mark, too, in its arguments.
        everybody = 1 + 1 + GHOST_SIZE + FAMILY_SIZE
        await children.wait_alive(lambda pids: len(pids) == everybody)
        with trio.fail_after(20):
            while len(guardians := children_of(killed.pid)) != 4:  # noqa: ASYNC110 - one for each, and a spare
                await trio.sleep(0.002)
        killed.kill()
        with takes(most=1):
            await children.wait_alive(lambda pids: not pids)
        with takes(most=1), trio.fail_after(20):
            while any(is_alive(pid) for pid in guardians):  # noqa: ASYNC110 - they are not our children
                await trio.sleep(0.002)
    finally:
        killed.kill()
        with trio.move_on_after(5, shield=True):
            await killed.wait()
            await killed.stdout.aclose()
            await children.wait_alive(lambda pids: not pids)


# -- case 12 -------------------------------------------------------------------------------------------

# A grandchild in a session of its own that shares the output, writes to it, and ignores what asks it to stop.
CHATTY = """
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c",
        "import os, time\\nwhile True: os.write(1, b'still here\\\\n'); time.sleep(0.01)", sys.argv[-1]])
"""


@pytest.mark.rule("L40")
@pytest.mark.rule("L168")
async def test_case_12_a_grandchild_that_keeps_the_output_open_does_not_hold_up_a_stop(
    children: Children,
) -> None:
    specs = [model(children, A, CHATTY + WAIT), model(children, B, SERVE, check_path="/health")]
    async with swapcore.open_supervisor(specs) as supervisor:
        await supervisor.load(A)
        await wait_output(supervisor, A, b"up")
        await wait_output(supervisor, A, b"still here")
        with takes(most=0.5), trio.fail_after(20):
            await supervisor.unload(A)
        assert children.alive() == []
        await supervisor.load(B)


@pytest.mark.rule("L24")
async def test_case_12_nor_does_it_hide_that_the_process_has_crashed(children: Children) -> None:
    code = CHATTY + TELL_PID + WAIT
    async with (
        swapcore.open_supervisor([model(children, A, code)]) as supervisor,
        supervisor.events() as events,
    ):
        await supervisor.load(A)
        await wait_output(supervisor, A, b"up")
        await wait_output(supervisor, A, b"still here")
        pid = int(supervisor.log(A).history().partition(b"\n")[0])
        with takes(most=0.5):
            os.kill(pid, signal.SIGKILL)
            with trio.fail_after(20):
                async for event in events:
                    if isinstance(event, swapcore.Crashed):
                        break
        assert children.alive() == []


@pytest.mark.parametrize("how", ["stop", "crash"])
@pytest.mark.rule("L24", "L40")
async def test_case_12_g24_gone_does_not_wait_for_an_output_that_somebody_else_holds(
    children: Children, how: str
) -> None:
    """Somebody outside the tree, whom no supervisor may kill: this test itself."""
    spec = model(children, A, TELL_PID + WAIT)
    async with swapcore.open_supervisor([spec]) as supervisor:
        await supervisor.load(A)
        await wait_output(supervisor, A, b"up")
        pid = int(supervisor.log(A).tail()[0])
        held = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        try:
            with takes(most=0.1 + 0.15), trio.fail_after(20):  # the target, and the stop itself
                if how == "stop":
                    await supervisor.unload(A)
                else:
                    os.kill(pid, signal.SIGKILL)
                    while supervisor.state_of(A) is not ProcState.STOPPED:  # noqa: ASYNC110 - as its users see it
                        await trio.sleep(0.002)
            assert children.alive() == []
            with trio.fail_after(20):
                await supervisor.load(A)
        finally:
            os.close(held)


# -- case 13 -------------------------------------------------------------------------------------------


async def test_case_13_a_model_whose_health_check_answers_and_which_does_nothing_is_found_out(
    children: Children,
) -> None:
    """What a hung device driver looks like: the web server lives, and no request ever gets anywhere."""
    liveness = swapcore.Liveness(every=0.4, silent=0.8)
    spec = model(children, A, SERVE, check_path="/health", liveness=liveness)
    with trio.fail_after(30):
        async with swapcore.open_supervisor([spec]) as supervisor, supervisor.events() as events:
            async with supervisor.lease(A):
                hung = children.alive()
                async for event in events:
                    if isinstance(event, swapcore.Crashed):
                        assert str(event.error) == "a: in use, and silent for 0.8 s"
                        break
            await supervisor.load(A)
            assert set(children.alive()).isdisjoint(hung)


# -- case 14 -------------------------------------------------------------------------------------------


@attrs.define
class Device:
    """Stands in for a graphics card that gives memory back some time after the process has gone."""

    late: float
    asked: int = 0

    async def memory_is_back(self, spec: ModelSpec) -> None:
        self.asked += 1
        await trio.sleep(self.late)


@pytest.mark.rule("L180")
async def test_case_14_the_next_start_waits_for_memory_that_comes_back_late(children: Children) -> None:
    device = Device(late=0.7)
    specs = [model(children, name, SERVE, check_path="/") for name in (A, B)]
    launch = swapcore.SubprocessLauncher(device.memory_is_back)
    with trio.fail_after(30):
        async with swapcore.open_supervisor(specs, launch=launch) as supervisor:
            with recorded_events(supervisor) as events:
                await supervisor.load(A)
                await supervisor.load(B)
            assert device.asked == 1
    states = [event for event in events if isinstance(event, swapcore.StateChanged)]
    stopping, stopped = (
        next(event.at for event in states if event.model == A and event.after is state)
        for state in (ProcState.STOPPING, ProcState.STOPPED)
    )
    starting = next(event.at for event in states if event.model == B and event.after is ProcState.STARTING)
    assert starting >= stopped >= stopping + device.late


async def test_case_14_memory_that_does_not_come_back_fails_the_swap_and_is_waited_for(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapcore._stop_ladder._KILL_BOUND", 0.3)
    back = trio.Event()

    async def memory_is_back(spec: ModelSpec) -> None:
        await back.wait()

    specs = [model(children, name, SERVE, check_path="/", unload_timeout=0.5) for name in (A, B)]
    launch = swapcore.SubprocessLauncher(memory_is_back)
    with trio.fail_after(30):
        async with swapcore.open_supervisor(specs, launch=launch) as supervisor:
            await supervisor.load(A)
            with pytest.raises(swapcore.StartFailed, match="it is not confirmed that nothing of it is left"):
                await supervisor.load(B)
            assert supervisor.state_of(A) is ProcState.STOPPING
            back.set()
            async with supervisor.events() as events:
                async for event in events:
                    if isinstance(event, swapcore.StateChanged) and event.after is ProcState.STOPPED:
                        break
            await supervisor.load(B)


# -- case 20 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["process", "guardian"])
@pytest.mark.parametrize("places", [1, 2])
async def test_case_20_a_dead_process_among_those_to_be_evicted_makes_no_loop(
    children: Children, victim: str, places: int
) -> None:
    specs = [model(children, name, TELL_PID + SERVE, check_path="/health") for name in (A, B, C)]
    seen = list[swapcore.Event]()
    async with (
        swapcore.open_supervisor(specs, planner=LruPlanner(places)) as supervisor,
        supervisor.events() as events,
    ):
        with trio.fail_after(20):
            for name in (B, A)[-places:]:
                await supervisor.load(name)
            await wait_output(supervisor, A, b"up")
            pid = int(supervisor.log(A).tail()[0])
            os.kill(pid if victim == "process" else parent_of(pid), signal.SIGKILL)
            # In the same tick, before anybody could have heard of it.
            async with trio.open_nursery() as nursery:
                for name in (C, B)[:places]:
                    nursery.start_soon(supervisor.load, name)
            await supervisor.load(C)
            async for event in events:
                seen.append(event)
                if isinstance(event, swapcore.LeaseGranted) and event.model == C:
                    break
        assert supervisor.state_of(A) is ProcState.STOPPED
        assert supervisor.state_of(C) is ProcState.READY
    starts = _changes_to(seen, ProcState.STARTING)
    assert starts.count(A) == starts.count(C) == 1
    assert len(starts) <= places + 2
    assert _changes_to(seen, ProcState.STOPPING).count(A) <= 1
    assert not [event for event in seen if isinstance(event, swapcore.LeaseRefused)]


def _changes_to(events: Sequence[swapcore.Event], state: ProcState) -> list[ModelId]:
    return [e.model for e in events if isinstance(e, swapcore.StateChanged) and e.after is state]


# -- targets -------------------------------------------------------------------------------------------


@pytest.mark.rule("L21")
async def test_g07_a_model_that_takes_connections_and_never_answers_fails_at_its_limit(
    children: Children,
) -> None:
    hung = """
import socket
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
kept = []
os.write(1, b"up\\n")
while True:
    kept.append(server.accept()[0])
"""
    spec = model(children, A, hung, check_path="/health", start_timeout=1.0)
    async with swapcore.open_supervisor([spec]) as supervisor:
        with takes(1.0, most=1.0 + 0.5):
            with pytest.raises(swapcore.StartTimeout), trio.fail_after(20):
                await supervisor.load(A)
        assert children.alive() == []


@pytest.mark.rule("L42")
async def test_g08_a_stubborn_model_holds_up_a_swap_for_its_own_unload_timeout(children: Children) -> None:
    specs = [
        model(children, A, STUBBORN + WAIT, unload_timeout=0.7, start_timeout=500),
        model(children, B, SERVE, check_path="/health", unload_timeout=60),
    ]
    async with swapcore.open_supervisor(specs) as supervisor:
        began = trio.current_time()
        await supervisor.load(B)
        load = trio.current_time() - began
        await supervisor.load(A)
        await wait_output(supervisor, A, b"up")
        with takes(0.7, most=0.7 + 0.3 + load), trio.fail_after(20):
            await supervisor.load(B)


async def test_g23_the_port_of_the_old_process_may_be_the_port_of_the_new(children: Children) -> None:
    """What is checked before anything is stopped must not take the evictee itself for an obstacle."""
    port = free_port()
    specs = [model(children, name, SERVE, port=port, check_path="/health") for name in (A, B)]
    async with swapcore.open_supervisor(specs) as supervisor:
        with trio.fail_after(20):
            for name in (A, B, A):
                async with supervisor.lease(name) as endpoint:
                    assert endpoint.port == port
