"""Starting a process: readiness, failures and what the caller is told, the environment, the output."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from real_children import SERVE, WAIT, Children, Launched, free_port, launched
from time_taken import seconds_waited, slowness, takes

from swapcore import ModelLog, ModelSpec, StartFailed, launch_subprocess
from swapcore._launch import ProcessExited
from swapcore._logs import writing_to
from swapcore._preflight import preflight


async def failed_start(spec: ModelSpec, log: ModelLog | None = None) -> StartFailed:
    with pytest.raises(StartFailed) as caught, trio.fail_after(20), writing_to(log or ModelLog()):
        await launch_subprocess(spec, task_status=trio.TASK_STATUS_IGNORED)
    return caught.value


# -- ready ----------------------------------------------------------------------------


@pytest.mark.rule("L17")
async def test_it_is_ready_once_the_health_check_answers(children: Children) -> None:
    spec = children.spec("time.sleep(0.2)" + SERVE, check_path="/health")
    async with launched(spec) as run:
        await run.wait_output(b"up")
        assert spec.url.endswith(str(spec.command[-2]))
        assert children.alive()
    assert run.error is None
    assert children.alive() == []


@pytest.mark.rule("L16")
async def test_without_a_health_check_it_is_ready_once_spawned(children: Children) -> None:
    async with launched(children.spec(WAIT, check_path=None)) as run:
        await run.wait_output(b"up")


async def test_a_start_that_hangs_is_ended_by_the_callers_deadline(children: Children) -> None:
    spec = children.spec(WAIT, check_path="/health")
    with trio.move_on_after(0.3) as patience, trio.fail_after(20):
        await launch_subprocess(spec, task_status=trio.TASK_STATUS_IGNORED)
    assert patience.cancelled_caught
    assert children.alive() == []


@pytest.mark.rule("L17", "L24")
async def test_a_probe_that_is_never_answered_does_not_hide_the_exit(children: Children) -> None:
    hung = """
import socket, threading
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
client = server.accept()[0]
print(time.monotonic(), flush=True)
os._exit(7)
"""
    log = ModelLog()
    waited = seconds_waited()
    error = await failed_start(children.spec(hung, check_path="/health"), log)
    assert time.monotonic() - float(log.history()) - (seconds_waited() - waited) < 0.15 * slowness()
    assert "exited with status 7" in error.reason


# -- failures ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.rule("G7", "L23")
@pytest.mark.rule("L169")
async def test_an_exit_before_ready_is_noticed_at_once(children: Children, status: int) -> None:
    code = f"""
