"""One HTTP request and the answer to it, over plain ASGI."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from io import BytesIO
from math import inf
from time import time
from typing import Protocol, TypeAlias

import attrs
import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
)

from .client_streams import AnswerStart, close_of, may_upgrade, presence_of
from .request_body import BodyStalled, StreamedBody, WebsocketBytes

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_READ_WHOLE = 64 * 1024
"""A body that announces no more is in memory before it is sent on, and so can be sent again."""
_SWALLOWED = 1024 * 1024
"""Bytes of a body that are read for a request that is refused anyway, to keep its connection usable."""
_SWALLOW_SECONDS = 2.0
_LINGER_SECONDS = 10.0
"""For how long a body is still swallowed after its request was refused."""


class BodyTooLarge(Exception):
    """The request's body is longer than the limit, or says that it is going to be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is larger than {limit} bytes")
        self.limit = limit


class BodyTooSlow(Exception):
    """No further piece of the request's body arrived in time."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Watcher(Protocol):
    """Looks at an answer on its way. None of its methods blocks or fails."""

    def response_started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def response_body(self, data: bytes, *, is_last: bool) -> None: ...

    def ended(self) -> None:
        """The request is over, whether it was answered or not."""
        ...


@attrs.define(eq=False)
class Exchange:
    """A request and its answer. Owned by the task that serves it.

    The body is read before anything is answered: a server that answers and closes while its client still
    uploads makes the client see a reset instead of the answer.
    """

    scope: HTTPScope
    _receive: ASGIReceiveCallable
    _send: ASGISendCallable
    body_silence: float
    """Seconds that the next piece of the body may take."""
    headers: list[tuple[bytes, bytes]] = attrs.field(init=False)
    """As received, names in lower case."""
    may_upgrade: bool = attrs.field(init=False)
    """The client wants a websocket, and 101 may be the answer."""
    body: bytes = attrs.field(default=b"", init=False)
    status: int = attrs.field(default=0, init=False)
    """Of the answer; 0 until it is sent."""
    body_bytes: int = attrs.field(default=0, init=False)
    """Of the answer's body, so far."""
    watcher: Watcher | None = attrs.field(default=None, init=False)
    first_byte_at: float | None = attrs.field(default=None, init=False)
    """When the answer's body began, in seconds on the trio clock."""
    model: str = attrs.field(default="", init=False)
    """Which model answers; empty as long as that is not known, and for our own endpoints."""
    _announced: int = attrs.field(init=False)
    """Bytes of the request's body, as its head says; 0 if it does not."""
    _received: int = attrs.field(default=0, init=False)
    _body_complete: bool = attrs.field(default=False, init=False)
    _body_refused: bool = attrs.field(default=False, init=False)
    _replayed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.headers = list(self.scope["headers"])
        self.may_upgrade = may_upgrade(self.scope["state"])
        self._body_complete = self.may_upgrade  # what follows is no body
        length = self.header(b"content-length")
        self._announced = int(length) if length.isascii() and length.isdigit() else 0

    @property
    def method(self) -> str:
        return self.scope["method"]

    @property
    def client_host(self) -> str:
        """Address of the other end of the connection; empty when there is none to tell."""
        client = self.scope["client"]
        return client[0] if client else ""

    def header(self, name: bytes) -> str:
        """Return the first value of a header, given in lower case; empty when it is not there."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""

    def set_host(self, host: bytes) -> None:
        """The request is for this host, and not for the one that its header names."""
        self.headers = [(name, value) for name, value in self.headers if name != b"host"]
        self.headers.append((b"host", host))

    @property
    def takes_trailers(self) -> bool:
        """The client asked for trailers, over a protocol for which the server can send them."""
        can_send = "http.response.trailers" in self.scope["extensions"]
        return can_send and "trailers" in self.header(b"te").lower()

    @property
    def is_ambiguous(self) -> bool:
        """A proxy in front of us may believe that the body ends elsewhere."""
        names = {name for name, _ in self.headers}
        if b"transfer-encoding" not in names:
            return False
        return b"content-length" in names or self.scope["http_version"] == "1.0"

    # -- the request's body ------------------------------------------------------

    async def read_body(self, limit: int) -> bytes:
        """Read the body whole, keep it as ``body``, and return it.

        Raises:
          BodyTooLarge: it has more than ``limit`` bytes; the rest is still on its way.
          BodyTooSlow, ClientGone: see there.
        Cancellation: the request cannot be answered any more.
        """
        self._body_refused = True  # unless it turns out to be all there
        if self._announced > limit:
            raise BodyTooLarge(limit)
        whole = BytesIO()  # grows in place, where a list of pieces and what is joined of it are two bodies
        size = 0
        with trio.CancelScope() as patience:
            while not self._body_complete:
                patience.deadline = trio.current_time() + self.body_silence
                piece = await self._next_piece()
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge(limit)
                whole.write(piece)
        if patience.cancelled_caught:
            raise BodyTooSlow
        self._body_refused = False
        self.body = whole.getvalue()
        return self.body

    async def _next_piece(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        body = message["body"]
        self._received += len(body)
        # The server knows that it is the end only from the next message, for which there is no need to wait.
        all_there = body and self._received == self._announced
        self._body_complete = bool(all_there) or not message.get("more_body", False)
        return body

    async def replay(self) -> ASGIReceiveEvent:
        """An ASGI ``receive`` for another application: the body in one piece, then what really comes."""
        if self._replayed:
            return await self._receive()
        self._replayed = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    def bound(self, scope: trio.CancelScope) -> None:
        """Cancel ``scope`` once the client has gone, or has all of its answer."""
        presence_of(self.scope["state"]).bound(scope)

    @property
    def has_long_body(self) -> bool:
        """The body may be too long to wait for all of it, before it is sent on."""
        if self.scope["http_version"] == "2" and not self.header(b"content-length"):
            return self.method not in ("GET", "HEAD", "DELETE")
        return bool(self.header(b"transfer-encoding")) or self._announced > _READ_WHOLE

    def body_as_it_comes(self) -> StreamedBody:
        """Return the body for somebody else to read, instead of `read_body`."""

        async def next_piece() -> bytes:
            while not self._body_complete:
                try:
                    if piece := await self._next_piece():
                        return piece
                except ClientGone:
                    raise BodyStalled from None
            return b""

        length = self._announced if self.header(b"content-length") else None
        return StreamedBody(length, next_piece, self.body_silence)

    def websocket(self) -> WebsocketBytes:
        """Return what the client sends after the 101."""

        async def next_piece() -> bytes:
            message = await self._receive()
            return message["body"] if message["type"] == "http.request" else b""

        return WebsocketBytes(next_piece)

    # -- the answer ----------------------------------------------------------------

    @property
    def is_answered(self) -> bool:
        """The answer's status was sent."""
        return self.status != 0

    async def send(self, message: ASGISendEvent) -> None:
        """An ASGI ``send`` that counts, and adds the Date that an answer must have."""
        if message["type"] == "http.response.body":
            if message["body"] and self.first_byte_at is None:
                self.first_byte_at = trio.current_time()
            self.body_bytes += len(message["body"])
            if self.watcher is not None:
                self.watcher.response_body(message["body"], is_last=not message.get("more_body", False))
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message["headers"])
            if not any(name.lower() == b"date" for name, _ in headers):
                headers.append((b"Date", _date(int(time()))))
            if self.may_upgrade and self.status != 101:
                headers.append((b"Connection", b"close"))  # there is no telling what would come next
            message["headers"] = headers
            if self.watcher is not None:
                self.watcher.response_started(self.status, headers)
        await self._send(message)

    def end(self) -> None:
        """Nothing more happens to this request."""
        if self.watcher is not None:
            self.watcher.ended()

    def hang_up(self) -> None:
        """Close the connection, also under a send that its client does not read.

        Not that of HTTP/2: other answers on it may be read.
        """
        if self.scope["http_version"] != "2":
            close_of(self.scope["state"])()

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer with its length. A body of the request that nobody read is swallowed first.

        If that is too much of it, the client is answered at once and given a moment to stop sending and to
        read the answer; then the connection is closed.
        """
        length = [] if status == 204 else [(b"Content-Length", b"%d" % len(body))]
        hang_up = self._body_refused or not await self._swallow_body(_SWALLOWED, _SWALLOW_SECONDS)
        start: AnswerStart = {
            "type": "http.response.start",
            "status": status,
            "headers": [
                *headers,
                *length,
                *([(b"Connection", b"close")] if hang_up and self.scope["http_version"] != "2" else []),
            ],
            "body_follows": True,
        }
        await self.send(start)
        if hang_up:
            await self.send({"type": "http.response.body", "body": body, "more_body": True})
            await self._swallow_body(inf, _LINGER_SECONDS)
            body = b""
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _swallow_body(self, limit: float, seconds: float) -> bool:
        """Read what is left of the body and forget it; false when it is more, or slower, than allowed."""
        if not self._body_complete and self._announced > limit:
            return False
        with trio.move_on_after(seconds):
            while not self._body_complete and limit >= 0:
                try:
                    limit -= len(await self._next_piece())
                except ClientGone:
                    return False
        return self._body_complete


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """As a header has it. The same for all that is sent within a second."""
    return formatdate(second, usegmt=True).encode()
