"""Hypercorn's connections inside our own nursery, with guards around what Hypercorn 0.18 gets wrong.

`hypercorn.trio.serve` opens its own sockets and offers no place to guard a connection, so the accept loop
is ours, and the connection is a subclass of Hypercorn's, which speaks `client_protocols`. The guards:

- one broken connection never ends the server: an exception that leaves `TCPServer.run` would take down the
  nursery, and with it every model;
- a connection can be cut from outside, even while a send to a client that does not read is blocked;
- the application is wrapped by `guarded_app`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, cast

import attrs
import trio
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import parse_socket_addr, wrap_app

from .client_protocols import ClientProtocol
from .client_streams import with_close
from .error_answers import TOO_MANY_CONNECTIONS
from .guarded_app import FINAL_SEND_BOUND, guarded
from .server_limits import ServerLimits, hypercorn_config, server_log
from .tcp_keepalive import keep_alive

_DEFAULT_LIMITS = ServerLimits()
_TURN_AWAY_SECONDS = 1.0
_DISCARDED = 65536


@attrs.define(eq=False)
class Drain:
    """The two steps of a shutdown, for whoever decides when they come.

    Setting ``stop`` closes the listeners and idle connections; answers that are under way go on.
    Setting ``cut`` closes every connection at once. ``cut`` alone does both.
    """

    stop: trio.Event = attrs.field(factory=trio.Event)
    cut: trio.Event = attrs.field(factory=trio.Event)


async def serve_http(
    app: ASGIFramework,
    sockets: Sequence[socket.socket],
    *,
    drain: Drain,
    limits: ServerLimits = _DEFAULT_LIMITS,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on sockets that are bound and listening; they are closed when this ends.

    Reports ``started`` once connections are accepted. Returns when the last connection ended after ``drain``
    was set.

    Cancellation: every connection is cut at once.
    """
    config = hypercorn_config(limits)
    context = WorkerContext(None)
    connections: set[GuardedConnection] = set()
    state: LifespanState = {}
    wrapped = wrap_app(guarded(app), config.wsgi_max_body_size, "asgi")
    lifespan = Lifespan(wrapped, config, state)

    async def accept(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        if len(connections) >= limits.connections and not _make_room(connections):
            await _turn_away(stream)
            return
        connection = GuardedConnection(wrapped, config, context, state, cast("Any", stream))
        connection.tcp_probes = limits.tcp_probes
        connections.add(connection)
        try:
            await connection.run()
        finally:
            connections.discard(connection)

    async def cut_when_told(connection_scope: trio.CancelScope) -> None:
        try:
            await drain.cut.wait()
        finally:  # cancelled: a blocked send is shielded by Hypercorn and ends only with its socket
            drain.stop.set()
            for connection in tuple(connections):
                connection.close_now()
        connection_scope.deadline = trio.current_time() + limits.cut

    listeners = [_listener(sock, tls) for sock in sockets]
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as cutting:
            async with trio.open_nursery() as handlers:
                cutting.start_soon(cut_when_told, handlers.cancel_scope)
                async with trio.open_nursery() as accepting:
                    await accepting.start(
                        partial(trio.serve_listeners, accept, listeners, handler_nursery=handlers)
                    )
                    task_status.started()
                    await drain.stop.wait()
                    accepting.cancel_scope.cancel()
                await context.terminated.set()  # upon this, idle connections close themselves
            cutting.cancel_scope.cancel()
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()


def _make_room(connections: Iterable[GuardedConnection]) -> bool:
    """Close the connection that has been idle for longest; false when none is."""
    idle = [connection for connection in connections if connection.idle_since < inf]
    if not idle:
        return False
    min(idle, key=lambda connection: connection.idle_since).close_now()
    return True


async def _turn_away(stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
    """Say why, where that needs no handshake."""
    with trio.move_on_after(_TURN_AWAY_SECONDS), suppress(trio.BrokenResourceError):
        if isinstance(stream, trio.SocketStream):
            headers, body = TOO_MANY_CONNECTIONS.render("")
            lines = [b"%b: %b" % header for header in headers]
            lines += [b"Content-Length: %d" % len(body), b"Connection: close", b"", body]
            await stream.send_all(b"\r\n".join([b"HTTP/1.1 503 Service Unavailable", *lines]))
            await stream.send_eof()
            while await stream.receive_some(_DISCARDED):  # else its request would make this a reset
                pass
    await trio.aclose_forcefully(stream)


class GuardedConnection(TCPServer):
    """One client's connection, whose end, however it comes, is nobody else's business."""

    _is_closed = False
    tcp_probes = inf
    """Seconds between TCP's own probes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._idle_timer = IdleTimer(self, self.config.keep_alive_timeout)
        self.idle_task = cast("TrioSingleTask", self._idle_timer)

    async def run(self) -> None:
        try:
            await self._serve()
        except* Exception as group:
            server_log.warning("a connection ended with an error: %s", _innermost(group))
            server_log.debug("the traceback", exc_info=group)

    async def _serve(self) -> None:
        """What `TCPServer.run` does, with our protocol."""
        stream: trio.SSLStream[trio.SocketStream] | trio.SocketStream = self.stream
        alpn = None
        try:
            keep_alive(self._socket, self.tcp_probes)
            if isinstance(stream, trio.SSLStream):
                with trio.move_on_after(self.config.ssl_handshake_timeout) as patience:
                    await stream.do_handshake()
                if patience.cancelled_caught:
                    return
                alpn = stream.selected_alpn_protocol()
            sock = self._socket
            client = parse_socket_addr(sock.family, sock.getpeername())
            server = parse_socket_addr(sock.family, sock.getsockname())
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = ClientProtocol(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    with_close(self.state, self.close_now),
                    isinstance(stream, trio.SSLStream),
                    client,
                    server,
                    self.protocol_send,
                    alpn,
                )
                await self.protocol.initiate()
                await self._idle_timer.restart(task_group, None)
                await self._read_data()
        except (OSError, trio.BrokenResourceError):
            pass  # it has gone, or is no TLS
        finally:
            await self._close()

    @property
    def _socket(self) -> trio.socket.SocketType:
        stream: trio.abc.Stream = self.stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        assert isinstance(stream, trio.SocketStream)
        return stream.socket

    async def protocol_send(self, event: Event) -> None:
        """What Hypercorn does, less a trip through the scheduler for a lock that is free: the hot path."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        if not event.data:  # the end of a body whose length was announced
            return
        try:
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()
        try:
            # Half a write garbles the connection. With HTTP/2 that is the other requests' affair, too; with
            # HTTP/1 it ends with the answer, and nobody has to wait for a client that does not read.
            with trio.CancelScope(shield=isinstance(self.protocol.protocol, H2Protocol)):
                await self.stream.send_all(event.data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            is_lost = True
        except trio.Cancelled:
            self.close_now()
            raise
        else:
            is_lost = False
        finally:
            self.send_lock.release()
        if is_lost:
            await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        await super()._read_data()
        self._idle_timer.end()  # else the socket of a client that has gone would stay until the timer fires
        if isinstance(protocol := self.protocol.protocol, H2Protocol):
            for buffer in tuple(protocol.stream_buffers.values()):
                await buffer.close()  # nothing will empty it any more; whoever waits for that may stop

    @property
    def idle_since(self) -> float:
        """On trio's clock; infinity while it is busy, or being closed."""
        return inf if self._is_closed else self._idle_timer.idle_since

    async def close_idle(self) -> None:
        with trio.move_on_after(FINAL_SEND_BOUND, shield=True):
            await self._initiate_server_close()

    def close_now(self) -> None:
        """Close the socket under every task that uses it; they notice at once."""
        self._is_closed = True
        self._socket.close()


@attrs.define(eq=False)
class IdleTimer:
    """Closes a connection that has been idle for too long, or is idle when the server stops.

    Hypercorn starts a task for each idle period, which is each request. This is one task and a deadline.
    """

    _connection: GuardedConnection
    _timeout: float
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)
    idle_since: float = attrs.field(default=inf, init=False)
    """On trio's clock; infinity while it is busy."""

    async def restart(self, task_group: TaskGroup, _: object) -> None:
        """The connection is idle from now on."""
        self.idle_since = trio.current_time()
        if self._scope is None:
            self._scope = trio.CancelScope()
            task_group.spawn(self._watch, self._scope)
        self._scope.deadline = self.idle_since + self._timeout

    async def stop(self) -> None:
        """The connection is busy."""
        self.idle_since = inf
        if self._scope is not None:
            self._scope.deadline = inf

    def end(self) -> None:
        """There is nothing left to close."""
        self.idle_since = inf
        if self._scope is not None:
            self._scope.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._connection.context.terminated.wait()
        self._scope = None
        if self.idle_since < inf:  # a busy one closes by itself after its answer, once the server stops
            await self._connection.close_idle()


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _listener(
    sock: socket.socket, tls: ssl.SSLContext | None
) -> trio.SocketListener | trio.SSLListener[trio.SocketStream]:
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    return listener if tls is None else trio.SSLListener(listener, tls, https_compatible=True)