print("one"); print("two", file=sys.stderr); print(time.monotonic(), flush=True); os._exit({status})
"""
    log = ModelLog()
    log.write(b"of the run before\n")
    waited = seconds_waited()
    error = await failed_start(children.spec(code, check_path="/health"), log)
    *_, last = log.tail()
    assert time.monotonic() - float(last) - (seconds_waited() - waited) < 0.05 * slowness()
    assert error.reason == f"exited with status {status} before it was ready; its last output: {last}"
    assert error.__notes__ == [f"last output:\ntwo\none\n{last}"]


async def test_a_signal_before_ready_is_named(children: Children) -> None:
    error = await failed_start(children.spec("os.kill(os.getpid(), 11)", check_path="/health"))
    assert error.reason == "was killed by SIGSEGV before it was ready"
    assert not hasattr(error, "__notes__")


@pytest.mark.rule("L34")
async def test_a_crash_after_ready_ends_the_launch(children: Children) -> None:
    spec = children.spec("os.kill(os.getpid(), signal.SIGSTOP)", check_path=None)
    async with launched(spec) as run:
        await children.wait_alive(lambda pids: len(pids) == 1)
        (pid,) = children.alive()
        os.kill(pid, signal.SIGKILL)
        with takes(most=0.1), trio.fail_after(20):
            await run.ended.wait()
    assert isinstance(run.error, ProcessExited)
    assert (run.error.status, run.error.reason) == (-9, "was killed by SIGKILL")


async def test_an_exit_after_ready_carries_its_status(children: Children, tmp_path: Path) -> None:
    is_ready = tmp_path / "ready"
    until_then = f"while not os.path.exists({str(is_ready)!r}): time.sleep(0.01)\n"
    async with launched(children.spec(until_then + "sys.exit('no more memory')")) as run:
        is_ready.touch()
        with trio.fail_after(20):
            await run.ended.wait()
    assert isinstance(run.error, ProcessExited)
    assert run.error.status == 1
    assert run.error.reason == "exited with status 1; its last output: no more memory"


def changed(children: Children, **changes: object) -> ModelSpec:
    return attrs.evolve(children.spec(WAIT), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": ""}, "it has no URL"),
        ({"url": "http://:80/"}, "its URL cannot be used: 'http://:80/' names no host"),
        (
            {"url": "ftp://127.0.0.1:1"},
            "its URL cannot be used: 'ftp://127.0.0.1:1' is neither http nor https",
        ),
        ({"command": ()}, "it has no command"),
        ({"command": ("no-such-program",)}, "program 'no-such-program' was not found in PATH"),
        ({"command": ("/no/such/program",)}, "program '/no/such/program' does not exist"),
        ({"command": ("/etc/passwd",)}, "program '/etc/passwd' is not an executable file"),
        ({"command": ("/",)}, "program '/' is not an executable file"),
        ({"command": ("sh",), "env": {"PATH": "/nowhere"}}, "program 'sh' was not found in PATH"),
        ({"command": ("sh", "a\0b")}, "its command or environment has a zero byte"),
        ({"cwd": "/no/such/directory"}, "its working directory '/no/such/directory' does not exist"),
    ],
)
@pytest.mark.rule("L9")
async def test_what_cannot_work_fails_before_anything_is_spawned(
    children: Children, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(StartFailed) as before:
        preflight(changed(children, **changes))
    assert before.value.reason == reason
    error = await failed_start(changed(children, **changes))
    assert error.reason == reason


GONE = "/no/such/model.gguf"


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (f"taskset -c 0 llama-server -m {GONE}", False),
        (f"env A=1 nice /x/llama-server-vulkan --port 1 --mmproj {GONE}", False),
        ("nice llama-server -m relative.gguf", True),  # to a directory that the wrapper may have changed
        (f"docker run --entrypoint /app/llama-server image -m {GONE}", True),
        (f"podman exec box llama-server --model {GONE}", True),
        (f"toolbox run -c box llama-server -m {GONE}", True),
        (f"ssh host llama-server -m {GONE}", True),
        (f"llama-server-in-docker.sh -m {GONE}", True),
        (f"nice vllm serve -m {GONE}", True),
    ],
)
async def test_only_files_of_this_machine_are_looked_for(
    children: Children, tmp_path: Path, command: str, found: bool
) -> None:
    words = command.split()
    program = tmp_path / words[0]
    program.touch(mode=0o755)
    spec = changed(children, command=tuple(words), env={"PATH": str(tmp_path)})
    if found:
        preflight(spec)
        return
    with pytest.raises(StartFailed, match=f"file '{GONE}', which its command names, does not exist"):
        preflight(spec)


async def test_a_program_relative_to_its_working_directory(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "model.sh"
    program.write_text("#!/bin/sh\npwd\nexec sleep 600\n")
    program.chmod(0o755)
    async with launched(changed(children, command=("./model.sh",), cwd=str(tmp_path))) as run:
        await run.wait_output(str(tmp_path).encode())


@pytest.mark.rule("L15")
async def test_what_the_kernel_refuses_is_told(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    error = await failed_start(changed(children, command=(str(program),)))
    assert error.reason == f"could not be started: {program}: No such file or directory"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_port_in_use_is_named(children: Children, host: str) -> None:
    with (
        socket.create_server(("::1", free_port()), family=socket.AF_INET6)
        if host == "[::1]"
        else socket.create_server(("127.0.0.1", free_port())) as stranger
    ):
        port = stranger.getsockname()[1]
        spec = changed(children, url=f"http://{host}:{port}")
        error = await failed_start(spec)
        assert error.reason == f"port {port} of {host.strip('[]')} is used by another process"
        preflight(spec, check_port=False)
    preflight(spec)


async def test_a_port_in_time_wait_is_free(children: Children) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # this end closes first, and lingers
    preflight(changed(children, url=f"http://127.0.0.1:{port}"))


# -- what the process gets -------------------------------------------------------------------


async def output_of(children: Children, code: str, env: Mapping[str, str] | None = None) -> str:
    run = Launched(children.spec(code, env=env or {}), launch_subprocess)
    with trio.fail_after(20):
        await run.run()
    return run.log.history().decode()


@pytest.mark.rule("C70")
@pytest.mark.rule("C10")
@pytest.mark.rule("L11")
@pytest.mark.rule("L169")
async def test_the_environment_is_ours_and_the_models(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "systemd's")
    monkeypatch.setenv("OURS", "kept \udcff")  # bytes that are no UTF-8
    monkeypatch.setenv("BOTH", "ours")
    code = "print({os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()})"
    text = await output_of(children, code, env={"BOTH": "the model's", "LISTEN_PID": "wanted"})
    env: dict[bytes, bytes] = eval(text)
    assert env[b"OURS"] == b"kept \xff"
    assert env[b"BOTH"] == b"the model's"
    assert env[b"LISTEN_PID"] == b"wanted"
    assert not {b"NOTIFY_SOCKET", b"LISTEN_FDS", b"WATCHDOG_USEC", b"WATCHDOG_PID"} & set(env)


@pytest.mark.rule("L12")
async def test_nothing_of_ours_is_inherited(children: Children) -> None:
    with socket.socket() as ours:
        os.set_inheritable(ours.fileno(), True)
        code = """
