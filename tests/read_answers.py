"""Whole answers, put through the meter that reads them on their way."""

from __future__ import annotations

import json
from pathlib import Path

from swapcli.activity.response_meter import Reading, ResponseMeter
from swapcli.activity.tokens import Tokens

ANSWERS = Path(__file__).parent / "data" / "answers"
STREAM = b"text/event-stream; charset=utf-8"


def read(
    *pieces: bytes,
    content_type: bytes = b"application/json",
    path: str = "/v1/chat/completions",
    status: int = 200,
    encoding: bytes = b"",
) -> Reading:
    meter = ResponseMeter(path)
    headers = [(b"Content-Type", content_type), *([(b"content-encoding", encoding)] if encoding else [])]
    meter.start(status, headers)
    for piece in pieces:
        meter.feed(piece)
    return meter.read(is_complete=True)


def usage(document: object, **options: str) -> Tokens:
    return read(json.dumps(document).encode(), **options).tokens  # type: ignore[arg-type]


def stream(*events: object) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
