"""What is read from answers: recorded ones of a real llama.cpp, others made after the APIs' references."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import attrs
import pytest
from hypothesis import given, strategies as st

from swapcli.activity import content_decoding, stream_usage
from swapcli.activity.json_walk import JsonWalk
from swapcli.activity.response_meter import Reading, ResponseMeter
from swapcli.activity.tokens import Tokens

ANSWERS = Path(__file__).parents[2] / "data" / "answers"
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


# -- streams ---------------------------------------------------------------------------


@pytest.mark.rule("H174")
def test_openai_responses_streamed() -> None:
    events = [
        {"type": "response.created", "response": {"usage": None, "output": []}},
        {"type": "response.output_text.delta", "delta": "Hi"},
        {
            "type": "response.completed",
            "response": {
                "output": [{"text": "Hi"}],
                "usage": {
                    "input_tokens": 36,
                    "input_tokens_details": {"cached_tokens": 8},
                    "output_tokens": 87,
                    "output_tokens_details": {"reasoning_tokens": 64},
                    "total_tokens": 123,
                },
            },
        },
    ]
    tokens = read(stream(*events), content_type=STREAM).tokens
    assert tokens == Tokens(8, -1, -1, 36, 87, -1, -1)


@pytest.mark.rule("H174")
@pytest.mark.rule("H176")
def test_anthropic_messages_streamed() -> None:
    start = {"type": "message_start", "message": {"usage": {
        "input_tokens": 25, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11,
        "output_tokens": 1,
    }}}  # fmt: skip
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
    text = (
        b"event: message_start\n"
        + stream(start)
        + b"event: ping\n"
        + stream({"type": "ping"})
        + stream(delta)
    )
    assert read(text, content_type=STREAM).tokens == Tokens(11, -1, -1, 25, 15, -1, -1)


@pytest.mark.rule("H174")
def test_a_zero_replaces_nothing_but_a_cached_zero_does() -> None:
    first = {
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 4}}
    }
    second = {
        "usage": {"prompt_tokens": 0, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}
    }
    tokens = read(stream(first, second), content_type=STREAM).tokens
    assert (tokens.cache, tokens.input, tokens.output) == (0, 5, 7)


@pytest.mark.rule("H174")
def test_what_is_no_event_with_figures_is_passed_over() -> None:
    text = (
        b': usage\r\n\r\ndata:\r\n\r\ndata: [DONE]\r\ndata: {"usage": \r\nevent: usage\r\n'
        b'data: "usage"\r\ndata: [{"usage":1}]\r\ndata: {"usage":7,"timings":[],"metrics":"x"}\r\n'
        b'usage: {"usage":{"prompt_tokens":9}}\r\n'
        b'  data:{"usage":{"prompt_tokens":3,"completion_tokens":2}}  \r\n'
    )
    assert read(text, content_type=STREAM).tokens == Tokens(-1, -1, -1, 3, 2, -1, -1)
    assert read(b"data: {}\n\n", content_type=STREAM).tokens == Tokens()
    assert read(b'data: {"usage":null}\n\n', content_type=STREAM).tokens == Tokens()


@pytest.mark.rule("H174")
def test_of_several_timings_the_last_count_and_null_is_none() -> None:
    text = stream(
        {"timings": {"prompt_n": 1, "predicted_n": 1}},
        {"timings": {"prompt_n": 8, "predicted_n": 9, "predicted_per_second": 2.5}},
        {"timings": None, "metrics": None},
    )
    tokens = read(text, content_type=STREAM).tokens
    assert (tokens.input, tokens.output, tokens.per_second) == (8, 9, 2.5)


@pytest.mark.rule("H174")
def test_the_content_type_of_a_stream_is_told_by_its_exact_letters() -> None:
    text = stream({"usage": {"prompt_tokens": 1}})
    assert read(text, content_type=b"Text/Event-Stream").tokens == Tokens()


def test_a_line_of_a_stream_that_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_usage, "LONGEST_LINE", 1000)
    long = b'data: {"usage":{"prompt_tokens":1},"x":"' + b"y" * 3000 + b'"}\n'
    pieces = [long[start : start + 700] for start in range(0, len(long), 700)]
    ordinary = stream({"usage": {"prompt_tokens": 2}})
    assert read(*pieces, content_type=STREAM).tokens == Tokens()
    assert read(*pieces, ordinary, content_type=STREAM).tokens.input == 2
    assert read(*pieces, ordinary, *pieces[:-1], content_type=STREAM).tokens.input == 2


@given(st.lists(st.sampled_from([b"data: ", b'{"usage":{"prompt_tokens":4}}', b"\n", b"\r\n", b"x", b""])))
def test_any_cut_of_any_stream_reads_the_same(parts: list[bytes]) -> None:
    together = read(b"".join(parts), content_type=STREAM)
    assert read(*parts, content_type=STREAM) == together


# -- documents --------------------------------------------------------------------------


@pytest.mark.rule("H175")
def test_a_document_must_be_one_valid_value() -> None:
    good = b'{"usage":{"prompt_tokens":4}}'
    assert read(good + b"\n").tokens.input == 4
    for bad in (good[:-1], good + b"{}", b"[" + good + b"]", b"ID3\x04 usage", b"", b"\xff" + good):
        assert read(bad).tokens == Tokens(), bad
    assert usage({"response": {"usage": {"input_tokens": 3}}}) == Tokens()
    assert usage({"choices": []}) == Tokens()


@pytest.mark.rule("H167")
@pytest.mark.rule("H175")
def test_a_member_that_is_null_counts_as_there() -> None:
    assert usage({"usage": None}) == Tokens(-1, -1, -1, 0, 0, -1, -1)


@pytest.mark.rule("H175")
def test_infill_answers_with_a_list_of_which_the_last_counts() -> None:
    elements = [
        {"timings": {"prompt_n": 1, "predicted_n": 2}},
        {"timings": {"prompt_n": 3, "predicted_n": 4}},
    ]
    tokens = usage(elements, path="/infill")
    assert (tokens.input, tokens.output) == (3, 4)
    assert usage([], path="/infill") == usage(elements, path="/completion") == Tokens()
    assert usage([*elements, {"usage": {"prompt_tokens": 9}}], path="/infill") == Tokens()
    assert usage({"timings": {"prompt_n": 3}}, path="/infill").input == 3


@pytest.mark.rule("H176")
def test_the_first_name_that_is_there_counts() -> None:
    assert usage({"usage": {"prompt_tokens": 0, "input_tokens": 5, "output_tokens": 2}}).input == 0
    assert usage({"usage": {"prompt_tokens": "12", "completion_tokens": 3.9}}) == Tokens(
        -1, -1, -1, 12, 3, -1, -1
    )
    cached = {"cache_read_input_tokens": 1, "input_tokens_details": {"cached_tokens": 2}}
    assert usage({"usage": cached}).cache == 1
    del cached["cache_read_input_tokens"]
    cached["prompt_tokens_details"] = {"cached_tokens": 3}
    assert usage({"usage": cached}).cache == 2
    del cached["input_tokens_details"]
    assert usage({"usage": cached}).cache == 3
    odd: dict[str, object] = {"prompt_tokens": [], "completion_tokens": None, "prompt_tokens_details": 4}
    assert usage({"usage": odd}) == Tokens(-1, -1, -1, 0, 0, -1, -1)


@pytest.mark.rule("H177")
def test_timings_win_over_usage() -> None:
    timings = {
        "cache_n": 236, "prompt_n": 1, "prompt_ms": 30.958, "prompt_per_second": 32.3, "predicted_n": 35,
        "predicted_ms": 661.064, "predicted_per_second": 52.9, "draft_n": 20, "draft_n_accepted": 15,
    }  # fmt: skip
    document = {"usage": {"prompt_tokens": 237, "completion_tokens": 35}, "timings": timings}
    reading = read(json.dumps(document).encode())
    assert reading.tokens == Tokens(236, 20, 15, 1, 35, 32.3, 52.9)
    assert reading.busy_ms == 692
    del timings["cache_n"], timings["draft_n"], timings["predicted_n"], timings["predicted_per_second"]
    of_usage = {"prompt_tokens_details": {"cached_tokens": 9}}
    assert usage({"usage": of_usage, "timings": timings}) == Tokens(9, -1, -1, 1, 0, 32.3, 0)


@pytest.mark.rule("H177")
def test_timings_that_are_null_say_nothing() -> None:
    assert usage({"usage": {"prompt_tokens": 4}, "timings": None}) == Tokens(-1, -1, -1, 4, 0, -1, -1)


@pytest.mark.rule("H178")
def test_metrics_of_vllm_win_over_both() -> None:
    document: dict[str, object] = {
        "usage": {
            "prompt_tokens": 120, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 20},
        },
        "metrics": {
            "time_to_first_token_ms": 250, "mean_itl_ms": 20, "tokens_per_second": 7,
            "speculative_decoding": {"num_draft_tokens": 40, "num_accepted_draft_tokens": 30},
        },
    }  # fmt: skip
    assert usage(document) == Tokens(20, 40, 30, 120, 50, 400, 50)
    document["timings"] = {
        "prompt_n": 10,
        "predicted_n": 5,
        "prompt_per_second": 1,
        "predicted_per_second": 2,
    }
    assert usage(document) == Tokens(20, 40, 30, 10, 5, 0, 50)
    document["metrics"] = {"time_to_first_token_ms": 0, "speculative_decoding": {"num_draft_tokens": 4}}
    assert usage(document) == Tokens(20, -1, -1, 10, 5, 1, 2)


def test_figures_beyond_all_reason_are_bounded() -> None:
    for huge in (10**40, 1e300, "1e400", "nan", float("1e19")):
        tokens = usage({"usage": {"prompt_tokens": huge}, "metrics": {"mean_itl_ms": 1e-320}})
        assert 0 <= tokens.input < 2**63
        assert all(abs(value) < 2**63 for value in attrs.astuple(tokens))
    assert read(b'{"timings":{"prompt_ms":1e300,"predicted_ms":1e300}}').busy_ms < 2**63


# -- long documents are walked through ---------------------------------------------------------


def long_document(usage_first: bool) -> bytes:
    figures = {"usage": {"prompt_tokens": 7, "note": 'a "quoted" } brace'}}
    data = {"data": [{"embedding": [0.5] * 3000, "text": '\\" ] } , "usage": {'} for _ in range(25)]}
    return json.dumps({**figures, **data} if usage_first else {**data, **figures}).encode()


@pytest.mark.parametrize("usage_first", [True, False])
def test_a_long_document_is_read_without_keeping_it(usage_first: bool) -> None:
    document = long_document(usage_first)
    assert len(document) > 300_000
    for size in (1000, 64 * 1024, 4097):
        pieces = [document[start : start + size] for start in range(0, len(document), size)]
        assert read(*pieces).tokens.input == 7
    assert read(document[:-1]).tokens == Tokens()
    assert read(document + b"}").tokens == Tokens()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text(st.sampled_from('a"\\{}[],: é'), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "timings", "x", '"', "metrics"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["usage", "timings", "metrics", 'a"b', "", "usage "]), JSON),
    st.integers(1, 7),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_walking_finds_what_decoding_finds(
    document: dict[str, object], size: int, escape: bool, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=escape, indent=indent).encode()
    walk = JsonWalk(("usage", "timings", "metrics"))
    for start in range(0, len(text), size):
        walk.feed(text[start : start + size])
    assert walk.is_complete
    assert {name: json.loads(raw) for name, raw in walk.members.items()} == {
        name: value for name, value in document.items() if name in ("usage", "timings", "metrics")
    }


@given(st.lists(st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b'"usage"', b"1", b" "])))
def test_walking_through_nonsense_ends(parts: list[bytes]) -> None:
    together, apart = JsonWalk(("usage",)), JsonWalk(("usage",))
    together.feed(b"".join(parts))
    for part in parts:
        apart.feed(part)
    assert (together.is_complete, together.members) == (apart.is_complete, apart.members)


# -- encodings -----------------------------------------------------------------------------


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
