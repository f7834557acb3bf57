"""What is said of answers that cannot be decoded, or tell of a failure."""

from __future__ import annotations

import gzip
import zlib

import pytest
from read_answers import ANSWERS, STREAM, read, stream

from swapcli.activity import content_decoding
from swapcli.activity.response_meter import Reading, ResponseMeter
from swapcli.activity.tokens import Tokens


@pytest.mark.rule("H172")
def test_what_cannot_be_decoded_is_said() -> None:
    document = b'{"usage":{"prompt_tokens":4}}'
    packed = gzip.compress(document)
    assert read(packed, encoding=b"GZIP ").tokens.input == 4
    assert read(packed + gzip.compress(b" "), encoding=b"gzip").tokens.input == 4
    for broken in (document, packed[:-4], packed + b"junk"):
        reading = read(broken, encoding=b"gzip")
        assert reading.tokens == Tokens()
        assert reading.error.startswith("response decompression failed: ")
    assert read(document, encoding=b"br").tokens.input == 4
    assert read(broken, encoding=b"gzip", status=500).error.startswith("response decode failed: ")


@pytest.mark.rule("H172")
def test_deflate_with_and_without_the_header_of_zlib() -> None:
    document = b'{"usage":{"prompt_tokens":4}}'
    packed = zlib.compress(document)
    for body in (packed, packed[2:-4]):
        assert read(body, encoding=b"deflate").tokens.input == 4
        assert read(body[:1], body[1:], encoding=b"deflate").tokens.input == 4
    assert read(packed[:-6], encoding=b"deflate").error == (
        "response decompression failed: unexpected end of the data"
    )
    assert read(b"x", encoding=b"deflate").error


def test_an_answer_that_was_broken_off_counts_as_far_as_it_came() -> None:
    meter = ResponseMeter("/v1/messages")
    meter.start(200, [(b"content-type", STREAM), (b"content-encoding", b"gzip")])
    meter.feed(gzip.compress(stream({"usage": {"prompt_tokens": 4}}))[:-8])
    reading = meter.read(is_complete=False)
    assert (reading.tokens.input, reading.error) == (4, "")


def test_a_body_that_grows_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_decoding, "MOST", 10_000)
    assert "more than 10000 bytes" in read(gzip.compress(b" " * 20_000), encoding=b"gzip").error


# -- failures ------------------------------------------------------------------------------


@pytest.mark.rule("H170")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":" no such model "}}', "no such model"),
        (b'{"error":{"message":" "},"message":"m"}', "m"),
        (b'{"error":"plain","message":"m"}', "plain"),
        (b'{"message":3,"detail":"d"}', "d"),
        (b'{"detail":[{"msg":"x"}]}', "502 Bad Gateway"),
        (b"<html>Bad</html>", "502 Bad Gateway"),
        (b"[]", "502 Bad Gateway"),
        (b"", "502 Bad Gateway"),
        (b'{"error":"' + b"a" * 500 + b'"}', "a" * 500),
        (b'{"error":"' + b"a" * 501 + b'"}', "a" * 500 + "..."),
        ('{"error":"' + "a" * 499 + 'éé"}', "a" * 499 + "..."),
    ],
)
def test_errors_in_one_line(body: bytes | str, error: str) -> None:
    text = body if isinstance(body, bytes) else body.encode()
    assert read(text, status=502).error == error


@pytest.mark.rule("H170")
def test_every_status_but_200_is_a_failure() -> None:
    document = b'{"usage":{"prompt_tokens":4}}'
    assert read(document, status=201) == Reading(error="201 Created")
    assert read(document, status=599) == Reading(error="HTTP 599")
    assert read(b" " * 100_000, status=500).error == "500 Internal Server Error"
    recorded = (ANSWERS / "llamacpp-error.json").read_bytes()
    assert read(recorded, status=400).error == "Expected 'messages' to be an array"


@pytest.mark.rule("H171")
def test_an_empty_answer_used_nothing() -> None:
    assert read() == Reading()
    assert read(b"", encoding=b"gzip") == Reading()
