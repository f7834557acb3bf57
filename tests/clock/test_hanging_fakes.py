"""Models that hang, on the virtual clock, and what those see who test with them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import swapcore
from swapcore import Crashed, Endpoint, Hung, Liveness, ModelId, ModelSpec, StateChanged
from swapcore.testing import FakeServers, recorded_events

A = ModelId("a")


async def test_a_model_that_does_not_answer_its_probe_is_stopped_and_started_again(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers(hang_after={A: 65})
    specs = [ModelSpec(A, liveness=Liveness(every=10))]
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor:
        with recorded_events(supervisor) as events:
            await supervisor.load(A)
            await trio.sleep(100)
            await supervisor.load(A)
    assert [(time, what) for time, what, _ in servers.log] == [
        (0, "spawn"),
        (1, "ready"),
        (66, "hang"),
        (81, "exit"),  # the probe at 71 s was given 10 s
        (101, "spawn"),
        (102, "ready"),
        (102, "exit"),
    ]
    crashes = [event for event in events if isinstance(event, Crashed)]
    assert len(crashes) == 1
    assert isinstance(crashes[0].error, Hung)


async def test_a_model_that_falls_silent_while_it_is_in_use_is_stopped(autojump_clock: MockClock) -> None:
    """Its health check may still answer: a device driver that hangs does not stop the web server."""
    servers = FakeServers(hang_after={A: 60})
    specs = [ModelSpec(A, liveness=Liveness(silent=20))]
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor, supervisor.lease(A):
        with recorded_events(supervisor) as events:
            await trio.sleep(79)
            assert servers.alive == {A}, "not silent for long enough"
            await trio.sleep(5)
            assert servers.alive == set()
    reason = next(event.reason for event in events if isinstance(event, StateChanged))
    assert reason == "a: in use, and silent for 20 s"


async def test_the_list_of_events_is_up_to_date_at_any_time(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor([ModelSpec(A)], launch=FakeServers()) as supervisor:
        with recorded_events(supervisor) as events:
            async with supervisor.lease(A):
                states = [event.after.value for event in events if isinstance(event, StateChanged)]
                assert states == ["starting", "ready"]
        seen = len(events)
        await supervisor.unload(A)
        assert len(events) == seen, "the recording is over"


@pytest.mark.parametrize("problem", [None, "the device is gone"])
async def test_a_launcher_may_probe_in_its_own_way(autojump_clock: MockClock, problem: str | None) -> None:
    class Container:
        async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
            task_status.started(Endpoint("http://127.0.0.1:1"))
            await trio.sleep_forever()

        async def what_is_wrong(self, spec: ModelSpec, endpoint: Endpoint) -> str | None:
            return problem

    specs = [ModelSpec(A, check_path=None, liveness=Liveness(every=10))]
    async with swapcore.open_supervisor(specs, launch=Container()) as supervisor:
        with recorded_events(supervisor) as events:
            await supervisor.load(A)
            await trio.sleep(11)
    crashes = [str(event.error) for event in events if isinstance(event, Crashed)]
    assert crashes == ([] if problem is None else ["a: the device is gone"])