path = "/proc/self/fd/%d"
print({n: os.readlink(path % n) for n in range(64) if os.path.lexists(path % n)})
"""
        found: dict[int, str] = eval(await output_of(children, code))
    assert set(found) == {0, 1, 2}
    assert found[0] == "/dev/null"
    assert found[1] == found[2]
    assert found[1].startswith("pipe:")


@pytest.mark.rule("L13")
async def test_the_leader_has_a_group_a_session_and_signals_of_its_own(children: Children) -> None:
    code = """
ignored = int([l for l in open('/proc/self/status') if l.startswith('SigIgn')][0].split()[1], 16)
blocked = int([l for l in open('/proc/self/status') if l.startswith('SigBlk')][0].split()[1], 16)
for_programs = sum(1 << number - 1 for number in signal.valid_signals())  # not those of the C library
print((os.getpid(), os.getpgrp(), os.getsid(0), ignored & for_programs & ~(1 << 12 | 1 << 24), blocked))
"""
    pid, group, session, ignored, blocked = eval(await output_of(children, code))
    assert pid == group
    assert session not in (os.getsid(0), pid)
    assert (ignored, blocked) == (0, 0), "SIGPIPE and SIGXFSZ are ignored by the child's own interpreter"


@pytest.mark.rule("L10")
async def test_arguments_arrive_as_they_are(children: Children) -> None:
    spec = children.spec("print(sys.argv[3:])")
    spec = attrs.evolve(spec, command=(*spec.command, "two words", "", "caf\u00e9", "$HOME", "a\nb"))
    run = Launched(spec, launch_subprocess)
    await run.run()
    assert eval(run.log.history()) == ["two words", "", "caf\u00e9", "$HOME", "a\nb"]


# -- output ------------------------------------------------------------------------------------


@pytest.mark.rule("L12")
async def test_much_output_neither_blocks_nor_loses_its_end(children: Children) -> None:
    code = "for n in range(10_240): os.write(1 + n % 2, (b'%08d' % n) * 128)"
    run = Launched(children.spec(code), launch_subprocess)
    with trio.fail_after(20):
        await run.run()
    assert run.log.written == 10 * 1024 * 1024
    text = run.log.history()
    assert len(text) == 100 * 1024
    assert text == b"".join((b"%08d" % n) * 128 for n in range(10_140, 10_240)), "both streams, in order"


async def test_output_goes_to_the_log_of_the_launch(children: Children) -> None:
    spec = children.spec("print('hello', flush=True)" + WAIT)
    async with launched(spec) as one, launched(children.spec("print('bye', flush=True)" + WAIT)) as two:
        await one.wait_output(b"hello\nup\n")
        await two.wait_output(b"bye\nup\n")


# -- the warm guardian ------------------------------------------------------------------------


def guardians() -> set[int]:
    """Return the pids of the living guardians that this process has started."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if b"_guardian.py" in line and int(stat[1]) == os.getpid() and stat[0] != "Z":
                found.add(int(entry.name))
    return found


