"""Requests that two servers may read differently: answered 400, and never a second one behind them."""

from __future__ import annotations

import pytest
from http_wire import JSON, always, chunk, plain, request, rig, upstream

BODY = b'{"model":"m"}'
ASK = request("POST", "/v1/completions", JSON, body=BODY)
POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED_POST = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 13\r\nContent-Length: 0\r\n\r\n" + BODY,
        POST + b"Content-Length: 13, 0\r\n\r\n" + BODY,
        POST + b"Content-Length: +13\r\n\r\n" + BODY,
        POST + b"Content-Length: -1\r\n\r\n" + BODY,
        POST + b"Content-Length: 0x0d\r\n\r\n" + BODY,
        POST + b"Content-Length : 13\r\n\r\n" + BODY,
        POST + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(BODY) + b"0\r\n\r\n",
        POST + b"X: a\nContent-Length: 13\r\n\r\n" + BODY,
        POST.replace(b"\r\n", b"\n") + b"Content-Length: 13\n\n" + BODY,
        POST + b"Content-Length: 13\n\r\n" + BODY,
        POST + b"Content-Length: 13\r\n\n" + BODY,
        POST + b"X: a\rContent-Length: 0\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X: a\r\n Content-Length: 0\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X: a\r\n\tfolded\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X: a\0b\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X\0: a\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"Host: y\r\nContent-Length: 13\r\n\r\n" + BODY,
        b"\n" + ASK,
        CHUNKED_POST + b"d\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + b"d\r\n" + BODY + b"\n0\r\n\r\n",
        CHUNKED_POST + b"d\r\n" + BODY + b"xx0\r\n\r\n",
        CHUNKED_POST + b"d;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + b"d;a\0b\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + b"0xd\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + b"-d\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + b"fffffffffffffffffffffd\r\n" + BODY + b"\r\n0\r\n\r\n",
        CHUNKED_POST + chunk(BODY) + b"0\r\nX: a\nY: b\r\n\r\n",
        CHUNKED_POST + chunk(BODY) + b"0\r\nX: a\r\n b\r\n\r\n",
        CHUNKED_POST + chunk(BODY) + b"0\r\n\n",
    ],
    ids=[
        "differing lengths", "a list of lengths", "+", "-", "hexadecimal length", "space before the colon",
        "length and chunks", "chunks in HTTP/1.0", "a bare LF", "only LF",
        "LF before the end", "LF at the end",
        "a bare CR", "a folded length", "a folded line", "NUL in a value", "NUL in a name", "two hosts",
        "LF before the request", "LF after a chunk size", "LF after a chunk", "no end of a chunk",
        "CR in a chunk extension", "NUL in a chunk extension", "0x", "negative chunk", "endless chunk",
        "LF in trailers", "folded trailers", "LF after the last chunk",
    ],
)  # fmt: skip
async def test_what_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(data + ASK)
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1, "the request behind it is not served"
    assert up.seen == []


@pytest.mark.parametrize(
    ("coding", "status"), [("gzip, chunked", 501), ("gzip", 501), ("xchunked", 501), ("\x0bchunked", 400)]
)
async def test_transfer_codings_that_are_not_known(coding: str, status: int) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(
            POST + b"Transfer-Encoding: %b\r\n\r\n" % coding.encode() + chunk(BODY) + b"0\r\n\r\n" + ASK
        )
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert up.seen == []


async def test_what_is_only_unusual_is_served() -> None:
    unusual = [
        POST + b"Content-Length: 13\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X:\t a\t\r\nContent-Length: 13\r\n\r\n" + BODY,
        POST + b"X:\r\nContent-Length: 013\r\n\r\n" + BODY,
        CHUNKED_POST + b"00d;name=value\r\n" + BODY + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
        POST + b"Transfer-Encoding: Chunked\r\n\r\n" + chunk(BODY[:3]) + chunk(BODY[3:]) + b"0\r\n\r\n",
    ]
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        for data in unusual:
            await client.send(data)
            assert (await client.reply("POST")).status == 200
        await client.send(b"".join(unusual))
        for _ in unusual:
            assert (await client.reply("POST")).status == 200
    assert [seen.body for seen in up.seen] == [BODY] * 10
