"""The endpoints that this server answers itself: a Quart application, reached by way of the route table."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attrs
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import InternalServerError
from werkzeug.http import parse_range_header

from swapcli import rfc3339
from swapcli.activity.query import BadQuery, parse_query
from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration
from swapcli.metrics.exposition import CONTENT_TYPE, Exposed
from swapcli.reload import Refused, Reloads, as_json
from swapcore import ModelId, SwapcoreError

from .active_profile import ActiveProfile
from .activity_answers import activity_page, activity_totals
from .error_answers import (
    BAD_AFTER,
    INTERNAL,
    MODEL_NOT_FOUND,
    NO_HARDWARE,
    ErrorAnswer,
    invalid_configuration,
    of_failure,
)
from .fleet import Fleet, state_of
from .fleet_history import FleetHistory
from .fleet_report import Moment, fleet_report
from .json_text import to_json, to_json_line
from .measurements import Measurements
from .model_listing import model_records, running_models
from .openapi import openapi_document
from .profiles_api import profiles_listing, wanted_profile
from .resident_memory import resident_memory
from .routes import ROUTES, Redirect, Route
from .ui_files import UiFiles

log = logging.getLogger("swapcli.http")

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_View = Callable[[], Awaitable[Response]]


@attrs.frozen
class Pages:
    """The views, by the names that the route table gives them."""

    fleet: Fleet
    config: Configuration
    profile: ActiveProfile
    reloads: Reloads
    history: FleetHistory
    recorder: Recorder
    measurements: Measurements
    ui_files: UiFiles
    # Not the threads that all share: files that do not answer would take them one by one.
    _file_threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(4), init=False)
    _process_threads: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(2), init=False)

    async def models(self) -> Response:
        records = model_records(
            self.config, partial(state_of, self.fleet), int(time.time()), self.profile.name
        )
        response = _json(records)
        if origin := request.headers.get("Origin"):  # web pages of any origin may show the list
            response.headers["Access-Control-Allow-Origin"] = origin
        return response

    async def running(self) -> Response:
        return _json(running_models(self.config, partial(state_of, self.fleet)))

    async def root(self) -> Response:
        return Response(
            '<a href="/ui">Found</a>.\n\n',
            302,
            {"Location": "/ui", "Content-Type": "text/html; charset=utf-8"},
        )

    async def ui_folder(self) -> Response:
        to = Redirect("/ui/" + (f"?{query}" if (query := request.query_string.decode("latin-1")) else ""))
        return Response(to.page, 307, {"Location": to.location, "Content-Type": "text/html; charset=utf-8"})

    async def ui(self) -> Response:
        return await self._ui_file(_rest())

    async def favicon(self) -> Response:
        return await self._ui_file("favicon.ico")

    async def _ui_file(self, name: str) -> Response:
        accepted = request.headers.get("Accept-Encoding", "")
        # A file system, or a process, that does not answer is no reason to wait when the server stops.
        read = partial(self.ui_files.read, name, accepted)
        file = await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._file_threads)
        if file is None:
            response = _text("404 page not found\n", 404)
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response
        # There is nothing that a file could have been recognized by, so If-Range never holds.
        wanted = None if "If-Range" in request.headers else parse_range_header(request.headers.get("Range"))
        if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
            return Response(file.body, 200, file.headers)
        size = len(file.body)
        if (span := wanted.range_for_length(size)) is None:
            return Response("", 416, {"Content-Range": f"bytes */{size}"})
        start, stop = span
        part = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        return Response(file.body[start:stop], 206, {**file.headers, **part})

    async def unload_by_get(self) -> Response:
        await self.fleet.unload()
        return _text("OK")

    async def unload_all(self) -> Response:
        await self.fleet.unload()
        return _json({"msg": "ok"})

    async def unload_one(self) -> Response:
        model = self.config.resolve(_rest())
        if model is None:
            return _error(MODEL_NOT_FOUND)
        await self.fleet.unload(ModelId(model))
        return _text("OK")

    async def load_one(self) -> Response:
        model = self.config.resolve(_rest())
        if model is None:
            return _error(MODEL_NOT_FOUND)
        await self.fleet.load(ModelId(model))
        return _json({"msg": "ok"})

    async def pin(self) -> Response:
        return self._set_pin(self.fleet.pin)

    async def unpin(self) -> Response:
        return self._set_pin(self.fleet.unpin)

    def _set_pin(self, change: Callable[[ModelId], None]) -> Response:
        model = self.config.resolve(_rest())
        if model is None:
            return _error(MODEL_NOT_FOUND)
        change(ModelId(model))
        return _json({"msg": "ok"})

    async def model_log(self) -> Response:
        model = self.config.resolve(_rest())
        if model is None:
            return _error(MODEL_NOT_FOUND)
        return _text(self.fleet.log(ModelId(model)).history().decode(errors="replace"))

    async def fleet_report(self) -> Response:
        specs = self.fleet.specs
        commands = {model: spec.command for model, spec in specs.items()}
        look = partial(resident_memory, commands, os.getpid())
        memory = await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._process_threads)
        changed_at = {model: at for model in specs if (at := self.history.changed_at(model)) is not None}
        models = self.fleet.statistics().models
        moment = Moment(trio.current_time(), models, changed_at, memory, self.history.swaps)
        return _json(fleet_report(self.config, moment))

    async def reload(self) -> Response:
        dry_run = request.args.get("dry_run", "").lower() not in ("", "0", "false")
        outcome = await self.reloads.reload("POST /api/reload", dry_run=dry_run)
        answer = as_json(outcome)
        if not isinstance(outcome, Refused):
            return _json(answer)
        refused = invalid_configuration(answer["summary"])
        return Response(
            to_json_line({**refused.as_openai, **answer}),
            refused.status,
            {"Content-Type": "application/json"},
        )

    async def profiles(self) -> Response:
        return _json(profiles_listing(self.config.profiles, self.profile.name))

    async def select_profile(self) -> Response:
        wanted = wanted_profile(await request.body, self.config.profiles)
        if isinstance(wanted, ErrorAnswer):
            return _error(wanted)
        self.profile.select(wanted)
        return _json({"active": wanted})

    async def activity(self) -> Response:
        try:
            query = parse_query(request.args.getlist)
        except BadQuery as bad:
            return _error(ErrorAnswer(400, str(bad)))
        journal = self.recorder.journal
        try:
            return _json(activity_page(await journal.page(query), query, journal.captures))
        except sqlite3.Error:
            log.exception("the record of requests cannot be read")
            return _error(ErrorAnswer(500, "failed to get activity"))

    async def activity_totals(self) -> Response:
        try:
            totals = await self.recorder.journal.totals(request.args.get("model", "").strip())
        except sqlite3.Error:
            log.exception("the record of requests cannot be read")
            return _error(ErrorAnswer(500, "failed to get activity stats"))
        return _json(activity_totals(totals))

    async def capture(self) -> Response:
        if not _INTEGER.fullmatch(_rest()):
            return _error(ErrorAnswer(400, "invalid capture ID"))
        id = int(_rest())
        capture = await self.recorder.journal.capture(id)
        if capture is None:
            return _error(ErrorAnswer(404, "capture not found"))
        body = await trio.to_thread.run_sync(lambda: to_json(capture.as_json(id)))  # it may be long
        return Response(body, 200, {"Content-Type": "application/json"})

    async def cancel_request(self) -> Response:
        if not self.recorder.inflight.cancel(_rest()):
            return _error(ErrorAnswer(404, "inflight request not found"))
        return _json({"msg": "ok"})

    async def version(self) -> Response:
        return _json({"build_date": "unknown", "commit": "unknown", "version": _version()})

    async def openapi(self) -> Response:
        keys = bool(self.config.api_keys)
        return _json(openapi_document(ROUTES, version=_version(), has_keys=keys))

    async def metrics(self) -> Response:
        measured = self.measurements
        monitor = measured.monitor
        if not monitor.is_enabled:
            return _text("# performance monitor not available\n", 503)
        exposed = Exposed(
            monitor.system[-1] if monitor.system else None,
            monitor.gpus[-1] if monitor.gpus else (),
            self.fleet.statistics(),
            measured.metrics,
            measured.lines_dropped(),
            self.recorder.journal.statistics(),
        )
        return Response(exposed.text(), 200, {"Content-Type": CONTENT_TYPE})

    async def performance(self) -> Response:
        if not self.measurements.monitor.is_enabled:
            return _json({"enabled": False}, 503)
        text, after = request.args.get("after", "").strip(), None
        if text:
            try:  # a plus sign that was not encoded arrives as a blank
                after = rfc3339.parse(text.replace(" ", "+"))
            except ValueError:
                return _error(BAD_AFTER)
        return _json(self.measurements.monitor.as_json(after))

    async def hardware(self) -> Response:
        document = await self.measurements.hardware.document()
        return _error(NO_HARDWARE) if document is None else _json(document)


def create_pages(
    fleet: Fleet,
    config: Configuration,
    profile: ActiveProfile,
    reloads: Reloads,
    history: FleetHistory,
    recorder: Recorder,
    measurements: Measurements,
    ui_files: UiFiles,
    routes: Iterable[Route] = ROUTES,
) -> QuartTrio:
    """Return the application for the routes with a page. The front has found the route and read the body."""
    app = QuartTrio("swapcli", static_folder=None)
    # Bounds on requests are the front's; an answer takes as long as it takes.
    app.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    pages = Pages(fleet, config, profile, reloads, history, recorder, measurements, ui_files)
    for route in routes:
        if route.page:
            view: _View = getattr(pages, route.page)
            app.add_url_rule(route.prefix, f"{route.method} {route.pattern}", view, methods=[route.method])
    app.register_error_handler(SwapcoreError, _of_swapcore)
    app.register_error_handler(InternalServerError, _of_mistake)
    return app


async def _of_swapcore(error: SwapcoreError) -> Response:
    return _error(of_failure(error))


async def _of_mistake(_: InternalServerError) -> Response:
    """A mistake of ours, which is in the log by now."""
    return _error(INTERNAL)


def _rest() -> str:
    """What the route's ``{rest...}`` stands for."""
    rest = request.scope["state"]["rest"]
    assert isinstance(rest, str)
    return rest


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status, {"Content-Type": "text/plain; charset=utf-8"})


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json_line(value), status, {"Content-Type": "application/json"})


def _error(answer: ErrorAnswer) -> Response:
    headers, body = answer.render(request.headers.get("Accept", ""))
    return Response(body, answer.status, {name.decode(): value.decode() for name, value in headers})


def _version() -> str:
    try:
        return version("swapcore")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
