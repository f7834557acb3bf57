"""Connections to upstreams: made, kept for reuse, and broken at once when a process is to stop."""

from __future__ import annotations

import logging
import ssl
from collections import defaultdict

import attrs
import trio

from swapcore import Closed, Endpoint, ModelError, ModelId, SwapcoreError

from .forward_proxy import ProxyEnvironment
from .http1_upstream import UpstreamConnection, UpstreamGone, UpstreamStopped
from .upstream_connect import open_connection
from .upstream_request import UpstreamTimeouts, authority

_USUAL_TIMEOUTS = UpstreamTimeouts()
_NO_PROXIES = ProxyEnvironment({}, ())

log = logging.getLogger("swapcli.http")


@attrs.frozen
class PoolStatistics:
    """Counts of connections, all endpoints together."""

    idle: int
    busy: int


@attrs.define(eq=False)
class _Connections:
    """Those of one endpoint."""

    idle: list[UpstreamConnection] = attrs.field(factory=list[UpstreamConnection])
    """Oldest first; the youngest is used first, so that the others may grow old."""
    busy: set[UpstreamConnection] = attrs.field(factory=set[UpstreamConnection])
    generation: int = 0
    """Counts the calls of `UpstreamPool.close`, for those who are connecting meanwhile."""
    closed_why: SwapcoreError = attrs.field(factory=Closed)
    """What the last of them said."""


@attrs.define(eq=False, repr=False, kw_only=True)
class UpstreamPool:
    """Owns every connection to upstreams. For use in one trio run; durations are seconds."""

    max_idle: int = 32
    """Kept for each endpoint. An idle connection holds a thread in some servers, so not without bound."""
    proxies: ProxyEnvironment = _NO_PROXIES
    """What leads to endpoints that are not on this machine."""
    _endpoints: defaultdict[Endpoint, _Connections] = attrs.field(
        factory=lambda: defaultdict[Endpoint, _Connections](_Connections), init=False
    )
    _tls: ssl.SSLContext | None = attrs.field(default=None, init=False)

    def __repr__(self) -> str:
        counts = self.statistics()
        return f"<UpstreamPool: {counts.idle} idle, {counts.busy} busy>"

    async def acquire(
        self, endpoint: Endpoint, timeouts: UpstreamTimeouts = _USUAL_TIMEOUTS, *, fresh: bool = False
    ) -> UpstreamConnection:
        """Return a connection for one request; give it back with `release`, always.

        Args:
          timeouts: of one attempt to connect, and for how long it may have been idle.
          fresh: not one that was used before.
        Raises:
          UpstreamGone: nobody answers at the endpoint.
          UpstreamStopped: the endpoint was closed meanwhile.
        Cancellation: nothing is left open.
        """
        connections = self._endpoints[endpoint]
        while connections.idle and not fresh:
            connection = connections.idle.pop()
            is_young = connection.idle_since >= trio.current_time() - timeouts.idle
            if is_young and connection.looks_alive:
                connections.busy.add(connection)
                return connection
            connection.close()
        generation = connections.generation
        connection = await self._connect(endpoint, timeouts)
        if connections.generation != generation:
            connection.close()
            raise UpstreamStopped(connections.closed_why)
        connections.busy.add(connection)
        return connection

    def release(
        self,
        endpoint: Endpoint,
        connection: UpstreamConnection,
        timeouts: UpstreamTimeouts = _USUAL_TIMEOUTS,
    ) -> None:
        """Take a connection back, whatever became of it: to be used again, or closed.

        Those of the endpoint that have been idle for longer than ``timeouts`` says are closed, too.
        """
        connections = self._endpoints[endpoint]
        connections.busy.discard(connection)
        if not connection.finish():
            connection.close()
            return
        connection.idle_since = trio.current_time()
        connections.idle.append(connection)
        oldest = connection.idle_since - timeouts.idle
        while connections.idle[0].idle_since < oldest or len(connections.idle) > self.max_idle:
            connections.idle.pop(0).close()

    def close(self, model: ModelId, endpoint: Endpoint, why: ModelError) -> None:
        """Close every connection to ``model``'s endpoint now. Who uses one gets `UpstreamStopped`.

        The supervisor's ``on_stopping``: called, and never blocking, just before a process is asked to stop,
        because many servers wait for their clients before they end. The endpoint may be used again later.
        """
        if endpoint in self._endpoints:
            log.debug("closing the connections to %s at %s", model, endpoint.url)
            self._close(endpoint, why)

    def close_all(self) -> None:
        """Close every connection there is."""
        for endpoint in tuple(self._endpoints):
            self._close(endpoint, Closed())

    def _close(self, endpoint: Endpoint, why: SwapcoreError) -> None:
        connections = self._endpoints[endpoint]
        connections.generation += 1
        connections.closed_why = why
        for connection in (*connections.idle, *connections.busy):
            connection.close(why)
        connections.idle.clear()

    def statistics(self) -> PoolStatistics:
        """Return how many connections there are."""
        every = self._endpoints.values()
        return PoolStatistics(sum(len(each.idle) for each in every), sum(len(each.busy) for each in every))

    async def _connect(self, endpoint: Endpoint, timeouts: UpstreamTimeouts) -> UpstreamConnection:
        why: object = f"no connection within {timeouts.connect:g} s"
        tls = None
        if endpoint.scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        with trio.move_on_after(timeouts.connect):
            try:
                return UpstreamConnection(
                    *await open_connection(endpoint, self.proxies.proxy_for(endpoint), tls, timeouts)
                )
            except (OSError, trio.BrokenResourceError) as error:
                why = _root_of(error)
            except trio.TooSlowError:
                why = f"no TLS handshake within {timeouts.tls_handshake:g} s"
        # Not the whole URL: clients are told, and there may be a password or a key in it.
        where = f"{endpoint.scheme}://{authority(endpoint).decode()}"
        raise UpstreamGone(f"cannot connect to {where}: {why}", was_sent=False)


def _root_of(error: BaseException) -> BaseException:
    """What trio wrapped: the refused connection, the certificate that is not trusted."""
    while (
        inner := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    ) is not None:
        error = inner
    return error
