"""Every limit of the server side, set on purpose: the defaults of Hypercorn and Quart cut LLM traffic."""

from __future__ import annotations

import logging
from math import inf

import attrs
from hypercorn.config import Config

server_log = logging.getLogger("swapcli.http")

KIB = 1024
MIB = 1024 * KIB


@attrs.frozen(kw_only=True)
class ServerLimits:
    """Bounds on what one client may make the server keep or wait for. Durations are seconds, sizes bytes."""

    keep_alive: float = 75.0
    """An idle connection, or one whose request head is not complete, is closed after this."""
    tcp_probes: float = 15.0
    """Between TCP's own probes of a connection on which nothing happens.

    A client that vanishes without a word, as a laptop does that falls asleep, would hold its model for ever.
    """
    keep_alive_requests: int = 1_000_000
    """Requests on one connection. A benchmark or an agent must not be cut off every thousand requests."""
    head_size: int = 1 * MIB
    """Request line and headers; what the Go server behind llama-swap accepts, too."""
    model_body_size: int = 256 * MIB
    """Body of a request to a model, which is kept in memory until it is answered.

    Ten times what the hosted APIs accept (25 MB of audio, 50 MB of images), and small enough that a handful
    of such requests at once do not take the memory that the models need.
    """
    small_body_size: int = 1 * MIB
    """Body of a request to one of our own endpoints; none of them reads more than a short document."""
    body_silence: float = 120.0
    """How long the next piece of a request's body may take to arrive."""
    http2_streams: int = 1000
    """Requests at once on one HTTP/2 connection; the usual 100 would make a busy agent wait for itself."""
    connections: int = 10_000
    """At once. One more ends the one that has been idle for longest; if none is idle, it gets 503."""
    tls_handshake: float = 10.0
    """How long a client may take for it."""
    cut: float = 5.0
    """What a connection gets to notice that its socket was closed, before its tasks are cancelled."""


def hypercorn_config(limits: ServerLimits) -> Config:
    """Return Hypercorn's configuration; nothing that matters here is left to its defaults."""
    config = Config()
    config.keep_alive_timeout = limits.keep_alive
    config.keep_alive_max_requests = limits.keep_alive_requests
    config.h11_max_incomplete_size = limits.head_size
    config.h2_max_header_list_size = limits.head_size
    config.h2_max_concurrent_streams = limits.http2_streams
    config.ssl_handshake_timeout = limits.tls_handshake
    # Ten pieces of 64 KiB wait for a request that is slow to read its body; then the client has to wait.
    config.max_app_queue_size = 10
    # A stream may pause for as long as a model thinks. Silence is bounded where something is waited for.
    config.read_timeout = None
    # `serve_http` cuts connections itself, because Hypercorn's own cut does not reach a send that is blocked.
    config.graceful_timeout = inf
    # The upstream's own Date and Server pass through; a Date is added where there is none.
    config.include_date_header = False
    config.include_server_header = False
    # Any Host is served: people reach this server under many names.
    config.server_names = []
    config.accesslog = None  # ours has another format
    config.errorlog = server_log
    return config
