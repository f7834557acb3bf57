"""The journal beside the server: in batches, in a thread, and never in anybody's way."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from ended_requests import ended
from time_taken import seconds_waited

from swapcli.activity import database as database_module, journal as journal_module
from swapcli.activity.database import ActivityDatabase
from swapcli.activity.ended_request import EndedRequest, Measured
from swapcli.activity.journal import Journal, StoreRefused, open_database, open_journal
from swapcli.activity.query import ActivityQuery
from swapcli.activity.retention import Retention

ALL = ActivityQuery(limit=999)


async def ids(journal: Journal) -> list[int]:
    return [record.id for record in (await journal.page(ALL)).records]


@pytest.mark.rule("H165")
async def test_what_was_added_is_told_of_once_it_can_be_read() -> None:
    told: list[int] = []
    last = trio.Event()

    def tell(id: int) -> None:
        told.append(id)
        assert id in journal.captures
        if len(told) == 3:
            last.set()

    async with open_journal(open_database(), capture_bytes=10_000, on_recorded=tell) as journal:
        for _ in range(3):
            journal.add(ended(journal, capture=True))
        assert told == []
        with trio.fail_after(20):
            await last.wait()
        assert told == [1, 2, 3]
        assert journal.statistics().written == 3


async def test_who_asks_sees_all_that_ended_before() -> None:
    async with open_journal(open_database(), capture_bytes=10_000) as journal:
        request = ended(journal, capture=True)
        journal.add(request)
        capture = await journal.capture(request.id)
        assert capture is not None
        assert capture.request_body == b"question"
        journal.add(ended(journal, prompt=7))
        (newest, _) = (await journal.page(ALL)).records
        assert newest.tokens.input == 7
        journal.add(ended(journal, prompt=10))
        assert (await journal.totals()).input_tokens == 21
        assert await journal.capture(99) is None


@pytest.mark.rule("H173")
async def test_in_memory_the_oldest_go_and_in_a_file_nothing_does(tmp_path: Path) -> None:
    for path, expected in (("", [5, 4]), (str(tmp_path / "a.db"), [5, 4, 3, 2, 1])):
        async with open_journal(open_database(path), keep=2) as journal:
            for _ in range(5):
                journal.add(ended(journal))
            assert await ids(journal) == expected


async def test_a_file_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    async with open_journal(open_database(path), keep=1, retention=Retention(3)) as journal:
        for _ in range(5):
            journal.add(ended(journal))
        assert await ids(journal) == [5, 4, 3]
        journal.reconfigure(path, keep=1, capture_bytes=0, retention=Retention(2))
        journal.add(ended(journal))
        assert await ids(journal) == [6, 5]
        journal.reconfigure("", keep=1, capture_bytes=0, retention=Retention(2))
        journal.add(ended(journal))
        journal.add(ended(journal))
        assert await ids(journal) == [8], "memory has its own limit"


async def test_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    async with open_journal(open_database(path)) as journal:
        journal.add(ended(journal))
        journal.add(ended(journal))
    async with open_journal(open_database(path)) as journal:
        journal.add(ended(journal))
        assert await ids(journal) == [3, 2, 1]


@pytest.mark.rule("H166")
async def test_another_configuration_brings_another_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_journal(open_database(), capture_bytes=10_000) as journal:
        first = ended(journal, capture=True)
        journal.add(first)
        journal.reconfigure("", keep=10, capture_bytes=10_000)
        assert await ids(journal) == [1]
        journal.reconfigure(str(tmp_path / "a.db"), keep=10, capture_bytes=10_000)
        journal.add(ended(journal))
        assert await ids(journal) == [2]
        assert await journal.capture(1) is not None
        (tmp_path / "text").write_text("text")
        journal.reconfigure(str(tmp_path / "text"), keep=10, capture_bytes=10_000)
        journal.add(ended(journal))
        assert await ids(journal) == [3, 2]
        assert "is no database" in caplog.text
        journal.reconfigure(str(tmp_path / "a.db"), keep=10, capture_bytes=0)
        assert await journal.capture(1) is None
    assert (tmp_path / "text").read_text() == "text"
    async with open_journal(open_database(str(tmp_path / "a.db"))) as journal:
        assert await ids(journal) == [3, 2]


async def test_what_stands_in_for_a_file_keeps_its_records_while_the_file_cannot_be_used(
    tmp_path: Path,
) -> None:
    unusable = str(tmp_path / "no" / "such" / "folder" / "a.db")
    async with open_journal(open_database(unusable)) as journal:
        for number, path in enumerate((unusable, unusable + "2"), start=2):
            journal.add(ended(journal))
            assert len(await ids(journal)) == number - 1
            journal.reconfigure(path, keep=10, capture_bytes=0)
            assert len(await ids(journal)) == number - 1
            assert journal.statistics().failures == number
        journal.reconfigure(str(tmp_path / "a.db"), keep=10, capture_bytes=0)
        journal.add(ended(journal))
        assert await ids(journal) == [3]


# -- when the disk fails ------------------------------------------------------------------


class FullDisk:
    """Stands before the database's writing, and refuses while it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = True
        self.attempts = 0
        self.fourth_attempt = trio.Event()
        write = ActivityDatabase.write

        def refuse(database: ActivityDatabase, *arguments: object) -> None:
            self.attempts += 1
            if self.attempts == 4:
                trio.from_thread.run_sync(self.fourth_attempt.set)
            if self.is_full:
                raise sqlite3.OperationalError("database or disk is full")
            write(database, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(ActivityDatabase, "write", refuse)


@pytest.mark.parametrize(
    ("on_disk", "padding", "packed", "in_thread"),
    [
        (False, 0, False, False),
        (False, 60_000, False, False),
        (False, 100_000, False, True),
        (False, 100_000, True, True),
        (True, 0, False, True),
    ],
)
async def test_a_thread_is_used_for_what_may_take_long(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    on_disk: bool,
    padding: int,
    packed: bool,
    in_thread: bool,
) -> None:
    threads: list[bool] = []
    write = ActivityDatabase.write

    def watched(*arguments: Any) -> None:
        threads.append(threading.current_thread() is not threading.main_thread())
        write(*arguments)

    monkeypatch.setattr(ActivityDatabase, "write", watched)
    async with open_journal(open_database(str(tmp_path / "a.db") if on_disk else "")) as journal:
        journal.add(ended(journal, padding=padding, packed=packed))
        assert await ids(journal) == [1]
    assert threads == [in_thread]


async def test_a_full_disk_is_a_warning_and_a_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", 0.01)
    disk = FullDisk(monkeypatch)
    recorded = trio.Event()
    database = open_database(str(tmp_path / "a.db"))
    async with open_journal(database, on_recorded=lambda _: recorded.set()) as journal:
        journal.add(ended(journal))
        with trio.fail_after(20):
            await disk.fourth_attempt.wait()
        assert await ids(journal) == []
        statistics = journal.statistics()
        assert (statistics.written, statistics.waiting, statistics.lost) == (0, 1, 0)
        assert statistics.failures >= 4
        disk.is_full = False
        with trio.fail_after(20):
            await recorded.wait()
        assert await ids(journal) == [1]
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert warnings == [
        "requests cannot be recorded for now: database or disk is full",
        "requests are recorded again; 0 were lost so far",
    ]


async def test_what_cannot_be_written_at_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FullDisk(monkeypatch)
    async with open_journal(open_database(str(tmp_path / "a.db"))) as journal:
        journal.add(ended(journal))
        assert await ids(journal) == []
        journal.add(ended(journal))
    assert "2 requests could not be recorded before the end" in caplog.text


async def test_what_waits_for_the_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 5)
    monkeypatch.setattr(journal_module, "MOST_WAITING_BYTES", 3000)
    disk = FullDisk(monkeypatch)
    async with open_journal(open_database(str(tmp_path / "a.db")), capture_bytes=100_000) as journal:
        requests = [ended(journal, capture=True, padding=1000) for _ in range(9)]
        for request in requests:
            journal.add(request)
        assert journal.statistics().lost == 4
        assert sum(request.size for request in requests[4:]) <= 3000
        disk.is_full = False
        assert await ids(journal) == [9, 8, 7, 6, 5]
        assert len([request for request in requests if request.id in journal.captures]) == 2
        journal.add(again := ended(journal, capture=True, padding=1000))
        assert await journal.capture(again.id) is not None


