"""Opens a connection to an upstream: name, proxy, TLS, and what TCP is to do while nothing is said."""

from __future__ import annotations

import ssl

import h11
import trio

from swapcore import Endpoint

from .forward_proxy import Proxy
from .tcp_keepalive import keep_alive
from .upstream_request import UpstreamTimeouts, authority

_LOCALHOST = ("127.0.0.1", "::1")
_MAX_PROXY_HEAD = 64 * 1024


async def open_connection(
    endpoint: Endpoint, proxy: Proxy | None, tls: ssl.SSLContext | None, timeouts: UpstreamTimeouts
) -> tuple[trio.abc.Stream, trio.socket.SocketType]:
    """Return the stream to ``endpoint``, and the socket below it.

    Args:
      tls: for an ``https`` endpoint.
    Raises:
      OSError, trio.BrokenResourceError: with what trio met as its cause.
      trio.TooSlowError: the TLS handshake took too long.
    Cancellation: nothing is left open.
    """
    next_hop = endpoint if proxy is None else proxy.endpoint
    stream = await _open_tcp_stream(next_hop.host, next_hop.port)
    try:
        keep_alive(stream.socket, timeouts.keepalive)
        if tls is None:
            return stream, stream.socket
        if proxy is not None:
            await _tunnel(stream, endpoint, proxy)
        secured = trio.SSLStream(stream, tls, server_hostname=endpoint.host, https_compatible=True)
        with trio.fail_after(timeouts.tls_handshake):
            await secured.do_handshake()
    except BaseException:
        stream.socket.close()
        raise
    return secured, stream.socket


async def _tunnel(stream: trio.SocketStream, endpoint: Endpoint, proxy: Proxy) -> None:
    """Have ``proxy`` connect this connection to ``endpoint`` (RFC 9110, section 9.3.6)."""
    target = authority(endpoint, always_with_port=True)
    headers = [(b"host", target)]
    if proxy.authorization:
        headers.append((b"proxy-authorization", proxy.authorization))
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_PROXY_HEAD)
    request = h11.Request(method=b"CONNECT", target=target, headers=headers)
    try:
        await stream.send_all(protocol.send(request) + protocol.send(h11.EndOfMessage()))
        await _wait_connected(stream, protocol)
    except (h11.RemoteProtocolError, trio.BrokenResourceError, _NotConnected) as error:
        raise OSError(f"the proxy {proxy.endpoint.host}: {error}") from None


class _NotConnected(Exception):
    """The proxy does not want to, or cannot."""


async def _wait_connected(stream: trio.SocketStream, protocol: h11.Connection) -> None:
    while True:
        match protocol.next_event():
            case h11.NEED_DATA:
                protocol.receive_data(await stream.receive_some())
            case h11.InformationalResponse():
                pass
            case h11.Response(status_code=status) if 200 <= status < 300:
                return
            case h11.Response(status_code=status):
                raise _NotConnected(f"it answered {status}")
            case _:
                raise _NotConnected("it hung up")


async def _open_tcp_stream(host: str, port: int) -> trio.SocketStream:
    if host != "localhost":
        return await trio.open_tcp_stream(host, port)
    # Without asking anybody: the name may stand for one family only, and the server listen on the other.
    error: OSError | None = None
    for address in _LOCALHOST:
        try:
            return await trio.open_tcp_stream(address, port)
        except OSError as refused:
            error = error or refused
    assert error is not None
    raise error
