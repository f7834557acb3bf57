"""However a path is written, without a key nothing that needs one is answered, done or asked of a model."""

from __future__ import annotations

from typing import cast
from urllib.parse import quote

import trio
from http_wire import PATIENCE, StubFleet
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, HTTPScope
from hypothesis import given, settings, strategies as st

from swapcli.config import Configuration, ModelConfig
from swapcli.http import UpstreamPool, create_app
from swapcli.http.client_streams import PRESENCE, Presence
from swapcli.http.routes import ROUTES
from swapcore import Endpoint, ProcState

KEYS = ("secret",)
OPEN = {b"OK", b'<a href="/ui">Found</a>.\n\n'}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "OPTIONS", "CONNECT")

PATHS = st.sampled_from([route.pattern.replace("{rest...}", "m/x").replace("{id}", "1") for route in ROUTES])

INSERTS = st.sampled_from(
    [
        "/",
        "//",
        "/./",
        "/../",
        "/x/../",
        "%2f",
        "%2F",
        "%2e%2e/",
        "%00",
        "%",
        ";",
        "\\",
        "%5c",
        "?",
        "#",
        "%0d%0a",
    ],
)
PREFIXES = st.sampled_from(["", "", "", "http://evil", "https://h:1", "//h", "/health/..", "/ui/../", "/v"])


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """A path of ours, written as somebody might who looks for a gap."""
    path = draw(PATHS)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(path)))
        path = path[:at] + draw(INSERTS) + path[at:]
    if draw(st.booleans()) and path:
        at = draw(st.integers(0, len(path) - 1))
        path = path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :]
    return quote(draw(PREFIXES) + path, safe="/%?#;:\\&=").encode()


async def answered(
    app: object, method: str, target: bytes, headers: list[tuple[bytes, bytes]]
) -> tuple[int, bytes]:
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http", "asgi": {}, "http_version": "1.1", "method": method.upper(), "scheme": "http",
        "path": path.decode("latin-1"), "raw_path": path, "query_string": query, "root_path": "",
        "headers": headers, "client": ("10.0.0.1", 1), "server": ("10.0.0.2", 2),
        "state": {PRESENCE: Presence()}, "extensions": {},
    }  # fmt: skip
    sent: list[ASGISendEvent] = []
    asked = False

    async def receive() -> ASGIReceiveEvent:
        nonlocal asked
        if asked:
            await trio.sleep_forever()
        asked = True
        return {"type": "http.request", "body": b'{"model":"m"}', "more_body": False}

    async def send(message: ASGISendEvent) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    with trio.fail_after(PATIENCE):
        await app(cast("HTTPScope", scope), receive, send)  # type: ignore[operator]
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    body = b"".join(message["body"] for message in sent if message["type"] == "http.response.body")
    return status, body


@settings(max_examples=400)
@given(
    target=spellings(),
    method=st.sampled_from(METHODS),
    key=st.sampled_from([b"", b"Bearer wrong", b"Bearer ", b"Basic OnNlY3JldHg=", b"secret", b"Basic !"]),
)
def test_without_the_key(target: bytes, method: str, key: bytes) -> None:
    config = Configuration(models={"m": ModelConfig()}, api_keys=KEYS)
    fleet = StubFleet({"m": Endpoint("http://127.0.0.1:1")}, states={"m": ProcState.READY})
    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"authorization", key)]

    async def ask() -> tuple[int, bytes]:
        pool = UpstreamPool()
        try:
            return await answered(create_app(fleet, config, pool), method, target, headers)
        finally:
            pool.close_all()

    status, body = trio.run(ask)
    assert (fleet.leases, fleet.calls) == ([], [])
    if method == "OPTIONS":
        assert not body
    elif status < 300:
        assert body in OPEN or b"favicon" in target or not body
    else:
        assert status in (301, 302, 307, 308, 400, 401, 404, 405)
