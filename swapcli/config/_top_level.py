"""The whole configuration, and the keys at its top that are no map of models. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ._macros import Macro
from ._matrix_dsl import MatrixProgram
from ._model import ModelConfig, PeerConfig
from ._path_pattern import is_found
from ._routing import Group, Matrix, Profile, Routing, Selector
from ._words import LOG_LEVELS, LOG_TIME_FORMATS, LOG_TO_STDOUT, in_any_case
from ._yaml_keys import yaml

DEFAULT_SESSION_HEADERS = ("X-Session-ID", "X-Litellm-Session-Id")
DEFAULT_IGNORE_PATHS = (r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)


@attrs.frozen
class Store:
    """Where the record of requests is kept."""

    path: str = attrs.field(
        default="",
        metadata=yaml("File of the record of requests; `:memory:`: none. Required in `store`."),
    )
    max_records: int = attrs.field(
        default=0, metadata=yaml("So many of the newest requests stay in the file; 0: all.")
    )
    max_days: int = attrs.field(
        default=0, metadata=yaml("Requests stay in the file for so many days; 0: for ever.")
    )


@attrs.frozen
class ActivityView:
    """The page of requests."""

    session_id: tuple[str, ...] = attrs.field(
        default=DEFAULT_SESSION_HEADERS,
        metadata=yaml(
            "Request headers that name a session; an empty list turns sessions off.", key="session_id"
        ),
    )


@attrs.frozen
class Ui:
    """The web pages."""

    activity: ActivityView = attrs.field(factory=ActivityView, metadata=yaml("The page of requests."))


@attrs.frozen
class Performance:
    """Measurements of the machine."""

    disabled: bool = attrs.field(default=False, metadata=yaml("Nothing is measured."))
    every: str = attrs.field(
        default="5s",
        metadata=yaml("Time between two measurements, as `30s`, `1m30s` or `1.5h`; at least 5 seconds."),
    )
    every_seconds: float = attrs.field(default=5.0, kw_only=True)
    """`every`, in seconds."""


@attrs.frozen
class OnStartup:
    """What is done when the server starts."""

    preload: tuple[str, ...] = attrs.field(
        default=(), metadata=yaml("Models that are loaded, in this order.")
    )


@attrs.frozen
class Hooks:
    """What is done when something happens."""

    on_startup: OnStartup = attrs.field(
        factory=OnStartup, metadata=yaml("When the server has started.", key="on_startup")
    )


@attrs.frozen
class Upstream:
    """The ``/upstream/<model>/…`` paths."""

    ignore_paths: tuple[str, ...] = attrs.field(
        default=DEFAULT_IGNORE_PATHS,
        metadata=yaml("Regular expressions (RE2): a path that one is found in does not load the model."),
    )

    def ignores(self, path: str) -> bool:
        """A request for *path*, the part after the model's name, does not load the model."""
        return any(is_found(pattern, path) for pattern in self.ignore_paths)


