"""Those who follow a server for a while: its events, its logs, its metrics."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random

import attrs
import trio
from http_wire import Client, CutOff, request
from prometheus_client.parser import text_string_to_metric_families
from soak_caller import Caller
from soak_fleet import HANGING, STEADY, TURNS

_FIRST = ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight"]
LOGS = ("", "?no-history", "/proxy", "/upstream", *(f"/{model}" for model in (STEADY, HANGING, *TURNS)))
SCRAPE_EVERY = 5.0
MUST_STAY_ZERO = (
    "swapcli_events_missed_total",
    "swapcli_log_lines_dropped_total",
    "swapcli_records_lost_total",
    "swapcli_record_failures_total",
)


@attrs.frozen(eq=False)
class Followers:
    """Each method follows something until cancelled, and begins anew now and then."""

    caller: Caller
    random: Random

    async def run(self, of_each: int) -> None:
        """Follow events and logs, *of_each* so many at once, and metrics."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.scrape)
            for _ in range(of_each):
                nursery.start_soon(self._again, self.follow_events)
                nursery.start_soon(self._again, self.follow_log)

    async def _again(self, follow: Callable[[Client], Awaitable[None]]) -> None:
        while True:
            async with self.caller.connected() as client:
                try:
                    with trio.move_on_after(self.random.uniform(1, 40)):
                        await follow(client)
                        self.caller.judge.fault(f"{follow.__name__}: it ended by itself")
                except (CutOff, trio.BrokenResourceError) as error:
                    self.caller.judge.fault(f"{follow.__name__}: {error!r}")

    async def follow_events(self, client: Client) -> None:
        """Read events; now and then be too slow for them."""
        await client.stream.send_all(request("GET", "/api/events"))
        await client.head()
        types, buffer = list[str](), b""
        while (data := await client.piece()) is not None:
            *events, buffer = (buffer + data).split(b"\n\n")
            for event in events:
                name, _, line = event.partition(b"\n")
                message = json.loads(line.removeprefix(b"data:"))
                json.loads(message["data"])
                if name != b"event:message":
                    self.caller.judge.fault(f"an event called {name!r}")
                if len(types) < len(_FIRST):
                    types.append(message["type"])
                    if types != _FIRST[: len(types)]:
                        self.caller.judge.fault(f"events begin with {types}")
                self.caller.judge.count("event", message["type"])
            if self.random.random() < 0.002:
                await trio.sleep(5)

    async def follow_log(self, client: Client) -> None:
        """Read a log; now and then be too slow for it."""
        await client.stream.send_all(request("GET", f"/logs/stream{self.random.choice(LOGS)}"))
        head = await client.head()
        if head.status != 200:
            self.caller.judge.fault(f"a log: {head}")
        # Some logs are silent for longer than anybody is patient.
        client.patience = 3600.0
        while (data := await client.piece()) is not None:
            self.caller.judge.counts["log", "lines"] += data.count(b"\n")
            if self.random.random() < 0.01:
                await trio.sleep(5)

    async def scrape(self) -> None:
        while True:
            await trio.sleep(SCRAPE_EVERY)
            figures = await self.figures()
            for name in MUST_STAY_ZERO:
                if figures[name]:
                    self.caller.judge.fault(f"{name} is {figures[name]}")
            self.caller.judge.count("scrape")

    async def figures(self) -> dict[str, float]:
        """Return the metrics that have no labels."""
        async with self.caller.connected() as client:
            reply = await self.caller.answer(client, "GET", "/metrics", body=None)
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(reply.body.decode())
            for sample in family.samples
            if not sample.labels
        }
