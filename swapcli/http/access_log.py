"""One line in the log for each request that has ended."""

from __future__ import annotations

import logging
import re

from .exchange import Exchange

access_log = logging.getLogger("swapcli.access")

_NOT_LOGGED = ("/wol-health", "/api/fleet", "/api/performance", "/metrics")
"""What other programs ask for every few seconds."""

CLIENT_CLOSED_REQUEST = 499
"""Status in the log of a request whose client left before it was answered; nginx made it known."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNITS = ((1, "ns", 0), (1_000, "µs", 3), (1_000_000, "ms", 6), (1_000_000_000, "s", 9))


def log_request(exchange: Exchange, seconds: float) -> None:
    """Write the line of a request that took ``seconds``."""
    path = exchange.scope["path"]
    if path.startswith(_NOT_LOGGED) or not access_log.isEnabledFor(logging.INFO):
        return
    version = exchange.scope["http_version"]
    access_log.info(
        'Request %s "%s %s HTTP/%s" %d %d "%s" %s',
        _on_one_line(remote_ip(exchange)),
        exchange.method,
        _on_one_line(path),
        "2.0" if version == "2" else version,
        exchange.status or CLIENT_CLOSED_REQUEST,
        exchange.body_bytes,
        _on_one_line(exchange.header(b"user-agent")),
        go_duration(seconds),
    )


def _on_one_line(text: str) -> str:
    """Return what a client sent so that it can neither begin another line nor talk to a terminal."""
    return text if text.isprintable() else _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def remote_ip(exchange: Exchange) -> str:
    """Return whom the request comes from, as proxies in front of us tell it, else as the connection does."""
    forwarded = exchange.header(b"x-forwarded-for").partition(",")[0].strip()
    return forwarded or exchange.header(b"x-real-ip").strip() or exchange.client_host


def go_duration(seconds: float) -> str:
    """Return a duration as Go writes it, ``2.4ms`` or ``1m0.5s``; from 1 ms on, to the microsecond."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds >= 1_000_000:
        nanoseconds = round(nanoseconds, -3)
    if nanoseconds >= 60_000_000_000:
        minutes, rest = divmod(nanoseconds, 60_000_000_000)
        hours, minutes = divmod(minutes, 60)
        return (f"{hours}h" if hours else "") + f"{minutes}m" + _in_unit(rest, 1_000_000_000, 9) + "s"
    scale, unit, digits = next(
        entry for entry in reversed(_UNITS) if nanoseconds >= entry[0] or entry[0] == 1
    )
    return _in_unit(nanoseconds, scale, digits) + unit


def _in_unit(nanoseconds: int, scale: int, digits: int) -> str:
    whole, rest = divmod(nanoseconds, scale)
    fraction = f"{rest:0{digits}d}".rstrip("0") if digits else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
