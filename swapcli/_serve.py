"""The server as a whole: sockets first, then models, then requests; and the same backwards at the end."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import attrs
import trio

from swapcore import ModelId, Supervisor, SwapPlanner, open_supervisor

from ._descriptors import raise_descriptor_limit
from ._garbage import collect_what_was_replaced, keep_what_is_there
from ._listen import CannotListen, ListenAddress
from ._malloc import give_memory_back, keep_giving_back
from ._preload import preload
from ._recording import apply_to_recorder, open_recorder, open_store
from ._shutdown import DRAIN_SECONDS, WATCHED_SIGNALS, Shutdown
from ._systemd import Systemd
from .activity.database import ActivityDatabase
from .config import (
    Configuration,
    ConfigurationError,
    Loaded,
    load,
    make_planner,
    planner_directory,
    scheduling_policy,
    to_specs,
)
from .http import (
    NEWS,
    ActiveProfile,
    ConfigReload,
    CurrentState,
    Drain,
    EventHub,
    FleetHistory,
    Front,
    Live,
    LogNews,
    Measurements,
    ProxyEnvironment,
    ServerLimits,
    ServerTls,
    UiFiles,
    UpstreamPool,
    bind,
    create_app,
    serve_http,
    tell,
    url_of,
)
from .logs import ServerLogs, open_server_logs
from .reload import Look, Outcome, Reloader, Reloads, as_json, look, summary, watch

logger = logging.getLogger("swapcli")

Follower: TypeAlias = Callable[[Configuration], None]
"""Is told of each configuration that is put in force."""

_KILL_FLUSH = 0.2
"""Seconds for the last lines of the log when everything is killed."""


def serve(
    *,
    sources: Sequence[Path],
    listen: ListenAddress,
    watch_every: float | None = None,
    announce: Callable[[Sequence[str]], None] | None = None,
    certificate: tuple[Path, Path] | None = None,
    max_body: int | None = None,
    max_connections: int | None = None,
    ui_folder: Path | None = None,
) -> int:
    """Serve the models of a configuration until told to stop; returns the exit status.

    Args:
      sources: files of the configuration, merged in order.
      listen: not used where systemd hands over sockets.
      watch_every: seconds between looks at the sources for edits; ``None``: nobody looks.
      announce: called with the base URLs once requests are accepted.
      certificate: PEM files of a certificate and its key, to speak TLS with; ``None``: plain HTTP.
      max_body: bytes of the body of a request to a model.
      max_connections: of clients at once.
      ui_folder: the files that ``/ui/`` shows; ``None``: our own page.
    Raises:
      ConfigurationError: with every problem of the files.
      CannotListen: the address is taken, or not ours.
      StoreRefused: the file for the record of requests is not ours to write to.
      CannotUseCertificate: see there.
    """
    tls = None if certificate is None else ServerTls(*certificate)
    limits = _limits(max_body, max_connections)
    sources = [source.absolute() for source in sources]
    first_look = look(sources)
    loaded = load(sources, environ=os.environ)
    planner = make_planner(loaded, planner_directory(sources[0]))
    if loaded.refusals:
        raise ConfigurationError(loaded.refusals)
    systemd = Systemd.of_environment(os.environ)
    sockets = _sockets_of(systemd) or bind(listen)
    logs = open_server_logs()
    try:
        _apply_to_logs(logs, loaded.config)
        database = open_store(loaded.config)
        for problem in loaded.warnings:
            logger.warning("%s", problem)
        server = _Server(
            sources,
            first_look,
            watch_every,
            loaded,
            planner,
            sockets,
            logs,
            database,
            systemd,
            announce,
            tls,
            limits,
            UiFiles() if ui_folder is None else UiFiles(ui_folder.absolute()),
        )
        trio.run(server.run)
    finally:
        logs.close()
    return 0


def _open_pool() -> UpstreamPool:
    return UpstreamPool(proxies=ProxyEnvironment.of(os.environ))


def _limits(max_body: int | None, max_connections: int | None) -> ServerLimits:
    """The limits on clients; what is not given is as good as the process' own limits allow."""
    limits = ServerLimits()
    # A request needs a descriptor towards the model, too, and the models' pipes need some.
    connections = min(limits.connections, max(16, raise_descriptor_limit() // 2 - 64))
    return attrs.evolve(
        limits,
        model_body_size=limits.model_body_size if max_body is None else max_body,
        connections=connections if max_connections is None else max_connections,
    )


def _sockets_of(systemd: Systemd) -> Sequence[socket.socket]:
    try:
        return systemd.sockets()
    except OSError as error:
        raise CannotListen(ListenAddress("", 0), str(error)) from error


def _apply_to_logs(logs: ServerLogs, config: Configuration) -> None:
    logs.apply(level=config.log_level, time_format=config.log_time_format, to_stdout=config.log_to_stdout)


@attrs.define(eq=False)
class _Server:
    """What outlives every configuration, and the order in which it comes and goes."""

    _sources: Sequence[Path]
    _first_look: Look
    _watch_every: float | None
    _loaded: Loaded
    _planner: SwapPlanner
    _sockets: Sequence[socket.socket]
    _logs: ServerLogs
    _database: ActivityDatabase
    _systemd: Systemd
    _announce: Callable[[Sequence[str]], None] | None
    _tls: ServerTls | None
    _limits: ServerLimits
    _ui_files: UiFiles
    _pool: UpstreamPool = attrs.field(factory=_open_pool, init=False)
    _reloads: Reloads = attrs.field(factory=Reloads, init=False)
    _hub: EventHub = attrs.field(factory=EventHub, init=False)
    _profile: ActiveProfile = attrs.field(factory=ActiveProfile, init=False)

    async def run(self) -> None:
        self._logs.enter()
        shutdown = Shutdown(
            on_reload=self._reloads.request, on_killed=partial(self._logs.close, limit=_KILL_FLUSH)
        )
        config = self._loaded.config
        with trio.open_signal_receiver(*WATCHED_SIGNALS) as signals:
            async with trio.open_nursery() as watching:
                # Outlives the models: the third signal counts while they are being stopped, too.
                watching.start_soon(shutdown.follow, signals)
                watching.start_soon(self._systemd.keep_watchdog_quiet)
                async with open_supervisor(
                    to_specs(config),
                    planner=self._planner,
                    policy=scheduling_policy(config),
                    on_stopping=self._pool.close,
                    on_output=self._logs.write_output,
                ) as supervisor:
                    await self._serve_until_stopped(supervisor, shutdown)
                    logger.info("stopping the models")
                logger.info("bye")
                watching.cancel_scope.cancel()

    async def _serve_until_stopped(self, supervisor: Supervisor, shutdown: Shutdown) -> None:
        drain, hub, config, history = Drain(), self._hub, self._loaded.config, FleetHistory()
        self._logs.on_write = LogNews(hub)
        state = CurrentState(hub, supervisor, config, active_profile=lambda: self._profile.name)
        self._profile.subscribe(state.profile_changed)
        tls = None if self._tls is None else self._tls.context
        live = Live(self._logs, state, drain.stop)
        measured = Measurements.of(config.performance, lines_dropped=self._logs.count_dropped)
        async with (
            supervisor.events(*NEWS) as events,
            open_recorder(self._database, config, hub) as recorder,
            trio.open_nursery() as nursery,
        ):
            state.requests_in_flight = recorder.inflight.snapshot
            app = create_app(
                supervisor,
                config,
                self._pool,
                limits=self._limits,
                reloads=self._reloads,
                live=live,
                history=history,
                profile=self._profile,
                recorder=recorder,
                measurements=measured,
                ui_files=self._ui_files,
            )
            nursery.start_soon(tell, events, (state.take, history.take, measured.metrics.take))

            async def serve_to_the_end(*, task_status: trio.TaskStatus[None]) -> None:
                await serve_http(
                    app, self._sockets, drain=drain, limits=self._limits, tls=tls, task_status=task_status
                )
                nursery.cancel_scope.cancel()

            await nursery.start(serve_to_the_end)
            followers: list[Follower] = [
                state.use,
                measured.use,
                partial(apply_to_recorder, recorder),
            ]
            urls = [url_of(sock, "http" if tls is None else "https") for sock in self._sockets]
            logger.info("listening on %s", ", ".join(urls))
            self._systemd.ready(f"listening on {', '.join(urls)}")
            if self._announce is not None:
                self._announce(urls)
            async with trio.open_nursery() as until_stopped:
                give_memory_back()
                until_stopped.start_soon(keep_giving_back)
                until_stopped.start_soon(self._follow_edits, supervisor, app, followers)
                until_stopped.start_soon(measured.run)
                until_stopped.start_soon(self._prepare_pages, app)  # not before: it makes a start slow
                await shutdown.asked.wait()
                until_stopped.cancel_scope.cancel()
            self._systemd.stopping()
            # Accept nothing more, turn away who waits for a model, and let those who use one finish.
            drain.stop.set()
            supervisor.close()
            with trio.move_on_after(DRAIN_SECONDS):
                await shutdown.hurried.wait()
            drain.cut.set()

    async def _prepare_pages(self, app: Front) -> None:
        await app.pages.prepare()
        keep_what_is_there()

    def _renew_certificate(self) -> None:
        if self._tls is not None:
            self._tls.renew()

    async def _follow_edits(self, supervisor: Supervisor, app: Front, followers: Sequence[Follower]) -> None:
        """Preload, watch the sources and reload, until cancelled."""

        def tell(outcome: Outcome) -> None:
            self._systemd.ready(summary(outcome))
            self._hub.publish(ConfigReload(as_json(outcome)))
            collect_what_was_replaced()

        async with trio.open_nursery() as nursery:
            wanted = self._loaded.config.hooks.on_startup.preload
            nursery.start_soon(preload, supervisor, tuple(map(ModelId, wanted)))
            if self._watch_every is not None:
                edited = partial(self._reloads.request, "it was edited")
                nursery.start_soon(
                    partial(watch, self._sources, self._first_look, edited, every=self._watch_every)
                )
            reloader = Reloader(
                sources=self._sources,
                environ=os.environ,
                loaded=self._loaded,
                planner=self._planner,
                fleet=supervisor,
                prepare=app.prepare,
                followers=[
                    partial(_apply_to_logs, self._logs),
                    lambda config: self._profile.keep_if_in(config.profiles),
                    *followers,
                    lambda _: self._renew_certificate(),
                ],
                want=lambda models: nursery.start_soon(preload, supervisor, models),
                started=self._systemd.reloading,
                ended=tell,
            )
            await self._reloads.serve(reloader.carry_out, reloader.plan)
