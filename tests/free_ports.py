"""Ports for the servers of tests, given to no other process that runs tests at the same time.

A port that the system chose for a probe may go to somebody else, an outgoing connection for one, before the
test's server takes it. So these are from below the range that the system usually chooses from, and each
process that runs tests has a block of them to itself.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle, islice

_FIRST, _LAST, _BLOCK = 10_000, 32_000, 400


def free_port() -> int:
    """Return a port that nobody uses; the process gets it again only after all others of its block."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of so many ports in a row that nobody uses."""
    run: list[int] = []
    for port in islice(_numbers(), 3 * _BLOCK):
        run = [*run, port] if run and port == run[-1] + 1 else [port]
        if not _is_free(port):
            run = []
        elif len(run) == count:
            return run[0]
    raise AssertionError(f"no {count} ports in a row are free")


@cache
def _numbers() -> Iterator[int]:
    first = _held().getsockname()[1]
    return cycle(range(first + 1, first + _BLOCK))


@cache
def _held() -> socket.socket:
    """Bind the first port of a block, as a sign that the block is taken. It holds until the process ends."""
    for first in range(_FIRST, _LAST, _BLOCK):
        sign = socket.socket()
        with suppress(OSError):
            sign.bind(("127.0.0.1", first))
            return sign
        sign.close()
    raise AssertionError("every block of ports is taken")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
