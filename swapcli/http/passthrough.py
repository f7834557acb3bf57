"""``/upstream/<model>/…`` and ``/comfyui/…``: the path says which model, and all else is its server's."""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote

import attrs
import trio

from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration, PeerFilters
from swapcore import ModelId, ProcState

from .accept_encoding import readable_only
from .active_profile import ActiveProfile
from .body_filter import BodyFilter, Pieces
from .bookings import Bookings
from .call import Call, Sending
from .caller_wishes import CallerWishes
from .destinations import Destinations, Local, Remote, Target
from .error_answers import BODY_TOO_SLOW, CANCELLED, MODEL_NOT_FOUND, ErrorAnswer, not_loaded
from .exchange import Exchange
from .fleet import Fleet, state_of
from .following import follow, is_followed
from .model_name import AT_ONCE, Carrier, carrier_of, identify
from .model_rename import renamed
from .passthrough_path import split_path, with_slash
from .profile_pins import pinned_path
from .request_body import StreamedBody
from .routes import Found, Redirect
from .target_requests import TargetRequests

_COMFYUI = ModelId("comfyui_auto")
_NO_FILTER = BodyFilter.of(PeerFilters())


@attrs.frozen(eq=False)
class Passthrough:
    """Serves those paths according to one configuration. Nothing that is passed on is looked into."""

    _config: Configuration
    _fleet: Fleet
    _profile: ActiveProfile
    _bookings: Bookings
    _destinations: Destinations
    _targets: TargetRequests
    _recorder: Recorder
    _wishes: CallerWishes

    async def serve(self, exchange: Exchange, found: Found, body_limit: int) -> ErrorAnswer | Redirect | None:
        """Answer, or return what is still to be sent. The body is sent on as it arrives.

        Args:
          body_limit: bytes of a body that has to be in memory.
        Raises:
          BodyTooLarge, BodyTooSlow: of such a body.
        Cancellation: see `ModelRequests.serve`.
        """
        if found.route.passthrough == "comfyui":
            return await self._comfyui(exchange, found, body_limit)
        return await self._upstream(exchange, found, body_limit)

    async def _upstream(
        self, exchange: Exchange, found: Found, body_limit: int
    ) -> ErrorAnswer | Redirect | None:
        is_read = exchange.method in ("GET", "HEAD")
        if not found.route.is_open_ended:
            return Redirect("/ui/models", 302) if is_read else Redirect("/upstream/")
        profile = self._config.profiles.get(self._profile.name or "")
        raw = found.raw_rest if profile is None else pinned_path(profile.pins, found.raw_rest)
        match split_path(raw, self._destinations.target):
            case None:
                return MODEL_NOT_FOUND
            case split, _ if not split.left:
                location = with_slash("/upstream/", split.name, exchange.scope["query_string"])
                return Redirect(location, 301 if is_read else 308)
            case split, Target(destination=Local(model)) if self._ignores(model, split.left):
                return not_loaded(model, "path matches upstream.ignorePaths")
            case split, target:
                return await self._pass_on(exchange, split.left, target, body_limit, is_listed=True)

    def _ignores(self, model: ModelId, path: str) -> bool:
        is_ready = state_of(self._fleet, model) is ProcState.READY
        return not is_ready and self._config.upstream.ignores(unquote(path))

    async def _comfyui(
        self, exchange: Exchange, found: Found, body_limit: int
    ) -> ErrorAnswer | Redirect | None:
        if not found.route.is_open_ended:
            location = with_slash("/", "comfyui", exchange.scope["query_string"])
            return Redirect(location, 301 if exchange.method in ("GET", "HEAD") else 308)
        if _COMFYUI not in self._config.models:
            return ErrorAnswer(404, f"local model {_COMFYUI} not found")
        if found.raw_rest and state_of(self._fleet, _COMFYUI) is not ProcState.READY:
            return not_loaded(_COMFYUI, "only /comfyui/ can start it")
        target = Target(_COMFYUI, Local(_COMFYUI))
        return await self._pass_on(exchange, "/" + found.raw_rest, target, body_limit, is_listed=False)

    async def _pass_on(
        self, exchange: Exchange, path: str, target: Target, body_limit: int, *, is_listed: bool
    ) -> ErrorAnswer | None:
        wishes = self._wishes.read(exchange)
        if isinstance(wishes, ErrorAnswer):
            return wishes
        # What a model route does under its own path is listed and recorded here, too; nothing else is.
        followed = is_listed and is_followed(exchange.method, path)
        sending = await self._sending(exchange, target, body_limit, whole=followed)
        error: ErrorAnswer | None = None
        recording = None
        with trio.CancelScope() as scope:
            exchange.bound(scope)
            if followed:
                recording = follow(
                    exchange,
                    self._recorder,
                    model=target.name,
                    asked_path=path,
                    path=path,
                    scope=scope,
                )
            headers = self._wishes.passed_on(exchange)
            if recording is not None and recording.is_metered:
                headers = readable_only(headers)
            call = Call(
                exchange,
                path.encode("latin-1"),
                headers,
                recording,
                wishes.priority,
                trio.current_time() + wishes.deadline,
            )
            with self._bookings.booked(target.destination) as booking:
                error = await self._targets.serve(target, call, sending, booking)
        if recording is not None and recording.request.was_cancelled and not exchange.is_answered:
            return CANCELLED
        if isinstance(sending.body, StreamedBody) and sending.body.stalled and not exchange.is_answered:
            return BODY_TOO_SLOW
        return error

    async def _sending(self, exchange: Exchange, target: Target, body_limit: int, *, whole: bool) -> Sending:
        query = exchange.scope["query_string"]
        match target.destination:
            case Remote(model=model) if model != target.name:
                body = await exchange.read_body(body_limit)
                rename = partial(_renamed, exchange, body, target.name, model)
                if len(body) + len(query) > AT_ONCE:
                    return Sending(*await trio.to_thread.run_sync(rename, abandon_on_cancel=True))
                return Sending(*rename())
            case _ if exchange.has_long_body and not whole:
                return Sending(query, exchange.body_as_it_comes())
            case _:
                return Sending(query, (await exchange.read_body(body_limit),))


def _renamed(exchange: Exchange, body: bytes, name: str, model: str) -> tuple[bytes, Pieces]:
    """Where the request itself names the model as its path does, the peer gets its own name for it."""
    query, content_type = exchange.scope["query_string"], exchange.header(b"content-type")
    if identify(exchange.method, query, content_type, body).model != name:
        return query, (body,)
    carrier = carrier_of(exchange.method, content_type)
    if carrier is Carrier.JSON:
        return query, _NO_FILTER.apply(body, name, model)
    return renamed(carrier, model, query=query, content_type=content_type, body=body)
