"""What is told to the clients of ``/api/events``: each message, and its bytes on the wire. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from .json_text import to_json

LogSource: TypeAlias = Literal["proxy", "upstream"]


@attrs.frozen
class LogData:
    """Something was logged: by this server (``proxy``), or by a model's process (``upstream``)."""

    source: LogSource
    text: str


@attrs.frozen
class ModelStatus:
    """The state of every model; sent whole whenever one of them changes."""

    models: Sequence[Mapping[str, Any]]


@attrs.frozen
class UiConfig:
    """What a web page has to know of the configuration."""

    session_headers: Sequence[str]


@attrs.frozen
class ProfileChanged:
    """Another profile is active; ``None``: none is."""

    active: str | None


@attrs.frozen
class InflightSnapshot:
    """All requests under way, by time of arrival."""

    requests: Sequence[Mapping[str, Any]]


@attrs.frozen
class InflightUpsert:
    """A request arrived, or something about it changed."""

    request: Mapping[str, Any]


@attrs.frozen
class InflightRemove:
    """A request has ended."""

    id: str


@attrs.frozen
class ActivityRecorded:
    """The record of a request, and its capture where there is one, can be fetched."""

    id: int


@attrs.frozen
class ConfigReload:
    """A reload has ended, well or not; ours, pages written for llama-swap pass it over."""

    outcome: Mapping[str, Any]
    """As ``POST /api/reload`` answers it."""


Message: TypeAlias = (
    LogData
    | ModelStatus
    | UiConfig
    | ProfileChanged
    | InflightSnapshot
    | InflightUpsert
    | InflightRemove
    | ActivityRecorded
    | ConfigReload
)


def frame(message: Message) -> bytes:
    """Return *message* as one server-sent event. Its data is JSON in a string of JSON, as pages expect it."""
    kind, content = _content(message)
    data = to_json({"type": kind, "data": to_json(content).decode()})
    return b"event:message\ndata:" + data + b"\n\n"


def _content(message: Message) -> tuple[str, Any]:
    match message:
        case LogData(source, text):
            return "logData", {"data": text, "source": source}
        case ModelStatus(models):
            return "modelStatus", models
        case UiConfig(session_headers):
            return "uiConfig", {"activity": {"session_id": session_headers}}
        case ProfileChanged(active):
            return "profileChanged", {"active": active}
        case InflightSnapshot(requests):
            # Without requests the key is not there at all; pages read it so.
            return "inflight", {"operation": "snapshot", **({"requests": requests} if requests else {})}
        case InflightUpsert(request):
            return "inflight", {"operation": "upsert", "request": request}
        case InflightRemove(id):
            return "inflight", {"operation": "remove", "id": id}
        case ActivityRecorded(id):
            return "activity", {"id": id}
        case ConfigReload(outcome):
            return "configReload", outcome
