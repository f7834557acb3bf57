"""Error answers: which status and code a failure gets, and how it is written for the client that asked."""

from __future__ import annotations

import html
from collections.abc import Mapping
from math import ceil

import attrs

from swapcore import (
    BackingOff,
    Closed,
    GaveUp,
    Hung,
    ModelError,
    Overloaded,
    Pinned,
    PlannerFailed,
    Refused,
    StartFailed,
    StartTimeout,
    SwapcoreError,
    UnknownModel,
    Unloaded,
)

from .json_text import to_json

SOURCE = "swapcli"

_TYPE_AND_CODE: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "bad_request"),
    401: ("authentication_error", "unauthorized"),
    403: ("authentication_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    409: ("invalid_request_error", "conflict"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    502: ("server_error", "bad_gateway"),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", "gateway_timeout"),
}
_ANTHROPIC_TYPE: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""https://docs.claude.com/en/api/errors"""

_OUTPUT_LINES = 5
_OUTPUT_CHARACTERS = 600


@attrs.frozen
class ErrorAnswer:
    """What went wrong, before it is written for a particular client."""

    status: int
    message: str
    code: str = ""
    """Empty: the usual one of the status."""
    retry_after: int | None = attrs.field(default=None, kw_only=True)
    """Seconds after which another try may do better."""
    may_retry: bool = attrs.field(default=True, kw_only=True)
    """False tells the client libraries that try again by themselves, after 409, 429 and 5xx, not to."""
    always_json: bool = attrs.field(default=False, kw_only=True)
    """Whatever the client accepts."""

    def render(self, accept: str, *, anthropic: bool = False) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the headers (without a length) and the body.

        Args:
          accept: the request's ``Accept``; substrings decide, as clients of llama-swap know it.
          anthropic: the request was for Anthropic's API, whose clients expect another JSON shape.
        """
        if "text/plain" in accept and not self.always_json:
            content_type, body = b"text/plain", f"{SOURCE}: {self.message}".encode()
        elif "text/html" in accept and not self.always_json:
            content_type, body = b"text/html", self._page()
        else:
            content_type, body = (
                b"application/json",
                to_json(self.as_anthropic if anthropic else self.as_openai),
            )
        headers = [(b"Content-Type", content_type)]
        if self.retry_after is not None:
            headers.append((b"Retry-After", b"%d" % self.retry_after))
        if not self.may_retry:
            headers.append((b"x-should-retry", b"false"))
        return headers, body

    @property
    def as_openai(self) -> dict[str, object]:
        """The JSON object in the shape of OpenAI's API."""
        kind, usual = _TYPE_AND_CODE.get(self.status) or (
            ("invalid_request_error", "invalid_request")
            if 400 <= self.status < 500
            else ("server_error", "internal_error")
        )
        error = {"message": self.message, "type": kind, "param": None, "code": self.code or usual}
        return {"src": SOURCE, "error": error}

    @property
    def as_anthropic(self) -> dict[str, object]:
        """The JSON object in the shape of Anthropic's API."""
        kind = _ANTHROPIC_TYPE.get(self.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}, "src": SOURCE}

    def _page(self) -> bytes:
        text = html.escape(self.message, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        return f"<html><body><h1>{SOURCE}</h1><p>{text}</p></body></html>".encode()


NO_MODEL_NAMED = ErrorAnswer(404, "no model id could be identified")
JSON_UNSAID = ErrorAnswer(
    404, f"{NO_MODEL_NAMED.message}: the body looks like JSON, but Content-Type is not application/json"
)
NO_ROUTER = ErrorAnswer(404, "no router for requested model")
NO_SUCH_LOG = ErrorAnswer(400, "invalid logger. Use 'proxy', 'upstream' or a model's ID")
BAD_AFTER = ErrorAnswer(400, "invalid 'after' timestamp, use RFC3339 format")
NO_HARDWARE = ErrorAnswer(503, "hardware detection unavailable")
MODEL_NOT_FOUND = ErrorAnswer(404, "model not found")
INTERNAL = ErrorAnswer(500, "internal error; the server's log says more")


def body_too_large(limit: int) -> ErrorAnswer:
    return ErrorAnswer(413, f"the request body is larger than {limit} bytes", "body_too_large")


def invalid_configuration(why: str) -> ErrorAnswer:
    """A reload was asked for, and the files make no configuration that could be served."""
    return ErrorAnswer(422, why, "invalid_configuration")


def bad_head(why: str) -> ErrorAnswer:
    """The request cannot be put into HTTP/1.1."""
    return ErrorAnswer(400, f"the request cannot be relayed: {why}")


CANCELLED = ErrorAnswer(503, "the request was cancelled", "cancelled", may_retry=False)
TOO_MANY_CONNECTIONS = ErrorAnswer(
    503, "too many connections, and none of them is idle", "too_many_connections", retry_after=1
)
UNAUTHORIZED = ErrorAnswer(401, "unauthorized: invalid or missing API key")
BODY_TOO_SLOW = ErrorAnswer(408, "the request body stopped arriving", "body_too_slow")


def not_loaded(model: str, why: str) -> ErrorAnswer:
    """What was asked for is not worth, or not fit, to load the model."""
    return ErrorAnswer(409, f"model {model} is not loaded; {why}", may_retry=False)


def upstream_died(model: str, why: str) -> ErrorAnswer:
    """The process ended, or hung up, before it answered; a new one was tried already."""
    return ErrorAnswer(502, f"{model}: {why}", "upstream_died")


def upstream_too_slow(model: str, why: str) -> ErrorAnswer:
    """The process did not begin to answer within the model's ``responseHeader`` timeout."""
    return ErrorAnswer(504, f"{model}: {why}", "upstream_timeout", may_retry=False)


def declined(name: str, status: int) -> ErrorAnswer:
    """It answered with an error, and no other target of the selector could do better."""
    return ErrorAnswer(status, f"{name} answered with status {status}", retry_after=1)


def peer_failed(why: str) -> ErrorAnswer:
    """The peer did not answer."""
    return ErrorAnswer(502, f"peer proxy error: {why}")


def no_target(selector: str) -> ErrorAnswer:
    """All targets of a selector are being stopped."""
    return ErrorAnswer(503, f'selector "{selector}" has no available spillover targets', retry_after=1)


def bad_wish(header: str, what: str) -> ErrorAnswer:
    """A header of ours says nothing that can be granted."""
    return ErrorAnswer(400, f"{header} must be {what}")


def too_many_requests(error: Overloaded) -> ErrorAnswer:
    """The same as a full line, in the words that clients of llama-swap know."""
    when = _whole_seconds(error.retry_after)
    return ErrorAnswer(429, "Too many requests", "concurrency_limit", retry_after=when, always_json=True)


def _whole_seconds(seconds: float | None) -> int:
    return max(1, ceil(seconds or 0))


def of_failure(error: SwapcoreError) -> ErrorAnswer:
    """Return the answer for what the supervisor raised."""
    match error:
        case StartTimeout():  # before its base class
            return ErrorAnswer(504, _with_output(error), "start_timeout", may_retry=False)
        case StartFailed():
            return ErrorAnswer(502, _with_output(error), "start_failed", may_retry=False)
        case Hung():
            return ErrorAnswer(502, str(error), "upstream_hung")
        case Unloaded():
            return ErrorAnswer(503, str(error), "unloaded", retry_after=1)
        case Overloaded(retry_after=seconds):
            when = _whole_seconds(seconds)
            return ErrorAnswer(429, str(error), "queue_full", retry_after=when, always_json=True)
        case Closed():
            return ErrorAnswer(503, str(error), "shutting_down", retry_after=5)
        case BackingOff(retry_after=seconds):
            return ErrorAnswer(
                503,
                _with_output(error),
                "model_backing_off",
                retry_after=None if seconds is None else ceil(seconds),
                may_retry=seconds is not None,
            )
        case GaveUp():
            return ErrorAnswer(504, str(error), "deadline_exceeded", may_retry=False)
        case Pinned():  # before its base class
            return ErrorAnswer(409, str(error), "all_pinned", may_retry=False)
        case Refused():
            return ErrorAnswer(409, str(error), "refused", may_retry=False)
        case PlannerFailed():
            return ErrorAnswer(500, str(error), "planner_failed", may_retry=False)
        case UnknownModel():
            return NO_ROUTER
        case _:
            return ErrorAnswer(500, str(error))


def _with_output(error: ModelError) -> str:
    """The message, and the last lines of what the process wrote: they usually say what is wrong."""
    lines = [
        line for note in getattr(error, "__notes__", ()) for line in note.splitlines()[1:] if line.strip()
    ]
    if not lines:
        return str(error)
    tail = "\n".join(lines[-_OUTPUT_LINES:])[-_OUTPUT_CHARACTERS:]
    # The reason of the packaged launcher ends with the last line already, for those who show one line only.
    reason, _, last = str(error).rpartition("; its last output: ")
    told = reason if reason and lines[-1].strip().startswith(last) else str(error)
    return f"{told}; its last output:\n{tail}"
