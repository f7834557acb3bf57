"""The C library's allocator, told to give memory back."""

from __future__ import annotations

import sys
from typing import Any

import trio

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE = 256 * 1024
_PAUSE = 30.0


def give_memory_back() -> bool:
    """Have large bodies mapped apart, and all threads share one heap; false where the C library is not glibc.

    By itself glibc learns from each large block that is freed to take larger ones from the heap, up to
    32 MiB, and gives each thread a heap of its own. After hours of bodies of all sizes both leave holes that
    nobody can use: memory that grows and never shrinks. Threads of Python take turns anyway, so one heap is
    no bottleneck. See mallopt(3).
    """
    if (glibc := _glibc()) is None:
        return False
    return bool(glibc.mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(glibc.mallopt(_M_ARENA_MAX, 1))


async def keep_giving_back() -> None:
    """Every now and then, give back what is free between blocks in use. See malloc_trim(3).

    Runs until cancelled, in a thread: it takes a few milliseconds.
    """
    if (glibc := _glibc()) is None:
        return
    while True:
        await trio.sleep(_PAUSE)
        await trio.to_thread.run_sync(glibc.malloc_trim, 0, abandon_on_cancel=True)


def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None
