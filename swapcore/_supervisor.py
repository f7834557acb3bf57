"""What a program uses: `open_supervisor`, and leases on the models it runs."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol, final, runtime_checkable

import attrs
import trio

from ._effects import Ticket
from ._errors import Closed, UnknownModel
from ._launch import Launcher, launch_subprocess
from ._logs import ModelLog
from ._loop import Condition, Loop, OnStopping, Released, Requested, UnloadAsked, Waiter, Woken
from ._planner import ExclusivePlanner, SwapPlanner
from ._scheduler import Scheduler, SchedulingPolicy
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import ProcState
from ._statistics import ModelStatistics, Statistics

_EXCLUSIVE = ExclusivePlanner()
_DEFAULT_POLICY = SchedulingPolicy()


@runtime_checkable
class OpenableLauncher(Protocol):
    """A launcher that wants something ready ahead of the first start, for as long as the supervisor lives."""

    def open(self) -> AbstractAsyncContextManager[Launcher]:
        """Enter before the first launch and leave after the last process is gone."""
        ...


@final
@attrs.frozen(eq=False, repr=False)
class Supervisor:
    """Runs the processes of a fleet of models. Made by `open_supervisor`; for use in its trio run only."""

    _loop: Loop

    def __repr__(self) -> str:
        states = {model: self.state_of(model) for model in self.specs}
        awake = [
            f"{model}={state.value}" for model, state in states.items() if state is not ProcState.STOPPED
        ]
        return f"<Supervisor of {len(states)} models: {', '.join(awake) or 'all stopped'}>"

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
        loop, ticket, waiter = self._loop, Ticket(model, priority), Waiter()
        loop.waiters[ticket] = waiter
        try:
            loop.mailbox.post(Requested(ticket))
            await waiter.done.wait()
            if waiter.error is not None:
                # A copy for each caller: raising one object in several tasks would tangle their tracebacks.
                raise copy.copy(waiter.error) from waiter.error.__cause__
            assert waiter.endpoint is not None
            yield waiter.endpoint
        finally:  # sync on purpose: must work while cancelled
            del loop.waiters[ticket]
            with suppress(Closed):
                loop.mailbox.post(Released(ticket))

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
        gone = Condition(lambda: False)  # the loop replaces it once it knows which runs those are
        await self._until(gone, UnloadAsked(models or tuple(self._loop.specs), drain, gone))

    def close(self) -> None:
        """Raise `Closed` from now on, for those who wait too; leases that are held go on. Never blocks."""
        self._loop.close()

    async def wait_idle(self) -> None:
        """Block until nobody holds or waits for a lease. Cancellation: nothing changed."""
        await self._until(Condition(lambda: not self._loop.waiters), Woken())

    # -- reading, for display: the answer may be old by the next checkpoint ------

    @property
    def specs(self) -> Mapping[ModelId, ModelSpec]:
        return self._loop.specs

    def state_of(self, model: ModelId) -> ProcState:
        """Return where the model's process is in its life. Raises `UnknownModel`."""
        return self._loop.scheduler.state_of(self._spec(model).id)

    def log(self, model: ModelId) -> ModelLog:
        """Return the output of *model*'s processes. Raises `UnknownModel`."""
        return self._loop.logs[self._spec(model).id]

    def statistics(self) -> Statistics:
        """Return the state and the counts of every model, frozen."""
        scheduler = self._loop.scheduler
        return Statistics(
            {
                model: ModelStatistics(
                    scheduler.state_of(model), scheduler.leases_of(model), scheduler.waiting_for(model)
                )
                for model in self._loop.specs
            }
        )

    def _spec(self, model: ModelId) -> ModelSpec:
        try:
            return self._loop.specs[model]
        except KeyError:
            raise UnknownModel(model) from None

    async def _until(self, condition: Condition, mail: UnloadAsked | Woken) -> None:
        self._loop.conditions.append(condition)
        try:
            self._loop.mailbox.post(mail)
            await condition.done.wait()
        finally:
            self._loop.conditions.remove(condition)


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
    logs = {model: ModelLog() for model in by_id}
    async with AsyncExitStack() as stack:
        if isinstance(launch, OpenableLauncher):
            launch = await stack.enter_async_context(launch.open())
        nursery = await stack.enter_async_context(trio.open_nursery())
        loop = Loop(scheduler, by_id, logs, launch, on_stopping, nursery)
        nursery.start_soon(loop.run, name="supervisor loop")
        try:
            yield Supervisor(loop)
        finally:
            loop.shut_down()
