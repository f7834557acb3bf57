"""The C library's allocator, told to give memory back."""

from __future__ import annotations

import sys

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE = 256 * 1024


def give_memory_back() -> bool:
    """Have large bodies mapped apart, and all threads share one heap; false where the C library is not glibc.

    By itself glibc learns from each large block that is freed to take larger ones from the heap, up to
    32 MiB, and gives each thread a heap of its own. After hours of bodies of all sizes both leave holes that
    nobody can use: memory that grows and never shrinks. Threads of Python take turns anyway, so one heap is
    no bottleneck. See mallopt(3).
    """
    if sys.platform != "linux":
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_ARENA_MAX, 1))
