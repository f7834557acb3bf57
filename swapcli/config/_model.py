"""``models`` and ``peers``: one local model, one other server, and the keys inside them. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ._filters import ModelFilters, PeerFilters
from ._macros import Macro
from ._words import MEDIA, RESTART_POLICIES, SIGNALS, in_any_case
from ._yaml_keys import yaml

DEFAULT_PARALLEL = 10
"""Requests at once to a model without `concurrencyLimit`, as in llama-swap."""
DEFAULT_MAX_WAITING = 256


@attrs.frozen
class Timeouts:
    """How long each step of a request to a model may take, in seconds."""

    connect: int = attrs.field(default=30, metadata=yaml("Opening a connection; 0: no limit."))
    keepalive: int = attrs.field(
        default=30, metadata=yaml("Interval of TCP keep-alive probes; 0: 15 seconds, negative: none.")
    )
    response_header: int = attrs.field(
        default=0, metadata=yaml("From the end of the request to the first byte of the answer; 0: no limit.")
    )
    tls_handshake: int = attrs.field(
        default=10, metadata=yaml("TLS handshake of an `https` proxy; 0: no limit.")
    )
    expect_continue: int = attrs.field(
        default=1, metadata=yaml("Waiting for `100 Continue` before the body is sent; 0: it is sent at once.")
    )
    idle_conn: int = attrs.field(
        default=90, metadata=yaml("How long an unused connection is kept open; 0: as long as it lasts.")
    )


@attrs.frozen
class PeerTimeouts(Timeouts):
    """`Timeouts` of a peer, which has to answer within a minute."""

    response_header: int = attrs.field(
        default=60, metadata=yaml("From the end of the request to the first byte of the answer; 0: no limit.")
    )


@attrs.frozen
class Compat:
    """Allowances for particular servers."""

    ignore_websockets: bool = attrs.field(
        default=False, metadata=yaml("A websocket neither loads the model, nor holds it, nor counts as use.")
    )


@attrs.frozen
class Capabilities:
    """What a model can do, for the listing."""

    inputs: tuple[str, ...] = attrs.field(
        default=(), metadata=yaml("What it reads: any of `text`, `audio`, `image`.", key="in", words=MEDIA)
    )
    outputs: tuple[str, ...] = attrs.field(
        default=(),
        metadata=yaml("What it produces: any of `text`, `audio`, `image`.", key="out", words=MEDIA),
    )
    tools: bool = attrs.field(default=False, metadata=yaml("It can call tools."))
    reranker: bool = attrs.field(default=False, metadata=yaml("It ranks documents."))
    context: int = attrs.field(default=0, metadata=yaml("Context length in tokens; 0: not stated."))

    @property
    def empty(self) -> bool:
        """Nothing is stated; the same as no block at all."""
        return self == Capabilities()


@attrs.frozen
class Restart:
    """What happens when a process ends that was not asked to. Ours; llama-swap ignores it."""

    policy: str = attrs.field(
        default="on-demand",
        metadata=yaml("`never`: it stays down until it is loaded by hand; `on-demand`: the next request "
                      "starts it; `always`: it is started again at once.", words=RESTART_POLICIES),
    )  # fmt: skip
    intensity: int = attrs.field(
        default=3, metadata=yaml("Starts within `period` after which it is left alone.")
    )
    period: float = attrs.field(default=30, metadata=yaml("Seconds over which starts are counted."))
    backoff: float = attrs.field(
        default=1, metadata=yaml("Seconds before the first restart; doubles each time.")
    )
    backoff_max: float = attrs.field(default=60, metadata=yaml("Seconds that the doubling stops at."))


@attrs.frozen
class Liveness:
    """Is a ready model still alive? Ours; llama-swap ignores it."""

    every: float = attrs.field(default=0, metadata=yaml("Seconds between health checks once ready; 0: none."))
    silent: float = attrs.field(
        default=0,
        metadata=yaml(
            "Seconds that a busy model may go without sending a byte before it is restarted; 0: for ever."
        ),
    )


@attrs.frozen
class ModelConfig:
    """One local model. After loading, values that fall back to a global one hold what they fell back to."""

    cmd: str = attrs.field(
        default="",
        metadata=yaml("The command that runs the model's server. No shell: split into words, with quotes. "
                      "`${PORT}` in it gives the model a port; lines that start with `#` are left out."),
    )  # fmt: skip
    cmd_stop: str = attrs.field(
        default="",
        metadata=yaml("A command that asks the process to stop, instead of a signal; `${PID}` is its id. "
                      "On Windows the default is `taskkill /f /t /pid ${PID}`."),
    )  # fmt: skip
    proxy: str = attrs.field(
        default="",
        metadata=yaml("Where the process listens, as a URL. Without it: `http://localhost:${PORT}`."),
    )
    aliases: tuple[str, ...] = attrs.field(
        default=(), metadata=yaml("Further names of the model. A name belongs to one model only.")
    )
    env: tuple[str, ...] = attrs.field(
        default=(),
        metadata=yaml(
            "`NAME=value` entries, added to the server's own environment; a later one wins.", secret=True
        ),
    )
    check_endpoint: str = attrs.field(
        default="/health",
        metadata=yaml(
            "Path that answers 200 once the model is ready, below the path of `proxy`; `none`: no check."
        ),
    )
    ttl: int = attrs.field(
        default=-1, metadata=yaml("Idle seconds after which the model is stopped; 0: never, -1: `globalTTL`.")
    )
    unload_timeout: int = attrs.field(
        default=0,
        metadata=yaml(
            "Seconds that a stop may take before the process is killed; 0: the global `unloadTimeout`."
        ),
    )
    unlisted: bool = attrs.field(
        default=False, metadata=yaml("Not in the model listing; served all the same.")
    )
    use_model_name: str = attrs.field(
        default="", metadata=yaml("The name that is sent to the process instead of the one in the request.")
    )
    name: str = attrs.field(default="", metadata=yaml("A name for people, in the listing."))
    description: str = attrs.field(default="", metadata=yaml("A text for people, in the listing."))
    concurrency_limit: int = attrs.field(
        default=0,
        metadata=yaml(f"Requests at once; 0: {DEFAULT_PARALLEL}. Without `maxWaiting`, one more is turned "
                      "away with 429, whether the others run or wait."),
    )  # fmt: skip
    filters: ModelFilters = attrs.field(
        factory=ModelFilters, metadata=yaml("Changes to the JSON body of a request.")
    )
    macros: tuple[Macro, ...] = attrs.field(
        default=(), metadata=yaml("Macros of this model only; a global one of the same name is replaced.")
    )
    metadata: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], metadata=yaml("Anything; shown in the listing and otherwise unused.")
    )
    send_loading_state: bool | None = attrs.field(
        default=None,
        metadata=yaml(
            "A streaming chat request shows the model's loading as text; null: the global `sendLoadingState`."
        ),
    )
    timeouts: Timeouts = attrs.field(factory=Timeouts, metadata=yaml("Limits on the steps of a request."))
    compat: Compat = attrs.field(factory=Compat, metadata=yaml("Allowances for particular servers."))
    capabilities: Capabilities = attrs.field(
        factory=Capabilities, metadata=yaml("What the model can do, for the listing.")
    )
    health_check_timeout: int | None = attrs.field(
        default=None,
        metadata=yaml(
            "The same for this model, without a least value; null: the global `healthCheckTimeout`."
        ),
    )
    max_waiting: int | None = attrs.field(
        default=None,
        metadata=yaml(f"Requests that may wait for the model; one more is turned away with 429. Without this "
                      f"and `concurrencyLimit`: {DEFAULT_MAX_WAITING}."),
    )  # fmt: skip
    pinned: bool = attrs.field(default=False, metadata=yaml("Never stopped to make room for another model."))
    stop_signal: str = attrs.field(
        default="TERM",
        metadata=yaml(
            "The signal that asks the process to stop: `TERM`, `INT`, `QUIT`, `HUP`, …",
            words=SIGNALS,
            spelling=in_any_case((*SIGNALS, r"\d{1,3}"), before="SIG"),
        ),
    )
    restart: Restart = attrs.field(factory=Restart, metadata=yaml("What happens after a crash."))
    liveness: Liveness = attrs.field(factory=Liveness, metadata=yaml("Checks of a model that is ready."))
    prefetch: bool = attrs.field(
        default=True,
        metadata=yaml("While another model stops to make room, the big files that `cmd` names are read into "
                      "memory."),
    )  # fmt: skip
    pass_credentials: bool = attrs.field(
        default=False,
        metadata=yaml("Where `apiKeys` are set, the process gets the client's `Authorization` and "
                      "`x-api-key` all the same. Ours."),
    )  # fmt: skip

    @property
    def admission_limit(self) -> int | None:
        """Requests that may be here at once, waiting ones included; ``None``: only `waiting_limit` holds."""
        return self.concurrency_limit if self.concurrency_limit > 0 and self.max_waiting is None else None

    @property
    def parallel_limit(self) -> int:
        """Requests that the process gets at once."""
        return self.concurrency_limit if self.concurrency_limit > 0 else DEFAULT_PARALLEL

    @property
    def waiting_limit(self) -> int:
        """Requests in line beyond those that the process would get at once."""
        if self.max_waiting is not None:
            return self.max_waiting
        return DEFAULT_MAX_WAITING if self.admission_limit is None else 0


@attrs.frozen
class PeerConfig:
    """Another server whose models are offered here."""

    proxy: str = attrs.field(default="", metadata=yaml("URL of the server. Required."))
    models: tuple[str, ...] = attrs.field(
        default=(),
        metadata=yaml("Its models that are offered here; at least one. Each is also `<peer>/<model>`."),
    )
    api_key: str = attrs.field(default="", metadata=yaml("Sent to the peer as its key.", secret=True))
    filters: PeerFilters = attrs.field(
        factory=PeerFilters, metadata=yaml("Changes to the JSON body of a request to this peer.")
    )
    timeouts: PeerTimeouts = attrs.field(
        factory=PeerTimeouts, metadata=yaml("Limits on the steps of a request to this peer.")
    )
    pass_credentials: bool = attrs.field(
        default=False,
        metadata=yaml("The peer gets the client's `Authorization`, `x-api-key` and cookies, as far as "
                      "`apiKey` does not replace them. Ours."),
    )  # fmt: skip
