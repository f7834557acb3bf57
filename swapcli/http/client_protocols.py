"""Hypercorn's HTTP/1 and HTTP/2 towards clients, with a stricter eye on where a request begins and ends.

h11 takes what RFC 9112 allows a server to take, and a proxy in front of this server may take otherwise: a
line that ends with LF alone, a header that goes on in the next line, a CR in the middle of one. It may be two
requests to one, and one to the other. Here it is 400, and the connection is closed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

import h2.events
import h2.exceptions
import h2.settings
import h11
from h2.events import DataReceived, RequestReceived
from h11._receivebuffer import ReceiveBuffer
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, Event as StreamEvent, Request
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import (
    STREAM_ID,
    H2CProtocolRequiredError,
    H2ProtocolAssumedError,
    H11Protocol,
    H11WSConnection,
)
from hypercorn.typing import H11SendableEvent
from hypercorn.utils import filter_pseudo_headers
from priority.priority import DuplicateStreamError

from .client_streams import BodyRead, ClientStream, UpgradeStream, WindowedStream, asks_for_websocket

_HEAD_END = re.compile(rb"\n\r?\n")
_COPIED = 64 * 1024
"""Bytes of a body that cost less to copy than a system call does."""
_NOT_PLAIN = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|\n[ \t]")


class ClientProtocol(ProtocolWrapper):
    """What a connection speaks: HTTP/1.1 until the client shows that it is HTTP/2, or ALPN has settled it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if isinstance(self.protocol, H2Protocol):
            self._speak(Http2Protocol)
        else:
            self._speak(Http1Protocol)

    async def handle(self, event: Event) -> None:
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as error:
            self._speak(Http2Protocol)
            await self.protocol.initiate()
            left = error.data
        except H2CProtocolRequiredError as error:
            protocol = self._speak(Http2Protocol)
            await protocol.initiate(error.headers, error.settings)
            left = error.data
        else:
            return
        if left:
            await self.protocol.handle(RawData(data=left))

    def _speak(self, kind: Any) -> Any:
        self.protocol = kind(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.state,
            self.ssl,
            self.client,
            self.server,
            self.send,
        )
        return self.protocol


class _StrictBuffer(ReceiveBuffer):
    """What h11 has not read yet. Refuses lines that do not end with CRLF and nothing else."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return a head, or the trailers after a chunked body, once it is there."""
        if self._data[:1] == b"\n":
            raise h11.RemoteProtocolError("a line ends without CR")
        if self._data[:2] != b"\r\n":
            end = _HEAD_END.search(self._data, self._multiple_lines_search)
            if end is not None and _NOT_PLAIN.search(self._data, 0, end.end()):
                raise h11.RemoteProtocolError("a line break or NUL where none may be")
        return super().maybe_extract_lines()

    def maybe_extract_next_line(self) -> bytearray | None:
        """Return the line before a chunk, once it is there."""
        line = super().maybe_extract_next_line()
        if line is not None and _NOT_PLAIN.search(line):
            raise h11.RemoteProtocolError("a line break or NUL where none may be")
        return line


class _Ended:
    """In place of a connection, or a stream, on which nothing more is to happen; takes what still comes."""

    our_state = their_state = None
    they_are_waiting_for_100_continue = False
    idle = True

    def receive_data(self, data: bytes) -> None:
        pass

    def next_event(self) -> type[h11.NEED_DATA]:
        return h11.NEED_DATA

    def send(self, event: object) -> bytes:
        return b""

    async def handle(self, event: object) -> None:
        pass


class Http1Protocol(H11Protocol):
    """HTTP/1.1 with one client."""

    connection: h11.Connection | H11WSConnection

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection._receive_buffer = _StrictBuffer()  # type: ignore[union-attr]
        self._held = b""

    async def handle(self, event: Event) -> None:
        if not isinstance(event, Closed):
            await super().handle(event)
            return
        self.connection = cast("Any", _Ended())
        await super().handle(event)
        # Who waits for the answer, to read the request behind, would wait for ever.
        await self.can_read.set()

    async def _create_stream(self, request: h11.Request) -> None:
        kind = ClientStream
        if (
            asks_for_websocket(request.headers)
            and request.method == b"GET"
            and request.http_version == b"1.1"
        ):
            kind = UpgradeStream
            assert isinstance(self.connection, h11.Connection)
            self.connection = H11WSConnection(self.connection)  # what follows the head is not HTTP
        self.stream = kind(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Send; but a head that a body follows goes out with that: one system call and one packet less."""
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response) and getattr(self.stream, "body_follows", False):
            self._held = data
            return
        held, self._held = self._held, b""
        if held and len(data) <= _COPIED:
            data = held + data
        elif held:
            await self.send(RawData(data=held))
        await self.send(RawData(data=data))

    async def _send_error_response(self, status_code: int) -> None:
        """Say what is wrong with a request that no application will see; the connection is closed then."""
        text = f"{status_code} {HTTPStatus(status_code).phrase}".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=text))
        await self._send_h11_event(h11.EndOfMessage())


class _Streams(dict[int, Any]):
    """Those of one connection. The answer of one that is missing was complete before its request was."""

    def __missing__(self, stream_id: int) -> _Ended:
        return _Ended()


class Http2Protocol(H2Protocol):
    """HTTP/2 with one client.

    Websockets are not offered: a browser that wants one opens a connection of its own for it, in HTTP/1.1.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection.local_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] = 0
        self.connection.local_settings.acknowledge()
        self.streams = _Streams()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                await self._take_data(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _take_data(self, event: DataReceived) -> None:
        """Hand a piece of a body to its stream, which says when it was read; the connection goes on."""
        stream = self.streams[event.stream_id]
        taken = len(event.data) if isinstance(stream, WindowedStream) else 0
        size = event.flow_controlled_length or 0  # the padding, too
        if size:
            self.connection.increment_flow_control_window(size)
        self._open_window(event.stream_id, size - taken)
        await stream.handle(Body(stream_id=event.stream_id, data=event.data))

    def _open_window(self, stream_id: int, size: int) -> None:
        if size:
            with suppress(h2.exceptions.ProtocolError):  # nothing more comes on this stream
                self.connection.increment_flow_control_window(size, stream_id)

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, BodyRead):
            self._open_window(event.stream_id, event.size)
            await self._flush()
        else:
            await super().stream_send(event)

    async def _create_stream(self, request: RequestReceived) -> None:
        pseudo = {name: value for name, value in request.headers if name.startswith(b":")}
        method, path = pseudo.get(b":method", b""), pseudo.get(b":path")
        if path is None or not path.isascii() or not method.isascii() or method == b"CONNECT":
            self.connection.send_headers(request.stream_id, [(b":status", b"400")], end_stream=True)
            return
        stream = WindowedStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            request.stream_id,
        )
        self.streams[request.stream_id] = stream
        self.stream_buffers[request.stream_id] = StreamBuffer(self.context.event_class)
        try:
            self.priority.insert_stream(request.stream_id)
        except DuplicateStreamError:
            pass  # a PRIORITY frame came before
        else:
            self.priority.block(request.stream_id)
        await stream.handle(
            Request(
                stream_id=request.stream_id,
                headers=filter_pseudo_headers(request.headers),
                http_version="2",
                method=method.decode("ascii").upper(),
                raw_path=path,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()
