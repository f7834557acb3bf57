"""An ASGI application whose answers end well on Hypercorn 0.18, or break off where everybody can see it.

- The last message of an answer is sent under a shield with a bound: Hypercorn announces ``http.disconnect``
  from inside that very send, and an application that cancels itself on it would leave the connection half
  finished for ever.
- Messages that cannot be delivered any more end with ``http.disconnect``, and a body over HTTP/2 is read in
  another way (see `client_streams`).
- An answer that was begun and not finished resets its HTTP/2 stream (HTTP/1 connections are closed short).
"""

from __future__ import annotations

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

from .client_streams import WindowedStream

FINAL_SEND_BOUND = 5.0
"""Seconds under a shield; without an end, one malformed h2c upgrade would hang the server's own end."""


def guarded(app: ASGIFramework) -> ASGIFramework:
    """Wrap ``app`` so that its last send is shielded and an answer that it leaves unfinished is reset."""

    async def wrapped(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        # There is no ASGI message for what follows, so the bound method is followed back to its stream.
        stream = getattr(send, "__self__", None)
        if not isinstance(stream, HTTPStream):
            await app(scope, receive, send)
            return
        begun = finished = trailers_follow = False

        async def guarded_send(message: ASGISendEvent) -> None:
            nonlocal begun, finished, trailers_follow
            if stream.closed:  # the client has gone; on HTTP/2 Hypercorn would wait for it to read
                await trio.lowlevel.checkpoint()
                return
            if message["type"] == "http.response.body" and not message["more_body"]:
                if message["body"]:
                    # Only the end is shielded: a slow reader may take its time for the body.
                    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
                finished = not trailers_follow
                last: ASGISendEvent = {"type": "http.response.body", "body": b"", "more_body": False}
                with trio.move_on_after(FINAL_SEND_BOUND, shield=True):
                    await send(last)
            elif message["type"] == "http.response.trailers":
                finished = True
                with trio.move_on_after(FINAL_SEND_BOUND, shield=True):
                    await send(message)
            else:
                if message["type"] == "http.response.start":
                    begun, trailers_follow = True, message.get("trailers", False)
                await send(message)

        async def guarded_receive() -> ASGIReceiveEvent:
            if isinstance(stream, WindowedStream):
                return await stream.receive()
            try:
                return await receive()
            except trio.EndOfChannel:
                return {"type": "http.disconnect"}

        await app(scope, guarded_receive, guarded_send)
        if begun and not finished:
            await _reset(stream)

    return wrapped


async def _reset(stream: HTTPStream) -> None:
    """Tell an HTTP/2 client that its answer is broken off; Hypercorn would leave it waiting for ever."""
    protocol = getattr(stream.send, "__self__", None)
    if not isinstance(protocol, H2Protocol):
        return  # on HTTP/1 the connection is closed, short of what was announced
    buffer = protocol.stream_buffers.get(stream.stream_id)
    if buffer is not None and buffer.buffer:
        with trio.move_on_after(FINAL_SEND_BOUND):
            await buffer.drain()
    try:
        protocol.connection.reset_stream(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
    except ProtocolError:
        return  # the client reset it first
    await protocol._flush()
    if stream.stream_id in protocol.stream_buffers:
        protocol.priority.unblock(stream.stream_id)  # its sender meets a closed stream, and forgets it
        await protocol.has_data.set()
