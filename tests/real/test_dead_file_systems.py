"""A model on a file system that does not answer holds up its own callers, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import attrs
import pytest
import trio
from real_children import SERVE, WAIT, Children
from time_taken import takes

import swapcore
from swapcore import ModelId, ModelSpec, StartTimeout, _guardian, _launch, launch_subprocess
from swapcore._preflight import preflight
from swapcore.planners import LruPlanner

# A guardian whose children never get from fork to exec: the program, or its folder, is not to be had.
NEVER_STARTS = f"""
import importlib.util, sys, time
found = importlib.util.spec_from_file_location("guardian", {_guardian.__file__!r})
guardian = importlib.util.module_from_spec(found)
found.loader.exec_module(guardian)
guardian._become = lambda *ignored: time.sleep(600)
guardian.main()
"""


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Generator[threading.Event]:
    """Let nobody come back who looks at the files of the model ``dead``; set, and all do."""
    answers = threading.Event()

    def look(spec: ModelSpec, *, check_port: bool = True) -> None:
        if spec.id == "dead":
            answers.wait(50)
        preflight(spec, check_port=check_port)

    monkeypatch.setattr(_launch, "preflight", look)
    yield answers
    answers.set()


async def test_a_start_that_waits_for_its_files_holds_up_no_other(
    children: Children, dead: threading.Event
) -> None:
    slow = attrs.evolve(children.spec(WAIT), id=ModelId("dead"), start_timeout=1.0)
    other = children.spec(SERVE, check_path="/health")
    async with swapcore.open_supervisor([slow, other], planner=LruPlanner(2)) as supervisor:
        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                with pytest.raises(StartTimeout):
                    await supervisor.load(slow.id)

            nursery.start_soon(fail)
            with takes(most=0.9), trio.fail_after(20):
                await supervisor.load(other.id)
        shared = trio.to_thread.current_default_thread_limiter()
        assert shared.borrowed_tokens == 0, "others need these"
        dead.set()
        await supervisor.unload(slow.id)
        with trio.fail_after(20):
            await supervisor.load(slow.id)


async def test_making_room_for_it_holds_up_no_other(children: Children, dead: threading.Event) -> None:
    """It is asked whether the start could succeed, in vain; what is in its way is stopped all the same."""
    slow = attrs.evolve(children.spec(WAIT), id=ModelId("dead"), start_timeout=0.5)
    other = children.spec(SERVE, check_path="/health")
    async with swapcore.open_supervisor([slow, other]) as supervisor:
        await supervisor.load(other.id)
        with pytest.raises(StartTimeout), trio.fail_after(20):
            await supervisor.load(slow.id)
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        with trio.fail_after(20):
            await supervisor.load(other.id)


async def test_a_program_that_never_gets_started_can_be_killed(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "guardian.py"
    script.write_text(NEVER_STARTS)
    monkeypatch.setattr(_guardian, "__file__", str(script))
    spec = children.spec(WAIT, unload_timeout=0.5)
    with trio.move_on_after(1.0) as patience:
        await launch_subprocess(spec, task_status=trio.TASK_STATUS_IGNORED)
    assert patience.cancelled_caught, "else it is still alive, and nothing may be started in its place"
