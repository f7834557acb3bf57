"""Which upstreams a proxy leads to, as the environment says."""

from __future__ import annotations

import pytest

from swapcli.http.forward_proxy import ProxyEnvironment
from swapcore import Endpoint

PROXY = "http://proxy.example:3128"


def chosen(url: str, **environ: str) -> str | None:
    proxy = ProxyEnvironment.of(environ).proxy_for(Endpoint(url))
    return None if proxy is None else proxy.endpoint.url


@pytest.mark.rule("H93")
@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://peer.example", {}, None),
        ("http://peer.example", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://peer.example", {"http_proxy": PROXY}, PROXY),
        ("http://peer.example", {"http_proxy": "http://other.example", "HTTP_PROXY": PROXY}, PROXY),
        ("http://peer.example", {"HTTP_PROXY": "proxy.example:3128"}, PROXY),
        ("http://peer.example", {"HTTPS_PROXY": PROXY}, None),
        ("https://peer.example", {"HTTPS_PROXY": PROXY, "HTTP_PROXY": "http://no.example"}, PROXY),
        ("http://peer.example", {"HTTP_PROXY": "socks5://proxy.example"}, None),
        ("http://peer.example", {"HTTP_PROXY": "http://:99999"}, None),
        ("http://peer.example", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
    ],
)
def test_the_variables(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert chosen(url, **environ) == proxy


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert chosen(f"http://{host}:8080", HTTP_PROXY=PROXY) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "http://peer.example", True),
        ("peer.example", "http://peer.example", True),
        ("peer.example", "http://PEER.example:81", True),
        ("peer.example", "http://a.peer.example", True),
        ("peer.example", "http://apeer.example", False),
        (".peer.example", "http://a.peer.example", True),
        (".peer.example", "http://peer.example", False),
        ("*.peer.example", "http://a.peer.example", True),
        ("x, peer.example:81 ,y", "http://peer.example:81", True),
        ("peer.example:81", "http://peer.example", False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.1.2.3", "http://10.1.2.3:99", True),
        ("10.1.2.3:98", "http://10.1.2.3:99", False),
        ("fd00::/8", "http://[fd00::1]", True),
        ("[fd00::1]:99", "http://[fd00::1]:99", True),
        ("nonsense/99", "http://10.1.2.3", False),
        (",,", "http://peer.example", False),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    assert chosen(url, HTTP_PROXY=PROXY, NO_PROXY=no_proxy) == (None if direct else PROXY)


def test_credentials_of_the_proxy() -> None:
    environ = {"HTTP_PROXY": "http://user:p%40ss@proxy.example"}
    proxy = ProxyEnvironment.of(environ).proxy_for(Endpoint("http://peer.example"))
    assert proxy is not None
    assert proxy.authorization == b"Basic dXNlcjpwQHNz"
