"""Carries one request to an upstream and its response back, as it comes.

Knows no web framework: a parsed request goes in, ASGI messages go to ``send``. The bytes are not looked at,
nothing is held back, and nothing is read ahead of the client: while ``send`` blocks, the upstream waits, too.
"""

from __future__ import annotations

from collections.abc import Container
from functools import partial

import attrs
import outcome
import trio
from hypercorn.typing import ASGISendCallable

from swapcore import Endpoint

from .client_streams import AnswerStart
from .http1_upstream import ResponseHead, UpstreamConnection, UpstreamGone, is_sent_beside
from .upstream_pool import UpstreamPool
from .upstream_request import UpstreamRequest, response_headers


class UpstreamDeclined(Exception):
    """The upstream answered with a status that the caller would rather have from somebody else."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")
        self.status = status


@attrs.frozen
class Ending:
    """What is still to be sent to the client, when the upstream has nothing left to do.

    It is kept back until the model is free again. A client that has seen the end of its answer may then ask
    at once, and the model's limits do not count it twice. And a slow reader of the end holds up nobody.
    """

    start: AnswerStart | None
    body: bytes
    trailers: list[tuple[bytes, bytes]] | None

    async def send_to(self, send: ASGISendCallable) -> None:
        """Complete the answer."""
        if self.start is not None:
            await send(self.start)
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
        if self.trailers is not None:
            await send({"type": "http.response.trailers", "headers": self.trailers, "more_trailers": False})


async def relay(
    request: UpstreamRequest,
    endpoint: Endpoint,
    pool: UpstreamPool,
    send: ASGISendCallable,
    *,
    with_trailers: bool = False,
    unwanted: Container[int] = (),
) -> Ending:
    """Send ``request`` to ``endpoint`` and pass the response on; returns what is to be sent at last.

    A kept connection that turns out to be closed is replaced once, unnoticed: the body is in memory, and
    nothing of a response had arrived.

    Args:
      with_trailers: the client can take trailers (``http.response.trailers``).
      unwanted: statuses that are not passed on.
    Raises:
      BadRequestHead: the request cannot be written; nothing was sent to anybody.
      UpstreamGone: no byte of a response arrived; nothing was sent to the client.
      UpstreamDeclined: the status is unwanted; nothing was sent to the client.
      UpstreamTooSlow: the response did not begin in time; nothing was sent to the client.
      UpstreamBroken, UpstreamStopped: before or after the response began; an answer that was begun must be
        left unfinished then.
    Cancellation: closes the connection to the upstream at once, which makes it stop working on the request.
    """
    carry = partial(_carry, request, endpoint, pool, send, with_trailers, unwanted)
    if not is_sent_beside(request.body):
        return await carry(None)
    async with trio.open_nursery() as nursery:
        ending = await outcome.acapture(carry, nursery)  # errors are the caller's: no group of a nursery's
        nursery.cancel_scope.cancel()
    return ending.unwrap()


async def _carry(
    request: UpstreamRequest,
    endpoint: Endpoint,
    pool: UpstreamPool,
    send: ASGISendCallable,
    with_trailers: bool,
    unwanted: Container[int],
    nursery: trio.Nursery | None,
) -> Ending:
    head = request.head_for(endpoint, pool.proxies.proxy_for(endpoint))
    fresh = False
    while True:
        connection = await pool.acquire(endpoint, request.timeouts, fresh=fresh)
        try:
            try:
                response = await connection.request(
                    head,
                    request.body,
                    head_only=request.has_no_response_body,
                    patience=request.timeouts.response_head,
                    nursery=nursery,
                )
            except UpstreamGone:
                if not connection.is_reused or request.is_spent:
                    raise
                fresh = True
            else:
                if response.status in unwanted:
                    raise UpstreamDeclined(response.status)
                return await _pass_on(response, connection, send, with_trailers)
        finally:
            pool.release(endpoint, connection, request.timeouts)


async def _pass_on(
    response: ResponseHead, connection: UpstreamConnection, send: ASGISendCallable, with_trailers: bool
) -> Ending:
    start: AnswerStart = {
        "type": "http.response.start",
        "status": response.status,
        "headers": response_headers(response.headers, response.status),
        "body_follows": connection.has_data,
    }
    if with_trailers := with_trailers and any(name.lower() == b"trailer" for name, _ in response.headers):
        start["trailers"] = True
    unsent: AnswerStart | None = start
    if not start["body_follows"]:  # do not let the client wait for the headers
        await send(start)
        unsent = None
    while True:
        data = await connection.next_body()
        if connection.is_complete:
            trailers = response_headers(connection.trailers) if with_trailers else None
            return Ending(unsent, data, trailers)
        if unsent is not None:
            await send(unsent)
            unsent = None
        await send({"type": "http.response.body", "body": data, "more_body": True})
