"""The stop ladder: what is asked, in which order, how long it takes, and that it always ends."""

from __future__ import annotations

import signal
from pathlib import Path

import attrs
import pytest
import trio
from real_children import FAMILY, FAMILY_SIZE, PYTHON, SERVE, WAIT, Children, Launched, launched
from time_taken import takes

from swapcore import StartFailed, launch_subprocess
from swapcore._guardian_plain import PlainProcess
from swapcore._launch import SubprocessLauncher

# Says which signals came, and ends on the one named.
TELL = """
def tell(number, frame):
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if signal.Signals(number).name == END:
        os._exit(0)
for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
    signal.signal(getattr(signal, name), tell)
"""
STUBBORN = "END = None" + TELL + WAIT


async def up(run: Launched) -> None:
    await run.wait_output(b"up")


@pytest.mark.rule("L34")
async def test_an_obedient_process_stops_at_once(children: Children) -> None:
    async with launched(children.spec(WAIT)) as run:
        await up(run)
        with takes(most=0.2):
            await run.stop()
    assert run.error is None, "it was asked to stop: no error"
    assert children.alive() == []


@pytest.mark.rule("L38")
async def test_a_process_that_ignores_sigterm_is_killed_at_the_end_of_its_grace(children: Children) -> None:
    async with launched(children.spec(STUBBORN, unload_timeout=0.6)) as run:
        await up(run)
        with takes(0.6, most=0.9):
            await run.stop()
        assert run.log.tail()[1:] == ["SIGTERM", "SIGTERM"], "asked again at half the grace"


@pytest.mark.rule("L38")
async def test_a_slow_handler_is_allowed_to_finish(children: Children) -> None:
    slow = """
def slowly(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(0.6)
    os.write(1, b"saved\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, slowly)
"""
    async with launched(children.spec(slow + WAIT, unload_timeout=5)) as run:
        await up(run)
        with takes(0.6, most=0.9):
            await run.stop()
        assert run.log.tail()[-1] == "saved"


async def test_a_server_that_ends_on_the_second_sigterm_gets_one(children: Children) -> None:
    twice = """
def first(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGTERM, first)
"""
    async with launched(children.spec(twice + WAIT, unload_timeout=1)) as run:
        await up(run)
        with takes(0.5, most=0.7):
            await run.stop()


async def test_no_grace_is_a_kill(children: Children) -> None:
    async with launched(children.spec(STUBBORN, unload_timeout=0)) as run:
        await up(run)
        with takes(most=0.2):
            await run.stop()
        assert run.log.tail()[1:] == []


@pytest.mark.rule("L183")
async def test_the_stop_signal_of_the_model(children: Children) -> None:
    spec = children.spec("END = 'SIGINT'" + TELL + WAIT, stop_signal=signal.SIGINT, unload_timeout=5)
    async with launched(spec) as run:
        await up(run)
        with takes(most=0.3):
            await run.stop()
        assert run.log.tail()[1:] == ["SIGINT"]


@pytest.mark.rule("L28")
async def test_a_start_is_stopped_by_the_same_ladder(children: Children) -> None:
    spec = children.spec(STUBBORN, check_path="/health", unload_timeout=0.6)
    run = Launched(spec, launch_subprocess)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.run)
        await up(run)
        with takes(0.6, most=0.9):
            await run.stop()
    assert run.log.tail()[1:] == ["SIGTERM", "SIGTERM"]


# -- stop commands ------------------------------------------------------------------------------


@pytest.mark.rule("L35")
@pytest.mark.rule("L36")
async def test_a_stop_command_asks_instead_of_a_signal(children: Children) -> None:
    command = ("sh", "-c", "echo stopping $GREETING; kill -s USR1 ${PID}")
    spec = children.spec("END = 'SIGUSR1'" + TELL + WAIT, stop_command=command, env={"GREETING": "you"})
    async with launched(spec) as run:
        await up(run)
        with takes(most=0.3):
            await run.stop()
        assert run.log.tail()[1:] == ["stopping you", "SIGUSR1"]


