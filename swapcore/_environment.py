"""Which environment variables a model's process gets."""

from __future__ import annotations

import os

from ._spec import ModelSpec

# What a service manager told this process is not meant for a model, which would answer in its name.
_NOT_FOR_MODELS = frozenset(
    ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC")
)


def environment_of(spec: ModelSpec) -> dict[str, str]:
    """Return all of it: this process's own, less what is not meant for a model, and the model's on top."""
    ours = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_MODELS}
    return ours | dict(spec.env)
