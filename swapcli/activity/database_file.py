"""Whose database is it? A look at a file before anything is written to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

APPLICATION_ID = 0x53574350
"""``SWCP``: our mark in a database's header, https://www.sqlite.org/fileformat2.html#application_id."""


def foreign_file(path: str) -> str | None:
    """Say why records must not be written to *path*; ``None``: it is ours, empty, or not there yet.

    Reads the file and never writes, not even beside it. Where the header is damaged nobody can say whose file
    it is, and nothing can be written to it.

    Raises:
      OSError: it cannot be read.
    """
    file = Path(path)
    try:
        if file.stat().st_size == 0:
            return None
    except FileNotFoundError:
        return None
    try:
        # Not with open(): to close a file gives up all locks that this process has on it, also those of a
        # database in use, https://www.sqlite.org/howtocorrupt.html, section 2.2.
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            ((mark,),) = opened.execute("PRAGMA application_id")
            ((pages,),) = opened.execute("PRAGMA page_count")
            if pages and mark == APPLICATION_ID:
                return None
            writer = _writer(opened)
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            return None
        pages = 0
    if not pages:
        return f"{path} exists and is no database; name another file"
    return f"{path} was written by {writer}, whose records are left alone; name another file"


def _writer(database: sqlite3.Connection) -> str:
    try:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        tables = set()
    return "llama-swap" if {"activity", "goose_db_version"} <= tables else "another program"
