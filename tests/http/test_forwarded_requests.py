"""What a model's server gets of a request, and a client of its answer: no more is changed than has to be."""

from __future__ import annotations

import base64
import gzip
import json

import attrs
import pytest
import trio
from http_wire import CHUNKED, END, JSON, Seen, always, chunk, plain, rig, upstream
from recorded_server import ANSWER, Held, recorded

from swapcli.config import Configuration, ModelConfig, ModelFilters, PeerConfig, Profile, Selector
from swapcore import ProcState

FORM = "Content-Type: application/x-www-form-urlencoded"
FILTERED = ModelConfig(
    use_model_name="own", filters=ModelFilters(strip_params="x", set_params={"temperature": 1})
)


# -- headers ------------------------------------------------------------------------------------


@pytest.mark.rule("H86")
async def test_headers_of_the_connection_stay_here() -> None:
    hop = (
        "Connection: X-One, keep-alive", "Connection: x-two", "X-One: 1", "X-Two: 2", "Keep-Alive: 5",
        "Proxy-Connection: x", "Proxy-Authenticate: x", "Proxy-Authorization: x", "TE: gzip", "Trailer: x",
        "Upgrade: h2c",
    )  # fmt: skip
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        assert (await served.chat(b'{"model":"m"}', *hop, "X-Three: 3")).status == 200
    names = {name for name, _ in up.seen[0].headers}
    assert names == {"host", "content-type", "content-length", "x-three", "x-forwarded-for"}


@pytest.mark.rule("H25", "H87")
async def test_what_others_said_about_the_client_and_its_cookies_go_on() -> None:
    headers = (
        "X-Forwarded-Proto: https", "X-Forwarded-Host: front", "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4",
        "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8", "Cookie: a=b", "X-Own: \xe9",
    )  # fmt: skip
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.chat(b'{"model":"m"}', *headers)
    seen = up.seen[0]
    assert [seen["x-forwarded-proto"], seen["x-forwarded-host"], seen["forwarded"]] == [
        "https", "front", "for=1.2.3.4",
    ]  # fmt: skip
    assert (seen["x-real-ip"], seen["cookie"], seen["x-own"]) == ("1.2.3.4", "a=b", "\xe9")
    assert seen.values("x-forwarded-for") == ["1.2.3.4, 5.6.7.8, 127.0.0.1"]
    assert "user-agent" not in seen


@pytest.mark.rule("H85")
async def test_a_client_that_takes_us_for_its_proxy_names_the_host_in_its_target() -> None:
    """RFC 9112, section 3.2.2: what ``Host`` says does not count then."""
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        for target in ("http://front.example:81/v1/%63ompletions?a=%20", "HTTP://Front.example/upstream/m/x"):
            await served.ask("POST", target, JSON, body=b'{"model":"m"}')
    assert [(seen.line.split()[1], seen["host"]) for seen in up.seen] == [
        ("/v1/completions?a=%20", "front.example:81"), ("/x", "Front.example"),
    ]  # fmt: skip


@pytest.mark.rule("H88")
@pytest.mark.parametrize("path", ["/v1/completions", "/upstream/m/other"])
async def test_an_answer_is_packed_only_for_a_client_that_asked_and_never_unpacked_here(path: str) -> None:
    packed = gzip.compress(b"a long answer")
    async with upstream(always(plain(packed, "Content-Encoding: gzip"))) as up, rig(up.endpoint) as served:
        silent = await served.ask("POST", path, JSON, body=b'{"model":"m"}')
        await served.ask("POST", path, JSON, "Accept-Encoding: gzip", body=b'{"model":"m"}')
    assert "accept-encoding" not in up.seen[0]
    assert up.seen[1]["accept-encoding"] == "gzip"
    assert (silent.body, silent["content-encoding"]) == (packed, "gzip")
    assert silent["content-length"] == str(len(packed))


@pytest.mark.rule("H89")
async def test_a_query_goes_on_byte_for_byte_whatever_it_holds() -> None:
    query = "model=m&a;b&c=%zz&=&&d=%20+"
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.ask("GET", f"/props?{query}")
        await served.ask("POST", f"/v1/images/edits?{query}", FORM, body=b"model=m&x=1")
        await served.ask("POST", f"/v1/completions?{query}", JSON, body=b'{"model":"m"}')
    assert [seen.line.split()[1].partition("?")[2] for seen in up.seen] == [query] * 3


@pytest.mark.rule("H98")
async def test_an_answer_gets_no_content_type_that_its_server_did_not_give() -> None:
    async with upstream(always(plain(b"<html>"))) as up, rig(up.endpoint) as served:
        reply = await served.chat()
    assert reply.body == b"<html>"
    assert "content-type" not in reply