@attrs.frozen
class Configuration:
    """Everything that the configuration files say, with every default filled in.

    After loading ``routing`` holds the effective groups or matrix, whichever of the two spellings was used;
    ``groups`` and ``matrix`` are the older spelling as written.
    """

    health_check_timeout: int = attrs.field(
        default=120,
        metadata=yaml(
            "Seconds that a start may take, five times as many while it writes output; "
            "less than 15 counts as 15."
        ),
    )
    start_port: int = attrs.field(
        default=5800,
        metadata=yaml("The first port that `${PORT}` gives, to models in the byte order of their ids."),
    )
    global_ttl: int = attrs.field(
        default=0,
        metadata=yaml(
            "Idle seconds after which a model without its own `ttl` is stopped; 0: never.", key="globalTTL"
        ),
    )
    unload_timeout: int = attrs.field(
        default=10,
        metadata=yaml("Seconds that a stop may take before the process is killed; 0 counts as 10."),
    )
    log_level: str = attrs.field(
        default="info",
        metadata=yaml(
            "`debug`, `info`, `warn` or `error`.", words=LOG_LEVELS, spelling=in_any_case(LOG_LEVELS)
        ),
    )
    log_time_format: str = attrs.field(
        default="",
        metadata=yaml("Timestamps in the log: `ansic`, `unixdate`, `rubydate`, `rfc822`, `rfc822z`, `rfc850`"
                      ", `rfc1123`, `rfc1123z`, `rfc3339`, `rfc3339nano`, `kitchen`, `stamp`, `stampmilli`, "
                      "`stampmicro`, `stampnano`; empty: none.",
                      words=("", *LOG_TIME_FORMATS), spelling=in_any_case(LOG_TIME_FORMATS)),
    )  # fmt: skip
    log_to_stdout: str = attrs.field(
        default="proxy",
        metadata=yaml(
            "What is printed: `proxy` (this server's log), `upstream` (the models'), `both`, `none`.",
            words=LOG_TO_STDOUT,
        ),
    )
    log_requests: bool = attrs.field(
        default=False, metadata=yaml("Accepted for older files; without effect.")
    )
    metrics_max_in_memory: int = attrs.field(
        default=1000,
        metadata=yaml("Requests that are remembered without a `store`; 0 or less counts as 1000."),
    )
    capture_buffer: int = attrs.field(
        default=5,
        metadata=yaml("Megabytes for captured requests and answers; 0 or less: nothing is captured."),
    )
    send_loading_state: bool = attrs.field(
        default=False,
        metadata=yaml("A streaming chat request shows a model's loading as text; models may differ."),
    )
    include_aliases_in_list: bool = attrs.field(
        default=False, metadata=yaml("The model listing has an entry for each alias.")
    )
    api_keys: tuple[str, ...] = attrs.field(
        default=(),
        metadata=yaml("Keys of which a request must carry one; none: everybody may ask.", secret=True),
    )
    macros: tuple[Macro, ...] = attrs.field(
        default=(), metadata=yaml("Names and values; `${NAME}` in any value below is replaced.")
    )
    models: Mapping[str, ModelConfig] = attrs.field(
        factory=dict[str, ModelConfig], metadata=yaml("The local models, by id.")
    )
    groups: Mapping[str, Group] = attrs.field(
        factory=dict[str, Group], metadata=yaml("Older spelling of `routing.router.settings.groups`.")
    )
    matrix: Matrix | None = attrs.field(
        default=None, metadata=yaml("Older spelling of `routing.router.settings.matrix`.")
    )
    routing: Routing = attrs.field(
        factory=Routing, metadata=yaml("Which models may run together, and who is served next.")
    )
    peers: Mapping[str, PeerConfig] = attrs.field(
        factory=dict[str, PeerConfig], metadata=yaml("Other servers whose models are offered here, by name.")
    )
    selectors: Mapping[str, Selector] = attrs.field(
        factory=dict[str, Selector], metadata=yaml("Names that stand for one of several models.")
    )
    profiles: Mapping[str, Profile] = attrs.field(
        factory=dict[str, Profile],
        metadata=yaml("Sets of names that mean something else while the profile is active."),
    )
    hooks: Hooks = attrs.field(factory=Hooks, metadata=yaml("What is done when something happens."))
    upstream: Upstream = attrs.field(factory=Upstream, metadata=yaml("The `/upstream/<model>/…` paths."))
    ui: Ui = attrs.field(factory=Ui, metadata=yaml("The web pages."))
    performance: Performance = attrs.field(factory=Performance, metadata=yaml("Measurements of the machine."))
    store: Store | None = attrs.field(
        default=None, metadata=yaml("Where the record of requests is kept; unset: in memory.")
    )
    aliases: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)
    """Every alias and the id of its model."""
    peer_models: Mapping[str, tuple[str, str]] = attrs.field(factory=dict[str, tuple[str, str]], kw_only=True)
    """Every name of a peer's model, full or bare, and the peer and the name that it has there."""
    matrix_program: MatrixProgram | None = attrs.field(default=None, kw_only=True)
    """The sets of the matrix, parsed; ``None`` with groups."""

    def resolve(self, name: str) -> str | None:
        """The id of the local model that *name* means: an id, then an alias; ``None`` when it is neither."""
        return name if name in self.models else self.aliases.get(name)

    def resolve_peer(self, name: str) -> tuple[str, str] | None:
        """The peer and the model there that *name* means, where it means no local model."""
        return None if self.resolve(name) is not None else self.peer_models.get(name)
