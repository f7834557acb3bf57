"""The requests under way: who asks for what, how far it has come, and a way to call it off.

Owned by the event loop. What it costs a request is an object in a dictionary; everything else is worked out
when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import attrs
import msgspec
import trio

from swapcore import ProcState

from .header_maps import header_map

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

TICK = 0.25
"""Seconds between two messages about one request whose answer grows."""
MOST_CHANGES = 128
"""With more of them at once, everything is told anew."""


class Place(Protocol):
    """A caller's place in line; `swapcore.Waiting` is one."""

    @property
    def state(self) -> ProcState: ...

    @property
    def position(self) -> int | None: ...

    @property
    def estimate(self) -> float | None: ...


class InflightListener(Protocol):
    """Is told what changes."""

    @property
    def audience(self) -> Sized:
        """Nobody needs to be told while it is empty. Always the same object: each change looks at it."""
        ...

    def upsert(self, request: Mapping[str, Any]) -> None: ...

    def remove(self, id: str) -> None: ...

    def snapshot(self, requests: list[dict[str, Any]]) -> None: ...


@attrs.frozen
class Nobody:
    """A listener that does not."""

    audience: Sized = ()

    def upsert(self, request: Mapping[str, Any]) -> None:
        pass

    def remove(self, id: str) -> None:
        pass

    def snapshot(self, requests: list[dict[str, Any]]) -> None:
        pass


class InflightRequest(msgspec.Struct, eq=False, kw_only=True):
    """One request. Its task fills in what happens; it belongs to the list that it was made by."""

    id: str
    arrived_at: float
    """Unix seconds."""
    arrived: float = msgspec.field(default_factory=trio.current_time)
    """On the trio clock."""
    model: str
    path: str
    method: str
    headers: RawHeaders
    remote_ip: str
    cancel: Callable[[], object]
    """Calls it off; its task does the rest."""
    place: Place | None = None
    """In line for the model, once it had to wait."""
    is_granted: bool = False
    """It has the model."""
    was_cancelled: bool = False
    """Called off through the list, and not by its client's leaving."""
    response_headers: RawHeaders | None = None
    response_bytes: int = 0
    shown: tuple[object, ...] = ()
    """For the list: what was told of it last."""

    @property
    def state(self) -> str:
        """``queued``, ``loading`` or ``serving``."""
        if self.is_granted:
            return "serving"
        return "loading" if self.place is not None and self.place.state is ProcState.STARTING else "queued"

    def as_json(self) -> dict[str, Any]:
        """Return what clients get: llama-swap's keys, then our own."""
        shown: dict[str, Any] = {
            "id": self.id,
            "timestamp": _precise_local_time(self.arrived_at),
            "model": self.model,
            "req_path": self.path,
            "method": self.method,
            "req_headers": header_map(self.headers),
            "remote_ip": self.remote_ip,
            "resp_headers": header_map(self.response_headers or ()),
            "resp_bytes": self.response_bytes,
            "elapsed_ms": int((trio.current_time() - self.arrived) * 1000),
            "state": self.state,
        }
        if self.place is not None and not self.is_granted:
            if (position := self.place.position) is not None:
                shown["position"] = position
            if (estimate := self.place.estimate) is not None:
                shown["estimate_ms"] = int(estimate * 1000)
        return shown

    @property
    def progress(self) -> tuple[object, ...]:
        """What changes without anybody saying so."""
        position = None if self.is_granted or self.place is None else self.place.position
        return (self.state, position, self.response_bytes)


@attrs.define(eq=False)
class InflightList:
    """Every request to a model that has not ended. One for the whole server; it outlives configurations."""

    _listener: InflightListener
    _audience: Sized = attrs.field(init=False)
    _requests: dict[str, InflightRequest] = attrs.field(factory=dict[str, InflightRequest], init=False)
    _last_id: int = attrs.field(default=0, init=False)
    _changed: dict[str, InflightRequest | None] = attrs.field(
        factory=dict[str, InflightRequest | None], init=False
    )
    """Not yet told; ``None``: it has ended."""
    _woken: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._audience = self._listener.audience

    def __len__(self) -> int:
        return len(self._requests)

    def next_id(self) -> str:
        """Return an id for a new request."""
        self._last_id += 1
        return str(self._last_id)

    def add(self, request: InflightRequest) -> None:
        """A request arrived. Whoever adds it removes it."""
        self._requests[request.id] = request
        self.changed(request)

    def changed(self, request: InflightRequest) -> None:
        """Something about a request is worth telling at once."""
        if self._audience and request.id in self._requests:
            self._changed[request.id] = request
            self._woken.set()

    def remove(self, request: InflightRequest) -> None:
        """A request has ended."""
        if self._requests.pop(request.id, None) is not None and self._audience:
            self._changed[request.id] = None
            self._woken.set()

    def cancel(self, id: str) -> bool:
        """Call off a request; false when there is none of that id. It is removed when its task has ended."""
        request = self._requests.get(id)
        if request is None:
            return False
        request.was_cancelled = True
        request.cancel()
        return True

    def snapshot(self) -> list[dict[str, Any]]:
        """Return all of them, by arrival. Whoever asks will want to hear of changes: a listener is told."""
        self._woken.set()
        return self._in_order()

    def _in_order(self) -> list[dict[str, Any]]:
        ordered = sorted(self._requests.values(), key=lambda request: (request.arrived_at, int(request.id)))
        return [request.as_json() for request in ordered]

    async def announce(self) -> None:
        """Tell the listener what changes, until cancelled."""
        while True:
            await self._woken.wait()
            look_at = trio.current_time() + TICK
            while self._audience and (self._requests or self._changed):
                self._woken = trio.Event()
                self._tell()
                with trio.move_on_at(look_at):
                    await self._woken.wait()
                if (now := trio.current_time()) >= look_at:
                    # Answers grow, and places in line change, without a word.
                    self._look()
                    look_at = now + TICK
            self._woken = trio.Event()
            self._changed.clear()

    def _look(self) -> None:
        for request in self._requests.values():
            if request.progress != request.shown:
                self._changed[request.id] = request

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        if len(changed) >= MOST_CHANGES:
            for request in self._requests.values():
                request.shown = request.progress
            self._listener.snapshot(self._in_order())
            return
        for id, change in changed.items():
            if change is None:
                self._listener.remove(id)
            elif id in self._requests:  # else it ended while nobody listened
                change.shown = change.progress
                self._listener.upsert(change.as_json())


def _precise_local_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    text = moment.isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + ("" if moment.utcoffset() else "Z")
