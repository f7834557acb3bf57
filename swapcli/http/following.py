"""Which requests are followed, and how a request becomes one of them."""

from __future__ import annotations

import trio

from swapcli.activity.recorder import Recorder, Recording

from .access_log import remote_ip
from .exchange import Exchange
from .routes import ROUTES

_FOLLOWED = frozenset((route.method, route.pattern) for route in ROUTES if not route.is_ours)


def is_followed(method: str, path: str) -> bool:
    """Tell whether a request for a *path* of a model's own server is one that we know the meaning of."""
    return (method, path) in _FOLLOWED


def follow(
    exchange: Exchange, recorder: Recorder, *, model: str, asked_path: str, path: str, scope: trio.CancelScope
) -> Recording:
    """Put a request on the list, and what becomes of it into the record. The exchange ends what this begins.

    Args:
      model: the name that was asked for.
      asked_path: as the client asked for it; for a path below another one of ours, what is left of it.
      path: as the model's server sees it.
      scope: cancelled to call the request off.
    """
    recording = recorder.follow(
        model=model,
        method=exchange.method,
        asked_path=asked_path,
        path=path,
        headers=exchange.headers,
        body=(exchange.body,),
        remote_ip=remote_ip(exchange),
        is_metered=exchange.method == "POST",  # what only looks uses nothing
        cancel=scope.cancel,
    )
    exchange.watcher = recording
    return recording
