"""Carrying out a reload: read and check everything, then change everything at once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from swapcli.config import (
    Changes,
    Configuration,
    ConfigurationError,
    Loaded,
    Problem,
    changes,
    load,
    make_planner,
    planner_directory,
    scheduling_policy,
    to_specs,
)
from swapcore import ModelId, ModelSpec, ProcState, SchedulingPolicy, SwapPlanner

from ._outcome import Applied, Outcome, Refused, summary

logger = logging.getLogger("swapcli")

READING_BOUND = 60.0
"""Seconds for reading and checking. A file system that does not answer must not block every later reload."""
_MOST_READING = 8
"""Threads at once for each kind of reading. Those that hang must not be all that there are."""


def _threads() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(_MOST_READING)


class Fleet(Protocol):
    """The part of `swapcore.Supervisor` that is used here; see there."""

    async def reconfigure(
        self,
        specs: Iterable[ModelSpec],
        *,
        planner: SwapPlanner,
        policy: SchedulingPolicy | None,
        drain_limit: float,
    ) -> None: ...

    def state_of(self, model: ModelId) -> ProcState: ...


@attrs.frozen(eq=False)
class _Plan:
    """A new configuration that was found good."""

    loaded: Loaded
    planner: SwapPlanner
    changes: Changes


@attrs.define(eq=False, kw_only=True)
class Reloader:
    """Owns the configuration in force. Its requests come through `Reloads`."""

    sources: Sequence[Path]
    environ: Mapping[str, str]
    loaded: Loaded
    """What is in force."""
    planner: SwapPlanner
    fleet: Fleet
    prepare: Callable[[Configuration], Awaitable[Callable[[], None]]]
    """Make what answers requests according to a configuration; what it returns puts that in force."""
    followers: Sequence[Callable[[Configuration], None]] = ()
    """Told of the new configuration when it is in force, without blocking."""
    want: Callable[[Sequence[ModelId]], None] = lambda models: None
    """Models that the new configuration preloads, and that have to be loaded for that now."""
    started: Callable[[], None] = lambda: None
    """Called before anything is read; not for dry runs."""
    ended: Callable[[Outcome], None] = lambda outcome: None
    """Called with every outcome but those of dry runs."""
    _reading: trio.CapacityLimiter = attrs.field(factory=_threads, init=False)
    _planning: trio.CapacityLimiter = attrs.field(factory=_threads, init=False)
    """Of dry runs, of which there may be many: they hold up no reload."""

    async def plan(self) -> Outcome:
        """Say what a reload would do. Changes nothing. Cancellation: nothing is left."""
        match await self._read(self._planning):
            case Refused() as refused:
                return attrs.evolve(refused, dry_run=True)
            case plan:
                return attrs.evolve(self._applied(plan), dry_run=True)

    async def carry_out(self, reasons: Sequence[str]) -> Outcome:
        """Reload because of *reasons*, and log how it ended. Raises nothing.

        Cancellation: before the change is in force nothing has changed.
        """
        logger.info("reading the configuration again: %s", ", ".join(reasons))
        self.started()
        try:
            outcome = await self._carry_out()
        except Exception as error:
            logger.exception("a reload failed")
            outcome = Refused((Problem("", 0, 0, "", f"the reload failed: {error!r}"),))
        for warning in outcome.warnings:
            logger.warning("%s", warning)
        match outcome:
            case Refused(problems):
                for problem in problems:
                    logger.error("%s", problem)
                logger.error("not reloaded: %s", summary(outcome))
            case Applied():
                logger.info("reloaded: %s", summary(outcome))
        self.ended(outcome)
        return outcome

    async def _carry_out(self) -> Outcome:
        plan = await self._read(self._reading)
        if isinstance(plan, Refused):
            return plan
        applied, new = self._applied(plan), plan.loaded.config
        if plan.changes.nothing:
            self.loaded = plan.loaded
            return applied
        use = await self.prepare(new)
        policy, old = scheduling_policy(new), self.loaded.config
        was_up = {model for model in map(ModelId, plan.changes.restarted) if self._is_up(model)}
        await self.fleet.reconfigure(
            to_specs(new), planner=plan.planner, policy=policy, drain_limit=policy.max_drain
        )
        # From here to the end without a checkpoint: whoever comes sees the old configuration, or the new one.
        use()
        self.loaded, self.planner = plan.loaded, plan.planner
        for follow in self.followers:
            try:
                follow(new)
            except Exception:  # it is in force all the same, and that is what has to be told
                logger.exception("a reload is in force, but not everything has taken it over")
        had = old.hooks.on_startup.preload
        wanted = map(ModelId, new.hooks.on_startup.preload)
        self.want([model for model in wanted if model not in had or model in was_up])
        return applied

    def _is_up(self, model: ModelId) -> bool:
        return self.fleet.state_of(model) in (ProcState.STARTING, ProcState.READY)

    def _applied(self, plan: _Plan) -> Applied:
        return Applied(plan.changes, plan.loaded.warnings)

    async def _read(self, threads: trio.CapacityLimiter) -> _Plan | Refused:
        read = partial(self._read_in_thread, self.loaded, self.planner)
        with trio.move_on_after(READING_BOUND):
            return await trio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=threads)
        return Refused((Problem("", 0, 0, "", f"not read within {READING_BOUND:.0f} s"),))

    def _read_in_thread(self, old: Loaded, planner: SwapPlanner) -> _Plan | Refused:
        try:
            loaded = load(self.sources, environ=self.environ, ports=old.ports)
            if loaded.refusals:
                return Refused(loaded.refusals, loaded.warnings)
            if _planned_by(loaded.config) != _planned_by(old.config):
                planner = make_planner(loaded, planner_directory(self.sources[0]))
        except ConfigurationError as error:
            return Refused(error.problems, error.warnings)
        return _Plan(loaded, planner, changes(old.config, loaded.config))


def _planned_by(config: Configuration) -> object:
    """What its planner is made of. While that stays the planner may, too, with what it has learnt."""
    return config.routing.router, config.matrix_program
