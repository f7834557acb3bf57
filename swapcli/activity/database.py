"""The records in SQLite: written in batches, read by page. Synchronous; for one thread at a time."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec

from .database_file import APPLICATION_ID
from .histogram import PERCENTILES, Histogram, between, bin_count, rank_of
from .query import COLUMNS, ActivityQuery
from .record import ActivityRecord
from .retention import FOR_EVER, Retention
from .schema import migrate
from .tokens import Tokens

_BUSY_SECONDS = 1.0
"""For how long another program may lock the file before an attempt counts as failed."""

_MOST_FORGOTTEN = 5000
"""Records of a file at once."""

_LEAST = -(2**63)
"""What a column holds."""

_CACHE_KIB = 512
"""Of the file's pages in memory. A history of any length takes no more, and sums are no slower with it."""

_FORGET = "DELETE FROM activity WHERE id IN (SELECT id FROM activity WHERE {0} {1} ? ORDER BY {0} LIMIT ?)"
_INSERT = f"INSERT OR REPLACE INTO activity VALUES ({', '.join('?' * 16)})"


@attrs.frozen
class Page:
    """A part of the records that a query matches."""

    records: tuple[ActivityRecord, ...]
    total: int
    """How many it matches in all."""


@attrs.frozen
class Totals:
    """Sums over all records, or over a model's."""

    requests: int
    input_tokens: int
    output_tokens: int
    cache_tokens: int
    prompt_speeds: Histogram | None
    """Of records with a speed; ``None``: there is none."""
    speeds: Histogram | None


@attrs.define(eq=False)
class ActivityDatabase:
    """An open database. Every method may raise `sqlite3.Error`, and changes nothing then."""

    _connection: sqlite3.Connection
    path: str
    """Of the file; empty: in memory."""
    last_id: int
    """The highest id that a record here had when it was opened."""
    stands_in: bool = False
    """In memory, in the place of a file that cannot be used."""

    @classmethod
    def open(cls, path: str = "", *, stands_in: bool = False) -> ActivityDatabase:
        """Open a file, or a database in memory, and bring it up to date.

        Args:
          stands_in: it takes the place of a file that cannot be used.
        Raises:
          NewerFile: see there.
          sqlite3.Error: the file cannot be opened, or is damaged.
        """
        connection = sqlite3.connect(
            path or ":memory:",
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                # First of all, and not into a log: whoever looks at the file has to see that it is ours, also
                # while it is in use, and when we were killed.
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            # With a write-ahead log a commit waits for no disk, and survives the death of the process.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            migrate(connection)
            if not path:  # the few records there are found at once without; to keep them costs each record
                connection.executescript("DROP INDEX activity_by_model; DROP INDEX activity_by_time;")
            (last_id,) = connection.execute("SELECT max(id) FROM last_id").fetchone()
        except BaseException:
            connection.close()
            raise
        database = cls(connection, path, last_id, stands_in)
        # Of one in memory that nobody runs, nobody knows when it is over.
        weakref.finalize(database, connection.close)
        return database

    def close(self) -> None:
        """Close it; the write-ahead log goes into the file."""
        self._connection.close()

    def write(self, records: Sequence[ActivityRecord], retention: Retention = FOR_EVER) -> None:
        """Add *records*, all or none, and forget older ones.

        A file forgets a few thousand at once: what a new limit forbids goes bit by bit, and delays no record.
        """
        last = max(record.id for record in records)
        most = _MOST_FORGOTTEN if self.path else -1
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, [_row(record) for record in records])
            connection.execute("UPDATE last_id SET id = max(id, ?)", (last,))
            if retention.records is not None:
                oldest = max(last - retention.records, _LEAST)
                connection.execute(_FORGET.format("id", "<="), (oldest, most))
            if retention.seconds is not None:
                newest = max(record.recorded_at for record in records)
                oldest = max(newest - retention.seconds, _LEAST)
                connection.execute(_FORGET.format("recorded_at", "<"), (oldest, most))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def page(self, query: ActivityQuery) -> Page:
        """Return the part of the records that is asked for."""
        where, values = _conditions(query)
        (total,) = self._connection.execute(f"SELECT count(*) FROM activity{where}", values).fetchone()
        offset = (query.page - 1) * query.limit
        if offset >= total:
            return Page((), total)
        direction = "DESC" if query.descending else "ASC"
        rows = self._connection.execute(
            f"SELECT * FROM activity{where} ORDER BY {COLUMNS[query.sort]} {direction}, id {direction} "
            "LIMIT ? OFFSET ?",
            (*values, query.limit, offset),
        )
        return Page(tuple(_record(row) for row in rows), total)

    def totals(self, model: str = "") -> Totals:
        """Return the sums over a model's records; empty: over all."""
        where, values = (" WHERE model = ?", (model,)) if model else ("", ())
        # `total` counts in floating point, and so cannot overflow as `sum` can.
        sums = self._connection.execute(
            "SELECT count(*), total(max(input_tokens, 0)), total(max(output_tokens, 0)), "
            f"total(max(cache_tokens, 0)) FROM activity{where}",
            values,
        ).fetchone()
        return Totals(
            requests=sums[0],
            input_tokens=int(sums[1]),
            output_tokens=int(sums[2]),
            cache_tokens=int(sums[3]),
            prompt_speeds=self._histogram("prompt_per_second", where, values),
            speeds=self._histogram("tokens_per_second", where, values),
        )

    def _histogram(self, column: str, where: str, values: tuple[str, ...]) -> Histogram | None:
        matching = f"FROM activity{where or ' WHERE true'} AND {column} > 0"
        ask = self._connection.execute
        count, least, most = ask(
            f"SELECT count(*), min({column}), max({column}) {matching}", values
        ).fetchone()
        if not count:
            return None
        percentiles = []
        for percent in PERCENTILES:
            rank = rank_of(percent, count)
            pair = [
                value
                for (value,) in ask(
                    f"SELECT {column} {matching} ORDER BY {column} LIMIT 2 OFFSET {int(rank)}", values
                )
            ]
            percentiles.append(between(pair[0], pair[-1], rank))
        size = (most - least) / bin_count(count) if most > least else 0.0
        bins = [count]
        if size > 0:
            bins = [0] * bin_count(count)
            last = len(bins) - 1
            for index, found in ask(
                f"SELECT min(CAST(({column} - ?) / ? AS INTEGER), ?), count(*) {matching} GROUP BY 1",
                (least, size, last, *values),
            ):
                bins[index] = found
        return Histogram(tuple(bins), least, most, size, tuple(percentiles))


