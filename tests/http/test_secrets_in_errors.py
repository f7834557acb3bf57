"""What went wrong on the way to an upstream is told without what only the configuration may know."""

from __future__ import annotations

import pytest
from free_ports import free_port
from http_wire import rig

from swapcli.config import Configuration, PeerConfig
from swapcore import Endpoint


@pytest.mark.parametrize(
    "url", ["http://me:hush@127.0.0.1:{port}/v?key=hush", "ftp://me:hush@127.0.0.1:{port}/"]
)
async def test_a_peer_that_cannot_be_reached(url: str, caplog: pytest.LogCaptureFixture) -> None:
    peer = PeerConfig(proxy=url.format(port=free_port()), models=("far",))
    async with rig(config=Configuration(peers={"p": peer}, peer_models={"far": ("p", "far")})) as served:
        reply = await served.chat(b'{"model":"far"}')
    assert reply.status == 502
    assert b"hush" not in reply.body
    assert "hush" not in caplog.text


async def test_a_model_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    async with rig(Endpoint(f"http://me:hush@127.0.0.1:{free_port()}/v?key=hush")) as served:
        reply = await served.chat()
    assert reply.status == 502
    assert b"127.0.0.1" in reply.body
    assert b"hush" not in reply.body
    assert "hush" not in caplog.text
