"""What ``/api/profiles`` says, and what it is told. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swapcli.config import Profile

from .error_answers import ErrorAnswer
from .go_quoted import go_quoted


def profiles_listing(profiles: Mapping[str, Profile], active: str | None) -> dict[str, Any]:
    """Return the body of ``GET /api/profiles``."""
    return {
        "active": active if active in profiles else None,
        "profiles": [
            {"id": id, "description": profiles[id].description, "pins": _sorted(profiles[id].pins)}
            for id in sorted(profiles, key=_in_bytes)
        ],
    }


def wanted_profile(body: bytes, profiles: Mapping[str, Profile]) -> str | ErrorAnswer | None:
    """Read the body of ``PUT /api/profiles/active``: the name, None for none, or what is wrong with it."""
    try:
        text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
        asked, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ErrorAnswer(400, "invalid profile request")
    match asked:
        case {"name": str(name)} if name in profiles:
            return name
        case {"name": None | ""}:
            return None
        case {"name": str(name)}:
            return ErrorAnswer(404, f"profile {go_quoted(name)} not found")
        case {"name": _}:
            return ErrorAnswer(400, "profile name must be a string or null")
        case dict() | None:
            return ErrorAnswer(400, "profile name is required")
        case _:
            return ErrorAnswer(400, "invalid profile request")


def _sorted(pins: Mapping[str, str]) -> dict[str, str]:
    return {name: pins[name] for name in sorted(pins, key=_in_bytes)}


def _in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
