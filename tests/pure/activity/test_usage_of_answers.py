"""What is read from answers of a real llama.cpp that were recorded, however they are cut."""

from __future__ import annotations

import gzip
import zlib

import pytest
from read_answers import ANSWERS, STREAM, read

RECORDED = {
    # name: cached, input, output; -1 is not known
    "llamacpp-chat.json": (0, 14, 6),
    "llamacpp-chat.sse": (13, 1, 6),
    "llamacpp-chat-with-usage.sse": (13, 1, 6),
    "llamacpp-chat-timings-per-token.sse": (13, 1, 6),
    "llamacpp-completions.json": (1, 3, 6),
    "llamacpp-completions.sse": (3, 1, 6),
    "llamacpp-completion.json": (3, 1, 6),
    "llamacpp-completion.sse": (3, 1, 6),
    "llamacpp-responses.json": (0, 13, 6),
    "llamacpp-responses.sse": (12, 1, 6),
    "llamacpp-messages.json": (13, 1, 6),
    "llamacpp-messages.sse": (13, 1, 6),
    "llamacpp-embeddings.json": (-1, 5, 0),
    "llamacpp-count-tokens.json": (0, 0, 0),
}
TIMED = {name for name in RECORDED if "timings" in (ANSWERS / name).read_text()}


@pytest.mark.rule("H174")
@pytest.mark.rule("H175")
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_answers_of_a_real_engine(name: str) -> None:
    content_type = STREAM if name.endswith("sse") else b"application/json; charset=utf-8"
    reading = read((ANSWERS / name).read_bytes(), content_type=content_type)
    tokens = reading.tokens
    assert (tokens.cache, tokens.input, tokens.output) == RECORDED[name]
    assert (tokens.per_second > 100) is (name in TIMED)
    assert (reading.busy_ms > 0) is (name in TIMED)


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("encoding", [b"", b"gzip", b"deflate"])
def test_where_an_answer_is_cut_into_pieces_does_not_matter(name: str, encoding: bytes) -> None:
    body = (ANSWERS / name).read_bytes()
    match encoding:
        case b"gzip":
            body = gzip.compress(body)
        case b"deflate":
            body = zlib.compress(body)[2:-4]
        case _:
            pass
    content_type = STREAM if name.endswith("sse") else b"application/json"
    whole = read(body, content_type=content_type, encoding=encoding)
    assert whole.tokens.input == RECORDED[name][1]
    for cut in range(0, len(body), max(1, len(body) // 400)):
        assert read(body[:cut], body[cut:], content_type=content_type, encoding=encoding) == whole
    assert read(*(bytes([byte]) for byte in body), content_type=content_type, encoding=encoding) == whole