@pytest.mark.rule("H19")
async def test_what_a_model_allows_other_origins_is_its_own_business() -> None:
    allowed = ("Access-Control-Allow-Origin: http://a", "Access-Control-Allow-Credentials: true")
    async with upstream(always(plain(b"x", *allowed))) as up, rig(up.endpoint) as served:
        reply = await served.chat(b'{"model":"m"}', "Origin: http://b")
    assert (reply["access-control-allow-origin"], reply["access-control-allow-credentials"]) == (
        "http://a", "true",
    )  # fmt: skip
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        assert "access-control-allow-origin" not in await served.chat(b'{"model":"m"}', "Origin: http://b")
    async with rig(config=Configuration(api_keys=("k",))) as served:
        refused = await served.ask("GET", "/v1/models", "Origin: http://b")
    assert refused.status == 401
    assert "access-control-allow-origin" not in refused


@pytest.mark.rule("H101")
async def test_a_client_of_http_1_0_gets_what_it_understands() -> None:
    streamed = CHUNKED + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + END
    async with upstream(always(streamed)) as up, rig(up.endpoint) as served:
        for asked, body in (
            (b"GET /props?model=m", b"data: 1\n\ndata: 2\n\n"),
            (b"GET /health", b"OK"),
            (b"GET /nope", b"404 page not found\n"),
        ):
            client = await served.server.client()
            await client.send(asked + b" HTTP/1.0\r\n\r\n")
            head, _, rest = (await client.rest()).partition(b"\r\n\r\n")
            assert rest == body  # it ends with the connection
            assert b"transfer-encoding" not in head.lower()


@pytest.mark.rule("H101")
async def test_answers_of_our_own_say_how_long_they_are() -> None:
    names = {f"model-{number}": ModelConfig() for number in range(500)}
    async with rig(config=Configuration(models=names)) as served:
        for path in ("/health", "/nope", "/v1/models", "/upstream/", "/"):
            reply = await served.ask("GET", path)
            assert reply["content-length"] == str(len(reply.body)), path


@pytest.mark.rule("H107", "H220")
async def test_the_record_has_the_status_that_counts_and_not_an_interim_one() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with recorded(always(interim + ANSWER)) as served:
        reply = await served.chat()
        row = await served.row()
    assert reply.status == 200
    assert "link" not in reply
    assert (row["resp_status_code"], row["tokens"]["input_tokens"]) == (200, 4)
    assert "error_msg" not in row


# -- below a model's own path ---------------------------------------------------------------------


@pytest.mark.rule("H57")
@pytest.mark.parametrize("path", ["/upstream/m/v1/chat/completions", "/comfyui/"])
async def test_nothing_is_filtered_below_a_path_that_names_the_model(path: str) -> None:
    body = b'{"model":"m","x":1}'
    async with upstream(always(plain(b"x"))) as up:
        config = Configuration(models={"m": FILTERED, "comfyui_auto": FILTERED})
        async with rig(up.endpoint, up.endpoint, config=config) as served:
            assert (await served.ask("POST", path, JSON, body=body)).status == 200
    assert up.seen[0].body == body


@pytest.mark.rule("H50", "L122")
async def test_a_selector_is_no_beginning_of_a_path_even_for_a_pin() -> None:
    config = Configuration(
        models={"m": ModelConfig()},
        selectors={"any": Selector("pin", ("m",))},
        profiles={"p": Profile(pins={"gpt": "any"})},
    )
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, config=config) as served:
        await served.ask("PUT", "/api/profiles/active", body=b'{"name":"p"}')
        for name in ("any", "gpt"):
            reply = await served.ask("GET", f"/upstream/{name}/x")
            assert (reply.status, json.loads(reply.body)["error"]["message"]) == (404, "model not found")
    assert up.seen == []


@pytest.mark.rule("H76", "H143", "H163")
async def test_below_upstream_only_requests_that_we_understand_are_listed_and_recorded() -> None:
    held = Held()
    async with recorded(held) as served:
        listed = (
            ("POST", "/v1/chat/completions"), ("POST", "/v/chat/completions"), ("GET", "/props"),
            ("POST", "/v1/images/edits"),
        )  # fmt: skip
        others = (
            ("POST", "/v1/chat/completions/"), ("POST", "/v1/chat"), ("PUT", "/v1/chat/completions"),
            ("POST", "/props"), ("GET", "/v1/completions"), ("POST", "/"),
        )  # fmt: skip
        for method, path in (*listed, *others):
            held.asked, held.go_on = trio.Event(), trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(served.ask, method, f"/upstream/em{path}?model=x")
                await held.asked.wait()
                entries = served.recorder.inflight.snapshot()
                wanted = [("m", path)] if (method, path) in listed else []
                assert [(entry["model"], entry["req_path"]) for entry in entries] == wanted
                held.go_on.set()
        await served.until_idle()
        rows = await served.rows("?order=asc")
    posts = [("m", path) for method, path in listed if method == "POST"]
    assert [(row["model"], row["req_path"]) for row in rows] == posts


