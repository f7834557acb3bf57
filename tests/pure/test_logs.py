"""What a model log keeps, and what its followers get."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import wait_all_tasks_blocked

from swapcore._logs import LogChunk, ModelLog, current_log, writing_to


@given(st.lists(st.binary(max_size=40)), st.integers(0, 64))
def test_history_is_the_newest_bytes_exactly(writes: list[bytes], capacity: int) -> None:
    log = ModelLog(capacity)
    for data in writes:
        log.write(data)
    everything = b"".join(writes)
    assert log.history() == everything[max(0, len(everything) - capacity) :]
    assert log.written == len(everything)


def test_the_default_keeps_100_kib() -> None:
    log = ModelLog()
    log.write(b"x" * 200_000)
    assert len(log.history()) == 102_400


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        (b"", 3, []),
        (b"one", 3, ["one"]),
        (b"one\n", 3, ["one"]),
        (b"one\r\ntwo\r\n", 3, ["one", "two"]),
        (b"1\n2\n3\n4\n", 2, ["3", "4"]),
        (b"1\n\n", 2, ["1", ""]),
        (b"caf\xc3\xa9 \xff\n", 1, ["café �"]),
        (b"1\n2\n", 0, []),
    ],
)
def test_tail(text: bytes, lines: int, expected: list[str]) -> None:
    log = ModelLog()
    log.write(text)
    assert log.tail(lines) == expected


def test_tail_since_a_place_shows_only_what_came_later() -> None:
    log = ModelLog(10)
    log.write(b"old\n")
    place = log.written
    assert log.tail(since=place) == []
    log.write(b"new\n")
    assert log.tail(since=place) == ["new"]
    log.write(b"newer than all\n")
    assert log.tail(since=place) == [" than all"], "what was dropped since does not shift the place"


async def test_a_subscriber_sees_what_is_written_after_it_came() -> None:
    log = ModelLog()
    log.write(b"before")
    with log.subscribe() as chunks:
        log.write(b"one ")
        log.write(b"two")
        log.write(b"")
        assert log.history() == b"beforeone two"
        assert await anext(chunks) == LogChunk(b"one two")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_soon, log, b"three")
            with trio.fail_after(20):
                async for chunk in chunks:
                    assert chunk == LogChunk(b"three")
                    break
    log.write(b"nobody listens")
    assert repr(log) == "<ModelLog: 32 bytes written, 0 followers>"


async def write_soon(log: ModelLog, data: bytes) -> None:
    await wait_all_tasks_blocked()
    log.write(data)


async def test_a_slow_subscriber_is_told_what_it_lost_and_the_others_lose_nothing() -> None:
    log = ModelLog()
    with log.subscribe(4) as slow, log.subscribe(100) as quick:
        for data in (b"abc", b"def", b"gh"):
            log.write(data)
        assert await anext(slow) == LogChunk(b"efgh", lost=4)
        assert await anext(quick) == LogChunk(b"abcdefgh")
        slow_text = (b"1\n2\n", b"3\n4\n")
        for data in slow_text:
            log.write(data)
        assert await anext(slow) == LogChunk(b"3\n4\n", lost=4, lost_lines=2)
        log.write(b"i")
        assert await anext(slow) == LogChunk(b"i")


async def test_a_cancelled_subscriber_loses_nothing() -> None:
    log = ModelLog()
    with log.subscribe() as chunks:
        with trio.CancelScope() as scope:
            scope.cancel()
            log.write(b"kept")
            await anext(chunks)
        assert scope.cancelled_caught
        with trio.fail_after(20):
            assert await anext(chunks) == LogChunk(b"kept")


async def test_the_current_log_belongs_to_the_block_and_the_tasks_started_in_it() -> None:
    outer, inner = ModelLog(), ModelLog()
    seen: list[ModelLog] = []

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(current_log())

    async with trio.open_nursery() as nursery:
        with writing_to(outer):
            nursery.start_soon(look)
            with writing_to(inner):
                assert current_log() is inner
            assert current_log() is outer
    assert seen == [outer]
    assert current_log() is not current_log(), "outside: a new one each time"