def _conditions(query: ActivityQuery) -> tuple[str, tuple[Any, ...]]:
    conditions: list[str] = []
    values: list[Any] = []
    if query.models:
        conditions.append(f"model IN ({', '.join('?' * len(query.models))})")
        values += query.models
    for condition, bound in (
        ("recorded_at >= ?", query.start),
        ("recorded_at <= ?", query.end),
        ("id >= ?", query.min_id),
        ("id <= ?", query.max_id),
    ):
        if bound is not None:
            conditions.append(condition)
            values.append(bound)
    return (" WHERE " + " AND ".join(conditions) if conditions else ""), tuple(values)


def _row(record: ActivityRecord) -> tuple[Any, ...]:
    tokens = record.tokens
    return (
        record.id,
        record.recorded_at,
        record.model,
        record.path,
        record.content_type,
        record.status,
        tokens.cache,
        tokens.draft,
        tokens.draft_accepted,
        tokens.input,
        tokens.output,
        tokens.prompt_per_second,
        tokens.per_second,
        record.duration_ms,
        record.error,
        msgspec.json.encode(record.metadata).decode() if record.metadata else "",
    )


def _record(row: tuple[Any, ...]) -> ActivityRecord:
    cache, draft, accepted, read, written, prompt_speed, speed = row[6:13]
    return ActivityRecord(
        id=row[0],
        recorded_at=row[1],
        model=row[2],
        path=row[3],
        content_type=row[4],
        status=row[5],
        tokens=Tokens(cache, draft, accepted, read, written, prompt_speed, speed),
        duration_ms=row[13],
        error=row[14],
        metadata=json.loads(row[15]) if row[15] else {},
    )
