"""The request as an upstream gets it. Pure: bytes in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf

import attrs

from swapcli.config import Timeouts
from swapcore import Endpoint

from .forward_proxy import Proxy
from .request_body import RequestBody, StreamedBody, WebsocketBytes

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers of one connection, RFC 9110 section 7.6.1, with the older ones that proxies strip, too."""

_NOT_FORWARDED = HOP_BY_HOP | {
    b"content-length",  # counted anew: the body is in memory
    b"expect",  # answered already, when the body was read
    b"host",
    b"x-forwarded-for",
}
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_GO_KEEPALIVE = 15.0
_USUAL_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"/[\x21-\x7e\x80-\xff]*")


class BadRequestHead(ValueError):
    """A header or the path cannot be written in HTTP/1.1; only HTTP/2 can carry such a thing here."""


@attrs.frozen
class UpstreamTimeouts:
    """Seconds that the steps towards an upstream may take."""

    connect: float = 30.0
    """One attempt, name lookup and TLS included."""
    tls_handshake: float = 10.0
    idle: float = 90.0
    """For how long a connection is kept that nobody uses."""
    keepalive: float = 30.0
    """Between TCP's own probes; infinity: none."""
    response_head: float = inf
    """From the end of the request to the response's headers. A long answer in one piece may take for ever."""


def _in_pieces(body: bytes | RequestBody) -> RequestBody:
    return (body,) if isinstance(body, bytes) else body


def upstream_timeouts(timeouts: Timeouts) -> UpstreamTimeouts:
    """Return what a configuration says: 0 is no limit there, but the system's usual interval for probes."""
    return UpstreamTimeouts(
        connect=timeouts.connect or inf,
        tls_handshake=timeouts.tls_handshake or inf,
        idle=timeouts.idle_conn or inf,
        keepalive=inf if timeouts.keepalive < 0 else timeouts.keepalive or _GO_KEEPALIVE,
        response_head=timeouts.response_header or inf,
    )


@attrs.frozen
class UpstreamRequest:
    """A request on its way to an upstream, whichever that turns out to be."""

    method: str
    path: bytes
    """Percent-encoded, starts with a slash."""
    query: bytes
    """Without its question mark."""
    headers: Iterable[tuple[bytes, bytes]]
    """As the client sent them, names in lower case."""
    body: RequestBody = attrs.field(converter=_in_pieces)
    client_host: str
    """The other end of the client's connection; empty when unknown."""
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    strip_credentials: bool = False
    """Take away what let the client in here: it is no business of an upstream."""

    @property
    def has_no_response_body(self) -> bool:
        return self.method == "HEAD"

    @property
    def is_spent(self) -> bool:
        """It cannot be sent again."""
        return isinstance(self.body, StreamedBody) and self.body.is_spent

    def head_for(self, endpoint: Endpoint, proxy: Proxy | None = None) -> bytes:
        """Return request line and headers, with the empty line that ends them.

        Args:
          proxy: it is told where to send what is not encrypted, and to encrypted ones it only connects.
        Raises:
          BadRequestHead: see there.
        """
        named = _named_in_connection(self.headers)
        host, forwarded_for, wants_trailers = b"", [], False
        lines: list[bytes] = []
        for name, value in self.headers:
            if name not in _NOT_FORWARDED:
                if name in named or (self.strip_credentials and name in _CREDENTIALS):
                    continue
                lines.append(b"%b: %b\r\n" % (name, value))
                if not _TOKEN.fullmatch(name):
                    raise BadRequestHead(f"header name {name!r}")
            elif name == b"host":
                host = value
            elif name == b"x-forwarded-for":
                forwarded_for.append(value)
            elif name == b"te":
                wants_trailers = b"trailers" in value.lower()
        if self.client_host:
            forwarded_for.append(self.client_host.encode("ascii", "replace"))
        if forwarded_for:
            lines.append(b"x-forwarded-for: %b\r\n" % b", ".join(forwarded_for))
        if wants_trailers:
            lines.append(b"te: trailers\r\n")
        lines += self._framing()
        origin = b""
        if proxy is not None and endpoint.scheme == "http":
            origin = b"http://" + authority(endpoint)
            if proxy.authorization:
                lines.append(b"proxy-authorization: %b\r\n" % proxy.authorization)
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (
            self.method.encode("ascii"),
            origin + self._target(endpoint),
            host or authority(endpoint),
            b"".join(lines),
        )
        line_count = len(lines) + 3
        if head.count(b"\n") != line_count or head.count(b"\r") != line_count or b"\0" in head:
            raise BadRequestHead("a header holds a line break or a NUL")
        return head

    def _framing(self) -> list[bytes]:
        match self.body:
            case StreamedBody(length=length):
                if length is None:
                    return [b"transfer-encoding: chunked\r\n"]
                return [b"content-length: %d\r\n" % length]
            case WebsocketBytes():
                return [b"connection: Upgrade\r\n", b"upgrade: websocket\r\n"]
            case pieces:
                length = sum(map(len, pieces))
                has_body = length or self.method not in ("GET", "HEAD")
                return [b"content-length: %d\r\n" % length] if has_body else []

    def _target(self, endpoint: Endpoint) -> bytes:
        path = endpoint.base_path.encode() + self.path
        query = b"&".join(part for part in (endpoint.query.encode(), self.query) if part)
        target = b"%b?%b" % (path, query) if query else path
        if not _TARGET.fullmatch(target):
            raise BadRequestHead(f"path {target!r}")
        return target


def response_headers(headers: Iterable[tuple[bytes, bytes]], status: int = 200) -> list[tuple[bytes, bytes]]:
    """Return an upstream's response headers without those of its connection, as the client gets them."""
    lowered = [(name.lower(), name, value) for name, value in headers]
    named = _named_in_connection((lower, value) for lower, _, value in lowered)
    removed = HOP_BY_HOP | named
    if status == 101:
        removed -= {b"connection", b"upgrade"}
    if status == 204:  # there is nothing to measure, and RFC 9110 section 8.6 forbids to say so
        removed |= {b"content-length"}
    kept = [(name, value) for lower, name, value in lowered if lower not in removed]
    if any(lower == b"content-type" and b"text/event-stream" in value.lower() for lower, _, value in lowered):
        # Tells an nginx in front of us not to hold events back.
        kept = [(name, value) for name, value in kept if name.lower() != b"x-accel-buffering"]
        kept.append((b"X-Accel-Buffering", b"no"))
    return kept


def _named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Header names that some ``Connection`` header declares to be of this connection only."""
    named = [
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    ]
    return frozenset(named)


def authority(endpoint: Endpoint, *, always_with_port: bool = False) -> bytes:
    """Return host and port, the scheme's own only where it is wanted."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    if always_with_port or endpoint.port != _USUAL_PORTS.get(endpoint.scheme):
        host += f":{endpoint.port}"
    return host.encode("idna" if not host.isascii() else "ascii")
