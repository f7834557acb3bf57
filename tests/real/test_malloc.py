"""What large bodies leave behind in memory."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading

import pytest
import trio

from swapcli import _malloc

MOST_LEFT = 3_000
"""KiB; without being told, glibc keeps about 20,000."""
BODIES_BETWEEN_SMALL_ONES = """
import re
from pathlib import Path
from swapcli._malloc import give_memory_back

def resident() -> int:
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

told = give_memory_back()
bytearray(8_000_000)  # from this glibc would learn
before, stays = resident(), []
for _ in range(30):
    body, small = bytearray(700_000), bytearray(2_000)
    stays.append((small, body))
stays = [small for small, _ in stays]
del body
print(int(told), resident() - before)
"""


def test_the_memory_of_large_bodies_is_given_back() -> None:
    words = subprocess.check_output([sys.executable, "-c", BODIES_BETWEEN_SMALL_ONES]).split()
    was_told, left = map(int, words)
    assert was_told == (platform.libc_ver()[0] == "glibc")
    assert left < MOST_LEFT or not was_told


class Allocator:
    """In place of glibc's, to see what it is asked."""

    def __init__(self) -> None:
        self.pads: list[tuple[int, bool]] = []

    def malloc_trim(self, pad: int) -> int:
        self.pads.append((pad, threading.current_thread() is threading.main_thread()))
        return 1


async def test_holes_are_given_back_again_and_again_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = Allocator()
    monkeypatch.setattr(_malloc, "_PAUSE", 0.001)
    monkeypatch.setattr(_malloc, "_glibc", lambda: allocator)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_malloc.keep_giving_back)
        with trio.fail_after(20):
            while len(allocator.pads) < 3:  # noqa: ASYNC110 - an allocator sends no events
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert set(allocator.pads) == {(0, False)}


async def test_without_glibc_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_malloc, "_glibc", lambda: None)
    assert _malloc.give_memory_back() is False
    with trio.fail_after(20):
        await _malloc.keep_giving_back()
