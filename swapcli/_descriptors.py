"""How many files and sockets this process may have open."""

from __future__ import annotations

import sys

_WANTED = 65536


def raise_descriptor_limit() -> int:
    """Allow this process what it may allow itself, within reason; returns the limit.

    Shells start programs with 1024, for the sake of those that use ``select``; a server needs two for each
    request. Processes that this one starts inherit it.
    """
    if sys.platform == "win32":
        return _WANTED  # sockets are not counted there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _WANTED if soft == resource.RLIM_INFINITY else soft
