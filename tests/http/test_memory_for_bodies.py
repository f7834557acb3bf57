"""How often a long body lies in memory while it is read, and edited for its target."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import trio
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, HTTPScope

from swapcli.config import ModelFilters
from swapcli.http.body_filter import BodyFilter
from swapcli.http.exchange import Exchange
from swapcli.http.model_name import Carrier, identify
from swapcli.http.model_rename import renamed

MIB = 1024 * 1024
LONG = 8 * MIB
IMAGE = b"QUJD" * (LONG // 4)
CHAT = (
    b'{"model":"m","messages":[{"role":"system","content":"x"},'
    b'{"role":"user","content":[{"type":"image_url","image_url":{"url":"%b"}}]}],"n":1}' % IMAGE
)
FORM = b"\r\n".join(
    [
        b"--XX",
        b'Content-Disposition: form-data; name="model"',
        b"",
        b"m",
        b"--XX",
        b'Content-Disposition: form-data; name="file"; filename="a.wav"',
        b"",
        IMAGE,
        b"--XX--",
        b"",
    ]
)


class Peak:
    size = 0


@contextmanager
def peak_of_memory() -> Iterator[Peak]:
    """What was allocated at most, at one time, within the block."""
    peak = Peak()
    tracemalloc.start()
    try:
        yield peak
        peak.size = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_body_that_arrives_in_pieces_lies_in_memory_once() -> None:
    left = 128

    async def receive() -> ASGIReceiveEvent:
        nonlocal left
        await trio.lowlevel.checkpoint()
        left -= 1
        return {"type": "http.request", "body": bytes([left]) * (64 * 1024), "more_body": left > 0}

    async def send(_: ASGISendEvent) -> None:
        raise AssertionError

    scope = cast("HTTPScope", {"type": "http", "method": "POST", "headers": [], "state": {}})
    exchange = Exchange(scope, receive, send, 1.0)
    with peak_of_memory() as peak:
        body = await exchange.read_body(LONG)
    assert body == b"".join(bytes([n]) * (64 * 1024) for n in reversed(range(128)))
    assert peak.size < 1.25 * LONG


@pytest.mark.parametrize(
    "filters",
    [
        {"set_params": {"temperature": 0.5}},
        {"strip_params": "n", "set_params": {"messages.0.role": "user", "messages.1.name": "x"}},
        {"set_params": {"messages.#.content.0.image_url.detail": "low"}},
        {"set_params": {"messages.1.content.0.image_url.detail": "low"}},
        {"strip_params": "messages.1.content.0.type"},
    ],
)
def test_an_edit_does_not_copy_the_rest(filters: dict[str, Any]) -> None:
    edits = BodyFilter.of(ModelFilters(**filters))
    with peak_of_memory() as peak:
        assert identify("POST", b"", "application/json", CHAT).model == "m"
        edited = edits.apply(CHAT, "m", "other")
    assert peak.size < MIB
    assert bytes(edited[0]).startswith(b'{"model":"other"')
    assert IMAGE in b"".join(edited)


def test_a_rename_does_not_copy_the_files_of_a_form() -> None:
    content_type = "multipart/form-data; boundary=XX"
    with peak_of_memory() as peak:
        assert identify("POST", b"", content_type, FORM).model == "m"
        _, edited = renamed(Carrier.MULTIPART, "other", query=b"", content_type=content_type, body=FORM)
    assert peak.size < MIB
    assert b"".join(edited) == FORM.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nother\r\n", 1)


def test_what_is_short_goes_out_together() -> None:
    body = b'{"a":[%b],"image":"%b","z":1}' % (b",".join(b"%d" % n for n in range(1000)), IMAGE)
    pieces = BodyFilter.of(ModelFilters(set_params={"a.7": "seven", "y": 1})).apply(body, "m", None)
    assert b"".join(pieces) == body.replace(b",7,", b',"seven",').replace(b'"z":1', b'"z":1,"y":1')
    assert [len(piece) >= LONG for piece in pieces] == [False, True, False]
