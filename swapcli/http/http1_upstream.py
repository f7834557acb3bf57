"""One HTTP/1.1 connection to an upstream: a request out, a response back, byte for byte."""

from __future__ import annotations

import os
from math import inf

import attrs
import httptools
import trio

from swapcore import Closed, SwapcoreError

from .request_body import BodyStalled, RequestBody, WebsocketBytes, send_body

_READ_SIZE = 64 * 1024
_SMALL_BODY = 64 * 1024
_MAX_HEAD = 1024 * 1024


def is_sent_beside(body: RequestBody) -> bool:
    """Whether the answer to a request with this body is read while the body is still being sent.

    An upstream may answer before it has read all. What fits the buffers of a socket need not wait for that.
    """
    return not isinstance(body, tuple) or sum(map(len, body)) > _SMALL_BODY


class UpstreamGone(Exception):
    """The upstream hung up, or could not be reached, before any byte of its response arrived."""

    def __init__(self, why: str, *, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent
        """The request may have reached it."""


class UpstreamBroken(Exception):
    """The upstream's response ended too early, or is no HTTP."""


class UpstreamTooSlow(Exception):
    """The response did not begin within the time allowed for it."""


class UpstreamStopped(Exception):
    """The connection was closed by us, because its process is being stopped."""

    def __init__(self, why: SwapcoreError) -> None:
        super().__init__(str(why))
        self.why = why
        """Why it is."""


@attrs.frozen
class ResponseHead:
    """Status and headers of a response, as they came."""

    status: int
    headers: list[tuple[bytes, bytes]]


class _Response:
    """What the parser has found so far of one response. Its ``on_`` methods are httptools' callbacks."""

    def __init__(self, *, head_only: bool, may_switch: bool) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.status = 0
        self.head_complete = self.complete = self.keep_alive = self.surplus = False
        self.ends_with_connection = False
        self.is_raw = False
        self._head_only, self._may_switch = head_only, may_switch
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | bytearray) -> None:
        """Raises `UpstreamBroken` for what is no HTTP."""
        assert self._parser is not None
        if self.is_raw:
            self.pieces.append(bytes(data))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.is_raw:
                if rest := bytes(data[error.args[0] :]):
                    self.pieces.append(rest)
                return
            if not self.complete:  # after the end of a response, anything goes, but the connection does, too
                why = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
                raise UpstreamBroken(f"its response is not valid HTTP ({why})") from None
            self.surplus = True

    def forget_parser(self) -> None:
        """The parser refers back to us; without that cycle both are freed at once."""
        self._parser = None

    def on_message_begin(self) -> None:
        self.surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:
            (self.trailers if self.head_complete else self.headers).append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        if self.status == 101 and self._may_switch:
            self.head_complete = self.is_raw = self.ends_with_connection = True
            return
        if self.status == 101 or self.status < 100:
            raise ValueError(f"nobody asked for status {self.status}")
        if self.status < 200:
            return  # an interim response; the real one follows
        self.head_complete = True
        framing = [(name.lower(), value) for name, value in self.headers]
        codings = b", ".join(value.lower() for name, value in framing if name == b"transfer-encoding")
        if codings not in (b"", b"chunked"):
            # We said nothing of TE, so there may be no other (RFC 9112, section 7), and we could not undo it.
            raise ValueError(f"nobody asked for the transfer coding {codings.decode('latin-1')!r}")
        self.ends_with_connection = not codings and all(name != b"content-length" for name, _ in framing)
        if self._head_only:
            self._end()

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.surplus = True
        else:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self.is_raw:
            return
        if self.head_complete:
            self._end()
        else:
            self.headers.clear()

    def _end(self) -> None:
        assert self._parser is not None
        if not self.complete:
            self.complete, self.keep_alive = True, self._parser.should_keep_alive()


