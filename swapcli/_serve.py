"""The server as a whole: sockets first, then models, then requests; and the same backwards at the end."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path

import trio

from swapcore import SchedulingPolicy, Supervisor, SwapPlanner, open_supervisor

from ._listen import ListenAddress
from ._server_log import set_up_logging
from ._shutdown import DRAIN_SECONDS, WATCHED_SIGNALS, Shutdown
from .config import (
    Configuration,
    ConfigurationError,
    load,
    make_planner,
    planner_directory,
    to_specs,
    unsupported,
)
from .http import Drain, UpstreamPool, bind, create_app, serve_http, url_of

logger = logging.getLogger("swapcli")

NOT_YET = (
    "captureBuffer",
    "hooks.on_startup.preload",
    "logTimeFormat",
    "logToStdout",
    "metricsMaxInMemory",
    "models.*.compat.ignoreWebsockets",
    "models.*.filters",
    "models.*.sendLoadingState",
    "models.*.timeouts.expectContinue",
    "models.*.timeouts.idleConn",
    "models.*.timeouts.keepalive",
    "models.*.timeouts.tlsHandshake",
    "models.*.useModelName",
    "peers",
    "performance",
    "profiles",
    "selectors",
    "sendLoadingState",
    "store",
    "ui",
    "upstream",
)
"""Keys that load and are checked, and that this server does not act on yet. Each one in use is a warning."""


def serve(
    *,
    sources: Sequence[Path],
    listen: ListenAddress,
    announce: Callable[[Sequence[str]], None] | None = None,
) -> int:
    """Serve the models of a configuration until told to stop; returns the exit status.

    Args:
      sources: files of the configuration, merged in order.
      announce: called with the base URLs once requests are accepted.
    Raises:
      ConfigurationError: with every problem of the files.
      CannotListen: the address is taken, or not ours.
    """
    loaded = load(sources, environ=os.environ)
    planner = make_planner(loaded, planner_directory(sources[0]))
    if loaded.refusals:
        raise ConfigurationError(loaded.refusals)
    sockets = bind(listen)
    set_up_logging(loaded.config.log_level)
    for problem in (*loaded.warnings, *unsupported(loaded, NOT_YET)):
        logger.warning("%s", problem)
    trio.run(partial(_run, loaded.config, planner, sockets, announce))
    return 0


async def _run(
    config: Configuration,
    planner: SwapPlanner,
    sockets: Sequence[socket.socket],
    announce: Callable[[Sequence[str]], None] | None,
) -> None:
    pool, shutdown = UpstreamPool(), Shutdown()
    with trio.open_signal_receiver(*WATCHED_SIGNALS) as signals:
        async with trio.open_nursery() as watching:
            # Outlives the models: the third signal counts while they are being stopped, too.
            watching.start_soon(shutdown.follow, signals)
            async with open_supervisor(
                to_specs(config), planner=planner, policy=_policy(config), on_stopping=pool.close
            ) as supervisor:
                await _serve_until_stopped(supervisor, config, pool, sockets, shutdown, announce)
                logger.info("stopping the models")
            logger.info("bye")
            watching.cancel_scope.cancel()


def _policy(config: Configuration) -> SchedulingPolicy:
    settings = config.routing.scheduler.settings.fifo
    return SchedulingPolicy(
        max_wait=settings.max_wait or inf,
        min_residency=settings.min_residency,
        max_drain=settings.max_drain or inf,
    )


async def _serve_until_stopped(
    supervisor: Supervisor,
    config: Configuration,
    pool: UpstreamPool,
    sockets: Sequence[socket.socket],
    shutdown: Shutdown,
    announce: Callable[[Sequence[str]], None] | None,
) -> None:
    drain, app = Drain(), create_app(supervisor, config, pool)
    async with trio.open_nursery() as nursery:

        async def serve_to_the_end(*, task_status: trio.TaskStatus[None]) -> None:
            await serve_http(app, sockets, drain=drain, task_status=task_status)
            nursery.cancel_scope.cancel()

        await nursery.start(serve_to_the_end)
        urls = [url_of(sock) for sock in sockets]
        logger.info("listening on %s", ", ".join(urls))
        if announce is not None:
            announce(urls)
        nursery.start_soon(app.pages.prepare)  # not before: this is what makes a start slow
        await shutdown.asked.wait()
        # Accept nothing more, turn away who waits for a model, and let those who use one finish.
        drain.stop.set()
        supervisor.close()
        with trio.move_on_after(DRAIN_SECONDS):
            await shutdown.hurried.wait()
        drain.cut.set()
