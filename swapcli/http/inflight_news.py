"""Tells the clients of ``/api/events`` of the requests under way."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import attrs

from .event_hub import EventHub
from .event_messages import InflightRemove, InflightSnapshot, InflightUpsert


@attrs.frozen(eq=False)
class InflightNews:
    """The listener of an `InflightList`."""

    _hub: EventHub

    @property
    def audience(self) -> Sized:
        return self._hub.clients

    def upsert(self, request: Mapping[str, Any]) -> None:
        self._hub.publish(InflightUpsert(request))

    def remove(self, id: str) -> None:
        self._hub.publish(InflightRemove(id))

    def snapshot(self, requests: list[dict[str, Any]]) -> None:
        self._hub.publish(InflightSnapshot(requests))
