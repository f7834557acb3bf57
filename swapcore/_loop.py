"""The run loop, which owns every change, and the tasks that it starts: one for each life of a process."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import TypeAlias

import attrs
import trio

from ._ahead import Prefetches, check_start
from ._effects import Announce, Check, Effect, Grant, Launch, Prefetch, Reject, Run, Stop, Ticket
from ._errors import Closed, Hung, StillAlive, Unloaded
from ._events import SwapEnded
from ._feed import Feed
from ._launch import Launcher
from ._life import Life
from ._logs import Logs, writing_to
from ._own_threads import OwnThreads
from ._planner import SwapPlanner
from ._policy import SchedulingPolicy
from ._raised import as_failure, copy_of, reason_of
from ._scheduler import Scheduler
from ._spec import Endpoint, ModelId, ModelSpec
from ._states import BecameReady, Exited

logger = logging.getLogger("swapcore")

OnStopping: TypeAlias = Callable[[ModelId, Endpoint, Hung | Unloaded], None]


@attrs.define(eq=False)
class Condition:
    """Somebody waits until this holds; looked at after every mail."""

    holds: Callable[[], bool]
    done: trio.Event = attrs.field(factory=trio.Event)
    failed: bool = False
    """The loop has ended, and it does not hold."""


Mail: TypeAlias = Callable[[float], None]
"""Something that happened: called by the loop, with the time."""


@attrs.define(eq=False)
class Waiter:
    """Where a caller waits for the answer to its ticket."""

    on_wait: Callable[[], None] | None = None
    """Called once it is clear that the caller has to wait."""
    done: trio.Event = attrs.field(factory=trio.Event)
    endpoint: Endpoint | None = None
    error: Exception | None = None


@attrs.define(eq=False)
class Mailbox:
    """What the loop has to look at. Unbounded, yet bounded in fact: a few entries a caller and a run."""

    _send: trio.MemorySendChannel[Mail]
    receive: trio.MemoryReceiveChannel[Mail]

    @classmethod
    def make(cls) -> Mailbox:
        return cls(*trio.open_memory_channel[Mail](inf))

    def post(self, mail: Mail) -> None:
        """Never blocks. Raises `Closed` once the loop has ended, which is when every process is gone."""
        try:
            self._send.send_nowait(mail)
        except trio.BrokenResourceError:
            raise Closed from None


@attrs.define(eq=False)
class Loop:
    """Takes mail, asks the scheduler, does what it says."""

    scheduler: Scheduler
    logs: Logs
    _launch: Launcher
    _on_stopping: OnStopping | None
    _nursery: trio.Nursery
    mailbox: Mailbox = attrs.field(factory=Mailbox.make, init=False)
    waiters: dict[Ticket, Waiter] = attrs.field(factory=dict[Ticket, Waiter], init=False)
    callers: Counter[ModelId] = attrs.field(factory=Counter[ModelId], init=False)
    """Of each model: those in line and those that hold a lease, also while their mail is not read yet."""
    feed: Feed = attrs.field(factory=Feed, init=False)
    _conditions: list[Condition] = attrs.field(factory=list[Condition], init=False)
    _scopes: dict[Run, trio.CancelScope] = attrs.field(factory=dict[Run, trio.CancelScope], init=False)
    # Of waiting for those that survived being killed, which only the end of the supervisor cuts short.
    _last_waits: set[trio.CancelScope] = attrs.field(factory=set[trio.CancelScope], init=False)
    _checking: OwnThreads = attrs.field(factory=OwnThreads, init=False)
    _prefetches: Prefetches = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._prefetches = Prefetches(self._launch, self._nursery)

    async def run(self) -> None:
        """Run until shutdown, when the last process that can be ended is gone.

        Awaits mail and deadlines, nothing else.
        """
        try:
            with self.mailbox.receive as mailbox:
                while not self.scheduler.is_finished:
                    await self._turn(mailbox)
        finally:
            self._dismiss()

    async def _turn(self, mailbox: trio.MemoryReceiveChannel[Mail]) -> None:
        """Take one piece of mail, or what time brings, and do all that follows from it."""
        scheduler = self.scheduler
        mail: Mail = nothing
        try:
            mail = mailbox.receive_nowait()
        except trio.WouldBlock:
            with trio.move_on_at(scheduler.next_deadline()):
                mail = await mailbox.receive()
        now = trio.current_time()
        mail(now)
        if scheduler.next_deadline() <= now:
            self._apply(scheduler.on_tick(now))
        for condition in self._conditions:
            if condition.holds():
                condition.done.set()

    def _dismiss(self) -> None:
        """Answer everybody who still waits. Whatever the loop has not read by now, nobody will."""
        for waiter in self.waiters.values():
            if not waiter.done.is_set():
                waiter.error = Closed()
                waiter.done.set()
        for condition in self._conditions:
            condition.failed = not condition.holds()
            condition.done.set()
        self.feed.end()
        for scope in self._last_waits:
            scope.cancel()
        self._prefetches.end_all()

    # -- mail: posted from any task, carried out by the loop -----------------------

    def join(self, ticket: Ticket, waiter: Waiter) -> None:
        """Count a caller, synchronously, until it leaves; `request` is its mail."""
        self.waiters[ticket] = waiter
        self.callers[ticket.model] += 1

    def leave(self, ticket: Ticket) -> None:
        """Undo `join`, and `request` as far as that came. Never fails."""
        del self.waiters[ticket]
        self.callers[ticket.model] -= 1
        if not self.callers[ticket.model]:
            del self.callers[ticket.model]
        with suppress(Closed):
            self.release(ticket)

    def request(self, ticket: Ticket) -> None:
        """Stand in line. Raises `Closed` once the loop has ended, as every method of this group does."""
        self.mailbox.post(partial(self._on_request, ticket))

    def release(self, ticket: Ticket) -> None:
        self.mailbox.post(lambda now: self._apply(self.scheduler.on_release(ticket, now)))

    def pin(self, model: ModelId, pinned: bool) -> None:
        self.mailbox.post(lambda now: self._apply(self.scheduler.on_pin(model, pinned, now)))

    async def unload(self, models: tuple[ModelId, ...], drain: bool) -> None:
        """Stop *models* and wait until what ran of them is gone. Raises `StillAlive` if that fails."""
        gone = Condition(lambda: False)  # the mail replaces it once it knows which runs those are
        runs: list[Run] = []
        await self.until(gone, partial(self._on_unload, models, drain, gone, runs))
        for run in runs:
            if self._is_current(run) and run.survived is not None:
                raise copy_of(run.survived)

    async def reconfigure(
        self,
        specs: Mapping[ModelId, ModelSpec],
        planner: SwapPlanner,
        policy: SchedulingPolicy | None,
        drain_limit: float,
    ) -> None:
        """Change the fleet and wait until the change is in force."""
        in_force = False

        def change(now: float) -> None:
            nonlocal in_force
            in_force = True
            self.logs.add(specs)
            self._apply(self.scheduler.on_reconfigure(specs, planner, policy, drain_limit, now))

        await self.until(Condition(lambda: in_force), change)

    async def until(self, condition: Condition, mail: Mail) -> None:
        """Post *mail*, and wait until *condition* holds after it. Raises `Closed` if the loop ends before."""
        self._conditions.append(condition)
        try:
            self.mailbox.post(mail)
            await condition.done.wait()
        finally:
            self._conditions.remove(condition)
        if condition.failed:
            raise Closed

    def _on_request(self, ticket: Ticket, now: float) -> None:
        waiter = self.waiters.get(ticket)
        if waiter is None:  # it left before this was read: nothing is to be stopped or started for it
            return
        self._apply(self.scheduler.on_request(ticket, now))
        if waiter.on_wait is not None and not waiter.done.is_set():
            try:
                waiter.on_wait()
            except BaseException as raised:
                as_failure(raised)
                logger.exception("on_wait failed for a caller of %s; it waits all the same", ticket.model)

    def _on_unload(
        self, models: tuple[ModelId, ...], drain: bool, gone: Condition, runs: list[Run], now: float
    ) -> None:
        self._apply(self.scheduler.on_unload(models, drain, now))
        # A later run is somebody's new request, not one to wait for.
        runs += filter(None, map(self.scheduler.fleet.run_of, models))
        gone.holds = lambda: not any(self._is_current(run) and run.survived is None for run in runs)

    def _is_current(self, run: Run) -> bool:
        return self.scheduler.fleet.run_of(run.model) is run

    # -- the end: synchronous, so that it works while cancelled ---------------------

    def close(self) -> None:
        self._apply(self.scheduler.on_close(trio.current_time()))

    def shut_down(self) -> None:
        self._apply(self.scheduler.on_shutdown(trio.current_time()))
        with suppress(Closed):  # cancelled from outside: the loop has ended already
            self.mailbox.post(nothing)

    # -- effects -------------------------------------------------------------------

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Launch(run):
                    # The handle exists before the task runs: a Stop may be next in the batch.
                    scope = self._scopes[run] = trio.CancelScope()
                    self._nursery.start_soon(self._live, run, scope, name=f"process {run.model}")
                case Stop(run, endpoint, reason):
                    logger.info("stopping %s: %s", run.model, reason)
                    self._announce_stop(run, endpoint, reason)
                    if running := self._scopes.get(run):  # else its exit is in the mailbox already
                        running.cancel(reason=reason)
                case Check():
                    self._nursery.start_soon(self._check, effect, name=f"check {effect.spec.id}")
                case Prefetch(spec):
                    self._prefetches.begin(spec)
                case Announce(event):
                    if isinstance(event, SwapEnded):
                        self._prefetches.end(event.target)
                    self.feed.publish(event)
                case Grant(ticket, endpoint):
                    if waiter := self.waiters.get(ticket):
                        waiter.endpoint = endpoint
                        waiter.done.set()
                case Reject(ticket, error):
                    if waiter := self.waiters.get(ticket):
                        waiter.error = error
                        waiter.done.set()

    async def _check(self, check: Check) -> None:
        error = await check_start(self._launch, check, self._checking)
        with suppress(Closed):
            self.mailbox.post(lambda now: self._apply(self.scheduler.on_checked(check, error, now)))

    def _announce_stop(self, run: Run, endpoint: Endpoint | None, reason: str) -> None:
        if endpoint is None or self._on_stopping is None:
            return
        model, why = run.model, run.failure
        if not isinstance(why, Hung):
            why = Unloaded(model, f"it was stopped: {reason}")
        try:
            self._on_stopping(model, endpoint, why)
        except BaseException as raised:
            as_failure(raised)
            logger.exception("on_stopping failed for %s; it is stopped all the same", model)

    async def _live(self, run: Run, scope: trio.CancelScope) -> None:
        """One life of a process: launch it, report readiness, report its end, whatever happens in between."""
        error: Exception | None = None
        logger.info("starting %s", run.model)
        try:
            try:
                with scope, writing_to(self.logs[run.model]):
                    await Life(
                        run,
                        self.logs[run.model],
                        self._launch,
                        lambda endpoint: self._report(run, BecameReady(endpoint)),
                        lambda error: self._report_hang(run, error),
                    ).live()
            except* (Exception, GeneratorExit) as group:  # a dead model never takes its siblings along
                error = as_failure(group)
            finally:
                del self._scopes[run]
            match error:
                case None:
                    pass
                case StillAlive():
                    await self._outwait(run, error)
                case _:
                    logger.warning("%s: %s", run.model, reason_of(error))
        finally:
            with suppress(Closed):
                self._report(run, Exited(error))

    async def _outwait(self, run: Run, error: StillAlive) -> None:
        """Wait for what survived being killed. Nobody waits with us: they have been told."""
        logger.error("%s", error)
        with suppress(Closed):
            self.mailbox.post(lambda now: self._apply(self.scheduler.on_survived(run, error, now)))
        self._last_waits.add(scope := trio.CancelScope())
        try:
            with scope:
                await error.wait_gone()
                logger.info("%s: gone at last", run.model)
        except BaseException as raised:
            as_failure(raised)
            logger.exception("%s: nobody can tell whether it has gone; taken for gone", run.model)
        finally:
            self._last_waits.discard(scope)

    def _report_hang(self, run: Run, error: Hung) -> None:
        logger.warning("%s", error)
        self.mailbox.post(lambda now: self._apply(self.scheduler.on_hung(run, error, now)))

    def _report(self, run: Run, event: BecameReady | Exited) -> None:
        if isinstance(event, BecameReady):
            logger.info("%s is ready at %s", run.model, event.endpoint.url)
        self.mailbox.post(lambda now: self._apply(self.scheduler.on_process(run, event, now)))


def nothing(now: float) -> None:
    """Happened but time, or a wake-up."""
