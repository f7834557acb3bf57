"""Which records a client asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import attrs

from swapcli import rfc3339

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "id": "id",
        "time": "recorded_at",
        "model": "model",
        "req_path": "path",
        "resp_status_code": "status",
        "resp_content_type": "content_type",
        "cached": "cache_tokens",
        "prompt": "input_tokens",
        "generated": "output_tokens",
        "drafted": "draft_tokens",
        "prompt_speed": "prompt_per_second",
        "gen_speed": "tokens_per_second",
        "duration": "duration_ms",
    }
)
"""What clients may sort by, and the column of the database that it is."""

_MOST_IN_A_PAGE = 999
_MOST = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)


class BadQuery(ValueError):
    """A parameter makes no sense; the text says which."""


@attrs.frozen(kw_only=True)
class ActivityQuery:
    """Filters, which all have to hold, and the part of the records that is shown."""

    models: tuple[str, ...] = ()
    """Any of these; empty: any at all."""
    start: int | None = None
    """Unix seconds, inclusive like all bounds here."""
    end: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    limit: int = 25
    page: int = 1
    sort: str = "id"
    """A key of `COLUMNS`."""
    descending: bool = True


def parse_query(parameters: Callable[[str], Sequence[str]]) -> ActivityQuery:
    """Understand the parameters of a request for records.

    Args:
      parameters: gives the values of a parameter, percent-decoded.
    Raises:
      BadQuery: with the words that clients of llama-swap know.
    """

    def first(name: str) -> str:
        return next(iter(parameters(name)), "").strip()

    limit = _integer(first("limit"), 25, "invalid limit")
    if not 1 <= limit <= _MOST_IN_A_PAGE:
        raise BadQuery(f"limit must be between 1 and {_MOST_IN_A_PAGE}")
    page = _integer(first("page"), 1, "page must be >= 1")
    if page < 1:
        raise BadQuery("page must be >= 1")
    sort = first("sort") or "id"
    if sort not in COLUMNS:
        raise BadQuery("invalid sort column")
    order = first("order").lower() or "desc"
    if order not in ("asc", "desc"):
        raise BadQuery("order must be asc or desc")
    min_id, max_id = _id(first("min_id"), "min_id"), _id(first("max_id"), "max_id")
    if min_id is not None and max_id is not None and min_id > max_id:
        raise BadQuery("min_id must be <= max_id")
    start, end = _moment(first("start"), "start"), _moment(first("end"), "end")
    if start is not None and end is not None and start > end:
        raise BadQuery("start must be before end")
    return ActivityQuery(
        models=tuple(model for value in parameters("model") if (model := value.strip())),
        start=start,
        end=end,
        min_id=min_id,
        max_id=max_id,
        limit=limit,
        page=page,
        sort=sort,
        descending=order == "desc",
    )


def _integer(text: str, default: int, complaint: str) -> int:
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise BadQuery(complaint)
    return max(-_MOST, min(int(text), _MOST))


def _id(text: str, name: str) -> int | None:
    if not text:
        return None
    complaint = f"{name} must be >= 1"
    if (value := _integer(text, 0, complaint)) < 1:
        raise BadQuery(complaint)
    return value


def _moment(text: str, name: str) -> int | None:
    if not text:
        return None
    complaint = f"invalid '{name}' timestamp, use RFC3339 format"
    try:
        return int(rfc3339.parse(text).replace(microsecond=0).timestamp())
    except (ValueError, OverflowError):
        raise BadQuery(complaint) from None