async def test_a_mistake_of_ours_loses_its_request_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measure = EndedRequest.measure

    def fail_with_two(request: EndedRequest) -> Measured:
        if request.id in (2, 4):
            raise ZeroDivisionError
        return measure(request)

    monkeypatch.setattr(EndedRequest, "measure", fail_with_two)
    async with open_journal(open_database()) as journal:
        for _ in range(4):
            journal.add(ended(journal))
        assert await ids(journal) == [3, 1]
        for _ in range(2):
            journal.add(ended(journal))
        assert await ids(journal) == [6, 5, 3, 1]
        assert (journal.statistics().written, journal.statistics().lost) == (4, 2)
    assert caplog.text.count("a request could not be recorded") == 2


async def test_a_damaged_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.db"
    async with open_journal(open_database(str(path))) as journal:
        for _ in range(50):
            journal.add(ended(journal))
    healthy = path.read_bytes()
    path.write_bytes(healthy[:100] + b"\xff" * 4000 + healthy[4100:])
    damaged = path.read_bytes()
    async with open_journal(open_database(str(path)), keep=1) as journal:
        journal.add(ended(journal))
        journal.add(ended(journal))
        assert await ids(journal) == [2]
        assert journal.statistics().failures == 1
    assert "requests are recorded in memory only" in caplog.text
    assert path.read_bytes() == damaged


