"""Who wants a reload, and waits for it. However many ask while one runs, one more serves them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from swapcore import Closed

from ._outcome import Outcome


@attrs.define(eq=False)
class _Round:
    """One reload, and those who wait for it."""

    reasons: list[str] = attrs.field(factory=list[str])
    done: trio.Event = attrs.field(factory=trio.Event)
    outcome: Outcome | None = None
    """``None`` although done: the server is being stopped."""


@attrs.define(eq=False)
class Reloads:
    """The requests for reloads. One for the whole server; for use in its trio run only."""

    _next: _Round = attrs.field(factory=_Round, init=False)
    _asked: trio.Event = attrs.field(factory=trio.Event, init=False)
    _plan: Callable[[], Awaitable[Outcome]] | None = attrs.field(default=None, init=False)
    """For dry runs; ``None`` while nobody serves requests."""
    _planning: set[trio.CancelScope] = attrs.field(factory=set[trio.CancelScope], init=False)
    """Of the dry runs under way."""

    def request(self, reason: str) -> None:
        """Ask for a reload and do not wait. What was read before this is not enough for it."""
        self._ask(reason)

    async def reload(self, reason: str, *, dry_run: bool = False) -> Outcome:
        """Ask for a reload and wait for its outcome.

        Args:
          reason: for the log.
          dry_run: only say what would change.
        Raises:
          Closed: the server is being stopped.
        Cancellation: the reload goes on.
        """
        if self._plan is None:
            raise Closed
        if dry_run:
            return await self._dry_run(self._plan)
        asked = self._ask(reason)
        await asked.done.wait()
        if asked.outcome is None:
            raise Closed
        return asked.outcome

    async def serve(
        self, carry_out: Callable[[Sequence[str]], Awaitable[Outcome]], plan: Callable[[], Awaitable[Outcome]]
    ) -> None:
        """Serve requests, one after the other, until cancelled.

        Args:
          carry_out: reloads, for these reasons.
          plan: says what that would change.
        """
        running: _Round | None = None
        self._plan = plan
        try:
            while True:
                await self._asked.wait()
                running, self._next, self._asked = self._next, _Round(), trio.Event()
                running.outcome = await carry_out(running.reasons)
                running.done.set()
        finally:
            self._plan = None
            for scope in self._planning:
                scope.cancel()
            for round in (running, self._next):
                if round is not None:
                    round.done.set()

    async def _dry_run(self, plan: Callable[[], Awaitable[Outcome]]) -> Outcome:
        with trio.CancelScope() as scope:
            self._planning.add(scope)
            try:
                return await plan()
            finally:
                self._planning.discard(scope)
        raise Closed

    def _ask(self, reason: str) -> _Round:
        if reason not in self._next.reasons:
            self._next.reasons.append(reason)
        self._asked.set()
        return self._next
