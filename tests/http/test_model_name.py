"""Which model a request asks for: rules H31 to H38."""

from __future__ import annotations

import json
import time

import pytest
from http_wire import JSON, always, plain, rig, upstream
from hypothesis import given, strategies as st

from swapcli.http.json_members import first_member, members
from swapcli.http.model_name import Asked, identify

FORM = "application/x-www-form-urlencoded"


def in_json(body: bytes) -> Asked:
    return identify("POST", b"", "application/json", body)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"m"}', "m"),
        (b' \r\n\t{ "a" : [1,{"model":"no"}] , "model" : " m " }', " m "),
        (b"\xef\xbb\xbf" + b'{"model":"bom"}', "bom"),
        (b'{"model":"m"', "m"),
        (b'{"model":"m","x":[1,2', "m"),
        (b'{"model":"m"} trailing', "m"),
        (b'{"model":"m"}{"model":"n"}', "m"),
        (b'{"model":"first","model":"second"}', "first"),
        (b'{"mod\\u0065l":"first","model":"second"}', "first"),
        (b'{"model":"first","mod\\u0065l":"second"}', "first"),
        (b'{"\\u006D\\u006fdel":"escaped"}', "escaped"),
        (b'{"model":"a\\u00e9\\n\\"\\/\\ud83d\\ude00"}', 'a\u00e9\n"/\U0001f600'),
        ('{"model":"é😀"}'.encode(), "é😀"),
        (b'{"metadata":{"model":"no"},"model":"yes"}', "yes"),
        (b'{"text":"\\"model\\":\\"no\\"","model":"yes"}', "yes"),
        (b'{"model":17}', "17"),
        (b'{"model":1.50e3}', "1.50e3"),
        (b'{"model":true}', "true"),
        (b'{"model":{"a":[1, 2]}}', '{"a":[1, 2]}'),
        (b'{"model":["x"]}', '["x"]'),
        (b'{"model":null}', ""),
        (b'{"model":""}', ""),
        (b'{"Model":"m"}', ""),
        (b'[{"model":"m"}]', ""),
        (b'"model"', ""),
        (b"", ""),
        (b"{", ""),
        (b'{"model"', ""),
        (b'{"model":', ""),
        (b'{"model":"m', ""),
        (b'{"model" "m"}', ""),
        (b'{"a":}, "model":"m"}', ""),
        (b'{"x":[[[[{"model":"no"}]]]],"model":"deep"}', "deep"),
        (b'{"x":"]}","y":{"z":"}"},"model":"m"}', "m"),
        (b'{"model":"\xff"}', "\ufffd"),
        (b"[" * 100_000, ""),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"m"}', "m"),
    ],
)
def test_h33_model_in_json(body: bytes, model: str) -> None:
    assert in_json(body).model == model


@pytest.mark.parametrize(
    ("value", "stream"),
    [
        ("true", True), ("false", False), ("null", False), ("1", True), ("0", False), ("-0.0", False),
        ("0.5", True), ('"true"', True), ('"TRUE"', True), ('"t"', True), ('"1"', True), ('"yes"', False),
        ('""', False), ("{}", False), ("[1]", False),
    ],
)  # fmt: skip
def test_h33_streaming_flag(value: str, stream: bool) -> None:
    assert in_json(f'{{"model":"m","stream":{value}}}'.encode()) == Asked("m", stream)
    assert in_json(f'{{"stream":{value},"model":"m"'.encode()) == Asked("m", stream)


def test_h33_the_first_stream_wins() -> None:
    assert in_json(b'{"model":"m","stream":true,"stream":false}').stream


def test_stream_options_is_another_key() -> None:
    assert not in_json(b'{"model":"m","stream_options":{"include_usage":true}}').stream


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (b"model=m", Asked("m", False)),
        (b"a=1&model=a%2Fb+c&model=second&stream=true", Asked("a/b c", True)),
        (b"model=a;b&model=ok", Asked("ok", False)),
        (b"model=%zz&model=ok", Asked("ok", False)),
        (b"model", Asked("", False)),
        (b"", Asked("", False)),
        (b"model=m&stream=1", Asked("m", False)),
    ],
)
def test_h31_get(query: bytes, asked: Asked) -> None:
    assert identify("GET", query, "application/json", b'{"model":"no"}') == asked


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json; charset=utf-8", True),
        ("application/jsonx", True),
        ("Application/JSON", False),
        ("text/json", False),
        ("application/vnd.x+json", False),
        ("", False),
    ],
)
def test_h32_content_types(content_type: str, is_json: bool) -> None:
    assert (identify("POST", b"", content_type, b'{"model":"m"}').model == "m") is is_json


