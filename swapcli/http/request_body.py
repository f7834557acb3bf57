"""What follows the head of a request on its way to an upstream: in memory, as it arrives, or a websocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio

from .body_filter import Pieces

NextPiece: TypeAlias = Callable[[], Awaitable[bytes]]
"""Waits for the next piece of what a client sends; empty at the end."""


class BodyStalled(Exception):
    """The client's body stopped arriving, or ended too early."""


@attrs.define(eq=False)
class StreamedBody:
    """A body that is sent on as it arrives, and so only once. The client waits while the upstream does."""

    length: int | None
    """Bytes, as announced; None: it comes in chunks."""
    next_piece: NextPiece
    patience: float
    """Seconds that the next piece may take to arrive."""
    is_spent: bool = attrs.field(default=False, init=False)
    """Some of it was read, so nobody else can have it any more."""
    stalled: bool = attrs.field(default=False, init=False)
    """It stopped arriving; the request was given up for that."""


@attrs.frozen(eq=False)
class WebsocketBytes:
    """What the client sends once its request to become a websocket was answered 101, byte for byte."""

    next_piece: NextPiece


RequestBody: TypeAlias = Pieces | StreamedBody | WebsocketBytes


async def send_body(body: RequestBody, send: Callable[[bytes | memoryview], Awaitable[None]]) -> None:
    """Send ``body`` as HTTP/1.1 has it, piece by piece. Raises `BodyStalled`."""
    match body:
        case StreamedBody():
            await _send_as_it_comes(body, send)
        case WebsocketBytes(next_piece=next_piece):
            while data := await next_piece():
                await send(data)
        case pieces:
            for piece in pieces:
                await send(piece)


async def _send_as_it_comes(
    body: StreamedBody, send: Callable[[bytes | memoryview], Awaitable[None]]
) -> None:
    body.is_spent = True
    while True:
        with trio.move_on_after(body.patience) as patience:
            data = await body.next_piece()
        if patience.cancelled_caught:
            body.stalled = True
            raise BodyStalled
        if not data:
            break
        await send(data if body.length is not None else b"%x\r\n%b\r\n" % (len(data), data))
    if body.length is None:
        await send(b"0\r\n\r\n")
