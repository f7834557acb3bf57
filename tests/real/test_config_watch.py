"""Edited files are noticed, however they were edited; files that are not there are not an edit."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from swapcli.reload import Look, _watch, look, watch

EVERY = 0.005
MOST_SETTLING = 4
pytestmark = [pytest.mark.rule("C130"), pytest.mark.rule("L157")]


@attrs.define(eq=False)
class Watcher:
    """Counts edits, and the looks that were taken to find them."""

    edits: int = 0
    looks: int = 0
    _edited: trio.Event = attrs.field(factory=trio.Event)

    def note(self) -> None:
        self.edits += 1
        self._edited.set()

    async def after(self, action: Callable[[], object]) -> None:
        """Do something and wait until it has been noticed."""
        self._edited = trio.Event()
        action()
        with trio.fail_after(20):
            await self._edited.wait()

    async def not_after(self, action: Callable[[], object]) -> None:
        """Do something, and nothing comes of it."""
        before = self.edits
        action()
        await self.several_looks()
        assert self.edits == before

    async def several_looks(self) -> None:
        """Wait until what one of them has found would have been told, after at most `MOST_SETTLING` more."""
        enough = self.looks + MOST_SETTLING + 4  # one may be under way, and an edit shows between two
        with trio.fail_after(20):
            while self.looks < enough:  # noqa: ASYNC110 - they are taken in a thread
                await trio.sleep(EVERY)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Watcher:
    found, really_look = Watcher(), _watch.look

    def counted(sources: Sequence[Path]) -> Look:
        try:
            return really_look(sources)
        finally:
            found.looks += 1

    monkeypatch.setattr(_watch, "look", counted)
    monkeypatch.setattr(_watch, "_MOST_SETTLING", MOST_SETTLING)
    return found


@asynccontextmanager
async def watching(watcher: Watcher, *sources: Path) -> AsyncGenerator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch, sources, look(sources), watcher.note, every=EVERY))
        await watcher.several_looks()
        assert watcher.edits == 0, "the first look is what the others are compared with"
        yield
        nursery.cancel_scope.cancel()


def replace(path: Path, text: str) -> None:
    """As editors save: a new file beside it, then renamed over it."""
    new = path.with_name(f".{path.name}.swp~")
    new.write_text(text)
    new.rename(path)


async def test_a_file_that_is_written_and_one_that_is_replaced(tmp_path: Path, watcher: Watcher) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    async with watching(watcher, file):
        await watcher.after(lambda: file.write_text("a longer text"))
        await watcher.after(partial(replace, file, "a LONGER text"))
        stamp = file.stat()

        def same_size_and_time() -> None:
            replace(file, "A LONGER TEXT")
            os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

        await watcher.after(same_size_and_time)
        await watcher.not_after(lambda: (tmp_path / "other.yaml").write_text("x"))


async def test_a_file_that_is_away_for_a_while(tmp_path: Path, watcher: Watcher) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    async with watching(watcher, file):
        await watcher.not_after(file.unlink)
        await watcher.after(lambda: file.write_text("one"))


async def test_a_link_that_is_swapped_as_container_platforms_do(tmp_path: Path, watcher: Watcher) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.yaml").write_text("same")
    data = tmp_path / "..data"
    data.symlink_to("v1")
    file = tmp_path / "c.yaml"
    file.symlink_to("..data/c.yaml")

    def swap() -> None:
        new = tmp_path / "..new"
        new.symlink_to("v2")
        new.rename(data)

    async with watching(watcher, file):
        await watcher.after(swap)


async def test_a_directory(tmp_path: Path, watcher: Watcher) -> None:
    folder, file = tmp_path / "conf.d", tmp_path / "main.yaml"
    folder.mkdir()
    (folder / "a.yaml").write_text("a")
    file.write_text("m")
    async with watching(watcher, file, folder):
        await watcher.after(lambda: (folder / "b.yml").write_text("b"))
        await watcher.after(lambda: (folder / "a.yaml").write_text("aa"))
        await watcher.after((folder / "b.yml").unlink)
        await watcher.not_after(lambda: (folder / "notes.txt").write_text("n"))
        await watcher.not_after((folder / "a.yaml").unlink)  # empty now
        await watcher.after(lambda: (folder / "a.yaml").write_text("aa"))
        await watcher.not_after(partial(shutil.rmtree, folder))
        await watcher.after(lambda: file.write_text("mm"))  # what is gone hides no other edit
        folder.mkdir()
        await watcher.after(lambda: (folder / "a.yaml").write_text("aa"))


async def test_an_edit_between_the_first_reading_and_the_first_look(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("one")
    first, edited = look([file]), trio.Event()
    file.write_text("two, before anybody watches")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch, [file], first, edited.set, every=60))
        with trio.fail_after(20):
            await edited.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES, errno.EIO])
async def test_a_file_system_that_fails_is_no_edit_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watcher: Watcher, number: int
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("one")
    is_dir = Path.is_dir

    def fail(self: Path) -> bool:
        raise OSError(number, os.strerror(number))

    async with watching(watcher, config):
        await watcher.not_after(lambda: monkeypatch.setattr(Path, "is_dir", fail))
        await watcher.after(lambda: monkeypatch.setattr(Path, "is_dir", is_dir))  # it is there again
        await watcher.after(lambda: config.write_text("three"))
