"""The route table, and how a request finds its route by the raw, percent-encoded path."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import quote, unquote

import attrs


@attrs.frozen
class Route:
    """One method and path.

    ``{rest...}`` at the end of a pattern stands for the rest of the path, which may be empty; ``{id}`` for
    one segment, which may not.
    """

    method: str
    pattern: str
    page: str = ""
    """Name of the view in `pages.Pages` that answers; empty: the model that the request names."""
    live: str = ""
    """Name of the method of `live_answers.LiveAnswers` that answers."""
    passthrough: str = ""
    """``upstream`` or ``comfyui``: the path names the model, and everything is passed on as it is."""
    text: bytes | None = None
    """The whole answer, for what must work before, and without, anything else."""
    needs_key: bool = True
    """Where API keys are configured, one is needed."""

    @property
    def is_ours(self) -> bool:
        """This server answers it itself."""
        return bool(self.page or self.live or self.passthrough) or self.text is not None

    @property
    def prefix(self) -> str:
        """The pattern without ``{rest...}``."""
        return self.pattern.removesuffix(_REST)

    @property
    def is_open_ended(self) -> bool:
        return self.pattern.endswith("/" + _REST)

    @property
    def has_id(self) -> bool:
        return _ID in self.segments

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.prefix.split("/")[1:])

    @property
    def upstream_path(self) -> str:
        """The path that a model's process sees: without our own prefixes ``/v`` and ``/audioapi``."""
        if self.pattern.startswith("/v/"):
            return self.pattern.removeprefix("/v")
        return self.pattern.removeprefix("/audioapi")


_REST = "{rest...}"
_ID = "{id}"
ANY = "any"
"""Every method but OPTIONS."""

_POST_TO_MODEL = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/reranking",
    "/rerank",
    "/v1/rerank",
    "/v1/reranking",
    "/infill",
    "/completion",
    "/v1/audio/speech",
    "/v1/audio/voices",
    "/v1/audio/transcriptions",
    "/v1/images/generations",
    "/v1/images/edits",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/audioapi/v1/tasks/run",
    "/v/chat/completions",
    "/v/responses",
    "/v/completions",
    "/v/messages",
    "/v/messages/count_tokens",
    "/v/embeddings",
    "/v/rerank",
    "/v/reranking",
)
_GET_FROM_MODEL = ("/v1/audio/voices", "/sdapi/v1/loras", "/props")

ROUTES: tuple[Route, ...] = (
    *(Route("POST", path) for path in _POST_TO_MODEL),
    *(Route("GET", path) for path in _GET_FROM_MODEL),
    Route("GET", "/v1/models", "models"),
    Route("GET", "/models", "models"),
    Route("GET", "/running", "running"),
    Route("GET", "/unload", "unload_by_get"),
    Route(ANY, "/upstream", passthrough="upstream", needs_key=False),
    Route(ANY, "/upstream/{rest...}", passthrough="upstream"),
    Route(ANY, "/comfyui", passthrough="comfyui"),
    Route(ANY, "/comfyui/{rest...}", passthrough="comfyui"),
    Route("GET", "/health", text=b"OK", needs_key=False),
    Route("GET", "/wol-health", text=b"OK", needs_key=False),
    Route("GET", "/", "root", needs_key=False),
    Route("GET", "/ui", "ui_folder", needs_key=False),
    Route("GET", "/ui/{rest...}", "ui"),
    Route("GET", "/favicon.ico", "favicon", needs_key=False),
    Route("POST", "/api/models/unload", "unload_all"),
    Route("POST", "/api/models/unload/{rest...}", "unload_one"),
    Route("POST", "/api/models/load/{rest...}", "load_one"),
    Route("GET", "/api/models/log/{rest...}", "model_log"),
    Route("PUT", "/api/models/pin/{rest...}", "pin"),
    Route("DELETE", "/api/models/pin/{rest...}", "unpin"),
    Route("GET", "/api/fleet", "fleet_report"),
    Route("POST", "/api/reload", "reload"),
    Route("GET", "/api/profiles", "profiles"),
    Route("PUT", "/api/profiles/active", "select_profile"),
    Route("GET", "/api/version", "version"),
    Route("GET", "/openapi.json", "openapi"),
    Route("POST", "/api/inflight/{id}/cancel", "cancel_request"),
    Route("GET", "/api/metrics/activity", "activity"),
    Route("GET", "/api/metrics/stats", "activity_totals"),
    Route("GET", "/api/captures/{id}", "capture"),
    Route("GET", "/metrics", "metrics"),
    Route("GET", "/api/performance", "performance"),
    Route("GET", "/api/hardware", "hardware"),
    Route("GET", "/api/events", live="events"),
    Route("GET", "/logs", live="logs"),
    Route("GET", "/logs/stream", live="log_stream"),
    Route("GET", "/logs/stream/{rest...}", live="log_stream"),
)
"""Every route there is. A route that is not documented fails a test."""


