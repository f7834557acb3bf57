"""Read a model's files into the page cache while another model is still stopping.

Stopping waits for a process, loading for the disk: with the two at once a swap takes the longer of
them and a load from memory. Reading, rather than asking the kernel to read ahead: it caps such a
request at the device's read-ahead size, and network file systems may ignore it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from math import inf
from pathlib import Path

import trio

from ._spec import ModelSpec

_CHUNK = 1 << 20
_WORTH_IT = 1 << 20
"""Bytes. What is smaller is there in a moment."""

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
"""How llama.cpp names the files of a model in several, of which a command names the first."""


def prefetch(spec: ModelSpec) -> int:
    """Read the files of *spec*, as far as memory is to spare, and return how many bytes that was.

    For a worker thread of trio's. What cannot be read is left out.
    Cancellation: noticed after each MiB.
    """
    room, done = _memory_to_spare(), 0
    for path in files_of(spec):
        try:
            done += _read(path, room - done)
        except OSError:  # its start will tell
            continue
    return done


def files_of(spec: ModelSpec) -> list[Path]:
    """Return what `ModelSpec.prefetch` says, or the big files that the command names; each once."""
    named = spec.prefetch
    if named is None:
        named = tuple(Path(text) for word in spec.command for text in (word, word.partition("=")[2]) if text)
    parts = (part for path in named for part in _parts(Path(spec.cwd or "") / path))
    return [path for path in dict.fromkeys(parts) if _is_worth_it(path)]


def _parts(path: Path) -> Iterator[Path]:
    yield path
    if match := _PART.search(path.name):
        for number in range(1, int(match[2]) + 1):
            yield path.with_name(f"{path.name[: match.start()]}-{number:05}-of-{match[2]}.gguf")


def _is_worth_it(path: Path) -> bool:
    try:
        status = path.stat()
    except (OSError, ValueError):  # a word that is no path
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size >= _WORTH_IT


def _read(path: Path, room: float) -> int:
    buffer, done = bytearray(_CHUNK), 0
    with open(path, "rb", buffering=0) as file:
        while done + _CHUNK <= room and (count := file.readinto(buffer)):
            done += count
            trio.from_thread.check_cancelled()
    return done


def _memory_to_spare() -> float:
    """What the kernel could hold without pushing anybody out; no limit where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return inf
