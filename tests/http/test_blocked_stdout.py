"""A server whose standard output nobody reads: a pager that is not scrolled, a log collector that hangs."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from real_children import free_port
from time_taken import takes

# More than pipe and server hold together, in a few dozen requests.
LONG = {"User-Agent": "x" * 60_000}
ENOUGH = 60


@attrs.frozen
class Piped:
    process: subprocess.Popen[bytes]
    url: str
    output: int

    def read_until(self, is_enough: Callable[[bytes], object]) -> bytes:
        """Read until what was read *is_enough*, for up to 20 s."""
        seen, deadline = b"", time.monotonic() + 20
        while not is_enough(seen):
            assert select.select([self.output], [], [], max(0.0, deadline - time.monotonic()))[0], seen[
                -1000:
            ]
            data = os.read(self.output, 65536)
            assert data, seen[-1000:]
            seen += data
        return seen

    def ask(self) -> None:
        asked = urllib.request.Request(self.url + "/health", headers=LONG)
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert answer.read() == b"OK"


def printed(text: bytes) -> int:
    """Count the requests."""
    return text.count(b'"GET /health HTTP/1.1" 200')


def missing(text: bytes) -> list[int]:
    """The size of each gap."""
    return [int(found) for found in re.findall(rb"\[WARN\] (\d+) line\(s\) are missing here", text)]


@contextmanager
def piped(folder: Path, extra: str = "") -> Iterator[Piped]:
    """Serve with a pipe as standard output, of which the first lines were read."""
    config = folder / "config.yaml"
    config.write_text(f"{extra}\nmodels: {{m: {{cmd: sleep 1, proxy: 'http://127.0.0.1:1'}}}}\n")
    url = f"http://127.0.0.1:{free_port()}"
    output, other_end = os.pipe()
    command = [sys.executable, "-m", "swapcli", "serve", "--config", str(config), "--listen", url[7:]]
    try:
        with subprocess.Popen(command, stdout=other_end, stderr=subprocess.DEVNULL) as process:
            os.close(other_end)
            server = Piped(process, url, output)
            try:
                server.read_until(lambda seen: b"listening on" in seen)
                yield server
            finally:
                process.kill()
    finally:
        os.close(output)


def test_requests_go_on_and_the_gap_is_reported(tmp_path: Path) -> None:
    with piped(tmp_path) as server:
        for _ in range(ENOUGH):
            server.ask()
        # A request is logged after its answer: the last may find room again, and come after the gap.
        seen = server.read_until(lambda seen: printed(seen) + sum(missing(seen)) >= ENOUGH)
        assert printed(seen) + sum(missing(seen)) == ENOUGH
        assert len(missing(seen)) == 1
        server.ask()
        assert not missing(server.read_until(printed))


@pytest.mark.parametrize("signals", [1, 3])
def test_signals_work_while_it_is_blocked(tmp_path: Path, signals: int) -> None:
    with piped(tmp_path) as server:
        for _ in range(ENOUGH):
            server.ask()
        with takes(most=3):
            for _ in range(signals):
                server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) in (0, 1 if signals == 3 else 0)


def test_a_normal_end_prints_the_last_line(tmp_path: Path) -> None:
    with piped(tmp_path, "logTimeFormat: rfc3339") as server:
        for _ in range(10):
            server.ask()
        server.process.send_signal(signal.SIGTERM)
        lines = server.read_until(lambda seen: seen.endswith(b"bye\n")).splitlines()
        assert os.read(server.output, 1) == b"", "nothing comes after it"
        assert server.process.wait(20) == 0
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) \[INFO\] bye", lines[-1])
    assert sum(b'"GET /health HTTP/1.1" 200' in line for line in lines) == 10


def test_a_reader_that_left_does_not_end_the_server(tmp_path: Path) -> None:
    with piped(tmp_path) as server:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, server.output)  # closes the pipe's only reading end
        os.close(null)
        for _ in range(3):
            server.ask()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