@attrs.frozen
class Found:
    route: Route
    rest: str = ""
    """What ``{rest...}``, or ``{id}``, stands for, percent-decoded."""
    raw_rest: str = attrs.field(default="", eq=False)
    """The same, as the client wrote it."""


@attrs.frozen
class NotFound: ...


@attrs.frozen
class BadPath:
    """It begins with no slash, or a ``%`` in it is not followed by two hexadecimal digits."""


@attrs.frozen
class WrongMethod:
    allow: str
    """Value of the ``Allow`` header."""


@attrs.frozen
class Redirect:
    location: str
    status: int = 307

    @property
    def page(self) -> bytes:
        """The body for a person whose browser does not follow."""
        phrase = HTTPStatus(self.status).phrase
        return f'<a href="{html.escape(self.location)}">{phrase}</a>.\n\n'.encode()


_Methods: TypeAlias = dict[tuple[str, ...], dict[str, Route]]
Lookup: TypeAlias = Found | NotFound | BadPath | WrongMethod | Redirect


@attrs.define(eq=False)
class RouteTable:
    """Finds routes by exact segments of the encoded path: an encoded slash never separates segments."""

    routes: tuple[Route, ...] = attrs.field(converter=tuple[Route, ...])
    _exact: _Methods = attrs.field(factory=dict[tuple[str, ...], dict[str, Route]], init=False)
    _with_id: _Methods = attrs.field(factory=dict[tuple[str, ...], dict[str, Route]], init=False)
    _open_ended: _Methods = attrs.field(factory=dict[tuple[str, ...], dict[str, Route]], init=False)
    _quick: dict[tuple[str, bytes], Found] = attrs.field(factory=dict[tuple[str, bytes], Found], init=False)

    def __attrs_post_init__(self) -> None:
        for route in self.routes:
            methods = {"GET": ("GET", "HEAD")}.get(route.method, (route.method,))
            table = (
                self._open_ended if route.is_open_ended else self._with_id if route.has_id else self._exact
            )
            key = route.segments[:-1] if route.is_open_ended else route.segments
            for method in methods:
                table.setdefault(key, {})[method] = route
                if table is self._exact:
                    self._quick[method, route.pattern.encode()] = Found(route)

    def look_up(self, method: str, raw_path: bytes, query: bytes) -> Lookup:
        """Return what serves ``method`` on the path as it came over the wire."""
        if (found := self._quick.get((method, raw_path))) is not None:
            return found
        path = raw_path.decode("latin-1")
        if not path.startswith("/") or _BAD_ESCAPE.search(path):
            return BadPath()
        if (clean := _cleaned(path)) != path:
            # The path is encoded already; encoding it again would ask for another resource.
            location = quote(clean, safe=_PATH_CHARACTERS)
            return Redirect(location + ("?" + query.decode("latin-1") if query else ""))
        encoded = path.split("/")[1:]
        segments = tuple(unquote(segment) for segment in encoded)
        if (methods := self._exact.get(segments)) is not None:
            return _of_method(methods, method, "")
        for pattern, methods in self._with_id.items():
            if (id := _id_in(segments, pattern)) is not None:
                return _of_method(methods, method, quote(id, safe=""))
        for length in range(len(segments) - 1, 0, -1):
            if (methods := self._open_ended.get(segments[:length])) is not None:
                return _of_method(methods, method, "/".join(encoded[length:]))
        return NotFound()


_PATH_CHARACTERS = "/%:@!$&'()*+,;=~-._"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TO_CLEAN = re.compile(r"//|/\.\.?(/|$)")


def _of_method(methods: Mapping[str, Route], method: str, raw_rest: str) -> Found | WrongMethod:
    if (route := methods.get(method) or methods.get(ANY)) is not None:
        return Found(route, unquote(raw_rest), raw_rest)
    return WrongMethod(", ".join(sorted(methods)))


def _id_in(segments: Sequence[str], pattern: Sequence[str]) -> str | None:
    """Return what ``{id}`` stands for; ``None`` when the path has another form."""
    if len(segments) != len(pattern):
        return None
    at = pattern.index(_ID)
    return segments[at] if (*segments[:at], _ID, *segments[at + 1 :]) == pattern else None


def _cleaned(path: str) -> str:
    """Return the path without empty, ``.`` and ``..`` segments; encoded dots and slashes are left alone."""
    if not _TO_CLEAN.search(path):
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    is_folder = segments[-1] in ("", ".", "..") and kept
    return "/" + "/".join(kept) + ("/" if is_folder else "")
