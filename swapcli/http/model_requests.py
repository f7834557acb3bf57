"""Requests that a model answers: find the model, lease its process, relay."""

from __future__ import annotations

import logging
from math import inf

import attrs
import trio
from hypercorn.typing import ASGISendCallable, ASGISendEvent

from swapcli.config import Configuration
from swapcore import ModelId, Overloaded, SwapcoreError

from .error_answers import (
    NO_MODEL_NAMED,
    NO_ROUTER,
    TOO_MANY_REQUESTS,
    ErrorAnswer,
    bad_head,
    of_failure,
    stopped_meanwhile,
    upstream_died,
    upstream_too_slow,
)
from .exchange import Exchange
from .fleet import Fleet
from .http1_upstream import UpstreamBroken, UpstreamGone, UpstreamStopped, UpstreamTooSlow
from .model_name import Asked, identify
from .relay import relay
from .routes import Route
from .upstream_pool import UpstreamPool
from .upstream_request import BadRequestHead, UpstreamRequest, UpstreamTimeouts

log = logging.getLogger("swapcli.http")

_IN_A_THREAD = 1024 * 1024
"""Larger bodies are searched for the model's name beside the event loop, which must not stand still."""
_RECONNECT_FOR = 1.0
_RECONNECT_PAUSE = 0.02
"""A process that has just ended looks ready until its end is noticed; this is how long that may take."""


@attrs.define(eq=False)
class ModelRequests:
    """Serves the model routes. One for the whole server; every request has its own task."""

    _fleet: Fleet
    _pool: UpstreamPool
    _config: Configuration
    _timeouts: dict[str, UpstreamTimeouts] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._timeouts = {
            id: UpstreamTimeouts(
                connect=model.timeouts.connect or inf, response_head=model.timeouts.response_header or inf
            )
            for id, model in self._config.models.items()
        }

    async def serve(self, exchange: Exchange, route: Route) -> ErrorAnswer | None:
        """Answer a request whose body was read; returns the error that is still to be sent, if there is one.

        An answer that broke off is left unfinished, for the server to abort.

        Cancellation, and the client's leaving: the place in the queue is given up, and the connection to the
        upstream closed.
        """
        asked = await _identified(exchange)
        if not asked.model:
            return NO_MODEL_NAMED
        model = self._config.resolve(asked.model)
        if model is None:
            return NO_ROUTER
        request = UpstreamRequest(
            method=exchange.method,
            path=route.upstream_path.encode(),
            query=exchange.scope["query_string"],
            headers=exchange.headers,
            body=exchange.body,
            client_host=exchange.client_host,
            timeouts=self._timeouts[model],
            # A key that opens this door is not for the process behind it.
            strip_credentials=bool(self._config.api_keys),
        )
        error: ErrorAnswer | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_client_gone, exchange, nursery.cancel_scope)
            error = await self._lease_and_relay(ModelId(model), request, exchange, nursery)
            nursery.cancel_scope.cancel()
        return error

    async def _lease_and_relay(
        self, model: ModelId, request: UpstreamRequest, exchange: Exchange, nursery: trio.Nursery
    ) -> ErrorAnswer | None:
        give_up_at, was_replayed = inf, False
        while True:
            try:
                async with self._fleet.lease(model) as endpoint:
                    ending = await relay(
                        request,
                        endpoint,
                        self._pool,
                        self._watched_send(model, exchange),
                        nursery=nursery,
                        with_trailers=exchange.takes_trailers,
                    )
                await ending.send_to(exchange.send)
                return None
            except UpstreamGone as gone:
                # It crashed, or was gone before we came. The next lease starts it again, so try once more;
                # as long as its end is not noticed, that lease may lead to the same dead process.
                now = trio.current_time()
                if now >= give_up_at or (gone.was_sent and was_replayed):
                    return upstream_died(model, str(gone))
                give_up_at = min(give_up_at, now + _RECONNECT_FOR)
                was_replayed = was_replayed or gone.was_sent
            except (UpstreamBroken, UpstreamStopped, UpstreamTooSlow) as broken:
                if exchange.is_answered:
                    log.warning("%s: an answer was broken off: %s", model, broken)
                    return None
                return _of_broken(model, broken)
            except BadRequestHead as bad:
                return bad_head(str(bad))
            except SwapcoreError as error:
                return self._refusal(model, error)
            await trio.sleep(_RECONNECT_PAUSE)

    def _watched_send(self, model: ModelId, exchange: Exchange) -> ASGISendCallable:
        """The client's side; where a silent model is to be noticed, what passes is a sign of life."""
        if not self._config.models[model].liveness.silent:
            return exchange.send

        async def send(message: ASGISendEvent) -> None:
            self._fleet.heard(model)
            await exchange.send(message)

        return send

    def _refusal(self, model: ModelId, error: SwapcoreError) -> ErrorAnswer:
        if isinstance(error, Overloaded) and self._config.models[model].admission_limit is not None:
            return TOO_MANY_REQUESTS  # the words that clients of llama-swap know
        return of_failure(error)


def _of_broken(model: ModelId, broken: UpstreamBroken | UpstreamStopped | UpstreamTooSlow) -> ErrorAnswer:
    match broken:
        case UpstreamTooSlow():
            return upstream_too_slow(model, str(broken))
        case UpstreamStopped():
            return stopped_meanwhile(model, str(broken))
        case UpstreamBroken():
            return upstream_died(model, str(broken))


async def _identified(exchange: Exchange) -> Asked:
    arguments = (
        exchange.method,
        exchange.scope["query_string"],
        exchange.header(b"content-type"),
        exchange.body,
    )
    if len(exchange.body) > _IN_A_THREAD:
        return await trio.to_thread.run_sync(identify, *arguments)
    return identify(*arguments)


async def _cancel_when_client_gone(exchange: Exchange, scope: trio.CancelScope) -> None:
    await exchange.wait_client_gone()
    scope.cancel()
