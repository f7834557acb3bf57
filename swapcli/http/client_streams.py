"""Hypercorn's streams, one for each request, as this server needs them.

What Hypercorn 0.18 gets wrong, and these do not:

- whoever brings a message to an application that has ended, or that ends meanwhile, is not left waiting;
- a request to upgrade its connection is an ordinary request until it is answered 101. From then on its body
  messages, both ways, are the raw bytes of the connection; what they mean is not looked at;
- a request whose body nobody reads does not hold up the others of its HTTP/2 connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NotRequired, cast

import attrs
import trio
from hypercorn.protocol.events import Body, Data, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, ConnectionState, HTTPResponseStartEvent

_UPGRADE = "swapcli.upgrade"
PRESENCE = "swapcli.presence"
"""Where a scope's ``state`` has the `Presence` of its client."""
_CLOSE = "swapcli.close"


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


class AnswerStart(HTTPResponseStartEvent):
    """``http.response.start``, with a word about what comes after it."""

    body_follows: NotRequired[bool]
    """Some of the body, or its end, is sent next, without a wait: the head may go out together with it."""


@attrs.define(eq=False)
class Presence:
    """Of a client that waits for its answer.

    Its end cancels scopes instead of waking a task: every request would have to start one for it. And unlike
    ``http.disconnect``, it does not wait for somebody to read what came before.
    """

    _is_over: bool = attrs.field(default=False, init=False)
    _scopes: list[trio.CancelScope] = attrs.field(factory=list[trio.CancelScope], init=False)

    def bound(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` once the client has left, or has all of its answer."""
        if self._is_over:
            scope.cancel()
        else:
            self._scopes.append(scope)

    def end(self) -> None:
        """It has left, or is content. The second time changes nothing."""
        self._is_over = True
        while self._scopes:
            self._scopes.pop().cancel()


def presence_of(state: Mapping[str, object]) -> Presence:
    """Return that of the client whose request has this scope's ``state``."""
    presence = state[PRESENCE]
    assert isinstance(presence, Presence)
    return presence


def with_close(state: Mapping[str, object], close: Callable[[], None]) -> ConnectionState:
    """Return a connection's state with what closes it; see `close_of`."""
    return ConnectionState({**state, _CLOSE: close})


def close_of(state: Mapping[str, object]) -> Callable[[], None]:
    """Return what closes the request's connection at once, under every task that uses it."""
    close = state[_CLOSE]
    assert callable(close)
    return close


class ClientStream(HTTPStream):
    """One request and its answer, between the task of the connection and that of the application."""

    body_follows = False
    """Of the answer that was begun; see `AnswerStart`."""
    _presence: Presence

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self.closed = True
            self._presence.end()
            self._messages.close()  # `guarded_app` makes a disconnect of it, as often as it is asked for
            return
        if isinstance(event, Request):
            self._presence = Presence()
            event = replace(event, state=ConnectionState({**event.state, PRESENCE: self._presence}))
        with suppress(trio.ClosedResourceError):  # nobody reads it any more
            await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            self._messages.close()
        elif message["type"] == "http.response.start":
            self.body_follows = cast("AnswerStart", message).get("body_follows", False)
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


@dataclass(frozen=True)
class BodyRead(Event):
    """The application has read this much of a request's body: its client may send as much again."""

    size: int


class WindowedStream(ClientStream):
    """A request of an HTTP/2 connection, which its body must not hold up.

    What the client has sent waits here, and is no more than its window, which opens again as the application
    reads. Hypercorn opens it at once, and stops reading the connection when a queue is full: then nobody
    hears that another answer may go on, or that its client has left.
    """

    _is_whole = _is_told = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._unread = bytearray()
        self._arrived = trio.Event()

    async def handle(self, event: Event) -> None:
        match event:
            case Body(data=data):
                self._unread += data
            case EndBody():
                self._is_whole = True
            case _:
                await super().handle(event)
        self._arrived.set()

    async def receive(self) -> ASGIReceiveEvent:
        """Take the place of the ASGI ``receive`` that Hypercorn gives an application."""
        while not (self._unread or (self._is_whole and not self._is_told) or self.closed):
            self._arrived = trio.Event()
            await self._arrived.wait()
        if not self._unread and (self._is_told or not self._is_whole):
            return {"type": "http.disconnect"}
        data, self._unread = bytes(self._unread), bytearray()
        is_last = self._is_told = self._is_whole
        await self._give_back(len(data))
        return {"type": "http.request", "body": data, "more_body": not is_last}

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            await self._give_back(len(self._unread))  # else who still sends it would wait for ever
        await super().app_send(message)

    async def _give_back(self, size: int) -> None:
        if size and not self._is_whole:
            await self.send(BodyRead(stream_id=self.stream_id, size=size))