@pytest.mark.rule("H83")
async def test_comfyui_is_on_no_list_in_no_record_and_no_profile() -> None:
    held = Held(end=plain(b"x"))
    config = Configuration(
        models={"m": ModelConfig(), "comfyui_auto": FILTERED},
        profiles={"p": Profile(pins={"comfyui_auto": "nobody"})},
        capture_buffer=1,
    )
    async with recorded(held, config=config) as served:
        await served.ask("PUT", "/api/profiles/active", body=b'{"name":"p"}')
        served.fleet.states["comfyui_auto"] = ProcState.READY
        async with trio.open_nursery() as nursery:
            ask = served.ask
            nursery.start_soon(lambda: ask("POST", "/comfyui/v1/completions", JSON, body=b'{"x":1}'))
            await held.asked.wait()
            assert served.recorder.inflight.snapshot() == []
            held.go_on.set()
        assert (await served.chat(b'{"model":"m"}')).status == 200
        assert (await served.row())["model"] == "m"  # the only record, although it is the later one
        assert served.fleet.leases == ["comfyui_auto", "m"]


@pytest.mark.rule("H25", "G41")
async def test_a_key_of_ours_goes_to_no_path_of_a_model_either() -> None:
    config = Configuration(models={"m": ModelConfig(), "comfyui_auto": ModelConfig()}, api_keys=("k",))
    async with upstream(always(plain(b"x"))) as up:
        async with rig(up.endpoint, up.endpoint, config=config) as served:
            for path in ("/upstream/m/x", "/comfyui/"):
                reply = await served.ask(
                    "GET", path, "Authorization: Bearer k", "X-Api-Key: k", "Cookie: c=1"
                )
                assert reply.status == 200
    for seen in up.seen:
        assert not {"authorization", "x-api-key"} & {name for name, _ in seen.headers}
        assert seen["cookie"] == "c=1"


@pytest.mark.rule("H99")
async def test_an_answer_with_a_length_is_passed_on_as_it_comes_too() -> None:
    got_first = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 10\r\n\r\nfirst"
        )
        await got_first.wait()
        await stream.send_all(b"other")

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(b"GET /props?model=m HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.head()
        assert await client.piece() == b"first"
        got_first.set()
        assert await client.rest_of_body() == b"other"


# -- whose path it is -----------------------------------------------------------------------------


PEERED = Configuration(
    models={"m": ModelConfig()},
    peers={"p": PeerConfig("", ("real",))},
    peer_models={"p/real": ("p", "real"), "comfyui_auto": ("p", "real")},
)


@pytest.mark.rule("H75", "H78", "L145")
async def test_a_peer_s_files_are_served_and_a_query_gets_its_own_name() -> None:
    async with upstream(always(plain(b"x"))) as far:
        config = attrs.evolve(PEERED, peers={"p": PeerConfig(far.endpoint.url, ("real",))})
        async with rig(config=config) as served:
            for path in ("/assets/app.js", "/props?b=1&model=p%2Freal", "/props?b=%20&model=other"):
                assert (await served.ask("GET", f"/upstream/p/real{path}")).body == b"x"
    assert [seen.line.split()[1] for seen in far.seen] == [
        "/assets/app.js", "/props?b=1&model=real", "/props?b=%20&model=other",
    ]  # fmt: skip


@pytest.mark.rule("H80", "L147")
async def test_no_peer_stands_in_for_comfyui() -> None:
    async with upstream(always(plain(b"x"))) as far:
        config = attrs.evolve(PEERED, peers={"p": PeerConfig(far.endpoint.url, ("real",))})
        async with rig(config=config) as served:
            assert (await served.ask("GET", "/upstream/comfyui_auto/")).status == 200
            assert (await served.ask("GET", "/comfyui/")).status == 404
    assert len(far.seen) == 1


@pytest.mark.rule("H160")
async def test_a_capture_has_the_request_as_the_model_got_it() -> None:
    config = Configuration(models={"m": FILTERED}, capture_buffer=1)
    async with recorded(always(ANSWER), config=config) as served:
        await served.chat(b'{"model":"m","x":1}', "X-Mine: 1", "Accept-Encoding: br, gzip")
        await served.until_idle()
        capture = json.loads((await served.ask("GET", "/api/captures/1")).body)
    assert base64.b64decode(capture["req_body"]) == b'{"model":"own","temperature":1}'
    assert (capture["req_headers"]["X-Mine"], capture["req_headers"]["Accept-Encoding"]) == ("1", "br, gzip")
