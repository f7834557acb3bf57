"""What is kept of requests and answers, and for how long."""

from __future__ import annotations

import base64

import pytest

from swapcli.activity.captures import Capture, CaptureBuffer, captured_parts, pack, unpack
from swapcli.activity.ended_request import EndedRequest, Exchanged
from swapcli.activity.header_maps import header_map
from swapcli.activity.response_meter import ResponseMeter


def ended(
    body: bytes = b"answer",
    *more: bytes,
    path: str = "/v1/chat/completions",
    status: int = 200,
    encoding: str = "",
    keep: int = 1000,
) -> EndedRequest:
    headers = [(b"content-type", b"text/plain"), (b"Set-Cookie", b"secret")]
    if encoding:
        headers.append((b"content-encoding", encoding.encode()))
    meter = ResponseMeter(path, keep if captured_parts(path).response_body else 0)
    meter.start(status, headers)
    for piece in (body, *more):
        meter.feed(piece)
    exchanged = Exchanged(path, [(b"host", b"h"), (b"x-session-id", b"7")], [b"ques", b"tion"], headers)
    return EndedRequest(
        id=1,
        ended_at=0,
        model="m",
        path=path,
        duration_ms=1,
        metadata={},
        meter=meter,
        is_complete=True,
        exchanged=exchanged,
    )


def kept(request: EndedRequest) -> Capture | None:
    packed = request.measure().capture
    return None if packed is None else unpack(packed)


@pytest.mark.rule("H158")
def test_the_oldest_make_room() -> None:
    buffer = CaptureBuffer(10)
    for id, packed in ((1, b"1234"), (2, b"5678"), (3, b"ab")):
        buffer.put(id, packed)
    assert all(id in buffer for id in (1, 2, 3))
    buffer.put(4, b"x")
    assert [id in buffer for id in (1, 2, 3, 4)] == [False, True, True, True]
    buffer.put(5, b"larger than all")
    assert [id in buffer for id in (2, 3, 4, 5)] == [True, True, True, False]
    buffer.put(6, b"0123456789")
    assert [id in buffer for id in (4, 6)] == [False, True]
    assert (buffer.get(6), buffer.get(4)) == (b"0123456789", None)
    buffer.resize(3)
    assert 6 not in buffer
    buffer.put(7, b"")
    assert buffer.get(7) == b""


@pytest.mark.rule("H159")
@pytest.mark.parametrize(
    ("path", "request_body", "response_body"),
    [
        ("/v1/audio/speech", True, False),
        ("/v1/images/generations", True, False),
        ("/sdapi/v1/txt2img", True, False),
        ("/v1/audio/voices", False, True),
        ("/v1/audio/transcriptions", False, True),
        ("/v1/images/edits", False, False),
        ("/sdapi/v1/img2img", False, False),
        ("/v1/chat/completions", True, True),
        ("/audioapi/v1/tasks/run", True, True),
    ],
)
def test_what_is_kept_depends_on_the_path(path: str, request_body: bool, response_body: bool) -> None:
    capture = kept(ended(path=path))
    assert capture is not None
    assert capture.request_body == (b"question" if request_body else None)
    assert capture.response_body == (b"answer" if response_body else None)
    assert capture.request_headers
    assert capture.response_headers


@pytest.mark.rule("H145")
@pytest.mark.rule("H160")
def test_headers_have_one_value_and_no_secret() -> None:
    capture = kept(ended())
    assert capture is not None
    assert capture.request_headers == {"X-Session-Id": "7"}
    assert capture.response_headers == {"Content-Type": "text/plain", "Set-Cookie": "[REDACTED]"}
    secrets = ["Authorization", "PROXY-authorization", "cookie", "set-cookie", "x-api-key", "Api-Key"]
    found = header_map([(name.encode(), b"s3cret") for name in secrets])
    assert set(found.values()) == {"[REDACTED]"}
    assert found["Proxy-Authorization"]
    assert header_map([(b"accept", b"a"), (b"ACCEPT", b"b"), (b"Host", b"h")]) == {"Accept": "a"}


@pytest.mark.rule("H160")
def test_the_answer_is_kept_decoded() -> None:
    import gzip

    capture = kept(ended(gzip.compress(b"answer"), encoding="gzip"))
    assert capture is not None
    assert capture.response_body == b"answer"
    assert "Content-Encoding" not in capture.response_headers


@pytest.mark.rule("H161")
def test_which_requests_are_kept() -> None:
    assert kept(ended(b"")) is None
    assert kept(ended(b"no gzip", encoding="gzip")) is None
    for status in (500, 404, 201):
        capture = kept(ended(status=status))
        assert capture is not None
        assert (capture.request_body, capture.response_body) == (b"question", None)
        assert kept(ended(b"", status=status)) is not None


@pytest.mark.rule("H100")
def test_an_answer_that_is_too_long_is_not_kept_but_is_read() -> None:
    long = b'{"usage":{"prompt_tokens":4},"x":"' + b"y" * 2000 + b'"}'
    for pieces in ((long,), (long[:50], long[50:]), (long[:1500], long[1500:])):
        request = ended(*pieces)
        assert request.size == len(b"question") + (len(long) if len(pieces) == 1 else 0)
        assert kept(request) is None
        assert request.size == 0
        assert request.measure().record.tokens.input == 4


@pytest.mark.rule("H100")
def test_when_memory_is_short_the_figures_stay() -> None:
    request = ended(b'{"usage":{"prompt_tokens":4}}')
    assert request.size > 20
    request.forget_capture()
    assert request.size == len(b'{"usage":{"prompt_tokens":4}}')  # of which the figures are still to be read
    assert kept(request) is None
    assert request.size == 0
    assert request.measure().record.tokens.input == 4


@pytest.mark.rule("H162")
def test_the_form_that_clients_get() -> None:
    shown = Capture(
        path="/infill",
        request_headers={"A": "b"},
        request_body=b"\xff",
        response_headers={},
        response_body=None,
    ).as_json(7)
    assert list(shown) == ["id", "req_path", "req_headers", "req_body", "resp_headers", "resp_body"]
    assert shown["req_body"] == base64.b64encode(b"\xff").decode()
    assert shown["resp_body"] is None


def test_packing_loses_nothing() -> None:
    capture = Capture(
        path="p", request_headers={"é": "\u2028"}, request_body=bytes(range(256)), response_headers={},
        response_body=None,
    )  # fmt: skip
    assert unpack(pack(capture)) == capture
