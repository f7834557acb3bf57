"""Fakes for people who test against swapcore.

Pair them with trio's virtual clock (the ``autojump_clock`` fixture of
pytest-trio): an hour of swaps then takes milliseconds, and times are exact.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import inf

import attrs
import trio

from ._events import Event
from ._feed import Recorder
from ._logs import current_log
from ._spec import Endpoint, ModelId, ModelSpec
from ._supervisor import Supervisor


class Livelock(BaseException):
    """Too many launches.

    Time on the virtual clock passes only while every task sleeps, so no
    deadline ends a livelock. Not an ``Exception``: no supervisor swallows it.
    """


class FakeCrash(Exception):
    """A fake process ended by itself, as it was told to."""


@attrs.define(eq=False)
class FakeServers:
    """A launcher made of sleeps. Keys are model ids, durations are seconds.

    ::

        servers = FakeServers(load_seconds={"big": 60}, stop_seconds=2)
        async with open_supervisor(specs, launch=servers) as supervisor: ...
        assert [what for _, what, _ in servers.log] == ["spawn", "ready", "exit"]
    """

    load_seconds: Mapping[ModelId, float] = attrs.field(factory=dict[ModelId, float])
    """From spawn to ready; 1 for a model that is not named. ``math.inf`` is a start that hangs."""
    stop_seconds: float = 0.0
    """From the request to stop until it is gone."""
    crash_after: Mapping[ModelId, float] = attrs.field(factory=dict[ModelId, float])
    """From spawn to a crash, whether it is ready by then or not."""
    hang_after: Mapping[ModelId, float] = attrs.field(factory=dict[ModelId, float])
    """From ready until it neither answers a probe nor writes any more; see `Liveness`.

    Until then it writes a line every second.
    """
    log_limit: int = 1_000
    """Launches before `Livelock` is raised."""
    log: list[tuple[float, str, str]] = attrs.field(factory=list[tuple[float, str, str]], init=False)
    """What happened: (time, ``spawn`` or ``ready`` or ``hang`` or ``exit``, model id)."""
    alive: set[str] = attrs.field(factory=set[str], init=False)
    """Ids of the models whose process exists."""
    hung: set[str] = attrs.field(factory=set[str], init=False)
    """Those among them that hang."""
    _launches: int = attrs.field(default=0, init=False)

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        self._launches += 1
        if self._launches > self.log_limit:
            raise Livelock(self.log[-6:])
        self._note("spawn", spec)
        self.alive.add(spec.id)
        try:
            with trio.move_on_after(self.crash_after.get(spec.id, inf)):
                await trio.sleep(self.load_seconds.get(spec.id, 1.0))
                self._note("ready", spec)
                task_status.started(Endpoint(spec.url or "http://127.0.0.1:9000"))
                if spec.id in self.hang_after:
                    await self._work_for(self.hang_after[spec.id])
                    self._note("hang", spec)
                    self.hung.add(spec.id)
                await trio.sleep_forever()
            raise FakeCrash(f"{spec.id} crashed")
        except trio.Cancelled:
            # The stop of a real process outlasts the cancellation, too, and is bounded.
            with trio.CancelScope(shield=True):
                await trio.sleep(self.stop_seconds)
            raise
        finally:
            self.alive.discard(spec.id)
            self.hung.discard(spec.id)
            self._note("exit", spec)

    async def what_is_wrong(self, spec: ModelSpec, endpoint: Endpoint) -> str | None:
        """What a probe of a fake process finds: nothing wrong, or no answer at all."""
        if spec.id in self.hung:
            await trio.sleep_forever()
        return None

    async def _work_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                current_log().write(b"at work\n")
                await trio.sleep(1)

    def _note(self, what: str, spec: ModelSpec) -> None:
        self.log.append((trio.current_time(), what, spec.id))


@contextmanager
def recorded_events(supervisor: Supervisor) -> Generator[list[Event]]:
    """Collect what happens from here on, in a list that is up to date at any time::

    with recorded_events(supervisor) as events:
        await supervisor.load(model)
    assert [event.after for event in events if isinstance(event, StateChanged)] == [...]
    """
    feed = supervisor._loop.feed  # pyright: ignore[reportPrivateUsage]
    recorder = Recorder()
    feed.add(recorder)
    try:
        yield recorder.events
    finally:
        feed.remove(recorder)
