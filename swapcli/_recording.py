"""The record of requests, as a configuration wants it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from .activity.database import ActivityDatabase
from .activity.inflight import InflightList
from .activity.journal import open_database, open_journal
from .activity.recorder import Recorder
from .activity.retention import FOR_EVER, Retention
from .config import Configuration
from .http import ActivityRecorded, EventHub, InflightNews

_USUAL_KEEP = 1000
_SQLITES_MEMORY = ":memory:"
"""SQLite's own name for no file. What is kept there needs the bound of memory, and not a file's."""
_MEGABYTE = 1024 * 1024
_DAY = 24 * 3600


def open_store(config: Configuration) -> ActivityDatabase:
    """Open where requests are written down.

    Raises:
      StoreRefused: the file is not ours to write to.
    """
    return open_database(_path(config))


@asynccontextmanager
async def open_recorder(
    database: ActivityDatabase, config: Configuration, hub: EventHub
) -> AsyncGenerator[Recorder]:
    """Follow requests for the length of the block, and tell the clients of *hub* of them."""
    async with (
        open_journal(
            database,
            keep=_keep(config),
            retention=_retention(config),
            capture_bytes=_capture_bytes(config),
            on_recorded=lambda id: hub.publish(ActivityRecorded(id)) if hub.clients else None,
        ) as journal,
        trio.open_nursery() as nursery,
    ):
        inflight = InflightList(InflightNews(hub))
        nursery.start_soon(inflight.announce)
        yield Recorder(journal, inflight)
        nursery.cancel_scope.cancel()


def apply_to_recorder(recorder: Recorder, config: Configuration) -> None:
    """Go on as another configuration wants it."""
    recorder.journal.reconfigure(
        _path(config),
        keep=_keep(config),
        retention=_retention(config),
        capture_bytes=_capture_bytes(config),
    )


def _path(config: Configuration) -> str:
    path = config.store.path.strip() if config.store is not None else ""
    return "" if path == _SQLITES_MEMORY else path


def _keep(config: Configuration) -> int:
    return config.metrics_max_in_memory if config.metrics_max_in_memory > 0 else _USUAL_KEEP


def _retention(config: Configuration) -> Retention:
    if (store := config.store) is None:
        return FOR_EVER
    return Retention(store.max_records or None, store.max_days * _DAY or None)


def _capture_bytes(config: Configuration) -> int:
    return max(config.capture_buffer, 0) * _MEGABYTE
