"""What a caller asks of the queue, on every way to a model: how soon, and for how long it waits."""

from __future__ import annotations

import json

import attrs
import pytest
from http_wire import JSON, always, plain, rig, upstream

from swapcli.config import Configuration, ModelConfig, PeerConfig
from swapcore import Endpoint

PATHS = ("/v1/chat/completions", "/upstream/{}/v1/chat/completions", "/upstream/{}/other")


def with_priority_keys(
    api_keys: tuple[str, ...], priority_keys: tuple[str, ...], peer: str = "http://127.0.0.1:9"
) -> Configuration:
    config = Configuration(
        models={"m": ModelConfig()},
        peers={"far": PeerConfig(peer, ("x",))},
        peer_models={"far/x": ("far", "x")},
        api_keys=api_keys,
    )
    fifo = attrs.evolve(config.routing.scheduler.settings.fifo, priority_keys=priority_keys)
    settings = attrs.evolve(config.routing.scheduler.settings, fifo=fifo)
    scheduler = attrs.evolve(config.routing.scheduler, settings=settings)
    return attrs.evolve(config, routing=attrs.evolve(config.routing, scheduler=scheduler))


WHO_MAY = [
    ((), (), "any", 5),
    (("one", "two"), (), "one", 0),
    (("one", "two"), ("two",), "one", 0),
    (("one", "two"), ("two",), "two", 5),
]


@pytest.mark.rule("L178", "H77")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("api_keys", "priority_keys", "key", "priority"), WHO_MAY)
async def test_g31_priority_is_for_keys_that_are_allowed_it(
    path: str, api_keys: tuple[str, ...], priority_keys: tuple[str, ...], key: str, priority: int
) -> None:
    config = with_priority_keys(api_keys, priority_keys)
    headers = (f"Authorization: Bearer {key}", "X-Swap-Priority: 5", "X-Swap-Deadline: 90.5")
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, config=config) as served:
        reply = await served.ask("POST", path.format("m"), JSON, *headers, body=b'{"model":"m"}')
        assert reply.status == 200
        [(given, patience)] = served.fleet.wishes
    assert given == priority
    assert 70 < patience <= 90.5
    assert ("x-swap-priority" in up.seen[0]) is bool(priority)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("api_keys", "priority_keys", "key", "priority"), WHO_MAY)
async def test_nobody_borrows_our_priority_at_a_peer(
    path: str, api_keys: tuple[str, ...], priority_keys: tuple[str, ...], key: str, priority: int
) -> None:
    async with upstream(always(plain(b"x"))) as far:
        config = with_priority_keys(api_keys, priority_keys, far.endpoint.url)
        headers = (f"Authorization: Bearer {key}", "X-Swap-Priority: 5")
        async with rig(config=config) as served:
            body = b'{"model":"far/x"}'
            reply = await served.ask("POST", path.format("far/x"), JSON, *headers, body=body)
            assert reply.status == 200
    assert ("x-swap-priority" in far.seen[0]) is bool(priority)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header",
    ["X-Swap-Priority: high", "X-Swap-Priority: 101", "X-Swap-Priority: 1.5", "X-Swap-Deadline: soon",
     "X-Swap-Deadline: 0", "X-Swap-Deadline: -1", "X-Swap-Deadline: nan", "X-Swap-Deadline: 1e9"],
)  # fmt: skip
async def test_wishes_that_make_no_sense(path: str, header: str) -> None:
    async with rig(Endpoint("http://127.0.0.1:9")) as served:
        reply = await served.ask("POST", path.format("m"), JSON, header, body=b'{"model":"m"}')
        assert served.fleet.leases == []
    assert reply.status == 400
    assert header.partition(":")[0] in json.loads(reply.body)["error"]["message"]
