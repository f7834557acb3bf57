"""What is read from answers in one piece, short and long, made after the APIs' references."""

from __future__ import annotations

import json
from math import isfinite

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import astuple
from read_answers import read, usage

from swapcli.activity.json_walk import JsonWalk
from swapcli.activity.tokens import Tokens


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
        assert all(abs(value) < 2**63 for value in astuple(tokens))
    for tiny in (5e-324, 1e-300):
        tokens = usage({"metrics": {"time_to_first_token_ms": tiny, "mean_itl_ms": tiny}})
        assert all(isfinite(speed) for speed in (tokens.prompt_per_second, tokens.per_second))
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
