"""Requests to peers: rules H41, H90 to H92, L136 to L140, and that nobody's credentials go there (G41)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from free_ports import free_port
from http_wire import CHUNKED, END, JSON, PATIENCE, CutOff, Seen, always, chunk, plain, request, rig, upstream

from swapcli.config import Configuration, ModelConfig, PeerConfig, PeerFilters, PeerTimeouts
from swapcli.http.peer_requests import with_hint

CREDENTIALS = ("Authorization: Bearer client", "X-Api-Key: client", "Cookie: session=client")


def configuration(*peers: PeerConfig, **keys: Any) -> Configuration:
    """The peers are called ``far``, ``near``; names as the loader makes them."""
    by_name = dict(zip(("far", "near"), peers, strict=False))
    names: dict[str, tuple[str, str]] = {}
    for peer, each in by_name.items():
        names |= {model: (peer, model) for model in each.models}
        names |= {f"{peer}/{model}": (peer, model) for model in each.models}
    keys.setdefault("models", {"m": ModelConfig()})
    return Configuration(peers=by_name, peer_models=names, **keys)


@pytest.mark.parametrize("name", ["far/org/x", "org/x"])
@pytest.mark.rule("L136")
@pytest.mark.rule("L137")
async def test_h41_h90_the_peer_s_own_name_is_sent(name: str) -> None:
    async with upstream(always(plain(b"far", "Server: theirs"))) as far:
        config = configuration(PeerConfig(far.endpoint.url + "/base/?k=v", ("org/x",)))
        async with rig(config=config) as served:
            body = b'{ "model":"%b", "n":1.0}' % name.encode()
            reply = await served.ask("POST", "/v1/chat/completions?a=%20", JSON, body=body)
            assert served.fleet.leases == []
    assert (reply.status, reply.body, reply["server"]) == (200, b"far", "theirs")
    assert far.seen[0].line == "POST /base/v1/chat/completions?k=v&a=%20 HTTP/1.1"
    assert far.seen[0].body == b'{ "model":"org/x", "n":1.0}'


@pytest.mark.rule("L64")
async def test_h40_a_local_model_goes_before_a_peer_s() -> None:
    async with upstream(always(plain(b"far"))) as far, upstream(always(plain(b"near"))) as near:
        config = configuration(PeerConfig(far.endpoint.url, ("m",)))
        async with rig(near.endpoint, config=config) as served:
            assert (await served.chat()).body == b"near"
            assert (await served.chat(b'{"model":"far/m"}')).body == b"far"


async def test_h90_h47_a_query_is_encoded_anew() -> None:
    async with upstream(always(plain(b"far"))) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            await served.ask("GET", "/props?z=1&model=far/x&a=%20&b=%zz")
            await served.ask("POST", "/v1/completions?z=1&a=%20&b=%zz", JSON, body=b'{"model":"x"}')
            await served.ask("POST", "/v1/completions?z=1&a=%20", JSON, body=b'{"model":"x"}')
    assert [seen.line.split()[1] for seen in far.seen] == [
        "/props?a=+&model=x&z=1", "/v1/completions?a=+&z=1", "/v1/completions?z=1&a=%20",
    ]  # fmt: skip


@pytest.mark.rule("L138")
async def test_h90_host_and_forwarding_headers() -> None:
    headers = (
        "X-Forwarded-For: 10.1.1.1", "X-Forwarded-Host: inner", "X-Forwarded-Proto: https",
        "Forwarded: for=10.1.1.1", "X-Own: 1", "X-Real-IP: 10.1.1.1", "Connection: X-Own-Too", "X-Own-Too: 1",
    )  # fmt: skip
    async with upstream(always(plain(b"far"))) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            await served.chat(b'{"model":"x"}', *headers)
    seen = far.seen[0]
    assert seen["host"] == f"127.0.0.1:{far.port}"
    assert (seen["x-own"], seen["x-real-ip"]) == ("1", "10.1.1.1")
    for gone in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-own-too"):
        assert gone not in seen


@pytest.mark.parametrize("api_keys", [(), ("client",)])
async def test_g41_a_peer_gets_its_own_key_and_no_other(api_keys: tuple[str, ...]) -> None:
    async with upstream(always(plain(b"far"))) as far, upstream(always(plain(b"near"))) as near:
        config = configuration(
            PeerConfig(far.endpoint.url, ("x",), api_key="theirs"),
            PeerConfig(near.endpoint.url, ("y",)),
            api_keys=api_keys,
        )
        async with rig(config=config) as served:
            for model in (b"x", b"y"):
                assert (await served.chat(b'{"model":"%b"}' % model, *CREDENTIALS)).status == 200
    assert far.seen[0].values("authorization") == ["Bearer theirs"]
    assert far.seen[0].values("x-api-key") == ["theirs"]
    for header in ("authorization", "x-api-key", "cookie"):
        assert header not in near.seen[0]
    assert "cookie" not in far.seen[0]


async def test_g41_credentials_are_passed_where_that_is_asked_for() -> None:
    async with upstream(always(plain(b"x"))) as far, upstream(always(plain(b"x"))) as near:
        config = configuration(
            PeerConfig(far.endpoint.url, ("x",), api_key="theirs", pass_credentials=True),
            PeerConfig(near.endpoint.url, ("y",), pass_credentials=True),
            api_keys=("client",),
        )
        async with rig(config=config) as served:
            for model in (b"x", b"y"):
                assert (await served.chat(b'{"model":"%b"}' % model, *CREDENTIALS)).status == 200
    assert (far.seen[0]["authorization"], far.seen[0]["cookie"]) == ("Bearer theirs", "session=client")
    assert (near.seen[0]["authorization"], near.seen[0]["x-api-key"]) == ("Bearer client", "client")


@pytest.mark.parametrize("passes", [False, True])
async def test_g41_a_model_gets_no_key_that_opens_this_server(passes: bool) -> None:
    config = configuration(models={"m": ModelConfig(pass_credentials=passes)}, api_keys=("client",))
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, config=config) as served:
        assert (await served.chat(b'{"model":"m"}', *CREDENTIALS)).status == 200
    assert up.seen[0].values("authorization") == (["Bearer client"] if passes else [])
    assert up.seen[0].values("x-api-key") == (["client"] if passes else [])


async def test_h58_filters_of_a_peer() -> None:
    filters = PeerFilters(
        strip_params="top_p", set_params={"t": 1}, set_params_by_id={"far/x": {"f": 1}, "x": {"b": 1}}
    )
    async with upstream(always(plain(b"far"))) as far:
        config = configuration(PeerConfig(far.endpoint.url, ("x",), filters=filters))
        async with rig(config=config) as served:
            await served.chat(b'{"model":"far/x","top_p":1}')
            await served.chat(b'{"model":"x","top_p":1}')
    assert [seen.body for seen in far.seen] == [b'{"model":"x","t":1,"f":1}', b'{"model":"x","t":1,"b":1}']


async def test_h91_a_peer_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with rig(config=configuration(PeerConfig(url, ("x",)))) as served:
        reply = await served.chat(b'{"model":"x"}')
        text = await served.chat(b'{"model":"x"}', "Accept: text/plain")
    error = json.loads(reply.body)
    assert (reply.status, error["src"], error["error"]["code"]) == (502, "swapcli", "bad_gateway")
    assert error["error"]["message"].startswith("peer proxy error: ")
    assert "refused" in error["error"]["message"].lower()
    assert text.body.startswith(b"swapcli: peer proxy error: ")


@pytest.mark.parametrize("url", ["ftp://h/", "http:///", "http://h:99999/"])
async def test_h91_a_peer_to_which_nothing_can_be_sent(url: str) -> None:
    async with rig(config=configuration(PeerConfig(url, ("x",)))) as served:
        reply = await served.chat(b'{"model":"x"}')
    assert reply.status == 502
    assert b"peer proxy error: nothing can be sent to" in reply.body


@pytest.mark.rule("L139")
async def test_h91_h93_a_peer_that_takes_too_long() -> None:
    async def never(seen: Seen, stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with upstream(never) as far:
        peer = PeerConfig(far.endpoint.url, ("x",), timeouts=PeerTimeouts(response_header=1))
        async with rig(config=configuration(peer)) as served:
            reply = await served.chat(b'{"model":"x"}')
    assert (reply.status, b"no answer within 1 s" in reply.body) == (502, True)
    assert PeerConfig().timeouts.response_header == 60


async def test_h91_a_peer_that_hangs_up_is_not_asked_again() -> None:
    async def hang_up(seen: Seen, stream: trio.SocketStream) -> None:
        stream.socket.close()

    async with upstream(hang_up) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            assert (await served.chat(b'{"model":"x"}')).status == 502
    assert len(far.seen) == 1


def test_h91_the_hint_for_macs() -> None:
    why = "[Errno 65] No route to host"
    assert with_hint(why, "linux") == why
    assert with_hint(why, "darwin").startswith(why + " (hint: on macOS, check System Settings")
    assert with_hint("refused", "darwin") == "refused"


async def test_g45_a_peer_that_dies_in_mid_stream_is_noticed() -> None:
    async def die(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        stream.socket.close()

    async with upstream(die) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            with pytest.raises(CutOff):
                await served.chat(b'{"model":"x"}')


@pytest.mark.rule("L140")
async def test_h92_a_peer_has_no_limit_and_no_queue() -> None:
    let_go = trio.Event()

    async def hold(seen: Seen, stream: trio.SocketStream) -> None:
        await let_go.wait()
        await stream.send_all(plain(b"far"))

    async with upstream(hold) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            replies = list[int]()

            async def ask() -> None:
                replies.append((await served.chat(b'{"model":"x"}')).status)

            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(ask)
                with trio.fail_after(PATIENCE):
                    while len(far.seen) < 40:  # noqa: ASYNC110
                        await trio.sleep(0.005)
                let_go.set()
    assert replies == [200] * 40


@pytest.mark.rule("L141")
@pytest.mark.parametrize("is_cut", [False, True], ids=["drained", "cut"])
async def test_when_the_server_stops_a_peer_s_answer_may_end_within_the_time_for_requests(
    is_cut: bool,
) -> None:
    go_on = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        await go_on.wait()
        await stream.send_all(chunk(b"data: 2\n\n") + END)

    async with upstream(answer) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            client = await served.server.client()
            await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"x"}'))
            await client.head("POST")
            assert await client.piece() == b"data: 1\n\n"
            for _ in range(2):  # the second time it means nothing
                served.server.drain.stop.set()
            await served.server.until_refused()
            if is_cut:
                served.server.drain.cut.set()
                with pytest.raises(CutOff):
                    await client.rest_of_body()
            else:
                go_on.set()
                assert await client.rest_of_body() == b"data: 2\n\n"


async def test_a_client_that_leaves_takes_its_request_to_the_peer_along() -> None:
    async def never(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        far.client_gone.set()

    async with upstream(never) as far:
        async with rig(config=configuration(PeerConfig(far.endpoint.url, ("x",)))) as served:
            client = await served.server.client()
            await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"x"}'))
            with trio.fail_after(PATIENCE):
                while not far.seen:  # noqa: ASYNC110
                    await trio.sleep(0.002)
                client.stream.socket.close()
                await far.client_gone.wait()
