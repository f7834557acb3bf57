"""Noticing that files were edited, by looking at them.

Notifications of the operating system miss edits of bind-mounted files, on network file systems and through
links that are swapped, as container platforms do it. A look every other second misses none and costs little.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import trio

from swapcli.config import Problem, find_sources

logger = logging.getLogger("swapcli")

_Stamp: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time of modification of what a name leads to, links followed."""

Look: TypeAlias = Mapping[Path, Mapping[Path, _Stamp]]
"""The files of each source; none: it is not there now, or an empty directory."""

SETTLING = 0.05
"""Seconds between two looks that have to agree, so that a half-written file is not read."""
_MOST_SETTLING = 20


def look(sources: Sequence[Path]) -> Look:
    """Look at every file once. Blocks as long as the file system takes."""
    return {source: _stamps(source) for source in sources}


def _stamps(source: Path) -> Mapping[Path, _Stamp]:
    try:
        files = find_sources(None, source) if source.is_dir() else (source,)
    except OSError:  # a stale handle, a folder above it that is closed to us: it is not there now
        return {}
    stamps: dict[Path, _Stamp] = {}
    if not isinstance(files, Problem):
        for file in files:
            try:
                found = file.stat()
            except OSError:  # it is being replaced, or the link leads nowhere
                continue
            stamps[file] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return stamps


def edited(before: Look, now: Look) -> bool:
    """Some source is there and differs. One that has gone is no edit; that it is back again is."""
    return any(stamps and stamps != before.get(source) for source, stamps in now.items())


async def watch(sources: Sequence[Path], first: Look, changed: Callable[[], None], *, every: float) -> None:
    """Call *changed* after each edit of *sources*, until cancelled.

    Args:
      first: a look from before the sources were read, so that no edit falls between.
      every: seconds between looks.
    """
    known = first
    while True:
        now = await _look(sources)
        if edited(known, now):
            known = await _settled(sources, now)
            changed()
        else:
            known = now
        await trio.sleep(every)


async def _settled(sources: Sequence[Path], now: Look) -> Look:
    for _ in range(_MOST_SETTLING):
        await trio.sleep(SETTLING)
        before, now = now, await _look(sources)
        if before == now and all(now.values()):
            break
    return now


async def _look(sources: Sequence[Path]) -> Look:
    return await trio.to_thread.run_sync(look, sources, abandon_on_cancel=True)
