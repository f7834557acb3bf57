"""End a process tree whose guardian was killed: what it held together must be found again.

Found surely: every process of the guardian's session, every process with the
run's own marker in its environment, and all of their descendants. What escapes
is only a process that has left the session, lost its parents *and* emptied its
environment, and that none of the others has started.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import trio

from ._guardian import Process, descendants, kill_exactly, processes, signal_group


def family(session: int, marker: str) -> list[Process]:
    """Return the living processes of a session, of a run marked ``NAME=value``, and their descendants."""
    everyone = processes()
    roots = {one.pid: one for one in everyone if one.session == session or _is_marked(one, marker)}
    members = [one for one in roots.values() if one.alive and one.pid != session]
    return members + descendants(set(roots), everyone)


def _is_marked(one: Process, marker: str) -> bool:
    try:
        with open(f"/proc/{one.pid}/environ", "rb") as file:
            return marker.encode() in file.read().split(b"\0")
    except OSError:  # another user's, or gone
        return False


async def sweep(session: int, marker: str, leader: int | None) -> None:
    """Kill them, again and again until none is left. Without ``/proc``: only the group of *leader*.

    Cancellation: some may be left.
    """
    if sys.platform != "linux" and leader is not None:
        signal_group(leader, signal.SIGKILL)
    killed: set[int] = set()
    pause = 0.001
    while victims := family(session, marker):
        for victim in victims:
            kill_exactly(victim)
            killed.add(victim.pid)
        await trio.sleep(pause)
        _reap(killed)
        pause = min(2 * pause, 0.05)


def _reap(pids: set[int]) -> None:
    # As process 1 of a container, or as a sub-reaper, we have become their parent.
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
