"""What a program uses: `open_supervisor`, and leases on the models it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from math import inf, isnan
from typing import Protocol, final, runtime_checkable

import attrs
import trio

from ._ahead import CheckingLauncher
from ._effects import Ticket
from ._errors import GaveUp, SwapcoreError, UnknownModel
from ._events import Event
from ._feed import Subscriber
from ._fleet import Fleet
from ._launch import Launcher, launch_subprocess
from ._logs import Logs, ModelLog, OnOutput
from ._loop import Condition, Loop, OnStopping, Waiter, nothing
from ._planner import ExclusivePlanner, SwapPlanner
from ._policy import SchedulingPolicy
from ._raised import copy_of
from ._scheduler import Scheduler
from ._slot import Slot
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
@attrs.frozen(eq=False)
class Waiting:
    """A caller's place in line, worked out when it is read. Given to ``on_wait`` of `Supervisor.lease`."""

    _ticket: Ticket
    _fleet: Fleet

    @property
    def state(self) -> ProcState:
        """Of the model that is waited for."""
        slot = self._fleet.slots.get(self._ticket.model)
        return ProcState.STOPPED if slot is None else slot.state

    @property
    def position(self) -> int | None:
        """1 is next; ``None``: not in line any more."""
        if self._ticket not in self._fleet.queue:
            return None
        return self._fleet.position(self._ticket, trio.current_time())

    @property
    def estimate(self) -> float | None:
        """Seconds still to wait, from what loads, stops and leases took; ``None`` while not measured."""
        if self._ticket not in self._fleet.queue:
            return None
        return self._fleet.estimate(self._ticket, trio.current_time())


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

    def lease(
        self,
        model: ModelId,
        *,
        priority: int = 0,
        give_up_after: float = inf,
        on_wait: Callable[[Waiting], None] | None = None,
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Hold *model* ready for the length of the block, and say where it answers.

        Waits until the model runs; while the block lasts it is not stopped to
        make room for another. It may still crash, or be unloaded.

        Args:
          priority: higher is served sooner; one step is worth 30 s of waiting.
          give_up_after: seconds to wait at most. It bounds the waiting only, not the block.
          on_wait: called once, synchronously, if the caller cannot be served at once.
        Raises:
          UnknownModel, StartFailed, StartTimeout, BackingOff, Overloaded, Unloaded, Refused, Pinned,
          PlannerFailed, GaveUp, Closed: see there.
          ValueError: a priority or a time that is no number.
        Cancellation: while waiting, leaves the queue; a model that nobody else
        waits for is not started. Inside the block, the lease ends with it.
        """
        return self._lease(Ticket(model, priority), give_up_after, on_wait)

    @asynccontextmanager
    async def _lease(
        self, ticket: Ticket, give_up_after: float, on_wait: Callable[[Waiting], None] | None = None
    ) -> AsyncGenerator[Endpoint]:
        if isnan(ticket.priority) or isnan(give_up_after):
            raise ValueError(f"no number: priority={ticket.priority!r}, give_up_after={give_up_after!r}")
        await trio.lowlevel.checkpoint_if_cancelled()  # who has left already is not heard at all
        loop, waiter = self._loop, Waiter()
        if on_wait is not None:
            waiter.on_wait = partial(on_wait, Waiting(ticket, loop.scheduler.fleet))
        loop.join(ticket, waiter)
        try:
            loop.request(ticket)
            if give_up_after == inf:  # nearly always, and a scope is not free
                await waiter.done.wait()
            else:
                with trio.move_on_after(max(0.0, give_up_after)):
                    await waiter.done.wait()
            if not waiter.done.is_set():
                raise GaveUp(
                    ticket.model, f"not served within {give_up_after:g} s, which is all the caller allowed"
                )
            if waiter.error is not None:
                raise copy_of(waiter.error) from waiter.error.__cause__
            assert waiter.endpoint is not None
            yield waiter.endpoint
        finally:  # sync on purpose: must work while cancelled
            loop.leave(ticket)

    async def load(self, *models: ModelId, priority: int = 0, give_up_after: float = inf) -> None:
        """Make *models* ready ahead of their first callers: those that may run together at the same time,
        the others one after the other, so that the last ones run in the end.

        Raises and cancels like `lease`. When several are named, all are tried, and what went wrong comes as
        one ``ExceptionGroup``.
        """
        if len(models) == 1:
            async with self._lease(Ticket(models[0], priority, preload=True), give_up_after):
                return
        errors: list[SwapcoreError] = []

        async def load_one(model: ModelId) -> None:
            try:
                await self.load(model, priority=priority, give_up_after=give_up_after)
            except SwapcoreError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for model in models:
                nursery.start_soon(load_one, model)
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(models)} models could not be loaded", errors)

    async def unload(self, *models: ModelId, drain: bool = False) -> None:
        """Stop *models*, or all of them when none is named, and return once they are gone.

        Callers in line for them get `Unloaded`. Callers that use them lose
        their connection, unless *drain*: then they may finish first, and new
        ones wait.

        Raises:
          UnknownModel: one of the names; nothing is stopped then.
          Closed: the supervisor has ended, or has been cancelled, which stops everything, too.
        Cancellation: the stop goes on; only the wait for it ends.
        """
        for model in models:
            self._slot(model)
        # All are also those that are configured no more, and still run for callers of theirs.
        await self._loop.unload(models or tuple(self._loop.scheduler.fleet.slots), drain)

    def heard(self, model: ModelId) -> None:
        """Tell that *model* has just produced something for a caller; see `Liveness.silent`."""
        run = self._loop.scheduler.fleet.run_of(model)
        if run is not None:
            run.heard_at = trio.current_time()

    def pin(self, model: ModelId) -> None:
        """Protect *model*, whenever it runs, from eviction and from its ttl. Raises `UnknownModel`.

        A caller whose model could run only in its place gets `Pinned` at once.
        """
        self._loop.pin(self._slot(model).id, True)

    def unpin(self, model: ModelId) -> None:
        """Undo `pin`. Raises `UnknownModel`."""
        self._loop.pin(self._slot(model).id, False)

    async def reconfigure(
        self,
        specs: Iterable[ModelSpec],
        *,
        planner: SwapPlanner = _EXCLUSIVE,
        policy: SchedulingPolicy | None = None,
        drain_limit: float = inf,
    ) -> None:
        """From now on, supervise *specs*, ask *planner*, and keep to *policy*; ``None``: as before.

        A model that would be launched in the same way as before keeps
        running, with its callers and counters. One that would not, or is not
        in *specs*, takes no new callers, and is stopped when those that it
        has are done, or after *drain_limit* seconds; if it is changed back
        before that, it keeps running as if nothing had been. Returns when the
        change is in force, which is before such stops have ended.

        Raises:
          ValueError: two specs have the same id; nothing is changed then.
          Closed: the supervisor has ended.
        Cancellation: the change is made all the same.
        """
        await self._loop.reconfigure(_by_id(specs), planner, policy, drain_limit)

    def close(self) -> None:
        """Raise `Closed` from now on, for those who wait too; leases that are held go on. Never blocks."""
        self._loop.close()

    async def wait_idle(self) -> None:
        """Block until nobody holds or waits for a lease.

        Raises:
          Closed: the supervisor has ended, and somebody still holds a lease that is worth nothing now.
        Cancellation: nothing changed.
        """
        await self._loop.until(Condition(lambda: not self._loop.waiters), nothing)

    @asynccontextmanager
    async def events(self, *kinds: type[Event]) -> AsyncGenerator[AsyncIterator[Event]]:
        """Watch what happens from here on::

            async with supervisor.events() as events:
                async for event in events: ...

        Args:
          kinds: only events of these classes. A `LeaseGranted` comes with
            each request: whoever wants none need not wake up for it.

        A subscriber that is slow never delays anything; it gets an
        `EventsMissed` in place of what it was too slow for. The iteration
        ends when the supervisor has.

        Cancellation of an ``await anext(events)``: no event is lost, and the
        iteration can go on.
        """
        subscriber = Subscriber(frozenset(kinds))
        self._loop.feed.add(subscriber)
        try:
            yield subscriber
        finally:
            self._loop.feed.remove(subscriber)

    # -- reading, for display: the answer may be old by the next checkpoint ------

    @property
    def specs(self) -> Mapping[ModelId, ModelSpec]:
        """What is configured now, by id."""
        slots = self._loop.scheduler.fleet.slots
        return {model: slot.spec for model, slot in slots.items() if not slot.retired}

    def state_of(self, model: ModelId) -> ProcState:
        """Return where the model's process is in its life. Raises `UnknownModel`."""
        return self._slot(model).state

    def callers(self, model: ModelId) -> int:
        """Return how many hold a lease on *model* or wait for one, who called at this very instant included.

        Raises `UnknownModel`.
        """
        return self._loop.callers[self._slot(model).id]

    def log(self, model: ModelId) -> ModelLog:
        """Return the output of *model*'s processes. Raises `UnknownModel`."""
        return self._loop.logs[self._slot(model).id]

    def statistics(self) -> Statistics:
        """Return the state and the counts of every model, frozen."""
        fleet = self._loop.scheduler.fleet
        return Statistics(
            {
                model: ModelStatistics(
                    slot.state,
                    slot.leases,
                    fleet.queue.count(model),
                    slot.pinned,
                    slot.starts,
                    slot.granted,
                    slot.crashes,
                    slot.load_seconds,
                    slot.stop_seconds,
                    slot.service_seconds,
                )
                for model, slot in fleet.slots.items()
                if not slot.retired
            }
        )

    def _slot(self, model: ModelId) -> Slot:
        slot = self._loop.scheduler.fleet.slots.get(model)
        if slot is None or slot.retired:
            raise UnknownModel(model)
        return slot


@asynccontextmanager
async def open_supervisor(
    specs: Iterable[ModelSpec],
    *,
    planner: SwapPlanner = _EXCLUSIVE,
    launch: Launcher = launch_subprocess,
    policy: SchedulingPolicy = _DEFAULT_POLICY,
    on_stopping: OnStopping | None = None,
    on_output: OnOutput | None = None,
) -> AsyncGenerator[Supervisor]:
    """Run a supervisor for the length of the block; every process it started is gone after it.

    Args:
      specs: what may run. Nothing is started before it is asked for.
      planner: which models may not run together, and who is next; by default one model at a time.
      launch: how a process is started and stopped; by default a child process with its whole tree.
      policy: bounds on waiting.
      on_stopping: called, synchronously, just before a ready process is asked
        to stop, with the error that is to be raised to those who use it:
        `Hung` if that is why it is stopped, else `Unloaded`. Close every
        connection to it there: many servers wait for their clients before
        they end.
      on_output: called, synchronously, with each piece of output that goes to
        a model's log. An exception in it is logged.
    Raises:
      ValueError: two specs have the same id.
    Cancellation: like leaving the block: all processes are stopped at once, each within its
    own ``unload_timeout``.
    """
    by_id = _by_id(specs)
    logs = Logs(on_output)
    logs.add(by_id)
    async with AsyncExitStack() as stack:
        if isinstance(launch, OpenableLauncher):
            launch = await stack.enter_async_context(launch.open())
        scheduler = Scheduler.for_specs(by_id, planner, policy, checks=isinstance(launch, CheckingLauncher))
        nursery = await stack.enter_async_context(trio.open_nursery())
        loop = Loop(scheduler, logs, launch, on_stopping, nursery)
        nursery.start_soon(loop.run, name="supervisor loop")
        try:
            yield Supervisor(loop)
        finally:
            loop.shut_down()


def _by_id(specs: Iterable[ModelSpec]) -> dict[ModelId, ModelSpec]:
    by_id: dict[ModelId, ModelSpec] = {}
    for spec in specs:
        if spec.id in by_id:
            raise ValueError(f"two specs are called {spec.id!r}")
        by_id[spec.id] = spec
    return by_id
