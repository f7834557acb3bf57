"""What is read from streams of events, made after the APIs' references."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from read_answers import STREAM, read, stream

from swapcli.activity import stream_usage
from swapcli.activity.tokens import Tokens


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
