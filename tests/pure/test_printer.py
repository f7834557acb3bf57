"""Printing never makes anybody wait, and what nobody reads is counted. On real pipes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import attrs
import pytest
from time_taken import takes

from swapcli.logs.printer import CAPACITY, Printer


@attrs.define(eq=False)
class Pipe:
    reading: int
    writing: int

    def read_until(self, end: bytes) -> bytes:
        """Read until *end* was seen; the test's timeout bounds it."""
        text = b""
        while end not in text:
            text += os.read(self.reading, 65536)
        return text


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    found = Pipe(*os.pipe())
    yield found
    for descriptor in (found.reading, found.writing):
        with suppress(OSError):  # the test may have closed it
            os.close(descriptor)


def printer_of(pipe: Pipe) -> Printer:
    return Printer(pipe.writing, lambda lines: b"<%d missing>\n" % lines)


def close(printer: Printer) -> None:
    printer.close(patience=20, limit=20)
    if printer._thread is not None:
        printer._thread.join(20)
        assert not printer._thread.is_alive()


def test_what_is_printed_arrives_in_order(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    for number in range(1000):
        printer.write(b"%d\n" % number)
    assert pipe.read_until(b"\n999\n").split() == [b"%d" % number for number in range(1000)]
    close(printer)
    assert printer.dropped == 0
    printer.write(b"too late\n")
    os.close(pipe.writing)
    assert os.read(pipe.reading, 100) == b""


def test_a_pipe_that_nobody_reads_makes_nobody_wait_and_the_gap_is_counted(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    total = 5 * CAPACITY // 1000
    with takes(most=2):
        for number in range(total):
            printer.write(b"%d".ljust(1000, b"x") % number + b"\n")
    lost = printer.dropped
    assert lost > total // 2
    expected, rest = 0, b""
    while expected < total:
        *lines, rest = (rest + os.read(pipe.reading, 65536)).split(b"\n")
        for line in lines:
            if line.startswith(b"<"):  # and nowhere else is a gap
                expected += int(line[1:].split()[0])
            else:
                assert int(line.rstrip(b"x")) == expected
                expected += 1
    assert expected == total
    printer.write(b"goes on\n")
    assert pipe.read_until(b"on\n") == b"goes on\n"
    close(printer)
    assert printer.dropped == lost


def test_closing_waits_for_a_reader_that_is_slow(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    for number in range(20):
        printer.write(b"%d" % number + b"x" * 20_000 + b"\n")
    seen: list[bytes] = []

    def read_slowly() -> None:
        while data := os.read(pipe.reading, 16 * 1024):
            seen.append(data)
            time.sleep(0.005)  # slow is the point

    reader = threading.Thread(target=read_slowly)
    reader.start()
    close(printer)
    os.close(pipe.writing)
    reader.join(20)
    assert b"".join(seen).count(b"\n") == 20


def test_closing_does_not_wait_for_a_reader_that_never_reads(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    printer.write(b"x" * 200_000)
    with takes(0.05, most=2):
        printer.close(patience=0.05, limit=20)
    os.close(pipe.reading)  # lets its thread end
    assert printer._thread is not None
    printer._thread.join(20)
    assert not printer._thread.is_alive()


def test_closing_has_a_limit_with_a_reader_that_reads_drop_by_drop(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    printer.write(b"x" * 900_000)
    enough, drops = threading.Event(), list[int]()

    def drip() -> None:
        while not enough.wait(0.05):
            drops.append(len(os.read(pipe.reading, 16 * 1024)))

    reader = threading.Thread(target=drip)
    reader.start()
    with takes(0.1, most=2):
        printer.close(patience=20, limit=0.1)
    assert sum(drops) < 800_000, "it would have gone on for seconds, with the patience for each drop"
    enough.set()
    reader.join(20)
    os.close(pipe.reading)
    assert printer._thread is not None
    printer._thread.join(20)


def test_a_reader_that_has_gone_costs_nothing_but_what_it_would_have_read(pipe: Pipe) -> None:
    printer = printer_of(pipe)
    os.close(pipe.reading)
    printer.write(b"one\ntwo\n")
    printer.write(b"three\n")
    close(printer)
    assert printer.dropped >= 3


def test_what_could_not_be_written_is_reported_once_it_can(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    printer = printer_of(pipe)
    really, failed = os.write, threading.Event()

    def full_disk(descriptor: int, data: bytes) -> int:
        if failed.is_set():
            return really(descriptor, data)
        failed.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swapcli.logs.printer.os.write", full_disk)
    printer.write(b"one\ntwo\n")
    assert failed.wait(20)
    with printer._changed:
        assert printer._changed.wait_for(lambda: not printer._is_writing, 20)
    printer.write(b"three\n")
    assert pipe.read_until(b"three\n") == b"<2 missing>\nthree\n"
    close(printer)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    printer = printer_of(pipe)
    printer.write(b"x" * 500_000 + b"\n")
    text = pipe.read_until(b"\n")
    close(printer)
    assert len(text) == 500_001
