"""The only module that owns tasks: one run loop, and one task for each process run."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from math import inf
from typing import Protocol, TypeAlias, final, runtime_checkable

import attrs
import trio

from ._effects import Effect, Grant, Launch, Reject, Run, Stop, Ticket
from ._errors import Closed, StartTimeout, UnknownModel
from ._launch import Launcher, launch_subprocess
from ._logs import ModelLog, writing_to
from ._planner import ExclusivePlanner, SwapPlanner
from ._scheduler import Scheduler, SchedulingPolicy
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import BecameReady, Exited, ProcState
from ._statistics import ModelStatistics, Statistics

logger = logging.getLogger("swapcore")

OnStopping: TypeAlias = Callable[[ModelId, Endpoint], None]

_EXCLUSIVE = ExclusivePlanner()
_DEFAULT_POLICY = SchedulingPolicy()


@runtime_checkable
class OpenableLauncher(Protocol):
    """A launcher that wants something ready ahead of the first start, for as long as the supervisor lives."""

    def open(self) -> AbstractAsyncContextManager[Launcher]:
        """Enter before the first launch and leave after the last process is gone."""
        ...


@attrs.frozen
class _Requested:
    ticket: Ticket


@attrs.frozen
class _Released:
    ticket: Ticket


@attrs.frozen
class _Reported:
    run: Run
    event: BecameReady | Exited


@attrs.define(eq=False)
class _Condition:
    """Somebody waits until this holds; looked at after every mail."""

    holds: Callable[[], bool]
    done: trio.Event = attrs.field(factory=trio.Event)


@attrs.frozen
class _UnloadAsked:
    models: tuple[ModelId, ...]
    drain: bool
    gone: _Condition


@attrs.frozen
class _Woken:
    """Nothing happened but time, or there is a new condition to look at."""


_Mail: TypeAlias = _Requested | _Released | _Reported | _UnloadAsked | _Woken


@attrs.define(eq=False)
class _Waiter:
    done: trio.Event = attrs.field(factory=trio.Event)
    endpoint: Endpoint | None = None
    error: Exception | None = None


@final
@attrs.define(eq=False, repr=False)
class Supervisor:
    """Runs the processes of a fleet of models. Made by `open_supervisor`; for use in its trio run only."""

    _specs: dict[ModelId, ModelSpec]
    _scheduler: Scheduler
    _launch: Launcher
    _on_stopping: OnStopping | None
    _nursery: trio.Nursery
    _send: trio.MemorySendChannel[_Mail]
    _receive: trio.MemoryReceiveChannel[_Mail]
    _logs: dict[ModelId, ModelLog]
    _scopes: dict[Run, trio.CancelScope] = attrs.field(factory=dict[Run, trio.CancelScope], init=False)
    _waiters: dict[Ticket, _Waiter] = attrs.field(factory=dict[Ticket, _Waiter], init=False)
    _conditions: list[_Condition] = attrs.field(factory=list[_Condition], init=False)

    def __repr__(self) -> str:
        states = ", ".join(
            f"{model}={self.state_of(model).value}"
            for model in self._specs
            if self.state_of(model) is not ProcState.STOPPED
        )
        return f"<Supervisor of {len(self._specs)} models: {states or 'all stopped'}>"

    # -- leases ----------------------------------------------------------------

    @asynccontextmanager
    async def lease(self, model: ModelId, *, priority: int = 0) -> AsyncGenerator[Endpoint]:
        """Hold *model* ready for the length of the block, and say where it answers.

        Waits until the model runs; while the block lasts it is not stopped to
        make room for another. It may still crash, or be unloaded.

        Args:
          priority: higher is served sooner; one step is worth 30 s of waiting.
        Raises:
          UnknownModel, StartFailed, StartTimeout, Overloaded, Unloaded, PlannerFailed, Closed: see there.
        Cancellation: while waiting, leaves the queue; a model that nobody else
        waits for is not started. Inside the block, the lease ends with it.
        """
        ticket, waiter = Ticket(model, priority), _Waiter()
        self._waiters[ticket] = waiter
        try:
            self._post(_Requested(ticket))
            await waiter.done.wait()
            if waiter.error is not None:
                # A copy for each caller: raising one object in several tasks would tangle their tracebacks.
                raise copy.copy(waiter.error) from waiter.error.__cause__
            assert waiter.endpoint is not None
            yield waiter.endpoint
        finally:  # sync on purpose: must work while cancelled
            del self._waiters[ticket]
            with suppress(Closed):
                self._post(_Released(ticket))

    async def load(self, model: ModelId) -> None:
        """Make *model* ready ahead of its first caller. Raises and cancels like `lease`."""
        async with self.lease(model):
            pass

    async def unload(self, *models: ModelId, drain: bool = False) -> None:
        """Stop *models*, or all of them when none is named, and return once they are gone.

        Callers in line for them get `Unloaded`. Callers that use them lose
        their connection, unless *drain*: then they may finish first, and new
        ones wait.

        Raises:
          UnknownModel: one of the names; nothing is stopped then.
        Cancellation: the stop goes on; only the wait for it ends.
        """
        for model in models:
            self._spec(model)
        gone = _Condition(lambda: False)  # the loop replaces it once it knows which runs those are
        await self._until(gone, _UnloadAsked(models or tuple(self._specs), drain, gone))

    def close(self) -> None:
        """Raise `Closed` from now on, for those who wait too; leases that are held go on. Never blocks."""
        self._apply(self._scheduler.on_close(trio.current_time()))

    async def wait_idle(self) -> None:
        """Block until nobody holds or waits for a lease. Cancellation: nothing changed."""
        await self._until(_Condition(lambda: not self._waiters), _Woken())

    # -- reading, for display: the answer may be old by the next checkpoint ------

    @property
    def specs(self) -> Mapping[ModelId, ModelSpec]:
        return self._specs

    def state_of(self, model: ModelId) -> ProcState:
        """Return where the model's process is in its life. Raises `UnknownModel`."""
        return self._scheduler.state_of(self._spec(model).id)

    def log(self, model: ModelId) -> ModelLog:
        """Return the output of *model*'s processes. Raises `UnknownModel`."""
        return self._logs[self._spec(model).id]

    def statistics(self) -> Statistics:
        """Return the state and the counts of every model, frozen."""
        scheduler = self._scheduler
        return Statistics(
            {
                model: ModelStatistics(
                    scheduler.state_of(model), scheduler.leases_of(model), scheduler.waiting_for(model)
                )
                for model in self._specs
            }
        )

    # -- the loop --------------------------------------------------------------

    def _spec(self, model: ModelId) -> ModelSpec:
        try:
            return self._specs[model]
        except KeyError:
            raise UnknownModel(model) from None

    def _post(self, mail: _Mail) -> None:
        try:
            self._send.send_nowait(mail)
        except trio.BrokenResourceError:  # the loop has ended, and every process is gone
            raise Closed from None

    async def _until(self, condition: _Condition, mail: _Mail) -> None:
        self._conditions.append(condition)
        try:
            self._post(mail)
            await condition.done.wait()
        finally:
            self._conditions.remove(condition)

    def _shut_down(self) -> None:
        self._apply(self._scheduler.on_shutdown(trio.current_time()))
        with suppress(Closed):  # cancelled from outside: the loop has ended already
            self._post(_Woken())

    async def _run_loop(self) -> None:
        """Own every change. Awaits its mailbox and the next deadline, nothing else."""
        scheduler = self._scheduler
        with self._receive:
            while not scheduler.is_finished:
                mail: _Mail = _Woken()
                with trio.move_on_at(scheduler.next_deadline()):
                    mail = await self._receive.receive()
                now = trio.current_time()
                match mail:
                    case _Requested(ticket):
                        effects = scheduler.on_request(ticket, now)
                    case _Released(ticket):
                        effects = scheduler.on_release(ticket, now)
                    case _Reported(run, event):
                        effects = scheduler.on_process(run, event, now)
                    case _UnloadAsked(models, drain, gone):
                        effects = scheduler.on_unload(models, drain, now)
                        # A later run is somebody's new request, not one to wait for.
                        gone.holds = partial(self._none_runs, [scheduler.run_of(model) for model in models])
                    case _Woken():
                        effects = ()
                self._apply(effects)
                if scheduler.next_deadline() <= now:
                    self._apply(scheduler.on_tick(now))
                for condition in self._conditions:
                    if condition.holds():
                        condition.done.set()

    def _none_runs(self, runs: Iterable[Run | None]) -> bool:
        return not any(run is not None and self._scheduler.run_of(run.model) is run for run in runs)

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Launch(run):
                    # The handle exists before the task runs: a Stop may be next in the batch.
                    scope = self._scopes[run] = trio.CancelScope()
                    self._nursery.start_soon(self._run_process, run, scope, name=f"process {run.model}")
                case Stop(run, endpoint, reason):
                    logger.info("stopping %s: %s", run.model, reason)
                    if endpoint is not None and self._on_stopping is not None:
                        try:
                            self._on_stopping(run.model, endpoint)
                        except Exception:
                            logger.exception(
                                "on_stopping failed for %s; it is stopped all the same", run.model
                            )
                    if running := self._scopes.get(run):  # else its exit is in the mailbox already
                        running.cancel(reason=reason)
                case Grant(ticket, endpoint):
                    if waiter := self._waiters.get(ticket):
                        waiter.endpoint = endpoint
                        waiter.done.set()
                case Reject(ticket, error):
                    if waiter := self._waiters.get(ticket):
                        waiter.error = error
                        waiter.done.set()

    async def _run_process(self, run: Run, scope: trio.CancelScope) -> None:
        """One life of a process: launch it, report readiness, report its end, whatever happens in between."""
        spec, error = self._specs[run.model], None
        logger.info("starting %s", run.model)
        with scope:
            try:
                with writing_to(self._logs[run.model]):
                    await self._launch_and_wait(run, spec)
            except* Exception as group:  # a dead model never takes its siblings along
                error = _only(group)
                logger.warning("%s", error)
            finally:
                del self._scopes[run]
                with suppress(Closed):
                    self._post(_Reported(run, Exited(error)))

    async def _launch_and_wait(self, run: Run, spec: ModelSpec) -> None:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(spec.start_timeout) as patience:
                endpoint = await nursery.start(partial(self._launch, spec))
            if patience.cancelled_caught:
                raise _with_output(
                    StartTimeout(spec.id, f"not ready after {spec.start_timeout:g} s"), self._logs[spec.id]
                )
            logger.info("%s is ready at %s", run.model, endpoint.url)
            self._post(_Reported(run, BecameReady(endpoint)))