class Warned(logging.Handler):
    """Turns a line in the log into an event."""

    def __init__(self) -> None:
        super().__init__()
        self.event = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


async def test_a_locked_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(journal_module, "RETRY_SECONDS", 0.1)
    path = str(tmp_path / "a.db")
    recorded = trio.Event()
    warned = Warned()
    async with open_journal(open_database(path), on_recorded=lambda _: recorded.set()) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            journal_module.log.addHandler(warned)
            journal.add(ended(journal))
            with trio.fail_after(20):
                await warned.event.wait()
            journal_module.log.removeHandler(warned)
            other.execute("ROLLBACK")
        with trio.fail_after(20):
            await recorded.wait()


@pytest.mark.parametrize("content", ["another", "newer"])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.db"
    if content == "newer":
        ActivityDatabase.open(str(path)).close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE x (y)")
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreRefused, match="another program" if content == "another" else "later version"):
        open_database(str(path))


# -- the end ------------------------------------------------------------------------------


async def test_what_is_left_at_the_end_is_written(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    with trio.CancelScope() as scope:
        async with open_journal(open_database(path)) as journal:
            journal.add(ended(journal))
            scope.cancel()
            await trio.sleep_forever()
    async with open_journal(open_database(path)) as journal:
        assert await ids(journal) == [1]
    assert os.listdir(tmp_path) == ["a.db"]


KILLED = """
import sys, trio
sys.path.insert(0, sys.argv[2])
from ended_requests import ended
from swapcli.activity.journal import open_database, open_journal

async def main():
    async with open_journal(open_database(sys.argv[1])) as journal:
        for number in range(1, 10_000):
            journal.add(ended(journal))
            print(number, flush=True)
            await trio.sleep(0.002)

trio.run(main)
"""


def test_a_kill_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines: list[tuple[float, int]] = []
        waited = seconds_waited()
        deadline = time.monotonic() + 30
        for line in process.stdout:
            lines.append((time.monotonic(), int(line)))
            assert lines[-1][0] < deadline
            if lines[-1][0] - lines[0][0] > 1.5:
                break
        process.send_signal(signal.SIGKILL)
        killed, waited = time.monotonic(), seconds_waited() - waited
    database = ActivityDatabase.open(str(path))
    total = database.page(ActivityQuery()).total
    assert 0 < total >= max((number for at, number in lines if at < killed - 1 - waited), default=1)
    database.close()
