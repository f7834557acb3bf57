"""Hypercorn's streams, one for each request, as this server needs them.

What Hypercorn 0.18 gets wrong, and these do not:

- whoever brings a message to an application that has ended, or that ends meanwhile, is not left waiting;
- a request to upgrade its connection is an ordinary request until it is answered 101. From then on its body
  messages, both ways, are the raw bytes of the connection; what they mean is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import trio
from hypercorn.protocol.events import Data, Event, Request, Response, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ASGISendEvent, ConnectionState

_UPGRADE = "swapcli.upgrade"
_GONE = "swapcli.gone"


def asks_for_websocket(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request, names in lower case, wants its connection to become a websocket.

    One with a body does not: where that ends and the websocket begins, two proxies may see differently.
    """
    connection: set[bytes] = set()
    upgrade: set[bytes] = set()
    for name, value in headers:
        if name in (b"content-length", b"transfer-encoding"):
            return False
        if name == b"connection":
            connection.update(token.strip().lower() for token in value.split(b","))
        elif name == b"upgrade":
            upgrade.update(token.strip().lower() for token in value.split(b","))
    return b"upgrade" in connection and b"websocket" in upgrade


def may_upgrade(state: Mapping[str, object]) -> bool:
    """Whether the request with this scope's ``state`` may be answered 101."""
    return _UPGRADE in state


def gone_event(state: Mapping[str, object]) -> trio.Event:
    """Return what is set once the client has left, or has its answer; of the scope's ``state``.

    Unlike ``http.disconnect``, it does not wait for somebody to read what came before.
    """
    event = state[_GONE]
    assert isinstance(event, trio.Event)
    return event


class ClientStream(HTTPStream):
    """One request and its answer, between the task of the connection and that of the application."""

    _gone: trio.Event

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self.closed = True
            self._gone.set()
            self._messages.close()  # `guarded_app` makes a disconnect of it, as often as it is asked for
            return
        if isinstance(event, Request):
            self._gone = trio.Event()
            event = replace(event, state=ConnectionState({**event.state, _GONE: self._gone}))
        with suppress(trio.ClosedResourceError):  # nobody reads it any more
            await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            self._messages.close()
        await super().app_send(message)

    @property
    def _messages(self) -> trio.MemorySendChannel[Any]:
        # Hypercorn hands out this channel's bound method only.
        return cast("trio.MemorySendChannel[Any]", getattr(self.app_put, "__self__", None))


class UpgradeStream(ClientStream):
    """A request that may be answered 101; see `may_upgrade`."""

    _is_raw = False

    async def handle(self, event: Event) -> None:
        match event:
            case Request():
                state = ConnectionState({**event.state, _UPGRADE: True})
                await super().handle(replace(event, state=state))
            case Data(data=data) if not self.closed:
                with suppress(trio.ClosedResourceError):
                    await self.app_put({"type": "http.request", "body": bytes(data), "more_body": True})
            case _:
                await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None or self.closed:
            await super().app_send(message)
        elif message["type"] == "http.response.start" and message["status"] == 101:
            self._is_raw = True
            headers = list(message["headers"])
            await self.send(Response(stream_id=self.stream_id, headers=headers, status_code=101))
        elif message["type"] == "http.response.body" and self._is_raw:
            await self.send(Data(stream_id=self.stream_id, data=message["body"]))
        else:
            await super().app_send(message)
