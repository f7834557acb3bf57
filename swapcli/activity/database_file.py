"""Whose database is it? A look at a file before anything is written to it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

APPLICATION_ID = 0x53574350
"""``SWCP``: our mark in a database's header, https://www.sqlite.org/fileformat2.html#application_id."""

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def foreign_file(path: str) -> str | None:
    """Say why records must not be written to *path*; ``None``: it is ours, empty, or not there yet.

    Reads the file and never writes, not even beside it.

    Raises:
      OSError: it cannot be read.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER)
    except FileNotFoundError:
        return None
    if not header:
        return None
    if not header.startswith(_MAGIC):
        return f"{path} exists and is no database; name another file"
    if int.from_bytes(header[68:72]) == APPLICATION_ID:
        return None
    writer = "llama-swap" if {"activity", "goose_db_version"} <= _tables(file) else "another program"
    return f"{path} was written by {writer}, whose records are left alone; name another file"


def _tables(file: Path) -> set[str]:
    import sqlite3  # not needed for a file that is ours, or not there

    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            return {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return set()
