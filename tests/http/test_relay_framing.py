"""What a client and an upstream see of each other: every byte of the bodies, and the right headers."""

from __future__ import annotations

import attrs
import pytest
import trio
from http_wire import CHUNKED, END, JSON, CutOff, always, chunk, plain, request, rig, upstream

from swapcli.config import Configuration, ModelConfig
from swapcore import Endpoint


@pytest.mark.rule("H95")
async def test_body_and_headers_of_a_response_arrive_as_they_were_sent() -> None:
    response = plain(
        b"\x00\xffraw", "Content-Type: image/png", "X-MiXed: Case", "Set-Cookie: a=1", "Set-Cookie: b=2"
    )
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply.status == 200
    assert reply.body == b"\x00\xffraw"
    assert reply.values("set-cookie") == ["a=1", "b=2"]
    assert (b"X-MiXed", b"Case") in reply.headers
    assert reply["content-length"] == "5"


@pytest.mark.rule("H95")
async def test_date_and_server_of_the_upstream_are_kept() -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    async with (
        upstream(always(plain(b"", f"Date: {date}", "Server: llama"))) as up,
        rig(up.endpoint) as served,
    ):
        reply = await served.chat()
    assert reply["date"] == date
    assert reply["server"] == "llama"


async def test_a_date_is_added_where_there_is_none_and_no_server() -> None:
    async with upstream(always(plain(b""))) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply["date"].endswith("GMT")
    assert "server" not in reply


@pytest.mark.rule("H95")
async def test_hop_by_hop_headers_of_a_response_are_removed() -> None:
    hop = (
        "Connection: keep-alive, X-Private",
        "Keep-Alive: timeout=5",
        "X-Private: 1",
        "Proxy-Connection: x",
    )
    async with upstream(always(plain(b"x", *hop, "X-Public: 1"))) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert not {"connection", "keep-alive", "x-private", "proxy-connection"} & {
        name.decode().lower() for name, _ in reply.headers
    }
    assert reply["x-public"] == "1"


@pytest.mark.rule("H86")
async def test_hop_by_hop_headers_of_a_request_are_removed() -> None:
    hop = (
        "Connection: close, X-Private",
        "Keep-Alive: 5",
        "X-Private: 1",
        "Proxy-Authorization: x",
        "TE: trailers",
    )
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.chat(b'{"model":"m"}', *hop, "X-Public: 1", "Upgrade: h3")
    seen = up.seen[0]
    names = {name for name, _ in seen.headers}
    assert not {"connection", "keep-alive", "x-private", "proxy-authorization", "upgrade"} & names
    assert seen["x-public"] == "1"
    assert seen["te"] == "trailers"


@pytest.mark.rule("L55")
@pytest.mark.rule("H85", "H87")
async def test_the_upstream_gets_the_clients_host_and_address() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.ask("POST", "/v1/completions", JSON, "X-Forwarded-For: 10.0.0.1", body=b'{"model":"m"}')
        await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')
    first, second = up.seen
    assert first["host"] == "test"
    assert first["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert second["x-forwarded-for"] == "127.0.0.1"
    assert "user-agent" not in first


@pytest.mark.rule("L55")
@pytest.mark.rule("H84")
async def test_base_path_and_query_of_the_endpoint_come_first() -> None:
    async with (
        upstream(always(plain(b"x"))) as up,
        rig(Endpoint(f"http://127.0.0.1:{up.port}/pre?tok=1")) as served,
    ):
        await served.ask("GET", "/props?model=m&x=%2F")
    assert up.seen[0].line == "GET /pre/props?tok=1&model=m&x=%2F HTTP/1.1"


@pytest.mark.parametrize(
    ("asked", "forwarded"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v/chat/completions?a=b", "/chat/completions?a=b"),
        ("/audioapi/v1/tasks/run", "/v1/tasks/run"),
        ("/v1/%63ompletions", "/v1/completions"),
    ],
)
async def test_h42_our_own_prefixes_are_not_sent_on(asked: str, forwarded: str) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.ask("POST", asked, JSON, body=b'{"model":"m"}')
    assert up.seen[0].line == f"POST {forwarded} HTTP/1.1"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b' \r\n{ "model" : "m" , "x":"\\u00e9\xc3\xa9" } trailing',
        b'{"model":"m","big":"' + b"A" * 8_000_000 + b'"}',
    ],
    ids=["small", "odd", "8 MB"],
)
async def test_h37_a_request_body_arrives_byte_for_byte(body: bytes) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        reply = await served.chat(body)
    assert reply.status == 200
    assert up.seen[0].body == body


async def test_a_chunked_request_is_sent_on_with_its_length() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b'{"mod') + chunk(b'el":"m"}') + END
        )
        assert (await client.reply()).status == 200
    assert up.seen[0].body == b'{"model":"m"}'
    assert up.seen[0]["content-length"] == "13"
    assert "transfer-encoding" not in up.seen[0]


async def test_expect_100_continue_is_answered_and_not_sent_on() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 13\r\n\r\n"
        )
        with trio.fail_after(10):
            assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await client.send(b'{"model":"m"}')
        assert (await client.reply()).status == 200
    assert "expect" not in up.seen[0]


async def test_chunked_response_without_and_with_trailers() -> None:
    response = CHUNKED + chunk(b"one") + chunk(b"two") + b"0\r\nX-Sum: 1\r\n\r\n"
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        for _ in range(2):
            reply = await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')
            assert reply.body == b"onetwo"
            assert reply["transfer-encoding"] == "chunked"
    assert up.connections == 1


