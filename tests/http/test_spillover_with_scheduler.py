"""A spillover selector on the real scheduler; only the processes are not real."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
from http_wire import JSON, PATIENCE, Seen, Server, Upstream, plain, serving, upstream

from swapcli.config import Configuration, ModelConfig, Selector, to_specs
from swapcli.http import UpstreamPool, create_app
from swapcore import FleetView, ModelId, ProcState, Supervisor, SwapPlan, open_supervisor
from swapcore.testing import FakeServers

LIMIT = 4
A, B = ModelId("a"), ModelId("b")


class Together:
    """Both models may run at the same time."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan()

    def choose_next(self, view: FleetView) -> ModelId | None:
        return next(iter(view.waiting), None)


@attrs.define(eq=False)
class Fleet:
    server: Server
    supervisor: Supervisor
    a: Upstream
    b: Upstream
    let_go: trio.Event
    statuses: Counter[int] = attrs.field(factory=Counter[int], init=False)

    async def ask(self, model: str) -> None:
        client = await self.server.client()
        body = b'{"model":"%b"}' % model.encode()
        self.statuses[(await client.ask("POST", "/v1/completions", JSON, body=body)).status] += 1

    async def until_asked(self, a: int, b: int) -> None:
        """Wait until the processes have got so many requests."""
        with trio.fail_after(PATIENCE):
            while (len(self.a.seen), len(self.b.seen)) != (a, b):  # noqa: ASYNC110
                await trio.sleep(0.002)


@asynccontextmanager
async def fleet(servers: FakeServers, *, spillover: int = 1) -> AsyncGenerator[Fleet]:
    let_go = trio.Event()

    async def hold(seen: Seen, stream: trio.SocketStream) -> None:
        await let_go.wait()
        await stream.send_all(plain(b"x"))

    selector = Selector("spillover", ("a", "b"))
    selector = attrs.evolve(selector, settings=attrs.evolve(selector.settings, spillover=spillover))
    async with upstream(hold) as a, upstream(hold) as b:
        models = {
            name: ModelConfig(proxy=up.endpoint.url, concurrency_limit=LIMIT, unload_timeout=1)
            for name, up in (("a", a), ("b", b))
        }
        config = Configuration(models=models, selectors={"s": selector}, health_check_timeout=15)
        pool = UpstreamPool()
        specs = [attrs.evolve(spec, check_path=None) for spec in to_specs(config)]
        async with open_supervisor(
            specs, planner=Together(), launch=servers, on_stopping=pool.close
        ) as supervisor:
            async with serving(create_app(supervisor, config, pool)) as server:
                yield Fleet(server, supervisor, a, b, let_go)
            pool.close_all()


async def test_g33_no_429_while_a_target_has_room_direct_traffic_included() -> None:
    async with fleet(FakeServers(load_seconds={A: 0.01, B: 0.05})) as served:
        await served.supervisor.load(A)
        async with trio.open_nursery() as nursery:
            for _ in range(LIMIT - 1):
                nursery.start_soon(served.ask, "a")
            await served.until_asked(LIMIT - 1, 0)
            for _ in range(LIMIT + 1):  # all at once: exactly as much as there is room
                nursery.start_soon(served.ask, "s")
            await served.until_asked(LIMIT, LIMIT)
            await served.ask("s")
            assert served.statuses == {429: 1}
            served.let_go.set()
    assert served.statuses == {200: 2 * LIMIT, 429: 1}


async def test_g33_while_one_starts_the_other_takes_what_it_can() -> None:
    async with fleet(FakeServers(load_seconds={A: 0.01, B: 60})) as served:
        await served.supervisor.load(A)
        async with trio.open_nursery() as nursery:
            for _ in range(LIMIT):
                nursery.start_soon(served.ask, "s")
            # One of them started B, and waits for it; the others did not have to.
            await served.until_asked(LIMIT - 1, 0)
            assert served.supervisor.state_of(B) is ProcState.STARTING
            assert (served.supervisor.callers(A), served.supervisor.callers(B)) == (LIMIT - 1, 1)
            nursery.cancel_scope.cancel()


async def test_g33_a_target_that_does_not_start_is_passed_over() -> None:
    async with fleet(FakeServers(load_seconds={A: 0.05, B: 0.01}, crash_after={A: 0.01})) as served:
        served.let_go.set()
        await served.ask("s")
        await served.ask("s")  # A backs off now
    assert served.statuses == {200: 2}
    assert (len(served.a.seen), len(served.b.seen)) == (0, 2)
