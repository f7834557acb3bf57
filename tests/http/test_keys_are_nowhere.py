"""A key that opens this server is compared, and then is nowhere: in no log, list, record, or request."""

from __future__ import annotations

import base64
import json
import logging

import pytest
import trio
from http_wire import JSON, PATIENCE, Seen, plain, request, upstream
from recorded_server import USAGE, recorded

from swapcli.config import Configuration, ModelConfig, PeerConfig

KEY = "s3cret-key"
BASIC = base64.b64encode(f"user:{KEY}".encode()).decode()
WAYS = (
    f"Authorization: Bearer {KEY}",
    f"Authorization: Basic {BASIC}",
    f"X-Api-Key: {KEY}",
)
WRONG = "Authorization: Bearer wr0ng-key"


@pytest.mark.rule("G41", "H25", "H145", "H160")
async def test_a_key_is_seen_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked: list[Seen] = []

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        asked.append(seen)
        await stream.send_all(plain(USAGE, "Content-Type: application/json"))

    async with upstream(answer) as far:
        config = Configuration(
            models={"m": ModelConfig()},
            peers={"far": PeerConfig(far.endpoint.url, ("x",), api_key="of-the-peer")},
            peer_models={"far/x": ("far", "x")},
            api_keys=(KEY,),
            capture_buffer=5,
        )
        async with recorded(answer, config=config) as served:
            watcher = await served.server.client()
            await watcher.send(request("GET", "/api/events", WAYS[0]))
            await watcher.head()
            for way in WAYS:
                for model in ("m", "far/x", "nobody"):
                    body = json.dumps({"model": model}).encode()
                    reply = await served.chat(body, way)
                    assert reply.status == (404 if model == "nobody" else 200)
                    assert KEY.encode() not in reply.body
                assert (await served.ask("GET", "/upstream/m/x", way)).status == 200
            refused = await served.chat(b'{"model":"m"}', WRONG)
            assert refused.status == 401
            await served.until_idle()
            pages = [
                (await served.ask("GET", path, WAYS[2])).body
                for path in (
                    "/api/metrics/activity", "/logs", "/metrics", "/api/fleet", "/v1/models",
                    *(f"/api/captures/{number}" for number in range(1, 10)),
                )
            ]  # fmt: skip
            told = b""
            with trio.fail_after(PATIENCE):
                while told.count(b'"type":"activity"') < 9:
                    told += await watcher.piece() or b""
    assert len(asked) == 9
    shown = b"".join(pages) + told + repr(asked).encode() + caplog.text.encode() + refused.body
    assert b"[REDACTED]" in b"".join(pages)
    assert b"[REDACTED]" in told
    for secret in (KEY, BASIC, "wr0ng-key"):
        assert secret.encode() not in shown
    assert [seen["authorization"] for seen in asked if "authorization" in seen] == ["Bearer of-the-peer"] * 3
    assert b"of-the-peer" not in b"".join(pages) + told + caplog.text.encode()


@pytest.mark.rule("H21")
async def test_each_key_is_compared_whatever_the_others_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer's delay must not tell which of them was the right one, or how much of it."""
    import hmac

    from swapcli.http.credentials import is_allowed

    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def note(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return compare(given, wanted)

    monkeypatch.setattr(hmac, "compare_digest", note)
    assert is_allowed(("a", "b", "c"), "Bearer a", "")
    assert not is_allowed(("a", "b", "c"), "Bearer x", "")
    assert [wanted for _, wanted in compared] == [b"a", b"b", b"c"] * 2


async def test_a_query_which_may_hold_anything_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with recorded(lambda seen, stream: stream.send_all(plain(USAGE, JSON))) as served:
        await served.ask("GET", f"/props?model=m&api_key={KEY}")
        await served.ask("POST", f"/v1/completions?token={KEY}", JSON, body=b'{"model":"m"}')
        await served.until_idle()
        rows = json.dumps(await served.rows())
    assert KEY not in caplog.text + rows
