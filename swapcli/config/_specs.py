"""What of a configuration the supervisor needs: a `ModelSpec` for each local model, and bounds. Pure."""

from __future__ import annotations

import os
import signal
from math import inf
from urllib.parse import quote, urlsplit

from swapcore import Liveness, ModelId, ModelSpec, RestartPolicy, RestartWhen, SchedulingPolicy

from ._command import split_command
from ._model import ModelConfig
from ._top_level import Configuration

_NO_CHECK = "none"
# What a path or query may hold as it is; everything else is percent-encoded.
_IN_PATH = "/%:@!$&'()*+,;=~?-._"


def check_path(endpoint: str) -> str | None:
    """The path to GET for a ``checkEndpoint``; ``None``: no check. Of a URL only path and query count."""
    trimmed = endpoint.strip()
    if trimmed == _NO_CHECK:
        return None
    parts = urlsplit(trimmed)
    path = parts.path if parts.path.startswith("/") or not parts.path else f"/{parts.path}"
    return quote(path + (f"?{parts.query}" if parts.query else ""), safe=_IN_PATH)


def environment_of(model: ModelConfig) -> dict[str, str]:
    """The variables that *model* adds, without entries that are no ``NAME=value``; loading warns of those."""
    pairs = (entry.partition("=") for entry in model.env)
    return {name: value for name, equals, value in pairs if name and equals}


def to_specs(config: Configuration, *, windows: bool = os.name == "nt") -> tuple[ModelSpec, ...]:
    """The models of *config*, in its order.

    Args:
      windows: how commands are split.
    """
    priorities = config.routing.scheduler.settings.fifo.priority
    return tuple(
        _spec(id, model, config, priorities.get(id, 0), windows=windows)
        for id, model in config.models.items()
    )


def scheduling_policy(config: Configuration) -> SchedulingPolicy:
    """The bounds on waiting that *config* sets."""
    settings = config.routing.scheduler.settings.fifo
    return SchedulingPolicy(
        max_wait=settings.max_wait or inf,
        leeway=settings.leeway,
        min_residency=settings.min_residency,
        max_drain=settings.max_drain or inf,
    )


def _spec(id: str, model: ModelConfig, config: Configuration, priority: int, *, windows: bool) -> ModelSpec:
    return ModelSpec(
        ModelId(id),
        split_command(model.cmd, windows=windows),
        model.proxy,
        env=environment_of(model),
        check_path=check_path(model.check_endpoint),
        start_timeout=float(model.health_check_timeout or config.health_check_timeout),
        unload_timeout=float(model.unload_timeout),
        stop_command=split_command(model.cmd_stop, windows=windows),
        # A signal that this platform does not have is one that it cannot send.
        stop_signal=getattr(signal, f"SIG{model.stop_signal}", signal.SIGTERM),
        ttl=float(model.ttl) if model.ttl > 0 else None,
        concurrency=model.parallel_limit,
        max_waiting=model.waiting_limit,
        prefetch=None if model.prefetch else (),
        liveness=Liveness(every=float(model.liveness.every), silent=float(model.liveness.silent)),
        restart=RestartPolicy(
            when=RestartWhen(model.restart.policy),
            intensity=model.restart.intensity,
            period=float(model.restart.period),
            backoff=float(model.restart.backoff),
            backoff_max=float(model.restart.backoff_max),
        ),
        pinned=model.pinned,
        priority=priority,
    )
