"""The route table: which path and method is served, and what everything else is answered."""

from __future__ import annotations

import pytest
from http_wire import JSON, rig

from swapcli.http.routes import ROUTES, BadPath, Found, NotFound, Redirect, RouteTable, WrongMethod

TABLE = RouteTable(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_is_found(route: object) -> None:
    assert isinstance(route, type(ROUTES[0]))
    path = route.pattern.replace("{rest...}", "a%2Fb/c%20d").replace("{id}", "a%2Fb").encode()
    found = TABLE.look_up(route.method, path, b"")
    assert found == Found(route, "a/b/c d" if route.is_open_ended else "a/b" if route.has_id else "")
    if route.method == "GET":
        assert TABLE.look_up("HEAD", path, b"") == found


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions", "/completions", "/embeddings", "/embedding", "/tokenize", "/v/audio/speech",
        "/v/images/generations", "/v/models", "/v1/models/m", "/v1/moderations", "/v1/images/variations",
        "/v1/audio/translations", "/slots", "/sdapi/v1/samplers", "/favicon.svg", "/site.webmanifest",
        "/api/chat", "/v1%2Fmodels", "/v1/models/", "/V1/models", "/healthz", "/api", "/api/models",
        "/api/captures", "/api/captures/1/2", "/api/inflight/1",
    ],
)  # fmt: skip
def test_h6_h9_no_routes(path: str) -> None:
    for method in ("GET", "POST", "PUT", "BREW"):
        assert TABLE.look_up(method, path.encode(), b"") == NotFound()


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/models", "GET, HEAD"),
        ("/v1/chat/completions", "POST"),
        ("/v1/audio/voices", "GET, HEAD, POST"),
        ("/api/models/unload/x", "POST"),
        ("/%68ealth", "GET, HEAD"),
        ("/api/captures/1", "GET, HEAD"),
        ("/api/inflight/1/cancel", "POST"),
    ],
)
def test_h11_known_path_wrong_method(path: str, allow: str) -> None:
    assert TABLE.look_up("BREW", path.encode(), b"") == WrongMethod(allow)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//v1/models", "/v1/models"),
        ("/v1//models", "/v1/models"),
        ("/v1/./models", "/v1/models"),
        ("/v1/x/../models", "/v1/models"),
        ("/v1/models/.", "/v1/models/"),
        ("/../../etc/", "/etc/"),
        ("/api/models/unload//a%20b", "/api/models/unload/a%20b"),
        ("//evil.example/", "/evil.example/"),
        ("/.", "/"),
    ],
)
def test_h12_h13_paths_are_cleaned_without_encoding_them_twice(path: str, location: str) -> None:
    assert TABLE.look_up("GET", path.encode(), b"") == Redirect(location)
    assert TABLE.look_up("POST", path.encode(), b"a=%20") == Redirect(location + "?a=%20")


@pytest.mark.parametrize("path", ["/api/models/unload/a%2F..%2Fb", "/api/models/unload/%2e%2e", "/%68ealth"])
def test_h14_encoded_dots_and_slashes_are_left_alone(path: str) -> None:
    assert not isinstance(TABLE.look_up("POST", path.encode(), b""), Redirect)


@pytest.mark.parametrize("path", ["/v1/%zz", "/%", "/a%2"])
def test_h16_broken_escapes(path: str) -> None:
    assert TABLE.look_up("GET", path.encode(), b"") == BadPath()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"),
        ("GET /größe HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "400 Bad Request"),
        (b"NONSENSE\r\n\r\n", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "400 Bad Request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_200_000, "431 Request Header Fields Too Large"),
    ],
    ids=["no host", "escape", "no ASCII", "nonsense", "header", "long"],
)
async def test_h16_what_is_no_http_is_told_so_and_the_connection_closed(data: bytes, status: str) -> None:
    async with rig() as served:
        client = await served.server.client()
        await client.send(data)
        head, _, body = (await client.rest()).decode().partition("\r\n\r\n")
        assert (await served.ask("GET", "/health", "X: " + "a" * 900_000)).status == 200
    assert head.startswith(f"HTTP/1.1 {status[:3]} ")
    assert "content-type: text/plain; charset=utf-8" in head.lower()
    assert "connection: close" in head.lower()
    assert body == status


async def test_h10_404_over_the_wire() -> None:
    async with rig() as served:
        client = await served.server.client()
        for method in ("GET", "POST"):
            reply = await client.ask(method, "/nope", "Accept: application/json", body=b"{}")
            assert (reply.status, reply.body) == (404, b"404 page not found\n")
            assert reply["content-type"] == "text/plain; charset=utf-8"
            assert reply["x-content-type-options"] == "nosniff"


async def test_h11_405_over_the_wire() -> None:
    async with rig() as served:
        client = await served.server.client()
        for _ in range(2):
            reply = await client.ask("GET", "/v1/chat/completions")
            assert (reply.status, reply.body, reply["allow"]) == (405, b"Method Not Allowed\n", "POST")
            assert reply["x-content-type-options"] == "nosniff"


async def test_h12_307_over_the_wire() -> None:
    async with rig() as served:
        client = await served.server.client()
        reply = await client.ask("GET", "/v1//models?a=%20b&c")
        assert (reply.status, reply["location"]) == (307, "/v1/models?a=%20b&c")
        assert reply["content-type"] == "text/html; charset=utf-8"
        assert reply.body == b'<a href="/v1/models?a=%20b&amp;c">Temporary Redirect</a>.\n\n'
        reply = await client.ask("POST", "/v1//models", JSON, body=b"{}")
        assert (reply.status, reply.body) == (307, b"")
        assert "content-type" not in reply


async def test_absolute_form_and_star() -> None:
    async with rig() as served:
        client = await served.server.client()
        assert (await client.ask("GET", "http://other.example/health")).body == b"OK"
        assert (await client.ask("GET", "http://other.example")).status == 302
        assert (await client.ask("OPTIONS", "*")).status == 200


@pytest.mark.parametrize(
    "line",
    ["GET *", "POST *", "CONNECT *", "CONNECT example:443", "CONNECT /health", "GET health", "GET ?model=m"],
)
async def test_targets_that_are_neither_path_nor_url_are_refused(line: str) -> None:
    async with rig() as served:
        client = await served.server.client()
        await client.send(f"{line} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"400 Bad Request")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/nope", "//x"])
async def test_h17_options_is_answered_everywhere_without_a_key(path: str) -> None:
    async with rig() as served:
        reply = await served.ask("OPTIONS", path)
    assert (reply.status, reply.body) == (204, b"")
    assert "content-length" not in reply  # RFC 9110, section 8.6
    assert reply["access-control-allow-origin"] == "*"
    assert reply["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE, OPTIONS"
    assert reply["access-control-max-age"] == "86400"
    assert reply["access-control-allow-headers"] == "Content-Type, Authorization, Accept, X-Requested-With"


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        ("x-a,  X-B ,", "x-a, X-B"),
        ("x a, (bad), good!", "good!"),
        ("bad name", ""),
    ],
)
async def test_h18_requested_headers_are_allowed_if_they_are_names(requested: str, allowed: str) -> None:
    async with rig() as served:
        reply = await served.ask("OPTIONS", "/", f"Access-Control-Request-Headers: {requested}")
    assert reply["access-control-allow-headers"] == allowed


async def test_h8_head_of_a_page() -> None:
    async with rig() as served:
        client = await served.server.client()
        for _ in range(2):
            reply = await client.ask("HEAD", "/health")
            assert (reply.status, reply.body, reply["content-length"]) == (200, b"", "2")
