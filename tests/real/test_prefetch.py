"""While one model stops, the files of the next are read: by the time it starts they are in memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import attrs
import pytest
import trio
from real_children import WAIT, Children
from time_taken import seconds_waited, slowness, takes

import swapcore
from swapcore import ModelId, ModelSpec, SwapEnded
from swapcore._prefetch import files_of, prefetch

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
MIB = 1 << 20
SIZE = 8
"""MiB of a model. A slow disk must be able to read it while another model stops."""
STOP_SECONDS = 0.6

SLOW_TO_STOP = f"""
def slowly(number, frame):
    time.sleep({STOP_SECONDS})
    os._exit(0)
signal.signal(signal.SIGTERM, slowly)
"""

# Looks first thing how much of the file in its last argument is in memory: mincore(2), which reads nothing.
LOOK = """
import ctypes, mmap
def resident(path):
    with open(path, "rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    found = (ctypes.c_ubyte * (len(view) // mmap.PAGESIZE))()
    start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(view)))
    assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(len(view)), found) == 0
    return sum(page & 1 for page in found) * mmap.PAGESIZE >> 20
"""


def resident(path: Path) -> int:
    """MiB of it that are in memory."""
    found: dict[str, object] = {}
    exec(LOOK, found)
    return found["resident"](path)  # type: ignore[no-any-return,operator]


def forget(path: Path) -> bool:
    """Drop it from memory; return whether that can be done, as it cannot where the file lives in memory."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    return resident(path) == 0


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.gguf"
    path.write_bytes(os.urandom(MIB) * SIZE)
    return path


def specs(children: Children, weights: Path) -> list[ModelSpec]:
    slow = children.spec(SLOW_TO_STOP + WAIT)
    quick = children.spec(LOOK + "print(resident(sys.argv[3]), flush=True)" + WAIT)
    return [attrs.evolve(slow, id=A), attrs.evolve(quick, id=B, command=(*quick.command, str(weights)))]


async def first_words(supervisor: swapcore.Supervisor, model: ModelId) -> str:
    with supervisor.log(model).subscribe() as output, trio.fail_after(20):
        while b"up" not in supervisor.log(model).history():
            await anext(output)
    return supervisor.log(model).tail()[0]


@pytest.mark.rule("G23")
@pytest.mark.parametrize("wanted", [None, ()], ids=["by default", "not when told so"])
async def test_by_the_time_it_starts_its_files_are_in_memory(
    children: Children, weights: Path, wanted: tuple[Path, ...] | None
) -> None:
    slow, quick = specs(children, weights)
    async with swapcore.open_supervisor([slow, attrs.evolve(quick, prefetch=wanted)]) as supervisor:
        await supervisor.load(A)
        await first_words(supervisor, A)
        can_forget = forget(weights)
        with takes(STOP_SECONDS, most=STOP_SECONDS + 0.5):
            await supervisor.load(B)
        found = int(await first_words(supervisor, B))
    assert found == (SIZE if wanted is None or not can_forget else 0)


class SlowDisk:
    """The launcher of child processes, with a disk that takes its time."""

    def __init__(self, seconds: float, fail: bool = False) -> None:
        self.seconds, self.fail = seconds, fail
        self.read: list[tuple[ModelId, str]] = []

    def prefetch(self, spec: ModelSpec) -> None:
        self.read.append((spec.id, "began"))
        until = time.monotonic() + self.seconds
        try:
            while time.monotonic() < until:
                trio.from_thread.check_cancelled()
                time.sleep(0.005)
        except trio.Cancelled:
            self.read.append((spec.id, "was cut short"))
            raise
        self.read.append((spec.id, "ended"))
        if self.fail:
            raise OSError("bad sector")

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[swapcore.Endpoint]) -> None:
        await swapcore.launch_subprocess(spec, task_status=task_status)


