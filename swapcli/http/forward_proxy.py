"""Which proxy leads to an upstream, as ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` say. Pure.

The rules are those of Go's net/http, for which people who come from llama-swap have set them: names in upper
case come first, and this machine itself is never reached through a proxy.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

import attrs

from swapcore import Endpoint


@attrs.frozen
class Proxy:
    """An HTTP proxy."""

    endpoint: Endpoint
    authorization: bytes = b""
    """Value of ``Proxy-Authorization``; empty: none."""


@attrs.frozen
class ProxyEnvironment:
    """What the environment says."""

    _proxies: Mapping[str, Proxy]
    _direct: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ProxyEnvironment:
        """Read it. A proxy that is no HTTP URL is as good as none."""
        proxies: dict[str, Proxy] = {}
        for scheme in ("http", "https"):
            url = _value(environ, f"{scheme}_proxy")
            # In a CGI program this would be a client's header.
            if url and not (scheme == "http" and "REQUEST_METHOD" in environ):
                proxy = _proxy(url)
                if proxy is not None:
                    proxies[scheme] = proxy
        direct = (entry.strip().lower() for entry in _value(environ, "no_proxy").split(","))
        return cls(proxies, tuple(filter(None, direct)))

    def proxy_for(self, endpoint: Endpoint) -> Proxy | None:
        """Return the proxy that leads to ``endpoint``; None: connect to it directly."""
        proxy = self._proxies.get(endpoint.scheme)
        if proxy is None or _is_here(endpoint.host):
            return None
        is_direct = any(_covers(entry, endpoint.host.lower(), endpoint.port) for entry in self._direct)
        return None if is_direct else proxy


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _proxy(url: str) -> Proxy | None:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        endpoint = Endpoint(parts.geturl())
    except ValueError:
        return None
    if endpoint.scheme != "http":
        return None
    if not parts.username:
        return Proxy(endpoint)
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(endpoint, b"Basic " + b64encode(credentials))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _covers(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, only_port = entry.rpartition(":")
    if colon and only_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(only_port) != port:
            return False
        entry = name.strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        suffix = entry.removeprefix("*").removeprefix(".")
        return host.endswith(f".{suffix}") or (host == suffix and not entry.startswith((".", "*.")))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