@pytest.mark.parametrize("command", [("false",), ("no-such-program",), ("sh", "-c", "kill -9 $$")])
@pytest.mark.rule("G18", "L36")
async def test_a_stop_command_that_fails_is_followed_by_sigterm(
    children: Children, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with launched(children.spec(WAIT, stop_command=command, unload_timeout=10)) as run:
        await up(run)
        with takes(most=0.3):
            await run.stop()
    assert "model: its stop command failed with status" in caplog.text


@pytest.mark.rule("G18")
async def test_a_stop_command_that_hangs_is_followed_by_sigterm_and_ended(children: Children) -> None:
    hang = (*PYTHON, "import time; time.sleep(600)", children.mark)
    async with launched(children.spec(WAIT, stop_command=hang, unload_timeout=1)) as run:
        await up(run)
        # The model goes at half the grace; the command may clean up after it, for 2 s and within the grace.
        with takes(0.5, most=1.3):
            await run.stop()
        assert children.alive() == []


async def test_a_hanging_stop_command_for_a_stubborn_process(children: Children) -> None:
    hang = (*PYTHON, "import time; time.sleep(600)", children.mark)
    async with launched(children.spec(STUBBORN, stop_command=hang, unload_timeout=0.6)) as run:
        await up(run)
        with takes(0.6, most=0.9):
            await run.stop()


async def test_a_stop_command_may_clean_up_after_the_process(children: Children) -> None:
    command = ("sh", "-c", "kill ${PID}; sleep 0.2; echo removed")
    async with launched(children.spec(WAIT, stop_command=command)) as run:
        await up(run)
        with takes(0.2, most=0.6):
            await run.stop()
        assert run.log.tail()[-1] == "removed"


# -- the whole tree -----------------------------------------------------------------------------


@pytest.mark.rule("G5", "L39")
async def test_after_a_stop_the_whole_tree_is_gone(children: Children) -> None:
    async with launched(children.spec(FAMILY + WAIT)) as run:
        await up(run)
        await children.wait_alive(lambda pids: len(pids) == FAMILY_SIZE)
        with takes(most=0.5):
            await run.stop()
        assert children.alive() == []


@pytest.mark.rule("G5", "L46")
async def test_after_a_crash_the_whole_tree_is_gone(children: Children, tmp_path: Path) -> None:
    all_are_there = tmp_path / "there"
    until_then = f"while not os.path.exists({str(all_are_there)!r}): time.sleep(0.01)\n"
    async with launched(children.spec(FAMILY + until_then + "os._exit(9)")) as run:
        await children.wait_alive(lambda pids: len(pids) == FAMILY_SIZE)
        all_are_there.touch()
        with trio.fail_after(20):
            await run.ended.wait()
        assert children.alive() == []
    assert "exited with status 9" in str(run.error)


@pytest.mark.rule("G5")
async def test_after_a_failed_start_the_whole_tree_is_gone(children: Children) -> None:
    spec = children.spec(FAMILY + "time.sleep(0.1); os._exit(9)", check_path="/health")
    with pytest.raises(StartFailed, match="exited with status 9"), trio.fail_after(20):
        await launch_subprocess(spec, task_status=trio.TASK_STATUS_IGNORED)
    assert children.alive() == []


async def test_a_tree_that_keeps_forking_is_outrun(children: Children) -> None:
    forking = """
def fork_on():
    while True:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.005)
        else:
            os._exit(0)
if os.fork() == 0:
    fork_on()
"""
    async with launched(children.spec(forking + WAIT)) as run:
        await up(run)
        with takes(most=1):
            await run.stop()
        assert children.alive() == []


async def test_siblings_are_not_touched(children: Children) -> None:
    async with launched(children.spec(WAIT)) as one, launched(children.spec(WAIT)) as two:
        await up(one)
        await up(two)
        await one.stop()
        assert len(children.alive()) == 1
        assert not two.ended.is_set()


# -- where there is no guardian ---------------------------------------------------------------------


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SubprocessLauncher, "_take_guard", lambda self, model: PlainProcess())


@pytest.mark.usefixtures("unguarded")
async def test_unguarded_start_and_stop(children: Children) -> None:
    spec = children.spec(
        "print(os.environ['GREETING'], flush=True)" + SERVE, check_path="/", env={"GREETING": "hi"}
    )
    async with launched(spec) as run:
        await run.wait_output(b"up\n")
        assert run.log.history() == b"hi\nup\n"
        with takes(most=0.3):
            await run.stop()
    assert run.error is None


@pytest.mark.usefixtures("unguarded")
async def test_unguarded_kill_at_the_end_of_the_grace(children: Children) -> None:
    async with launched(children.spec(STUBBORN, unload_timeout=0.5)) as run:
        await up(run)
        with takes(0.5, most=0.8):
            await run.stop()


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("command", [("sh", "-c", "kill ${PID}"), ("false",), ("no-such-program",)])
@pytest.mark.rule("L37")
async def test_unguarded_stop_commands(children: Children, command: tuple[str, ...]) -> None:
    async with launched(children.spec(WAIT, stop_command=command)) as run:
        await up(run)
        with takes(most=0.3):
            await run.stop()


@pytest.mark.usefixtures("unguarded")
async def test_unguarded_failures(children: Children, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="exited with status 3 before it was ready; its last output: oh"):
        await launch_subprocess(
            children.spec("print('oh'); sys.exit(3)", check_path="/"), task_status=trio.TASK_STATUS_IGNORED
        )
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    spec = attrs.evolve(children.spec(WAIT), command=(str(program),))
    with pytest.raises(StartFailed, match=r"could not be started: .*No such file or directory"):
        await launch_subprocess(spec, task_status=trio.TASK_STATUS_IGNORED)


@pytest.mark.usefixtures("unguarded")
async def test_unguarded_cancelled_at_any_step_it_leaves_nothing(children: Children) -> None:
    for seconds in (0.0, 0.001, 0.003, 0.01, 0.03):
        with trio.move_on_after(seconds), trio.fail_after(20):
            await launch_subprocess(children.spec(WAIT, check_path="/"), task_status=trio.TASK_STATUS_IGNORED)
        assert children.alive() == []