def test_h35_a_form_goes_before_the_query() -> None:
    assert identify("POST", b"model=q", FORM, b"model=b&stream=true") == Asked("b", True)
    assert identify("POST", b"model=q", FORM, b"other=b").model == "q"
    assert identify("POST", b"model=q", "text/plain", b"model=b").model == "q"
    assert identify("POST", b"model=q", FORM, b"model=" + b"x" * (10 * 1024 * 1024)).model == ""


def part(name: str, value: bytes, *, filename: str = "") -> bytes:
    extra = f'; filename="{filename}"\r\nContent-Type: audio/wav' if filename else ""
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


def test_h34_multipart() -> None:
    content_type = "multipart/form-data; boundary=XX"
    body = (
        part("file", b"\x00model\xff" * 1000, filename="a.wav")
        + part("model", b"m")
        + part("stream", b"true")
    )
    assert identify("POST", b"", content_type, body + b"--XX--\r\n") == Asked("m", True)
    assert identify("POST", b"model=q", content_type, body + b"--XX--\r\n").model == "q"
    assert identify("POST", b"", "multipart/form-data", body + b"--XX--\r\n").model == ""
    assert identify("POST", b"", content_type, part("a", b"") * 1001 + b"--XX--\r\n").model == ""
    assert identify("POST", b"", content_type, b"nonsense").model == ""


def test_an_8_mb_body_takes_milliseconds() -> None:
    body = json.dumps({"messages": [{"image": "A" * 8_000_000}], "model": "m", "stream": True}).encode()
    odd = body[:-1]
    for each, limit in ((body, 0.15), (odd, 0.3)):
        started = time.process_time()
        assert in_json(each) == Asked("m", True)
        assert time.process_time() - started < limit


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text() | st.just("model"), JSON_VALUES, max_size=6), st.booleans(), st.integers(0, 4)
)
def test_the_scanner_finds_what_a_json_library_finds(
    document: dict[str, object], ascii: bool, indent: int
) -> None:
    text = json.dumps(document, ensure_ascii=ascii, indent=indent or None).encode("utf-8", "surrogatepass")
    if b"\\ud" in text or b"\xed" in text:
        return  # half surrogates: no text at all
    found = {member.key: json.loads(text[member.start : member.end]) for member in members(text)}
    assert found == document


@given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"\\ model10', max_size=40).map(str.encode))
def test_the_scanner_takes_anything(body: bytes) -> None:
    for member in members(body):
        assert 0 < member.start < member.end <= len(body)
    in_json(body)


def test_spans_allow_a_value_to_be_replaced() -> None:
    body = b'{ "a" : 1, "model" : "old" , "b":2} junk'
    member = first_member(body, "model")
    assert member is not None
    assert body[: member.start] + b'"new"' + body[member.end :] == b'{ "a" : 1, "model" : "new" , "b":2} junk'


JSON_UNSAID = ": the body looks like JSON, but Content-Type is not application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "why"),
    [
        (JSON, b"{}", ""),
        (JSON, b"not json", ""),
        ("Content-Type: " + FORM, b'{"model":"m"}', JSON_UNSAID),
        ("X: y", b' \n{"model":"m"}', JSON_UNSAID),
        ("X: y", b'"model"', ""),
    ],
)
@pytest.mark.rule("L66")
async def test_h36_h38_no_model_is_a_404(content_type: str, body: bytes, why: str) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        reply = await served.ask("POST", "/v1/chat/completions", content_type, body=body)
    assert reply.status == 404
    assert json.loads(reply.body)["error"]["message"] == f"no model id could be identified{why}"
    assert up.seen == []


async def test_a_form_is_relayed_as_it_is() -> None:
    body = part("model", b"m") + part("file", b"\xff" * 100, filename="x") + b"--XX--\r\n"
    content_type = "Content-Type: multipart/form-data; boundary=XX"
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        reply = await served.ask("POST", "/v1/audio/transcriptions", content_type, body=body)
    assert reply.status == 200
    assert up.seen[0].body == body
