"""How much main memory the models' processes take, as the operating system counts it. Linux only.

Elsewhere nothing is known. What a model holds on a graphics card is the business of that card's own tools.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

KeyT = TypeVar("KeyT")
_PROC = Path("/proc")
_PARENT, _RESIDENT = 1, 21
"""Fields of ``/proc/PID/stat``, counted from the one after the name; see proc_pid_stat(5)."""


@attrs.frozen
class _Process:
    pid: int
    parent: int
    pages: int


def resident_memory(commands: Mapping[KeyT, Sequence[str]], root: int) -> dict[KeyT, int]:
    """Return bytes by key of *commands*, for those that run below the process *root*. Reads files.

    A model is the grandchild of the server, below its guardian, that was started with the model's command.
    Everything below the guardian counts, whatever it was started by.
    """
    children: defaultdict[int, list[_Process]] = defaultdict(list)
    for process in _processes():
        children[process.parent].append(process)
    found: dict[KeyT, int] = {}
    for guardian in children[root]:
        for leader in children[guardian.pid]:
            words = _command_of(leader.pid)
            key = next((key for key, command in commands.items() if _is_run_of(words, command)), None)
            if key is not None:
                below = _below(guardian.pid, children)
                found[key] = sum(process.pages for process in below) * os.sysconf("SC_PAGE_SIZE")
                break
    return found


def _is_run_of(words: Sequence[str], command: Sequence[str]) -> bool:
    """A script shows as its interpreter and itself, with the same arguments at the end."""
    if not command or len(words) < len(command):
        return False
    arguments = len(command) - 1
    return list(words[len(words) - arguments :]) == list(command[1:]) and (
        words[0] == command[0] or Path(command[0]).name in (Path(word).name for word in words)
    )


def _below(pid: int, children: Mapping[int, Sequence[_Process]]) -> Iterable[_Process]:
    for process in children.get(pid, ()):
        yield process
        yield from _below(process.pid, children)


def _processes() -> Iterable[_Process]:
    if not _PROC.is_dir():
        return
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            try:
                stat = (_PROC / entry / "stat").read_bytes()
            except OSError:  # it ended meanwhile
                continue
            fields = stat.rpartition(b")")[2].split()
            yield _Process(int(entry), int(fields[_PARENT]), int(fields[_RESIDENT]))


def _command_of(pid: int) -> Sequence[str]:
    try:
        text = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return [word.decode(errors="surrogateescape") for word in text.removesuffix(b"\0").split(b"\0")]
