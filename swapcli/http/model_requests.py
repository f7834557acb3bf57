"""Requests that a model answers: find out which, and send them there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration

from .accept_encoding import readable_only
from .active_profile import ActiveProfile
from .body_filter import FilterFailed
from .bookings import Bookings
from .call import Call, Sending
from .caller_wishes import CallerWishes
from .destinations import Asking, Destinations, Target
from .error_answers import CANCELLED, JSON_UNSAID, NO_MODEL_NAMED, NO_ROUTER, ErrorAnswer, no_target
from .exchange import Exchange
from .fleet import Fleet
from .following import follow
from .loading_stream import LoadingStream, uncompressed
from .model_name import identify, identify_at_once, looks_like_json
from .model_rename import RenameFailed
from .profile_pins import pinned_name
from .routes import Route
from .selectors import Selectors
from .target_requests import TargetRequests

_ELSEWHERE = frozenset({409, 429, 502, 503, 504})
"""Failures of a target that need not be another one's."""
_NOT_ELSEWHERE = frozenset({"shutting_down", "deadline_exceeded"})
_UNWANTED = frozenset({429, 502, 503, 504})

_T = TypeVar("_T")


@attrs.frozen(eq=False)
class ModelRequests:
    """Serves the model routes according to one configuration; every request has its own task."""

    _config: Configuration
    _profile: ActiveProfile
    _bookings: Bookings
    _destinations: Destinations
    _selectors: Selectors
    _targets: TargetRequests
    _recorder: Recorder
    _wishes: CallerWishes
    _may_show_loading: bool
    """Some model is to tell how it loads."""

    @classmethod
    def of(
        cls,
        config: Configuration,
        destinations: Destinations,
        targets: TargetRequests,
        wishes: CallerWishes,
        *,
        fleet: Fleet,
        profile: ActiveProfile,
        bookings: Bookings,
        recorder: Recorder,
    ) -> ModelRequests:
        """Derive what is missing from ``config``, as the first three are. The others outlive it."""
        return cls(
            config,
            profile,
            bookings,
            destinations,
            Selectors.of(config, destinations, fleet, bookings),
            targets,
            recorder,
            wishes,
            any(model.send_loading_state for model in config.models.values()),
        )

    async def serve(self, exchange: Exchange, route: Route) -> ErrorAnswer | None:
        """Answer a request whose body was read; returns the error that is still to be sent, if there is one.

        An answer that broke off is left unfinished, for the server to abort.

        Cancellation, and the client's leaving: the place in the queue is given up, and the connection to the
        upstream closed.
        """
        wishes = self._wishes.read(exchange)
        if isinstance(wishes, ErrorAnswer):
            return wishes
        content_type, query = exchange.header(b"content-type"), exchange.scope["query_string"]
        words = (exchange.method, query, content_type, exchange.body)
        if (asked := identify_at_once(*words)) is None:
            asked = await _beside(lambda: identify(*words))
        profile = self._config.profiles.get(self._profile.name or "")
        name = asked.model if profile is None else pinned_name(profile.pins, asked.model)
        if not name:
            # A forgotten header, as with `curl -d`.
            unsaid = "application/json" not in content_type and looks_like_json(exchange.body)
            return JSON_UNSAID if unsaid else NO_MODEL_NAMED
        asking = Asking(exchange.method, query, content_type, exchange.body, asked.model)
        scope = trio.CancelScope()
        recording = follow(
            exchange,
            self._recorder,
            model=name,
            asked_path=route.pattern,
            path=route.upstream_path,
            scope=scope,
        )
        headers, loading = self._wishes.passed_on(exchange), None
        if recording.is_metered:
            headers = readable_only(headers)
        # Only this kind of answer has a place for it.
        if self._may_show_loading and asked.stream and route.pattern == "/v1/chat/completions":
            headers, loading = uncompressed(headers), LoadingStream(exchange)
        call = Call(
            exchange,
            route.upstream_path.encode(),
            headers,
            recording,
            wishes.priority,
            trio.current_time() + wishes.deadline,
            loading,
        )
        error: ErrorAnswer | None = None
        with scope:
            exchange.bound(scope)
            if loading is None:
                error = await self._answer_as(name, call, asking)
            else:
                async with loading.told_beside():
                    error = await self._answer_as(name, call, asking)
        if recording.request.was_cancelled and not call.is_answered:
            error = CANCELLED
        if error is not None and call.loading is not None:
            return await call.loading.fail(error)
        return error

    async def _answer_as(self, name: str, call: Call, asking: Asking) -> ErrorAnswer | None:
        selector = self._selectors.get(name)
        if selector is None:
            target = self._destinations.target(name)
            return NO_ROUTER if target is None else await self._send_to(target, call, asking)
        if call.recording is not None:
            call.recording.metadata["selector"] = name
        tried: list[Target] = []
        error = no_target(name)
        while (target := self._selectors.choose(name, tried)) is not None:
            tried.append(target)
            is_spillover = selector.strategy == "spillover"
            unwanted = _UNWANTED if is_spillover and len(tried) < len(selector.targets) else frozenset[int]()
            failure = await self._send_to(target, call, asking, unwanted)
            if failure is None:
                return None
            error = failure
            if not is_spillover or error.status not in _ELSEWHERE or error.code in _NOT_ELSEWHERE:
                break
        return error

    async def _send_to(
        self, target: Target, call: Call, asking: Asking, unwanted: frozenset[int] = frozenset()
    ) -> ErrorAnswer | None:
        # Before any checkpoint: who chooses next has to see that this one is taken.
        with self._bookings.booked(target.destination) as booking:
            try:
                if self._destinations.takes_long(asking, target):
                    query, body = await _beside(lambda: self._destinations.edited(asking, target))
                else:
                    query, body = self._destinations.edited(asking, target)
            except FilterFailed as failure:
                return ErrorAnswer(500, str(failure))
            except RenameFailed as failure:
                return ErrorAnswer(400, str(failure))
            return await self._targets.serve(target, call, Sending(query, body, unwanted), booking)


async def _beside(work: Callable[[], _T]) -> _T:
    """Do what takes long beside the event loop, which must not stand still. Cancellation: that goes on."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)
