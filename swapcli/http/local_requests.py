"""Requests that a model of this server answers: lease its process, relay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from math import inf

import attrs
import trio
from hypercorn.typing import ASGISendCallable, ASGISendEvent

from swapcli.config import Configuration, ModelConfig
from swapcli.metrics import FleetMetrics
from swapcore import Endpoint, ModelId, Overloaded, ProcState, SwapcoreError, Waiting

from .bookings import Booking
from .call import Call, Sending
from .error_answers import (
    ErrorAnswer,
    bad_head,
    declined,
    not_loaded,
    of_failure,
    too_many_requests,
    upstream_died,
    upstream_too_slow,
)
from .fleet import Fleet, state_of
from .http1_upstream import UpstreamBroken, UpstreamGone, UpstreamStopped, UpstreamTooSlow
from .relay import UpstreamDeclined, relay
from .upstream_pool import UpstreamPool
from .upstream_request import BadRequestHead, UpstreamRequest, UpstreamTimeouts, upstream_timeouts

log = logging.getLogger("swapcli.http")

_RECONNECT_FOR = 1.0
_RECONNECT_PAUSE = 0.02
"""A process that has just ended looks ready until its end is noticed; this is how long that may take."""


@attrs.frozen(eq=False)
class LocalRequests:
    """To the models of one configuration."""

    _fleet: Fleet
    _pool: UpstreamPool
    _models: Mapping[str, ModelConfig]
    _timeouts: Mapping[str, UpstreamTimeouts]
    _priorities: Mapping[str, int]
    _has_keys: bool
    _metrics: FleetMetrics

    @classmethod
    def of(
        cls, config: Configuration, fleet: Fleet, pool: UpstreamPool, metrics: FleetMetrics
    ) -> LocalRequests:
        priorities = config.routing.scheduler.settings.fifo.priority
        timeouts = {id: upstream_timeouts(model.timeouts) for id, model in config.models.items()}
        return cls(fleet, pool, config.models, timeouts, priorities, bool(config.api_keys), metrics)

    async def serve(
        self, call: Call, model: ModelId, sending: Sending, booking: Booking
    ) -> ErrorAnswer | None:
        """Lease and relay; returns the error that is still to be sent, if there is one.

        An answer that broke off is left unfinished, for the server to abort.

        Args:
          booking: released once the request is in line, where the supervisor counts it.
        Cancellation: the place in the queue is given up, and the connection to the process closed.
        """
        exchange, config = call.exchange, self._models[model]
        is_ignored = exchange.may_upgrade and config.compat.ignore_websockets
        if is_ignored:
            if call.recording is not None:
                call.recording.unlist()
            if state_of(self._fleet, model) is not ProcState.READY:
                return not_loaded(model, "ignored websocket requests cannot start it")
        request = UpstreamRequest(
            method=exchange.method,
            path=call.path,
            query=sending.query,
            headers=call.headers,
            body=exchange.websocket() if exchange.may_upgrade else sending.body,
            client_host=exchange.client_host,
            timeouts=self._timeouts[model],
            # A key that opens this door is not for the process behind it.
            strip_credentials=self._has_keys and not config.pass_credentials,
        )
        loading = call.loading if config.send_loading_state else None

        def waits(place: Waiting) -> None:
            if call.recording is not None:
                call.recording.waits(place)
            if loading is not None:
                loading.begin(model, place)

        give_up_at, was_replayed = inf, False
        while True:
            booking.release()  # no checkpoint until the supervisor counts it
            asked_at = trio.current_time()
            patience = max(0.0, call.give_up_at - asked_at)
            try:
                async with self._held(model, call, patience, waits, is_ignored=is_ignored) as endpoint:
                    if not is_ignored:
                        self._metrics.lease_granted(model, trio.current_time() - asked_at)
                    if call.recording is not None:
                        call.recording.granted(self._priorities.get(model, 0))
                    if loading is not None:
                        await loading.end(is_ready=True)
                    ending = await relay(
                        request,
                        endpoint,
                        self._pool,
                        self._watched_send(model, call.send),
                        with_trailers=exchange.takes_trailers,
                        unwanted=sending.unwanted,
                    )
                await ending.send_to(call.send)
                return None
            except UpstreamGone as gone:
                # It crashed, or was gone before we came. The next lease starts it again, so try once more;
                # as long as its end is not noticed, that lease may lead to the same dead process.
                now = trio.current_time()
                if now >= give_up_at or request.is_spent or (gone.was_sent and was_replayed):
                    return upstream_died(model, str(gone))
                give_up_at = min(give_up_at, now + _RECONNECT_FOR)
                was_replayed = was_replayed or gone.was_sent
            except (UpstreamBroken, UpstreamStopped, UpstreamTooSlow) as broken:
                if call.is_answered:
                    log.warning("%s: an answer was broken off: %s", model, broken)
                    return None
                return _of_broken(model, broken)
            except UpstreamDeclined as answer:
                return declined(model, answer.status)
            except BadRequestHead as bad:
                return bad_head(str(bad))
            except SwapcoreError as error:
                if loading is not None:
                    await loading.end(is_ready=False)
                return self._refusal(model, error)
            await trio.sleep(_RECONNECT_PAUSE)

    def _held(
        self,
        model: ModelId,
        call: Call,
        patience: float,
        waits: Callable[[Waiting], None],
        *,
        is_ignored: bool,
    ) -> AbstractAsyncContextManager[Endpoint, bool | None]:
        """The model's process for the length of a block; a websocket that is ignored holds nothing."""
        if is_ignored:
            return nullcontext(Endpoint(self._models[model].proxy))
        return self._fleet.lease(model, priority=call.priority, give_up_after=patience, on_wait=waits)

    def _watched_send(self, model: ModelId, send: ASGISendCallable) -> ASGISendCallable:
        """The client's side; where a silent model is to be noticed, what passes is a sign of life."""
        if not self._models[model].liveness.silent:
            return send

        async def watched_send(message: ASGISendEvent) -> None:
            self._fleet.heard(model)
            await send(message)

        return watched_send

    def _refusal(self, model: ModelId, error: SwapcoreError) -> ErrorAnswer:
        if isinstance(error, Overloaded) and self._models[model].admission_limit is not None:
            return too_many_requests(error)
        return of_failure(error)


def _of_broken(model: ModelId, broken: UpstreamBroken | UpstreamStopped | UpstreamTooSlow) -> ErrorAnswer:
    match broken:
        case UpstreamTooSlow():
            return upstream_too_slow(model, str(broken))
        case UpstreamStopped(why=why):
            return of_failure(why)
        case UpstreamBroken():
            return upstream_died(model, str(broken))
