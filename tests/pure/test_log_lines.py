"""How lines of the server's log look."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio

from swapcli.config import Configuration
from swapcli.logs import ServerLogs, open_server_logs
from swapcli.logs.go_time import go_time
from swapcli.logs.line_format import level_of
from swapcore import ModelId

MST = timezone(timedelta(hours=-7), "MST")
MOMENT = datetime(2006, 1, 2, 15, 4, 5, 123450, tzinfo=MST)


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("ansic", "Mon Jan  2 15:04:05 2006"),
        ("unixdate", "Mon Jan  2 15:04:05 MST 2006"),
        ("rubydate", "Mon Jan 02 15:04:05 -0700 2006"),
        ("rfc822", "02 Jan 06 15:04 MST"),
        ("rfc822z", "02 Jan 06 15:04 -0700"),
        ("rfc850", "Monday, 02-Jan-06 15:04:05 MST"),
        ("rfc1123", "Mon, 02 Jan 2006 15:04:05 MST"),
        ("rfc1123z", "Mon, 02 Jan 2006 15:04:05 -0700"),
        ("rfc3339", "2006-01-02T15:04:05-07:00"),
        ("rfc3339nano", "2006-01-02T15:04:05.12345-07:00"),
        ("kitchen", "3:04PM"),
        ("stamp", "Jan  2 15:04:05"),
        ("stampmilli", "Jan  2 15:04:05.123"),
        ("stampmicro", "Jan  2 15:04:05.123450"),
        ("stampnano", "Jan  2 15:04:05.123450000"),
        (" RFC3339 ", "2006-01-02T15:04:05-07:00"),
        ("", ""),
        ("iso", ""),
    ],
)
def test_c61_layouts(layout: str, text: str) -> None:
    assert go_time(layout, MOMENT) == text


def test_c61_layouts_at_the_edges() -> None:
    utc = datetime(2026, 8, 22, 0, 0, 0, tzinfo=UTC)
    india = timezone(timedelta(hours=5, minutes=30))
    assert go_time("rfc3339", utc) == "2026-08-22T00:00:00Z"
    assert go_time("rfc3339nano", utc) == "2026-08-22T00:00:00Z"
    assert go_time("rfc822z", utc) == "22 Aug 26 00:00 +0000"
    assert go_time("rfc3339", utc.astimezone(india)) == "2026-08-22T05:30:00+05:30"
    assert go_time("kitchen", utc) == "12:00AM"
    assert go_time("kitchen", utc.replace(hour=12, minute=5)) == "12:05PM"
    assert go_time("stamp", utc.replace(day=31)) == "Aug 31 00:00:00"


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("debug", logging.DEBUG), (" WARN ", logging.WARNING), ("Error", logging.ERROR),
        ("info", logging.INFO), ("chatty", logging.INFO), ("", logging.INFO),
    ],
)  # fmt: skip
def test_h202_levels(word: str, level: int) -> None:
    assert level_of(word) == level


@pytest.fixture
def logs() -> Iterator[ServerLogs]:
    loggers = [logging.getLogger(name) for name in ("swapcli", "swapcore")]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    opened = open_server_logs()
    opened.printer = None  # pytest has its own idea of standard output
    apply(opened, Configuration())
    yield opened
    opened.close()
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = handlers, propagate


def apply(logs: ServerLogs, config: Configuration) -> None:
    logs.apply(level=config.log_level, time_format=config.log_time_format, to_stdout=config.log_to_stdout)


def test_h202_a_line(logs: ServerLogs) -> None:
    log = logging.getLogger("swapcli.anything")
    log.debug("not wanted")
    log.info("said %s", "so")
    log.warning("careful")
    # Past pytest, which cannot put half a character into its report.
    half = {"name": "swapcore", "levelno": logging.ERROR, "levelname": "ERROR", "msg": "ouch \ud800 é"}
    [ours] = [each for each in logging.getLogger("swapcore").handlers if "swapcli" in type(each).__module__]
    ours.handle(logging.makeLogRecord(half))
    log.critical("end")
    assert logs.proxy.history().decode() == (
        "[INFO] said so\n[WARN] careful\n[ERROR] ouch \\ud800 é\n[ERROR] end\n"
    )


def test_h202_the_time_comes_first(logs: ServerLogs) -> None:
    apply(logs, Configuration(log_time_format="rfc3339"))
    before = datetime.now(UTC).replace(microsecond=0)
    logging.getLogger("swapcli").info("now")
    time, _, rest = logs.proxy.history().decode().partition(" ")
    assert rest == "[INFO] now\n"
    assert before <= datetime.fromisoformat(time) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("to_stdout", "combined"),
    [
        ("proxy", b"[INFO] ours\n"), ("upstream", b"theirs\n"),
        ("both", b"[INFO] ours\ntheirs\n"), ("none", b""),
    ],
)  # fmt: skip
def test_h194_what_is_printed_is_what_is_combined(logs: ServerLogs, to_stdout: str, combined: bytes) -> None:
    apply(logs, Configuration(log_to_stdout=to_stdout))
    logging.getLogger("swapcli").info("ours")
    logs.write_output(ModelId("m"), b"theirs\n")
    assert logs.combined.history() == combined
    assert logs.proxy.history() == b"[INFO] ours\n", "kept whatever is printed"
    assert logs.upstream.history() == b"theirs\n"


def test_a_line_of_the_server_is_not_put_into_one_of_a_model(logs: ServerLogs) -> None:
    apply(logs, Configuration(log_to_stdout="both"))
    logs.write_output(ModelId("m"), b"loading ...")
    logging.getLogger("swapcli").info("ours")
    logs.write_output(ModelId("m"), b"...")
    logs.write_output(ModelId("m"), b" done\n")
    logging.getLogger("swapcli").info("ours")
    assert logs.combined.history() == b"loading ...\n[INFO] ours\n... done\n[INFO] ours\n"
    assert logs.upstream.history() == b"loading ...... done\n", "as it was written"
    assert logs.proxy.history() == b"[INFO] ours\n" * 2


def test_h195_each_source_keeps_its_last_100_kib(logs: ServerLogs) -> None:
    data = bytes(range(256)) * 500
    logs.write_output(ModelId("m"), data)
    assert logs.upstream.history() == data[-102_400:]


async def test_other_threads_may_log(logs: ServerLogs) -> None:
    logs.enter()
    told: list[tuple[str, bytes]] = []
    logs.on_write = lambda source, data: told.append((source, data))
    with logs.proxy.subscribe() as chunks:
        await trio.to_thread.run_sync(logging.getLogger("swapcli").info, "from a thread")
        with trio.fail_after(20):
            chunk = await anext(chunks)
    assert chunk.data == b"[INFO] from a thread\n"
    assert told == [("proxy", chunk.data)]


def test_a_log_goes_on_after_its_trio_run(logs: ServerLogs) -> None:
    async def enter() -> None:
        await trio.lowlevel.checkpoint()
        logs.enter()

    trio.run(enter)
    logging.getLogger("swapcli").info("still here")
    assert logs.proxy.history() == b"[INFO] still here\n"
