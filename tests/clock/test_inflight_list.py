"""The list of requests under way, and what is told of it, on a virtual clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapcli.activity.inflight import InflightList, InflightRequest
from swapcore import ProcState


@attrs.define(eq=False)
class Told:
    """Writes down what it is told, and when."""

    audience: set[str] = attrs.field(factory=lambda: {"a client"})
    messages: list[tuple[float, str, Any]] = attrs.field(factory=list[tuple[float, str, Any]])

    def upsert(self, request: Mapping[str, Any]) -> None:
        self._note("upsert", dict(request))

    def remove(self, id: str) -> None:
        self._note("remove", id)

    def snapshot(self, requests: list[dict[str, Any]]) -> None:
        self._note("snapshot", requests)

    def _note(self, what: str, detail: Any) -> None:
        self.messages.append((trio.current_time(), what, detail))

    def kinds(self) -> list[str]:
        found = [what for _, what, _ in self.messages]
        self.messages.clear()
        return found


@attrs.define
class Line:
    state: ProcState = ProcState.STOPPED
    position: int | None = 2
    estimate: float | None = None


@attrs.define(eq=False)
class Scene:
    requests: InflightList
    told: Told
    cancelled: list[str] = attrs.field(factory=list[str])

    def arrive(self, arrived_at: float = 0.0) -> InflightRequest:
        id = self.requests.next_id()
        request = InflightRequest(
            id=id,
            arrived_at=arrived_at,
            model="m",
            path="/v1/completions",
            method="POST",
            headers=[(b"host", b"h"), (b"x-session-id", b"7"), (b"cookie", b"c")],
            remote_ip="10.0.0.1",
            cancel=lambda: self.cancelled.append(id),
        )
        self.requests.add(request)
        return request


@asynccontextmanager
async def scene(*, for_nobody: bool = False) -> AsyncGenerator[Scene]:
    told = Told()
    if for_nobody:
        told.audience.clear()
    requests = InflightList(told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(requests.announce)
        await wait_all_tasks_blocked()
        yield Scene(requests, told)
        nursery.cancel_scope.cancel()


@pytest.mark.rule("H144")
@pytest.mark.rule("L154")
async def test_what_an_entry_says(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request = on.arrive(1_700_000_000.25)
        await trio.sleep(1.5)
        shown = request.as_json()
        assert shown.pop("timestamp").startswith("2023-11-1")
        assert shown == {
            "id": "1",
            "model": "m",
            "req_path": "/v1/completions",
            "method": "POST",
            "req_headers": {"X-Session-Id": "7", "Cookie": "[REDACTED]"},
            "remote_ip": "10.0.0.1",
            "resp_headers": {},
            "resp_bytes": 0,
            "elapsed_ms": 1500,
            "state": "queued",
        }
        request.response_headers = [(b"content-type", b"text/plain")]
        assert request.as_json()["resp_headers"] == {"Content-Type": "text/plain"}
        assert on.arrive().id == "2"


@pytest.mark.rule("G38")
@pytest.mark.rule("L154")
async def test_an_entry_says_what_it_waits_for(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request, line = on.arrive(), Line()
        request.place = line
        shown = request.as_json()
        assert (shown["state"], shown["position"]) == ("queued", 2)
        assert "estimate_ms" not in shown
        line.position, line.estimate = 1, 4.25
        assert request.as_json()["estimate_ms"] == 4250
        line.state, line.position, line.estimate = ProcState.STARTING, None, 1.5
        shown = request.as_json()
        assert (shown["state"], shown["estimate_ms"], "position" in shown) == ("loading", 1500, False)
        request.is_granted = True
        shown = request.as_json()
        assert (shown["state"], "estimate_ms" in shown) == ("serving", False)


@pytest.mark.rule("G38", "L87")
async def test_a_new_place_in_line_is_told(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request, line = on.arrive(), Line()
        request.place = line
        await trio.sleep(1)
        on.told.kinds()
        line.position = 1
        await trio.sleep(1)
        ((_, what, shown),) = on.told.messages
        assert (what, shown["position"]) == ("upsert", 1)


@pytest.mark.rule("H147")
async def test_arrival_headers_and_end_are_told_at_once(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request = on.arrive()
        await wait_all_tasks_blocked()
        assert on.told.kinds() == ["upsert"]
        request.response_headers = []
        on.requests.changed(request)
        await wait_all_tasks_blocked()
        assert on.told.kinds() == ["upsert"]
        on.requests.remove(request)
        await wait_all_tasks_blocked()
        assert on.told.kinds() == ["remove"]
        on.requests.changed(request)
        on.requests.remove(request)
        await trio.sleep(5)
        assert on.told.kinds() == []
        assert trio.current_time() == 5


@pytest.mark.rule("H147")
@pytest.mark.rule("L155")
async def test_a_growing_answer_is_told_four_times_a_second(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request = on.arrive()
        await wait_all_tasks_blocked()
        on.told.messages.clear()
        for _ in range(200):
            await trio.sleep(0.01)
            request.response_bytes += 10
            if request.response_bytes % 50 == 0:
                on.requests.remove(on.arrive())  # others come and go
        await trio.sleep(1)
        about = [
            (at, shown["resp_bytes"])
            for at, what, shown in on.told.messages
            if what == "upsert" and shown["id"] == "1"
        ]
        assert all(later - sooner >= 0.25 for (sooner, _), (later, _) in pairwise(about))
        assert 8 <= len(about) <= 9
        assert about[-1][1] == 2000


@pytest.mark.rule("H147")
@pytest.mark.rule("L155")
async def test_many_changes_at_once_become_a_snapshot(autojump_clock: MockClock) -> None:
    async with scene() as on:
        requests = [on.arrive(float(-number)) for number in range(127)]
        await wait_all_tasks_blocked()
        assert on.told.kinds() == ["upsert"] * 127
        last = on.arrive()
        for request in requests:
            on.requests.changed(request)
        await wait_all_tasks_blocked()
        ((_, what, entries),) = on.told.messages
        assert what == "snapshot"
        assert [int(entry["id"]) for entry in entries] == [*range(127, 1, -1), 1, int(last.id)]


async def test_nothing_is_worked_out_while_nobody_listens(autojump_clock: MockClock) -> None:
    async with scene(for_nobody=True) as on:
        request = on.arrive()
        await trio.sleep(1)
        assert on.told.kinds() == []
        # A client comes: it takes a snapshot, and hears of what changes after it.
        on.told.audience.add("a client")
        assert [entry["id"] for entry in on.requests.snapshot()] == ["1"]
        request.response_bytes = 7
        await trio.sleep(1)
        assert on.told.kinds() == ["upsert"]
        on.told.audience.clear()
        on.requests.remove(request)
        await trio.sleep(1)
        assert on.told.kinds() == []
        assert len(on.requests) == 0


async def test_who_comes_as_another_leaves_hears_of_nothing_that_has_ended(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request = on.arrive()
        on.told.audience.clear()
        on.requests.remove(request)
        on.told.audience.add("another client")
        assert on.requests.snapshot() == []
        await trio.sleep(1)
        assert on.told.kinds() == []


@pytest.mark.rule("H142")
async def test_calling_a_request_off(autojump_clock: MockClock) -> None:
    async with scene() as on:
        request = on.arrive()
        assert on.requests.cancel("2") is False
        assert on.requests.cancel("1") is True
        assert (on.cancelled, request.was_cancelled) == (["1"], True)
        assert len(on.requests) == 1  # until its task has ended
        on.requests.remove(request)
        assert on.requests.cancel("1") is False
