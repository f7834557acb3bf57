"""What the OpenAPI document says about each route, beyond what the route table knows. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

Schema: TypeAlias = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
STATE: Schema = {"type": "string", "enum": ["stopped", "starting", "ready", "stopping"]}
ANYTHING: Schema = {"type": "object"}


def items(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def record(**properties: Schema) -> Schema:
    """An object in which all of these are there, and perhaps others."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


@attrs.frozen
class Query:
    """A parameter in the query."""

    name: str
    description: str
    schema: Schema = TEXT


@attrs.frozen
class Described:
    """A route of this server's own."""

    summary: str
    tag: str
    schema: Schema | None = None
    """Of its answer in JSON; ``None``: it has another type."""
    media_type: str = "application/json"
    status: int = 200
    rest: str = ""
    """What the last part of its path is, where that is variable."""
    query: tuple[Query, ...] = ()
    body: Schema | None = None


_MODELS, _REQUESTS, _LOGS, _SERVER, _PAGES = "models", "requests", "logs", "server", "pages"
_PLAIN = "text/plain"
_MODEL = "Id or alias of a model; slashes in it may be encoded."
_DONE = record(msg={"const": "ok"})
_NO_HISTORY = (Query("no-history", "Whatever its value: only what is new.", TEXT),)

SCHEMAS: Mapping[str, Schema] = {
    "Error": record(
        src={"const": "swapcli"},
        error=record(message=TEXT, type=TEXT, param={"type": "null"}, code=TEXT),
    ),
    "Models": record(
        object={"const": "list"},
        data=items(
            record(
                id=TEXT,
                object={"const": "model"},
                created=INTEGER,
                owned_by=TEXT,
                meta=ANYTHING,
                status=record(value={"enum": ["loaded", "unloaded"]}),
            )
        ),
    ),
    "Running": record(
        running=items(
            record(model=TEXT, state=STATE, cmd=TEXT, proxy=TEXT, ttl=NUMBER, name=TEXT, description=TEXT)
        )
    ),
    "Fleet": record(
        models=items(
            record(
                id=TEXT,
                name=TEXT,
                state=STATE,
                seconds_in_state=MAYBE_NUMBER,
                leases=INTEGER,
                waiting=INTEGER,
                pinned=FLAG,
                memory_bytes=MAYBE_NUMBER,
                starts=INTEGER,
                requests=INTEGER,
                crashes=INTEGER,
                load_seconds=MAYBE_NUMBER,
                stop_seconds=MAYBE_NUMBER,
                request_seconds=MAYBE_NUMBER,
            )
        ),
        leases=INTEGER,
        waiting=INTEGER,
        swaps=items(
            record(
                seconds_ago=NUMBER,
                target=TEXT,
                evicted=items(TEXT),
                reason=TEXT,
                stop_seconds=MAYBE_NUMBER,
                load_seconds=MAYBE_NUMBER,
                error=MAYBE_TEXT,
            )
        ),
    ),
    "Reload": record(
        ok=FLAG,
        dry_run=FLAG,
        summary=TEXT,
        models=record(
            **dict.fromkeys(("added", "removed", "restarted", "changed", "unchanged"), items(TEXT))
        ),
        settings=items(TEXT),
        warnings=items(record(file=TEXT, line=INTEGER, column=INTEGER, path=TEXT, message=TEXT)),
    ),
    "Profiles": record(
        active=MAYBE_TEXT,
        profiles=items(record(id=TEXT, description=TEXT, pins={"additionalProperties": TEXT})),
    ),
    "Activity": record(
        data=items(
            record(
                id=INTEGER,
                timestamp=TEXT,
                model=TEXT,
                req_path=TEXT,
                resp_content_type=TEXT,
                resp_status_code=INTEGER,
                tokens=ANYTHING,
                duration_ms=INTEGER,
                has_capture=FLAG,
            )
        ),
        page=INTEGER,
        limit=INTEGER,
        total=INTEGER,
        total_pages=INTEGER,
    ),
    "ActivityTotals": record(
        total_requests=INTEGER,
        total_input_tokens=INTEGER,
        total_output_tokens=INTEGER,
        total_cache_tokens=INTEGER,
        prompt_histogram={"type": ["object", "null"]},
        gen_histogram={"type": ["object", "null"]},
    ),
}

DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("GET", "/v1/models"): Described("The models", _MODELS, reference("Models")),
    ("GET", "/models"): Described("The models", _MODELS, reference("Models")),
    ("GET", "/running"): Described("Models that are not stopped", _MODELS, reference("Running")),
    ("GET", "/api/fleet"): Described("Every model, and the newest swaps", _MODELS, reference("Fleet")),
    ("POST", "/api/models/load/{rest...}"): Described(
        "Load a model; answered when it is ready", _MODELS, _DONE, rest=_MODEL
    ),
    ("POST", "/api/models/unload/{rest...}"): Described(
        "Stop a model; answered when it is gone", _MODELS, media_type=_PLAIN, rest=_MODEL
    ),
    ("POST", "/api/models/unload"): Described(
        "Stop every model; answered when they are gone", _MODELS, _DONE
    ),
    ("GET", "/unload"): Described(
        "Stop every model; answered when they are gone", _MODELS, media_type=_PLAIN
    ),
    ("PUT", "/api/models/pin/{rest...}"): Described(
        "Keep a model, whenever it runs, from being stopped to make room or for being idle",
        _MODELS,
        _DONE,
        rest=_MODEL,
    ),
    ("DELETE", "/api/models/pin/{rest...}"): Described("Undo that", _MODELS, _DONE, rest=_MODEL),
    ("GET", "/api/models/log/{rest...}"): Described(
        "What a model's processes wrote last", _LOGS, media_type=_PLAIN, rest=_MODEL
    ),
    ("GET", "/api/profiles"): Described("The profiles", _SERVER, reference("Profiles")),
    ("PUT", "/api/profiles/active"): Described(
        "Select a profile, or none",
        _SERVER,
        record(active=MAYBE_TEXT),
        body=record(name=MAYBE_TEXT),
    ),
    ("POST", "/api/reload"): Described(
        "Read the configuration again",
        _SERVER,
        reference("Reload"),
        query=(Query("dry_run", "1: only say what would change.", TEXT),),
    ),
    ("GET", "/api/version"): Described(
        "The server's version", _SERVER, record(build_date=TEXT, commit=TEXT, version=TEXT)
    ),
    ("GET", "/api/metrics/activity"): Described(
        "Requests that have ended, page by page",
        _REQUESTS,
        reference("Activity"),
        query=(
            Query("page", "From 1.", INTEGER),
            Query("limit", "Of a page; at most 999.", INTEGER),
            Query("sort", "A key of the records."),
            Query("order", "`asc` or `desc`.", {"enum": ["asc", "desc"]}),
            Query("model", "Only those to this model."),
            Query("min_id", "Only from this one on.", INTEGER),
            Query("max_id", "Only up to this one.", INTEGER),
        ),
    ),
    ("GET", "/api/metrics/stats"): Described(
        "Sums over the requests that have ended",
        _REQUESTS,
        reference("ActivityTotals"),
        query=(Query("model", "Only those to this model."),),
    ),
    ("GET", "/api/captures/{id}"): Described("What was asked and answered in a request", _REQUESTS, ANYTHING),
    ("POST", "/api/inflight/{id}/cancel"): Described(
        "Call off a request that is under way", _REQUESTS, _DONE
    ),
    ("GET", "/api/events"): Described("All that happens", _SERVER, media_type="text/event-stream"),
    ("GET", "/logs"): Described("What the server printed lately", _LOGS, media_type=_PLAIN),
    ("GET", "/logs/stream"): Described(
        "What the server prints, as it does", _LOGS, media_type=_PLAIN, query=_NO_HISTORY
    ),
    ("GET", "/logs/stream/{rest...}"): Described(
        "A log, as it is written",
        _LOGS,
        media_type=_PLAIN,
        rest="`proxy`, `upstream`, or the id or alias of a model.",
        query=_NO_HISTORY,
    ),
    ("GET", "/metrics"): Described("Metrics for Prometheus", _SERVER, media_type=_PLAIN),
    ("GET", "/api/performance"): Described(
        "Measurements of the machine over the last hour",
        _SERVER,
        record(enabled=FLAG),
        query=(Query("after", "Only newer ones; RFC 3339.", {"type": "string", "format": "date-time"}),),
    ),
    ("GET", "/api/hardware"): Described("What the machine is", _SERVER, ANYTHING),
    ("GET", "/health"): Described("The server runs", _SERVER, media_type=_PLAIN),
    ("GET", "/wol-health"): Described("The server runs; not logged", _SERVER, media_type=_PLAIN),
    ("GET", "/openapi.json"): Described("This document", _SERVER, ANYTHING),
    ("GET", "/"): Described("To the web page", _PAGES, media_type="text/html", status=302),
    ("GET", "/ui"): Described("To the web page", _PAGES, media_type="text/html", status=307),
    ("GET", "/ui/{rest...}"): Described(
        "The web page, and its files", _PAGES, media_type="text/html", rest="A file, or a path of the page."
    ),
    ("GET", "/favicon.ico"): Described("The web page's icon", _PAGES, media_type="image/vnd.microsoft.icon"),
}
