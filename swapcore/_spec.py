"""What the caller asks for. Frozen values, no I/O, no trio."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NewType
from urllib.parse import SplitResult, urlsplit

import attrs
from attrs.validators import ge, gt, optional

from ._restart import RestartPolicy

ModelId = NewType("ModelId", str)


def _default_port(scheme: str) -> int:
    return 443 if scheme in ("https", "wss") else 80


@attrs.frozen
class Endpoint:
    """Where a ready process answers, as a URL: scheme, host, port and an optional base path.

    ``Endpoint("http://127.0.0.1:5800/base")``

    Raises:
      ValueError: the URL has no host, or a port that is no number below 65536.
    """

    url: str
    _parts: SplitResult = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        if not parts.hostname:
            raise ValueError(f"{self.url!r} names no host")
        parts.port  # noqa: B018 - raises ValueError for a port that is no port
        object.__setattr__(self, "_parts", parts)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``, lower case."""
        return self._parts.scheme

    @property
    def host(self) -> str:
        """Name or address, without the brackets of an IPv6 address."""
        assert self._parts.hostname is not None
        return self._parts.hostname

    @property
    def port(self) -> int:
        """The port given, else the scheme's own."""
        return self._parts.port or _default_port(self.scheme)

    @property
    def base_path(self) -> str:
        """Path that goes before every request's path; no slash at its end, empty when there is none."""
        return self._parts.path.rstrip("/")

    @property
    def query(self) -> str:
        """Query that goes before every request's own; empty when there is none."""
        return self._parts.query


@attrs.frozen(kw_only=True)
class Liveness:
    """Watching a process that is ready. Seconds on the trio clock; 0 is off."""

    every: float = attrs.field(default=0.0, validator=ge(0))  # nan is not, either
    """Pause between probes, each of which asks ``check_path`` and has as long to be answered.

    No answer, or one of 500 and above other than 503 (busy), is a hang.
    """
    silent: float = attrs.field(default=0.0, validator=ge(0))
    """In use for so long without output and without anything for a caller (`Supervisor.heard`): a hang."""


def _words(command: Iterable[str]) -> tuple[str, ...]:
    if isinstance(command, str):  # which would become a word for each letter
        raise ValueError(f"a command is a sequence of words, and not one text: {command!r}")
    return tuple(command)


_ON_DEMAND = RestartPolicy()
_NO_WATCH = Liveness()


@attrs.frozen(kw_only=True)
class ModelSpec:
    """One process that the supervisor may run.

    ``ModelSpec("qwen", ("llama-server", "--port", "5800"), "http://127.0.0.1:5800")``

    Durations are seconds on the trio clock; ``math.inf`` is one.

    Raises:
      ValueError: a number that makes no sense, with the name of its field.
    """

    id: ModelId = attrs.field(kw_only=False, converter=ModelId)
    command: tuple[str, ...] = attrs.field(default=(), kw_only=False, converter=_words)
    """Program and arguments, run without a shell; the program is looked up in ``PATH``."""
    url: str = attrs.field(default="", kw_only=False)
    """Where the process will listen, for example ``http://127.0.0.1:5800``."""
    env: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Added to the supervisor's own environment; these win."""
    cwd: str | None = None
    """Working directory; ``None`` is the supervisor's own."""
    check_path: str | None = "/health"
    """Ready once a GET of this path (after the URL's own path) answers 200; ``None``: ready once spawned."""
    start_timeout: float = attrs.field(default=120.0, validator=gt(0))
    """How long a start may go on without becoming ready or writing any output, before it is abandoned."""
    unload_timeout: float = attrs.field(default=10.0, validator=ge(0))
    """How long a stop may take before the process and its descendants are killed."""
    stop_command: tuple[str, ...] = attrs.field(default=(), converter=_words)
    """Run to ask the process to stop, instead of a signal; ``${PID}`` in it becomes the process id."""
    stop_signal: int = attrs.field(default=int(signal.SIGTERM), validator=ge(1))
    """Asks the process, and its group, to stop."""
    ttl: float | None = attrs.field(default=None, validator=optional(ge(0)))
    """Idle time after which a ready process is stopped; ``None`` keeps it."""
    concurrency: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Leases held at once; further callers wait. ``None`` is no limit."""
    max_waiting: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Callers in line beyond those that the model would take at once; one more gets `Overloaded`.

    ``None`` is no limit. 0, with a ``concurrency`` of 4: at most 4 callers, whether they wait or not.
    """
    start_timeout_max: float | None = attrs.field(default=None, validator=optional(gt(0)))
    """While it writes output, a start may take up to this; ``None``: five times ``start_timeout``."""
    prefetch: tuple[Path, ...] | None = None
    """Files to read into memory while room is made for it; ``None``: the big ones that the command names."""
    liveness: Liveness = _NO_WATCH
    """How a hang is noticed once it is ready."""
    restart: RestartPolicy = _ON_DEMAND
    """Who starts it again after it failed, and when."""
    pinned: bool = False
    """Not evicted, and not stopped for being idle."""
    priority: int = 0
    """Of every caller of this model, added to the caller's own; higher goes first."""

    def launches_like(self, other: ModelSpec) -> bool:
        """Whether a process that was started for *other* is as good as one started for this."""
        return all(getattr(self, name) == getattr(other, name) for name in _LAUNCH_FIELDS)


_LAUNCH_FIELDS = ("id", "command", "url", "env", "cwd", "check_path", "stop_command", "stop_signal")
