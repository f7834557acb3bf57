"""The tables of the record, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3

MIGRATIONS = (
    """
    CREATE TABLE activity (
        id INTEGER PRIMARY KEY,
        recorded_at INTEGER NOT NULL,
        model TEXT NOT NULL,
        path TEXT NOT NULL,
        content_type TEXT NOT NULL,
        status INTEGER NOT NULL,
        cache_tokens INTEGER NOT NULL,
        draft_tokens INTEGER NOT NULL,
        draft_accepted_tokens INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        prompt_per_second REAL NOT NULL,
        tokens_per_second REAL NOT NULL,
        duration_ms INTEGER NOT NULL,
        error TEXT NOT NULL,
        metadata TEXT NOT NULL
    );
    CREATE INDEX activity_by_model ON activity (model, id);
    CREATE INDEX activity_by_time ON activity (recorded_at, id);
    -- One row: the highest id ever given, which outlives the record that had it.
    CREATE TABLE last_id (id INTEGER NOT NULL);
    INSERT INTO last_id VALUES (0);
    """,
)
"""Each is run once, in order; ``user_version`` says how many a file has seen. Never change one: add one."""


class NewerFile(Exception):
    """The file was written by a later version of this program."""


def migrate(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring a database up to date; it is as it was if that fails.

    Raises:
      NewerFile: see there.
      sqlite3.Error: the file is damaged, full or locked.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise NewerFile("the file was written by a later version of swapcli; name another file, or update")
    if version == len(migrations):
        return
    steps = "".join(migrations[version:])
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {len(migrations)}; COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise
