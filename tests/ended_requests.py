"""Requests that have ended, for the journal to write down."""

from __future__ import annotations

import gzip

from swapcli.activity.ended_request import EndedRequest, Exchanged
from swapcli.activity.journal import Journal
from swapcli.activity.response_meter import ResponseMeter


def ended(
    journal: Journal, *, prompt: int = 4, capture: bool = False, padding: int = 0, packed: bool = False
) -> EndedRequest:
    """Return one that used *prompt* tokens, with *padding* more bytes in its answer."""
    meter = ResponseMeter("/v1/completions", 1_000_000 if capture else 0)
    answer = b'{"usage":{"prompt_tokens":%d},"x":"%b"}' % (prompt, b"y" * padding)
    encoding = [(b"Content-Encoding", b"gzip")] if packed else []
    meter.start(200, [(b"content-type", b"application/json"), *encoding])
    meter.feed(gzip.compress(answer) if packed else answer)
    return EndedRequest(
        id=journal.next_id(),
        ended_at=1000,
        model="m",
        path="/v1/completions",
        duration_ms=1,
        metadata={},
        meter=meter,
        is_complete=True,
        exchanged=Exchanged("/v1/completions", [], [b"question"], []) if capture else None,
    )
