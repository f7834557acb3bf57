"""Is a text a URL? As Go's net/url sees it, which takes a good deal that cannot be connected to. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_PORT = re.compile(r"(?::[0-9]*)?")
_USER = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")
_HOST_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\^`{|}#?/@]")


def url_fault(url: str) -> str | None:
    """Why *url* is no URL; ``None`` when it is one."""
    if any(c < " " or c == "\x7f" for c in url):
        return "a control character"
    rest, _, fragment = url.partition("#")
    if _BAD_ESCAPE.search(fragment):
        return "a bad % escape"
    if rest.startswith(":"):
        return "the scheme before : is missing"
    match = _SCHEME.match(rest)
    rest = rest[match.end() :] if match else rest
    rest = rest.partition("?")[0]
    if not rest.startswith("/"):
        if match:
            return None  # as in mailto:somebody: nothing in it is looked at
        if ":" in rest.partition("/")[0]:
            return "the first part contains a colon (http:// in front is missing?)"
    elif rest.startswith("//") and (match or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        fault = _authority_fault(authority)
        if fault is not None:
            return fault
        rest = slash + path
    return "a bad % escape" if _BAD_ESCAPE.search(rest) else None


def _authority_fault(authority: str) -> str | None:
    user, at, host = authority.rpartition("@")
    if at and (not _USER.fullmatch(user) or _BAD_ESCAPE.search(user)):
        return "a character that no user name may have"
    if host.startswith("["):
        address, bracket, port = host[1:].rpartition("]")
        if not bracket:
            return "a missing ]"
        literal = address.partition("%25")[0]
        try:
            ipaddress.IPv6Address(literal)
        except ValueError:
            return f"{literal} is no IPv6 address"
    else:
        name, colon, number = host.rpartition(":")
        name, port = (name, colon + number) if colon else (number, "")
        if "[" in name or "]" in name:
            return "a misplaced [ or ]"
        if ":" in name:
            return "an IPv6 address without [ ], or a colon too many"
        if _HOST_FORBIDDEN.search(name):
            return "a character that no host name may have"
        if _BAD_ESCAPE.search(name) or any(int(code, 16) < 0x80 for code in _ESCAPE.findall(name)):
            return "a bad % escape in the host name"
    return None if _PORT.fullmatch(port) else f"{port.removeprefix(':')} is no port"


def unreachable(url: str) -> str | None:
    """Why nothing can be sent to *url*, which is a URL; ``None`` when it looks fine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its port is no port"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not parts.hostname:
        return "it names no host"
    return "its port is 0" if port == 0 else None