async def wait_guardians(count: int) -> set[int]:
    with trio.fail_after(20):
        while len(found := guardians()) != count:  # noqa: ASYNC110 - a spare is made a little later than needed
            await trio.sleep(0.005)
    return found


async def test_a_warm_launcher_starts_with_the_guardian_that_is_there(children: Children) -> None:
    async with launch_subprocess.open() as warm:
        spare = await wait_guardians(1)
        async with launched(children.spec(WAIT), launch=warm) as first:
            await first.wait_output(b"up")
            both = await wait_guardians(2)
            assert both > spare, "the start did not take the one that was there"
            second_spare = both - spare
            async with launched(children.spec(WAIT), launch=warm) as second:
                assert await wait_guardians(3) > both
                await second.wait_output(b"up")
                await first.stop()
                assert guardians() & (spare | second_spare) == second_spare
    assert guardians() == set()


async def test_a_spare_that_was_killed_is_replaced(children: Children) -> None:
    async with launch_subprocess.open() as warm:
        (spare,) = await wait_guardians(1)
        os.kill(spare, signal.SIGKILL)
        await wait_guardians(0)
        async with launched(children.spec(WAIT), launch=warm) as run:
            await run.wait_output(b"up")
    assert guardians() == set()


async def test_a_failed_start_leaves_a_warm_spare_for_the_next(children: Children) -> None:
    spec = children.spec("sys.exit(1)", check_path="/health")
    async with launch_subprocess.open() as warm:
        with pytest.raises(StartFailed):
            await warm(spec, task_status=trio.TASK_STATUS_IGNORED)
        await wait_guardians(1)
    assert guardians() == set()


async def test_no_guardian_can_be_started(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    spec = changed(children, command=("/bin/true",))
    error = await failed_start(spec)
    assert error.reason == "no guardian process can be started: No such file or directory"
    async with launch_subprocess.open() as warm:  # says so in the log, and goes on
        with pytest.raises(StartFailed, match="no guardian"):
            await warm(spec, task_status=trio.TASK_STATUS_IGNORED)


# -- cancellation ---------------------------------------------------------------------------------


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the given step of any task."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope, self._left = scope, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def test_cancelled_at_any_step_it_leaves_nothing(children: Children) -> None:
    spec = children.spec(SERVE, port=free_port(), check_path="/health", unload_timeout=2)
    descriptors = len(os.listdir("/proc/self/fd"))
    became_ready = 0
    for step in range(1, 500):
        with trio.CancelScope() as scope, trio.fail_after(20):
            instrument = CancelAtStep(scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(partial(launch_subprocess, spec))
                    became_ready += 1
                    scope.cancel()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert children.alive() == [], f"cancelled at step {step}"
        if became_ready == 3:
            break
    assert became_ready == 3, "every step up to ready was tried"
    assert guardians() == set()
    assert len(os.listdir("/proc/self/fd")) == descriptors