@attrs.define(eq=False)
class UpstreamConnection:
    """A connection that carries one request at a time. Used by one task; closed by any.

    Cancellation: of any method, leaves a connection that can only be closed.
    """

    _stream: trio.abc.Stream
    _socket: trio.socket.SocketType
    _is_plain: bool = attrs.field(init=False)
    """What comes from the socket is the stream, and can be read like a file."""
    is_reused: bool = attrs.field(default=False, init=False)
    """It has carried a request before, so it may have been closed by the other side meanwhile."""
    idle_since: float = attrs.field(default=0.0, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _closed_why: SwapcoreError = attrs.field(factory=Closed, init=False)
    _uploading: bool = attrs.field(default=False, init=False)
    _response: _Response | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._is_plain = isinstance(self._stream, trio.SocketStream) and os.name == "posix"

    async def request(
        self,
        head: bytes,
        body: RequestBody,
        *,
        head_only: bool,
        patience: float,
        nursery: trio.Nursery | None,
    ) -> ResponseHead:
        """Send a request and return the final response's head; interim responses are skipped.

        Args:
          body: a `WebsocketBytes` begins when the answer is 101.
          head_only: the response has no body, whatever its headers say.
          patience: seconds from the end of the request to the response's head.
          nursery: for a body that `is_sent_beside`; no other needs one.
        Raises:
          UpstreamGone, UpstreamBroken, UpstreamStopped, UpstreamTooSlow: see there.
        """
        response = _Response(head_only=head_only, may_switch=isinstance(body, WebsocketBytes))
        self._response = response
        scope = trio.CancelScope()
        match body:
            case tuple() if nursery is None:
                await self._send(b"".join((head, *body)))
                scope.deadline = trio.current_time() + patience
            case WebsocketBytes():
                await self._send(head)
                scope.deadline = trio.current_time() + patience
            case _:
                assert nursery is not None
                self._uploading = True
                nursery.start_soon(self._upload, head, body, scope, patience)
        with scope:
            await self._receive_head(response)
        if scope.cancelled_caught:
            raise UpstreamTooSlow(f"no answer within {patience:g} s")
        if response.is_raw:
            assert nursery is not None
            nursery.start_soon(self._upload, b"", body, scope, inf)
        return ResponseHead(response.status, response.headers)

    async def _receive_head(self, response: _Response) -> None:
        received = 0
        while not response.head_complete:
            data = await self._receive()
            if not data:
                if received:
                    raise UpstreamBroken("it closed the connection within its response's headers")
                raise UpstreamGone("it closed the connection without an answer", was_sent=True)
            received += len(data)
            response.feed(data)
            if received > _MAX_HEAD and not response.head_complete:
                raise UpstreamBroken(f"its response's headers are larger than {_MAX_HEAD} bytes")

    async def next_body(self) -> bytes:
        """Return what there is of the body, at least one byte; empty at its end.

        What arrived together is returned together, and nothing is waited for that is not there.

        Raises:
          UpstreamBroken: the body was cut off.
          UpstreamStopped: see there.
        """
        response = self._response
        assert response is not None
        while not response.pieces:
            if response.complete:
                return b""
            data = await self._receive(cut_off=True)
            if data:
                response.feed(data)
            elif response.ends_with_connection:
                response.complete = True
            else:
                raise UpstreamBroken("it closed the connection in the middle of its response")
        pieces, response.pieces = response.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def has_data(self) -> bool:
        """`next_body` would not have to wait."""
        return self._response is not None and (self._response.complete or bool(self._response.pieces))

    @property
    def is_complete(self) -> bool:
        """The response has ended; what `next_body` returned last was the rest of it."""
        return self._response is not None and self._response.complete and not self._response.pieces

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """Headers that came after the body; only at its end."""
        return [] if self._response is None else self._response.trailers

    def finish(self) -> bool:
        """End the exchange; true when the connection may carry another request. Close it otherwise."""
        response, self._response = self._response, None
        if response is None:
            return False
        response.forget_parser()
        self.is_reused = True
        return (
            response.complete
            and response.keep_alive
            and not (response.surplus or self._uploading or self._closed)
        )

    @property
    def looks_alive(self) -> bool:
        """While idle: the other side has neither closed it nor sent anything, as far as one can see now."""
        return not self._closed and not self._socket.is_readable()

    def close(self, why: SwapcoreError | None = None) -> None:
        """Close it now. Whoever uses it gets `UpstreamStopped` with ``why``."""
        self._closed = True
        self._closed_why = why or self._closed_why
        self._socket.close()

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # it may have answered before it hung up; reading will tell
        except trio.ClosedResourceError:
            raise UpstreamStopped(self._closed_why) from None

    async def _upload(
        self, head: bytes, body: RequestBody, head_scope: trio.CancelScope, patience: float
    ) -> None:
        try:
            await self._stream.send_all(head)
            await send_body(body, self._stream.send_all)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # reading will tell; `_uploading` stays set, so the connection is not used again
        except BodyStalled:
            self.close()
            return
        self._uploading = False
        head_scope.deadline = trio.current_time() + patience

    async def _read_socket(self) -> bytes:
        """Do what the stream does, but wait before the first attempt: what is wanted is not there yet."""
        while True:
            if self._closed:  # by another task, since we read the last time; trio takes no socket that is
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ_SIZE)
            except BlockingIOError:
                pass
            except OSError:
                raise (trio.ClosedResourceError if self._closed else trio.BrokenResourceError) from None

    async def _receive(self, *, cut_off: bool = False) -> bytes | bytearray:
        try:
            if self._is_plain:
                return await self._read_socket()
            return await self._stream.receive_some(_READ_SIZE)
        except trio.ClosedResourceError:
            raise UpstreamStopped(self._closed_why) from None
        except trio.BrokenResourceError:  # a reset, which for an empty answer is as good as a close
            if cut_off:
                raise UpstreamBroken("it reset the connection in the middle of its response") from None
            return b""
