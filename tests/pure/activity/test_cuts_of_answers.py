"""What is recorded of an answer does not depend on the pieces in which it came, whatever it is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import attrs
from hypothesis import given, settings, strategies as st
from read_answers import STREAM, stream

from swapcli.activity.ended_request import EndedRequest, Exchanged, Measured
from swapcli.activity.json_usage import SHORT
from swapcli.activity.response_meter import ResponseMeter

USAGE = b'{"usage":{"prompt_tokens":4,"completion_tokens":2}}'
TIMINGS = b'{"timings":{"prompt_n":3,"predicted_n":5,"predicted_ms":44}}'
BODIES = (
    b"",
    b" \n",
    b"sound",
    USAGE,
    USAGE[:-1],
    USAGE[:-1] + b" " * SHORT + b"}",
    b"[" + TIMINGS + b"," + TIMINGS + b"]",
    b"[" + TIMINGS + b" " * SHORT + b"]",
    stream({"message": {"usage": {"input_tokens": 4}}}, {"usage": {"output_tokens": 7}}, {"timings": {}}),
    b"data: " + USAGE + b"\r\n\r\ndata: " + TIMINGS,
    b'{"error":{"message":"no"}}',
    b'{"error":"' + b"a" * 70_000 + b'"}',
)
ENCODED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"", bytes),
    (b"gzip", gzip.compress),
    (b"gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    (b"gzip", lambda body: gzip.compress(body)[:-5]),
    (b"gzip", lambda body: gzip.compress(body) + b"junk"),
    (b"gzip", bytes),
    (b"deflate", zlib.compress),
    (b"deflate", lambda body: zlib.compress(body)[2:-4]),
)


@attrs.frozen
class Answer:
    """How one answer was begun, asked for and ended."""

    status: int
    headers: list[tuple[bytes, bytes]]
    path: str
    keep: int
    is_complete: bool
    is_forgotten: bool

    def recorded(self, *pieces: bytes) -> Measured:
        meter = ResponseMeter(self.path, self.keep)
        meter.start(self.status, self.headers)
        for piece in pieces:
            meter.feed(piece)
        request = EndedRequest(
            id=1,
            ended_at=0,
            model="m",
            path=self.path,
            duration_ms=1,
            metadata={},
            meter=meter,
            is_complete=self.is_complete,
            exchanged=Exchanged(self.path, [], [b"question"], self.headers),
        )
        if self.is_forgotten:
            request.forget_capture()
        return request.measure()


@given(
    st.builds(
        Answer,
        status=st.sampled_from([200, 201, 400, 499]),
        headers=st.sampled_from([[], [(b"content-type", b"application/json")], [(b"Content-Type", STREAM)]]),
        path=st.sampled_from(["/v1/chat/completions", "/v1/audio/speech", "/infill"]),
        keep=st.sampled_from([0, 1, len(USAGE), 1_000_000]),
        is_complete=st.booleans(),
        is_forgotten=st.booleans(),
    ),
    st.sampled_from(BODIES),
    st.sampled_from(ENCODED),
    st.lists(st.floats(0, 1), min_size=1, max_size=3).map(sorted),
)
@settings(max_examples=300)
def test_where_an_answer_of_any_kind_is_cut_does_not_matter(
    answer: Answer, body: bytes, encoding: tuple[bytes, Callable[[bytes], bytes]], cuts: list[float]
) -> None:
    name, encoded = encoding
    body = encoded(body)
    answer = attrs.evolve(answer, headers=[*answer.headers, (b"Content-Encoding", name)])
    whole = answer.recorded(body)
    ends = [0, *(int(cut * len(body)) for cut in cuts), len(body)]
    assert answer.recorded(*(body[start:end] for start, end in pairwise(ends))) == whole
    if len(body) < 500:
        assert answer.recorded(*(bytes([byte]) for byte in body)) == whole
