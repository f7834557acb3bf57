"""A disk that does not answer keeps records from being written, and keeps nobody from anything else."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest
import trio
from ended_requests import ended
from time_taken import takes

from swapcli.activity import journal as journal_module
from swapcli.activity.database import ActivityDatabase
from swapcli.activity.journal import open_database, open_journal
from swapcli.activity.query import ActivityQuery
from swapcli.activity.record import ActivityRecord
from swapcli.activity.retention import Retention

ALL = ActivityQuery(limit=999)


@attrs.define(eq=False)
class Disk:
    """Answers as long as it is told to."""

    answers: threading.Event = attrs.field(factory=threading.Event)
    asked: threading.Event = attrs.field(factory=threading.Event)

    def wait(self) -> None:
        self.asked.set()
        assert self.answers.wait(50)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Generator[Disk]:
    found, write = Disk(), ActivityDatabase.write

    def slow_write(self: ActivityDatabase, records: Sequence[ActivityRecord], retention: Retention) -> None:
        found.wait()
        write(self, records, retention)

    monkeypatch.setattr(ActivityDatabase, "write", slow_write)
    yield found
    found.answers.set()


async def until_asked(disk: Disk) -> None:
    with trio.fail_after(20):
        await trio.to_thread.run_sync(disk.asked.wait, 20)


@pytest.mark.parametrize("with_a_reader", [False, True])
async def test_the_end_does_not_wait_for_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    *,
    with_a_reader: bool,
) -> None:
    assert journal_module.CLOSE_SECONDS == 2
    monkeypatch.setattr(journal_module, "CLOSE_SECONDS", 0.3)
    with ExitStack() as until_it_is_closed:
        async with open_journal(open_database(str(tmp_path / "a.db"))) as journal:
            journal.add(ended(journal))
            async with trio.open_nursery() as readers:
                if with_a_reader:
                    readers.start_soon(journal.page, ALL)
                await until_asked(disk)
                until_it_is_closed.enter_context(takes(0.3, most=0.3 + 1))
                readers.cancel_scope.cancel()  # as the server does with requests that it has to cut
    assert "1 requests could not be recorded before the end" in caplog.text


async def test_readers_who_lose_patience_cost_one_thread(tmp_path: Path, disk: Disk) -> None:
    async with open_journal(open_database(str(tmp_path / "a.db"))) as journal:
        journal.add(ended(journal))
        await until_asked(disk)
        limiter = trio.to_thread.current_default_thread_limiter()
        for _ in range(5):
            with trio.move_on_after(0.02):
                await journal.page(ALL)
        assert limiter.borrowed_tokens == 0, "others need these, to look at long requests"
        disk.answers.set()
        with trio.fail_after(20):
            assert [record.id for record in (await journal.page(ALL)).records] == [1]
        journal.add(ended(journal))
        with trio.fail_after(20):
            assert [record.id for record in (await journal.page(ALL)).records] == [2, 1]
        assert journal.statistics().failures == 0


async def test_the_last_file_that_was_wanted_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, opening = Disk(), ActivityDatabase.open

    def slow_open(path: str = "") -> ActivityDatabase:
        if path.endswith("first"):
            disk.wait()
        return opening(path)

    monkeypatch.setattr(ActivityDatabase, "open", slow_open)
    async with open_journal(open_database()) as journal:
        journal.reconfigure(str(tmp_path / "first"), keep=1000, capture_bytes=0)
        await until_asked(disk)
        journal.reconfigure(str(tmp_path / "second"), keep=1000, capture_bytes=0)
        disk.answers.set()
        journal.add(ended(journal))
        with trio.fail_after(20):
            assert (await journal.page(ALL)).total == 1
    assert open_database(str(tmp_path / "second")).page(ALL).total == 1


def test_a_name_that_no_file_can_have_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert open_database("a\0b").path == ""
    assert "cannot be used" in caplog.text