def _only(group: ExceptionGroup[Exception]) -> Exception:
    """Return the one exception in *group*, however deep, or the group if there are several."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _with_output(error: StartTimeout, log: ModelLog) -> StartTimeout:
    if lines := log.tail():
        error.add_note("last output:\n" + "\n".join(lines))
    return error


@asynccontextmanager
async def open_supervisor(
    specs: Iterable[ModelSpec],
    *,
    planner: SwapPlanner = _EXCLUSIVE,
    launch: Launcher = launch_subprocess,
    policy: SchedulingPolicy = _DEFAULT_POLICY,
    on_stopping: OnStopping | None = None,
) -> AsyncGenerator[Supervisor]:
    """Run a supervisor for the length of the block; every process it started is gone after it.

    Args:
      specs: what may run. Nothing is started before it is asked for.
      planner: which models may not run together, and who is next; by default one model at a time.
      launch: how a process is started and stopped; by default a child process with its whole tree.
      policy: bounds on waiting.
      on_stopping: called, synchronously, just before a ready process is asked
        to stop. Close every connection to it there: many servers wait for
        their clients before they end.
    Raises:
      ValueError: two specs have the same id.
    Cancellation: like leaving the block: all processes are stopped at once, each within its
    own ``unload_timeout``.
    """
    by_id: dict[ModelId, ModelSpec] = {}
    for spec in specs:
        if spec.id in by_id:
            raise ValueError(f"two specs are called {spec.id!r}")
        by_id[spec.id] = spec
    scheduler = Scheduler.for_specs(by_id, planner, policy)
    # Unbounded, yet bounded in fact: a few entries for each live ticket, run and waiting call.
    send, receive = trio.open_memory_channel[_Mail](inf)
    async with AsyncExitStack() as stack:
        if isinstance(launch, OpenableLauncher):
            launch = await stack.enter_async_context(launch.open())
        nursery = await stack.enter_async_context(trio.open_nursery())
        logs = {model: ModelLog() for model in by_id}
        supervisor = Supervisor(by_id, scheduler, launch, on_stopping, nursery, send, receive, logs)
        nursery.start_soon(supervisor._run_loop, name="supervisor loop")
        try:
            yield supervisor
        finally:
            supervisor._shut_down()