async def test_a_response_that_ends_with_its_connection() -> None:
    async def answer(seen: object, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the")
        await stream.send_all(b" end")
        stream.socket.close()

    async with upstream(answer) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply.body == b"until the end"


@pytest.mark.parametrize(
    "response",
    [
        plain(b"", "Content-Type: text/plain").replace(b"Content-Length: 0", b"Content-Length: 77"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_h8_head_is_relayed_as_head_and_the_connection_stays_usable(response: bytes) -> None:
    async def answer(seen: object, stream: trio.SocketStream) -> None:
        await stream.send_all(response if getattr(seen, "line", "").startswith("HEAD") else plain(b"body"))

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        # HEAD names its model as any other method does, so in a form; for GET it is the query.
        head = await client.ask("HEAD", "/props?model=m")
        assert head.status == 200
        assert head.body == b""
        assert (await client.ask("GET", "/props?model=m")).body == b"body"
    assert up.seen[0].line.startswith("HEAD ")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_responses_without_a_body(status: str) -> None:
    async with (
        upstream(always(f"HTTP/1.1 {status}\r\nX-A: b\r\n\r\n".encode())) as up,
        rig(up.endpoint) as served,
    ):
        client = await served.server.client()
        for _ in range(2):
            reply = await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')
            assert (reply.status, reply.body, reply["x-a"]) == (int(status[:3]), b"", "b")
    assert up.connections == 1


@pytest.mark.rule("H107")
async def test_h220_interim_responses_do_not_hide_the_real_one() -> None:
    response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX-No: 1\r\n\r\n"
    async with (
        upstream(always(response + plain(b"no", status="418 Teapot"))) as up,
        rig(up.endpoint) as served,
    ):
        reply = await served.chat()
    assert (reply.status, reply.body) == (418, b"no")
    assert "x-no" not in reply


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
@pytest.mark.rule("L56")
async def test_h96_proxies_in_front_are_told_not_to_buffer_events(content_type: str) -> None:
    response = plain(b"data: 1\n\n", f"Content-Type: {content_type}", "X-Accel-Buffering: yes")
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply["x-accel-buffering"] == "no"


async def test_other_responses_may_be_buffered() -> None:
    async with upstream(always(plain(b"{}", JSON))) as up, rig(up.endpoint) as served:
        assert "x-accel-buffering" not in await served.chat()


async def test_a_204_states_no_length() -> None:
    async with upstream(always(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")) as up:
        async with rig(up.endpoint) as served:
            reply = await served.chat()
    assert reply.status == 204
    assert "content-length" not in reply


@pytest.mark.parametrize(
    "coding", ["gzip, chunked", "gzip", "chunked, chunked", "identity", "chunked\r\nTransfer-Encoding: x"]
)
async def test_a_transfer_coding_that_nobody_asked_for_is_a_502_that_says_so(coding: str) -> None:
    response = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode() + chunk(b"zip") + END
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply.status == 502
    assert b"transfer coding" in reply.body


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"220 smtp ready\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 2_000_000,
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    ],
    ids=[
        "two lengths", "differing lengths", "unasked upgrade", "NUL", "not HTTP", "endless head", "LF only",
        "a bare LF", "a bare CR", "a folded line", "a space before the colon", "a signed length",
    ],
)  # fmt: skip
async def test_an_upstream_that_does_not_speak_http_is_a_502(response: bytes) -> None:
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        reply = await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')
        assert reply.status == 502
        assert b'"code":"upstream_died"' in reply.body
        assert (await client.ask("GET", "/health")).status == 200
        assert served.pool.statistics().idle == 0


@pytest.mark.parametrize(
    "chunks",
    [
        b"1\nx\r\n",
        b"1\r\nx\n",
        b"1\r\nxy\r\n",
        b"0x1\r\nx\r\n",
        b"ffffffffffffffffff\r\nx\r\n",
        b"-1\r\nx\r\n",
    ],
)
async def test_bad_chunks_never_look_finished(chunks: bytes) -> None:
    async with upstream(always(CHUNKED + chunks + END)) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"m"}'))
        try:
            assert (await client.head("POST")).status == 502
        except CutOff:
            pass
        else:
            return
        with pytest.raises(CutOff):
            await client.rest_of_body()


async def test_bytes_after_a_response_are_never_taken_for_the_next_one() -> None:
    poisoned = plain(b"real") + plain(b"poison")
    async with upstream(always(poisoned)) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        for _ in range(3):
            assert (await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')).body == b"real"
    assert up.connections == 3


@pytest.mark.rule("H25")
async def test_g41_credentials_that_open_this_server_are_not_sent_on() -> None:
    config = Configuration(models={"m": ModelConfig()}, api_keys=("k",))
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, config=config) as served:
        assert (await served.chat(b'{"model":"m"}', "Authorization: Bearer k", "X-Api-Key: k")).status == 200
    assert "authorization" not in up.seen[0]
    assert "x-api-key" not in up.seen[0]


@pytest.mark.rule("H25")
async def test_without_keys_of_our_own_credentials_are_the_upstreams() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.chat(b'{"model":"m"}', "Authorization: Bearer k", "X-Api-Key: k2")
    assert up.seen[0]["authorization"] == "Bearer k"
    assert up.seen[0]["x-api-key"] == "k2"


@pytest.mark.rule("H94")
async def test_a_slow_head_is_a_504_where_the_model_has_a_limit() -> None:
    async def never(seen: object, stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    timeouts = attrs.evolve(ModelConfig().timeouts, response_header=1)
    config = Configuration(models={"m": ModelConfig(timeouts=timeouts)})
    async with upstream(never) as up, rig(up.endpoint, config=config) as served:
        reply = await served.chat()
        assert reply.status == 504
        assert b'"code":"upstream_timeout"' in reply.body
