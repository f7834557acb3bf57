"""The whole HTTP application: from a request to whoever answers it."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs
import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ConnectionState,
    HTTPScope,
    Scope,
)

from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration
from swapcli.metrics import FleetMetrics
from swapcli.reload import Reloads
from swapcore import ModelId

from .access_log import CLIENT_CLOSED_REQUEST, log_request
from .active_profile import ActiveProfile
from .bookings import Bookings
from .caller_wishes import CallerWishes
from .cors import preflight_headers
from .credentials import is_allowed
from .destinations import Destinations
from .error_answers import BODY_TOO_SLOW, INTERNAL, UNAUTHORIZED, ErrorAnswer, body_too_large
from .exchange import BodyTooLarge, BodyTooSlow, ClientGone, Exchange
from .fleet import Fleet
from .fleet_history import FleetHistory
from .late_pages import LatePages
from .live_answers import Live, LiveAnswers
from .measurements import Measurements
from .model_requests import ModelRequests
from .passthrough import Passthrough
from .routes import ROUTES, BadPath, Found, NotFound, Redirect, RouteTable, WrongMethod
from .server_limits import ServerLimits
from .target_requests import TargetRequests
from .ui_files import UiFiles
from .upstream_pool import UpstreamPool

log = logging.getLogger("swapcli.http")

_PLAIN = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff")]
_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#]*)")
_DEFAULT_LIMITS = ServerLimits()
_OWN_PAGE = UiFiles()
_LiveAnswer: TypeAlias = Callable[[Exchange, str], Awaitable[ErrorAnswer | None]]


def create_app(
    fleet: Fleet,
    config: Configuration,
    pool: UpstreamPool,
    *,
    limits: ServerLimits = _DEFAULT_LIMITS,
    reloads: Reloads | None = None,
    live: Live | None = None,
    history: FleetHistory | None = None,
    profile: ActiveProfile | None = None,
    recorder: Recorder | None = None,
    measurements: Measurements | None = None,
    ui_files: UiFiles = _OWN_PAGE,
) -> Front:
    """Return the ASGI application that serves ``config``'s models.

    Args:
      fleet: the supervisor of those models; its ``on_stopping`` must close the pool's connections.
      pool: connections to the models' processes. The caller closes it at the end.
      reloads: where requests for a reload go; without it there are none.
      recorder: follows the requests to models; without it, one that writes nothing to a disk.
      live: what logs and events are taken from, which the caller feeds; without it there are none.
      history: what happened to the models, which the caller feeds.
      profile: which one is active, and who wants to be told of changes.
      measurements: what the server measures, which the caller feeds; without it nothing is measured.
      ui_files: what ``/ui/`` shows.
    """
    reload_requests, past = reloads or Reloads(), history or FleetHistory()
    active, bookings = profile or ActiveProfile(), Bookings()
    followed = recorder or Recorder.unattended()
    measured = measurements or Measurements.of(config.performance)
    heard = live or Live.of_nothing(fleet, config)

    def make_site(config: Configuration) -> Site:
        def make_pages() -> ASGIFramework:
            from .pages import create_pages

            return create_pages(fleet, config, active, reload_requests, past, followed, measured, ui_files)

        destinations, wishes = Destinations.of(config), CallerWishes.of(config)
        targets = TargetRequests.of(config, fleet, pool, measured.metrics)
        return Site(
            ModelRequests.of(
                config,
                destinations,
                targets,
                wishes,
                fleet=fleet,
                profile=active,
                bookings=bookings,
                recorder=followed,
            ),
            Passthrough(config, fleet, active, bookings, destinations, targets, followed, wishes),
            LatePages(make_pages),
            LiveAnswers(heard, fleet, config),
            config.api_keys,
        )

    return Front(make_site, make_site(config), measured.metrics, limits)


@attrs.frozen(eq=False)
class Site:
    """All that follows from one configuration. A request ends with the site that it began with."""

    models: ModelRequests
    passthrough: Passthrough
    pages: LatePages
    live: LiveAnswers
    api_keys: tuple[str, ...]


@attrs.define(eq=False)
class Front:
    """Takes every request; the route table says what becomes of it."""

    _make_site: Callable[[Configuration], Site]
    """What outlives a configuration is shared by all that it makes."""
    _site: Site
    _metrics: FleetMetrics
    _limits: ServerLimits
    _routes: RouteTable = attrs.field(factory=lambda: RouteTable(ROUTES), init=False)

    @property
    def pages(self) -> LatePages:
        """Those of the site in use."""
        return self._site.pages

    async def prepare(self, config: Configuration) -> Callable[[], None]:
        """Make ready for another configuration.

        Returns what puts it in force: requests that come after that call are answered according to it, those
        that came before end as they began.
        """
        site = self._make_site(config)
        await site.pages.prepare()

        def use() -> None:
            self._site = site

        return use

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case "websocket":  # `client_streams` makes requests of them
                raise NotImplementedError

    async def _serve_http(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        started = trio.current_time()
        exchange = Exchange(scope, receive, send, self._limits.body_silence)
        try:
            await self._answer(exchange)
        except ClientGone:
            pass
        except Exception:
            log.exception("a request failed: %s %r", exchange.method, scope["path"])
            if not exchange.is_answered:
                await _send_error(exchange, INTERNAL)
        finally:
            exchange.end()
            seconds = trio.current_time() - started
            log_request(exchange, seconds)
            if exchange.model:
                began = exchange.first_byte_at
                self._metrics.request_ended(
                    ModelId(exchange.model),
                    exchange.status or CLIENT_CLOSED_REQUEST,
                    first_byte=None if began is None else began - started,
                    total=seconds,
                )

    async def _answer(self, exchange: Exchange) -> None:
        target = exchange.scope["raw_path"]
        if exchange.is_ambiguous or exchange.method == "CONNECT":
            await exchange.reply(400, [*_PLAIN, (b"Connection", b"close")], b"400 Bad Request")
            return
        if exchange.method == "OPTIONS":
            if target == b"*":  # about the server as a whole
                await exchange.reply(200, (), b"")
                return
            requested = exchange.header(b"access-control-request-headers")
            await exchange.reply(204, preflight_headers(requested), b"")
            return
        found = self._routes.look_up(exchange.method, _origin_form(exchange), exchange.scope["query_string"])
        match found:
            case Found():
                if (error := await self._answer_found(exchange, found)) is not None:
                    await _send_error(exchange, error)
            case NotFound():
                await exchange.reply(404, _PLAIN, b"404 page not found\n")
            case WrongMethod(allow):
                await exchange.reply(405, [*_PLAIN, (b"Allow", allow.encode())], b"Method Not Allowed\n")
            case BadPath():
                await exchange.reply(400, [*_PLAIN, (b"Connection", b"close")], b"400 Bad Request")
            case Redirect():
                await _redirect(exchange, found)

    async def _answer_found(self, exchange: Exchange, found: Found) -> ErrorAnswer | None:
        """Answer, or return the error that is to be sent."""
        route, site = found.route, self._site
        if route.needs_key and not is_allowed(
            site.api_keys, exchange.header(b"authorization"), exchange.header(b"x-api-key")
        ):
            return UNAUTHORIZED
        limits = self._limits
        try:
            if route.passthrough:
                match await site.passthrough.serve(exchange, found, limits.model_body_size):
                    case Redirect() as redirect:
                        await _redirect(exchange, redirect)
                        return None
                    case failure:
                        return failure
            await exchange.read_body(limits.small_body_size if route.is_ours else limits.model_body_size)
        except BodyTooLarge as error:
            return body_too_large(error.limit)
        except BodyTooSlow:
            return BODY_TOO_SLOW
        if route.text is not None:
            await exchange.reply(200, _PLAIN[:1], route.text)
            return None
        if route.live:
            answer: _LiveAnswer = getattr(site.live, route.live)
            return await answer(exchange, found.rest)
        if not route.page:
            return await site.models.serve(exchange, route)
        scope = exchange.scope.copy()
        # What the table found is final: the application matches its own routes on the very same pattern.
        scope["path"] = route.prefix
        scope["state"] = ConnectionState({**scope.get("state", {}), "rest": found.rest})
        await site.pages(scope, exchange.replay, exchange.send)
        return None


async def _live(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """The lifespan protocol: there is nothing to set up, and nothing to tear down."""
    while True:
        match (await receive())["type"]:
            case "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            case _:
                await send({"type": "lifespan.shutdown.complete"})
                return


def _origin_form(exchange: Exchange) -> bytes:
    """Return the path of the request's target, without the origin that a client of a proxy puts before it.

    The origin is what the request is for then, whatever ``Host`` says: RFC 9112, section 3.2.2.
    """
    target = exchange.scope["raw_path"]
    if target.startswith(b"/"):
        return target
    if (origin := _ORIGIN.match(target)) is not None:
        if origin[1]:
            exchange.set_host(origin[1])
        return target[origin.end() :] or b"/"
    return target


async def _redirect(exchange: Exchange, to: Redirect) -> None:
    headers, body = [(b"Location", to.location.encode())], b""
    if exchange.method in ("GET", "HEAD"):
        headers.insert(0, (b"Content-Type", b"text/html; charset=utf-8"))
        body = to.page
    await exchange.reply(to.status, headers, body)


async def _send_error(exchange: Exchange, error: ErrorAnswer) -> None:
    is_anthropic = exchange.scope["path"].startswith(("/v1/messages", "/v/messages"))
    headers, body = error.render(exchange.header(b"accept"), anthropic=is_anthropic)
    if error.status == 401:
        headers.append((b"WWW-Authenticate", b'Basic realm="swapcli"'))
    await exchange.reply(error.status, headers, body)
