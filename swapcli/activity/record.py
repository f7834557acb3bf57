"""The record of one request that has ended. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from .tokens import Tokens


class ActivityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a request was, what became of it, and what it used."""

    id: int
    recorded_at: int
    """Unix seconds."""
    model: str
    path: str
    """As the model's process saw it."""
    content_type: str
    status: int
    tokens: Tokens
    duration_ms: int
    error: str = ""
    metadata: Mapping[str, str] = {}

    def as_json(self, *, has_capture: bool) -> dict[str, Any]:
        """Return what clients get; the keys, and their order, are llama-swap's."""
        tokens = self.tokens
        shown: dict[str, Any] = {
            "id": self.id,
            "timestamp": local_time(self.recorded_at),
            "model": self.model,
            "req_path": self.path,
            "resp_content_type": self.content_type,
            "resp_status_code": self.status,
            "tokens": {
                "cache_tokens": tokens.cache,
                "draft_tokens": tokens.draft,
                "draft_acc_tokens": tokens.draft_accepted,
                "input_tokens": tokens.input,
                "output_tokens": tokens.output,
                "prompt_per_second": plain_number(tokens.prompt_per_second),
                "tokens_per_second": plain_number(tokens.per_second),
            },
            "duration_ms": self.duration_ms,
            "has_capture": has_capture,
        }
        if self.error:
            shown["error_msg"] = self.error
        if self.metadata:
            shown["metadata"] = dict(sorted(self.metadata.items()))
        return shown


def local_time(seconds: int) -> str:
    """Return Unix seconds as RFC 3339 in the zone of this machine; ``Z`` where that is UTC."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    return moment.isoformat().removesuffix("+00:00") + ("" if moment.utcoffset() else "Z")


def plain_number(value: float) -> float:
    """Return whole numbers without a fraction, as every other program writes them in JSON."""
    return int(value) if abs(value) < 2**53 and value == int(value) else value
