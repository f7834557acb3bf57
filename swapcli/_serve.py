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
from .logs import ServerLogs, open_server_logs

logger = logging.getLogger("swapcli")

NOT_YET = (
    "captureBuffer",
    "hooks.on_startup.preload",
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

_KILL_FLUSH = 0.2
"""Seconds for the last lines of the log when everything is killed."""


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
    logs, config = open_server_logs(), loaded.config
    logs.apply(level=config.log_level, time_format=config.log_time_format, to_stdout=config.log_to_stdout)
    try:
        for problem in (*loaded.warnings, *unsupported(loaded, NOT_YET)):
            logger.warning("%s", problem)
        trio.run(partial(_run, config, planner, sockets, logs, announce))
    finally:
        logs.close()
    return 0


async def _run(
    config: Configuration,
    planner: SwapPlanner,
    sockets: Sequence[socket.socket],
    logs: ServerLogs,
    announce: Callable[[Sequence[str]], None] | None,
) -> None:
    logs.enter()
    pool, shutdown = UpstreamPool(), Shutdown(on_killed=partial(logs.close, limit=_KILL_FLUSH))
    with trio.open_signal_receiver(*WATCHED_SIGNALS) as signals:
        async with trio.open_nursery() as watching:
            # Outlives the models: the third signal counts while they are being stopped, too.
            watching.start_soon(shutdown.follow, signals)
            async with open_supervisor(
                to_specs(config),
                planner=planner,
                policy=_policy(config),
                on_stopping=pool.close,
                on_output=logs.write_output,
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