@pytest.mark.rule("G23")
async def test_a_swap_takes_the_stop_or_the_reading_and_not_their_sum(
    children: Children, weights: Path
) -> None:
    disk = SlowDisk(STOP_SECONDS - 0.1)
    async with (
        swapcore.open_supervisor(specs(children, weights), launch=disk) as supervisor,
        supervisor.events() as events,
    ):
        await supervisor.load(A)
        await first_words(supervisor, A)
        waited = seconds_waited()
        await supervisor.load(B)
        waited = seconds_waited() - waited
        async for event in events:
            if isinstance(event, SwapEnded) and event.target == B:
                assert STOP_SECONDS <= event.stop_seconds < STOP_SECONDS + 0.2 * slowness() + waited
                assert event.load_seconds < 0.3 * slowness() + waited
                break
    assert disk.read == [(B, "began"), (B, "ended")], "nothing was read for the first: nothing had to stop"


async def test_a_start_does_not_wait_for_the_reading_which_ends_with_it(
    children: Children, weights: Path
) -> None:
    disk = SlowDisk(60)
    async with swapcore.open_supervisor(specs(children, weights), launch=disk) as supervisor:
        await supervisor.load(A)
        await first_words(supervisor, A)
        with trio.fail_after(20):
            await supervisor.load(B)
            while len(disk.read) < 2:  # noqa: ASYNC110 - it is in a thread
                await trio.sleep(0.01)
    assert disk.read == [(B, "began"), (B, "was cut short")]


async def test_a_caller_that_leaves_and_the_end_of_the_supervisor_end_the_reading(
    children: Children, weights: Path
) -> None:
    disk = SlowDisk(60)
    with trio.fail_after(20):
        async with swapcore.open_supervisor(specs(children, weights), launch=disk) as supervisor:
            await supervisor.load(A)
            await first_words(supervisor, A)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.load, B)
                while not disk.read:  # noqa: ASYNC110 - it is in a thread
                    await trio.sleep(0.002)
                nursery.cancel_scope.cancel()
            supervisor.close()
        while len(disk.read) < 2:  # noqa: ASYNC110 - it is in a thread
            await trio.sleep(0.01)
    assert disk.read == [(B, "began"), (B, "was cut short")]


async def test_what_cannot_be_read_is_a_line_in_the_log(
    children: Children, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SlowDisk(0, fail=True)
    async with swapcore.open_supervisor(specs(children, weights), launch=disk) as supervisor:
        await supervisor.load(A)
        await first_words(supervisor, A)
        await supervisor.load(B)
    assert "b: its files are not prefetched: bad sector" in caplog.text


# -- which files ---------------------------------------------------------------------------------


def test_the_big_files_that_a_command_names(tmp_path: Path) -> None:
    for name in ("model.gguf", "draft.gguf", "big-00001-of-00002.gguf", "big-00002-of-00002.gguf"):
        (tmp_path / name).write_bytes(b"x" * MIB)
    (tmp_path / "small.json").write_bytes(b"{}")
    os.mkfifo(tmp_path / "pipe")
    command = (
        "llama-server", "-m", "model.gguf", f"--model-draft={tmp_path}/draft.gguf", "big-00001-of-00002.gguf",
        "model.gguf", "small.json", "pipe", str(tmp_path), "no-such-file", "", "\0", "x" * 5000,
    )  # fmt: skip
    spec = ModelSpec(C, command, cwd=str(tmp_path))
    assert [path.name for path in files_of(spec)] == [
        "model.gguf",
        "draft.gguf",
        "big-00001-of-00002.gguf",
        "big-00002-of-00002.gguf",
    ]
    assert files_of(attrs.evolve(spec, prefetch=(tmp_path / "draft.gguf",))) == [tmp_path / "draft.gguf"]
    assert files_of(attrs.evolve(spec, prefetch=())) == []


async def test_no_more_is_read_than_there_is_memory_for(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(C, ("cat", str(weights)))
    assert await trio.to_thread.run_sync(prefetch, spec) == SIZE * MIB
    monkeypatch.setattr("swapcore._prefetch._memory_to_spare", lambda: 5.5 * MIB)
    assert await trio.to_thread.run_sync(prefetch, spec) == 5 * MIB
    await trio.Path(weights).unlink()
    assert await trio.to_thread.run_sync(prefetch, spec) == 0
