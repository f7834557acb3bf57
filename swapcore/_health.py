"""Wait until a server answers its health check with 200: one small GET, again and again.

Written by hand so that supervising needs no HTTP library. Only the status line
of an answer is read (RFC 9112, section 4); redirects are not followed.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cache, partial
from ipaddress import ip_address
from urllib.parse import quote

import attrs
import trio

from ._spec import Endpoint

logger = logging.getLogger("swapcore")

_CONNECT_BOUND = 1.0
_PROBE_BOUND = 5.0

_MAX_HEAD = 65536

_REFUSED = "nobody listens"
_NO_DESCRIPTOR = "no descriptor is left to ask with"


@attrs.frozen
class Pace:
    """Seconds between the end of a probe and the next one, by the time that was waited so far.

    A tenth of it, from *shortest* to *longest*, and *patient* after *patience*: a model that loads
    for a second is seen within 50 ms, and one that loads for minutes costs nothing.
    """

    shortest: float = 0.005
    longest: float = 0.05
    patient: float = 0.25
    patience: float = 30.0

    def after(self, waited: float) -> float:
        """Return how long to pause after having waited *waited* seconds."""
        if waited >= self.patience:
            return self.patient
        return min(self.longest, max(self.shortest, waited / 10))


_DEFAULT_PACE = Pace()


async def wait_healthy(
    endpoint: Endpoint,
    path: str,
    *,
    name: str = "",
    pace: Pace = _DEFAULT_PACE,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Block until a GET of *path* at *endpoint* answers 200. Never raises on account of the server.

    One probe takes 1 s to connect and 5 s in all at most. There is no bound on the whole:
    that is the caller's, who knows the start's deadline.

    Args:
      path: with its query, if any; the endpoint's own path and query go before it.
      name: for the log, which gets one line for each phase (refused, answers 503, ...), not for each probe.
      tls: for an https endpoint; by default the system's authorities are trusted.
    Cancellation: the probe's connection is closed.
    """
    request = _request(endpoint, path)
    if endpoint.scheme == "https":
        tls = tls or _system_tls()
    started, phase = trio.current_time(), ""
    while (now_in := await _probe(endpoint, request, tls)) != "answers 200":
        waited = trio.current_time() - started
        if now_in != phase:
            phase = now_in
            logger.debug("%s: health check at %s: %s", name, endpoint.url, phase)
        await trio.sleep(pace.after(waited))
    logger.debug("%s: healthy after %.3f s", name, trio.current_time() - started)


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(endpoint: Endpoint, path: str) -> bytes:
    path, _, query = path.partition("?")
    target = endpoint.base_path + (path if path.startswith("/") else f"/{path}")
    if queries := "&".join(filter(None, (endpoint.query, query))):
        target += f"?{queries}"
    # What may stand in a request target as it is (RFC 3986), and existing escapes; no space, no line end.
    target = quote(target, safe="/?#[]@!$&'()*+,;=:%~")
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    if endpoint.port != (443 if endpoint.scheme == "https" else 80):
        host += f":{endpoint.port}"
    head = (
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Accept: */*",
        "User-Agent: swapcore",
        "Connection: close",
    )
    return ("\r\n".join(head) + "\r\n\r\n").encode("ascii", "replace")


async def what_is_wrong(endpoint: Endpoint, path: str) -> str | None:
    """Ask once whether a server that was healthy still is: ``None``, or what is wrong, in words.

    Any answer is a sign of life but those of 500 and above; of these, 503 only says that it is busy.
    Takes 5 s at most. Cancellation: the connection is closed.
    """
    tls = _system_tls() if endpoint.scheme == "https" else None
    answer = await _probe(endpoint, _request(endpoint, path), tls)
    if answer == _NO_DESCRIPTOR:
        return None  # which says nothing about the server
    status = answer.removeprefix("answers ")
    if status.isdigit() and (int(status) < 500 or int(status) == 503):
        return None
    return f"its health check: {answer}"


async def _probe(endpoint: Endpoint, request: bytes, tls: ssl.SSLContext | None) -> str:
    """Ask once and say, in words, what came of it."""
    addresses = addresses_of(endpoint)
    if not addresses:
        return await _ask(partial(trio.open_tcp_stream, endpoint.host, endpoint.port), endpoint, request, tls)
    for address in addresses:
        try:
            connecting = _begin_connect(address, endpoint.port)
        except OSError as error:
            return _in_words(error)
        if connecting is not None:
            answer = await _ask(partial(_finish_connect, connecting), endpoint, request, tls)
            if answer != _REFUSED:
                return answer
    return _REFUSED


def _begin_connect(address: str, port: int) -> socket.socket | None:
    """Start to connect; ``None`` when that is refused at once.

    By hand: this is done 20 times a second and is mostly refused, so nothing is set up before it.

    Raises:
      OSError: there is no socket to be had.
    """
    connecting = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connecting.setblocking(False)
    problem = connecting.connect_ex((address, port))
    if problem in (errno.EINPROGRESS, errno.EWOULDBLOCK):  # on the loopback the refusal may be there already
        problem = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        connecting.close()
        return None
    return connecting


async def _finish_connect(connecting: socket.socket) -> trio.SocketStream:
    try:
        await trio.lowlevel.wait_writable(connecting)
        if problem := connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(problem, os.strerror(problem))
        return trio.SocketStream(trio.socket.from_stdlib_socket(connecting))
    except BaseException:
        connecting.close()
        raise


async def _ask(
    connect: Callable[[], Awaitable[trio.SocketStream]],
    endpoint: Endpoint,
    request: bytes,
    tls: ssl.SSLContext | None,
) -> str:
    try:
        with trio.fail_after(_PROBE_BOUND):
            stream: trio.abc.Stream
            with trio.fail_after(_CONNECT_BOUND):
                stream = await connect()
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_hostname=endpoint.host)
            try:
                await stream.send_all(request)
                return f"answers {await _read_status(stream)}"
            finally:
                await trio.aclose_forcefully(stream)
    except trio.TooSlowError:
        return "does not answer in time"
    except ConnectionRefusedError:
        return _REFUSED
    except (OSError, UnicodeError, trio.BrokenResourceError) as error:
        # A server that is half up may do anything to a connection.
        return _in_words(error.__cause__ or error)


def _in_words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return _NO_DESCRIPTOR
    return f"breaks the connection ({type(error).__name__})"


def addresses_of(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the addresses of the endpoint's host, of which ``localhost`` has two; none for other names."""
    # By hand: the resolver needs a thread each time, and may know only one family of localhost.
    return ("127.0.0.1", "::1") if endpoint.host == "localhost" else _if_address(endpoint.host)


@cache
def _if_address(host: str) -> tuple[str, ...]:
    try:
        ip_address(host)
    except ValueError:
        return ()
    return (host,)


async def _read_status(stream: trio.abc.Stream) -> str:
    """Return the status code of the answer as text, or ``nonsense``; skips interim answers (1xx)."""
    data = b""
    while len(data) < _MAX_HEAD:
        line, end, rest = data.partition(b"\r\n")
        if end:
            version, _, status = line.partition(b" ")
            code = status[:3]
            if not version.startswith(b"HTTP/1.") or not code.isdigit() or status[3:4] not in (b"", b" "):
                return "nonsense"
            if not code.startswith(b"1"):
                return code.decode()
            _, end, rest = data.partition(b"\r\n\r\n")
            if end:
                data = rest
                continue
        more = await stream.receive_some(16384)
        if not more:
            return "nothing"
        data += bytes(more)
    return "nonsense"
