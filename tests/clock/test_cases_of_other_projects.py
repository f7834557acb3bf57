"""What bit the users of other programs that do this job, one test for each case, on a virtual clock.

Cases 11 and 12 are about processes and are told with real ones, in the ring of real children.
"""

from __future__ import annotations

import attrs
import pytest
import trio
from observed import spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import (
    Endpoint,
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    ProcState,
    SchedulingPolicy,
    Supervisor,
    SwapPlan,
    SwapPlanner,
)
from swapcore.planners import Group, GroupsPlanner, LruPlanner, MatrixPlanner, Model
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]
BESIDE_EACH_OTHER = LruPlanner(3)
LONGER_THAN_ANYTHING = 10_000  # on the virtual clock: whoever waits for ever fails at once


@attrs.define
class Visit:
    """One caller: what it asked for and when, when it was served and when it left."""

    model: ModelId
    asked: float
    served: float | None = None
    left: float | None = None

    @property
    def waited(self) -> float:
        assert self.served is not None, f"{self.model} was never served"
        return self.served - self.asked


async def visit(supervisor: Supervisor, model: ModelId, seconds: float, visits: list[Visit]) -> None:
    visits.append(mine := Visit(model, trio.current_time()))
    with trio.fail_after(LONGER_THAN_ANYTHING):
        async with supervisor.lease(model):
            mine.served = trio.current_time()
            await trio.sleep(seconds)
            mine.left = trio.current_time()


def times(servers: FakeServers, what: str, model: ModelId) -> list[float]:
    return [when for when, happened, of in servers.log if (happened, of) == (what, model)]


async def expect(error: type[Exception], supervisor: Supervisor, model: ModelId) -> None:
    with pytest.raises(error):
        await supervisor.load(model)


async def collect(
    supervisor: Supervisor, into: list[swapcore.Event], *, task_status: trio.TaskStatus[None]
) -> None:
    async with supervisor.events() as events:
        task_status.started()
        async for event in events:  # one by one: it ends by being cancelled
            into.append(event)  # noqa: PERF401


@pytest.mark.rule("L83")
async def test_case_01_a_completes_untouched_while_b_waits_for_its_room(autojump_clock: MockClock) -> None:
    servers, visits = FakeServers(load_seconds={A: 5, B: 7}, stop_seconds=2), list[Visit]()
    cuts = list[tuple[float, ModelId]]()

    def on_stopping(model: ModelId, endpoint: Endpoint, why: Exception) -> None:
        cuts.append((trio.current_time(), model))

    policy = SchedulingPolicy(max_wait=10)  # not even a caller that is overdue may cut it
    async with swapcore.open_supervisor(
        SPECS, launch=servers, policy=policy, on_stopping=on_stopping
    ) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, A, 100, visits)
            await trio.sleep(6)
            nursery.start_soon(visit, supervisor, B, 1, visits)
        a, b = visits
        assert a.left == pytest.approx(5 + 100)
        [(cut_at, cut)] = cuts
        assert cut == A
        assert cut_at == pytest.approx(105)
        assert times(servers, "exit", A) == [pytest.approx(107)]
        assert b.served == pytest.approx(105 + 2 + 7)
    assert spawns(servers) == [A, B]


@pytest.mark.parametrize("planner", [ExclusivePlanner(), LruPlanner(1)])
async def test_case_02_b_and_c_arrive_together_and_both_get_the_idle_model_s_room(
    autojump_clock: MockClock, planner: SwapPlanner
) -> None:
    servers, visits = FakeServers(stop_seconds=2), list[Visit]()
    async with swapcore.open_supervisor(SPECS, planner=planner, launch=servers) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            for model in (B, C):
                nursery.start_soon(visit, supervisor, model, 10, visits)
        assert sorted(seen.waited for seen in visits) == [pytest.approx(3), pytest.approx(3 + 10 + 3)]
    assert sorted(spawns(servers)) == [A, B, C]


class Alone(SwapPlanner):
    """One model at a time, by whoever is next in line, even if another was named before."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan(tuple(model for model in view.running if model != target))


@pytest.mark.parametrize("planner", [ExclusivePlanner(), Alone()])
@pytest.mark.parametrize("max_wait", [0.0, 5.0, 120.0])
async def test_case_03_those_who_loaded_a_use_it_before_b_takes_its_room(
    autojump_clock: MockClock, max_wait: float, planner: SwapPlanner
) -> None:
    servers, visits = FakeServers(load_seconds={A: 30, B: 7}, stop_seconds=2), list[Visit]()
    policy = SchedulingPolicy(max_wait=max_wait)
    async with swapcore.open_supervisor(SPECS, planner=planner, launch=servers, policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, A, 10, visits)
            await trio.sleep(1)
            nursery.start_soon(visit, supervisor, B, 1, visits)
            await trio.sleep(1)
            nursery.start_soon(visit, supervisor, A, 10, visits)
        first, b, second = visits
        assert first.served == second.served == pytest.approx(30)
        assert b.served == pytest.approx(30 + 10 + 2 + 7)
    assert spawns(servers) == [A, B]


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        (10.999, (10.999,)),
        (11, (11, 17)),  # in the tick of the ttl: used or restarted, never lost
        (11.001, (17,)),
        (15.999, (17,)),
        (16, (17,)),
        (16.001, (17.001,)),
    ],
)
@pytest.mark.rule("L33", "L54")
async def test_case_04_a_request_that_meets_the_ttl_stop_is_served_and_the_slot_is_not_wedged(
    autojump_clock: MockClock, asked: float, served: tuple[float, ...]
) -> None:
    servers, visits = FakeServers(stop_seconds=5), list[Visit]()
    async with swapcore.open_supervisor([ModelSpec(A, ttl=10), ModelSpec(B)], launch=servers) as supervisor:
        await supervisor.load(A)  # ready at 1, idle until 11, gone at 16
        await trio.sleep_until(asked)
        await visit(supervisor, A, 50, visits)
        assert any(visits[0].served == pytest.approx(when) for when in served)
        await visit(supervisor, B, 0, visits)
        assert visits[1].waited == pytest.approx(5 + 1)
        await visit(supervisor, A, 0, visits)
        assert visits[2].waited == pytest.approx(5 + 1)


async def test_case_05_four_first_requests_at_once_are_one_load(autojump_clock: MockClock) -> None:
    servers, visits = FakeServers(load_seconds={A: 9}), list[Visit]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(visit, supervisor, A, 1, visits)
            await trio.sleep(8)
            nursery.start_soon(visit, supervisor, A, 1, visits)  # and one that comes late
    assert [seen.served for seen in visits] == [pytest.approx(9)] * 5
    assert spawns(servers) == [A]


async def test_case_06_a_load_that_is_waited_for_is_not_stopped(autojump_clock: MockClock) -> None:
    servers, visits = FakeServers(load_seconds={A: 60, B: 5}, stop_seconds=2), list[Visit]()
    policy = SchedulingPolicy(max_wait=10)
    async with swapcore.open_supervisor(SPECS, launch=servers, policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, A, 1, visits)
            await trio.sleep(1)
            for _ in range(20):  # as clients do that try again
                nursery.start_soon(visit, supervisor, B, 1, visits)
                await trio.sleep(1)
    assert visits[0].served == pytest.approx(60)
    assert [seen.served for seen in visits[1:]] == [pytest.approx(60 + 1 + 2 + 5)] * 20
    assert spawns(servers) == [A, B]


async def test_case_06_a_load_that_nobody_waits_for_is_stopped_once(autojump_clock: MockClock) -> None:
    servers, visits, seen = FakeServers({A: 60}, stop_seconds=30), list[Visit](), list[swapcore.Event]()
    async with (
        trio.open_nursery() as watching,
        swapcore.open_supervisor(SPECS, launch=servers) as supervisor,
    ):
        await watching.start(collect, supervisor, seen)
        with trio.move_on_after(5):
            await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(visit, supervisor, B, 1, visits)
                await trio.sleep(1)
        assert [one.served for one in visits] == [pytest.approx(5 + 30 + 1)] * 20
        await wait_all_tasks_blocked()
        watching.cancel_scope.cancel()
    stops = [e for e in seen if isinstance(e, swapcore.StateChanged) and e.after is ProcState.STOPPING]
    [stop] = stops
    assert stop.model == A
    assert stop.at == pytest.approx(5)
    assert spawns(servers) == [A, B]


@pytest.mark.parametrize(
    ("patience", "then"),
    [
        (5, [A]),  # a is in use
        (22, [A]),  # a is stopping
        (27, [A, B]),  # b is loading: that goes on, until somebody needs the room
    ],
)
async def test_case_07_a_client_that_leaves_the_line_starts_nothing_and_is_not_counted(
    autojump_clock: MockClock, patience: float, then: list[ModelId]
) -> None:
    servers, visits = FakeServers({B: 10}, stop_seconds=5), list[Visit]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, A, 20, visits)
            await trio.sleep(1)
            with trio.move_on_after(patience):
                await visit(supervisor, B, 0, visits)
        await trio.sleep(100)
        assert visits[1].served is None
        assert spawns(servers) == then
        statistics = supervisor.statistics()
        assert statistics.leases == statistics.waiting == 0
        await visit(supervisor, C, 0, visits)  # a stranded count would keep the last model in its place
        assert visits[2].waited <= 5 + 1
        await supervisor.wait_idle()


class LittleMemory(FakeServers):
    """b is too big, which shows after 3 s of loading."""

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        if spec.id != B:
            return await super().__call__(spec, task_status=task_status)
        self.log.append((trio.current_time(), "spawn", B))
        await trio.sleep(3)
        self.log.append((trio.current_time(), "exit", B))
        raise swapcore.StartFailed(B, "exited with status 1; its last output: CUDA error: out of memory")


async def test_case_08_a_load_that_runs_out_of_memory_brings_the_previous_model_back(
    autojump_clock: MockClock,
) -> None:
    servers, visits = LittleMemory(stop_seconds=2), list[Visit]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        with pytest.raises(swapcore.StartFailed, match="out of memory"):
            await supervisor.load(B)
        assert trio.current_time() == pytest.approx(1 + 2 + 3)
        await expect(swapcore.BackingOff, supervisor, B)
        await trio.sleep(1.5)
        assert supervisor.state_of(A) is ProcState.READY, "although nobody asked for it"
        await visit(supervisor, A, 0, visits)
        assert visits[0].waited == 0
    assert spawns(servers) == [A, B, A]


async def test_case_08_who_waits_goes_before_the_model_that_was_driven_out(autojump_clock: MockClock) -> None:
    servers, visits = LittleMemory(stop_seconds=2), list[Visit]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, swapcore.StartFailed, supervisor, B)
            await trio.sleep(4)
            nursery.start_soon(visit, supervisor, C, 10, visits)
        assert visits[0].served == pytest.approx(1 + 2 + 3 + 1)
    assert spawns(servers) == [A, B, C]


@pytest.mark.parametrize("interval", [3.9, 0.5, 0.05])
@pytest.mark.rule("G26", "L89")
async def test_case_09_however_hot_a_model_is_the_wait_for_its_place_is_bounded(
    autojump_clock: MockClock, interval: float
) -> None:
    servers, visits = FakeServers({A: 5, B: 5}, stop_seconds=5), list[Visit]()
    policy = SchedulingPolicy(max_wait=60)
    async with swapcore.open_supervisor(SPECS, launch=servers, policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:

            async def hot() -> None:
                while True:
                    nursery.start_soon(visit, supervisor, A, 4, visits)
                    await trio.sleep(interval)

            nursery.start_soon(hot)
            await trio.sleep(10)
            cold = list[Visit]()
            with trio.fail_after(1000):
                await visit(supervisor, B, 0, cold)
            assert 60 <= cold[0].waited <= 60 + 4 + 5 + 5
            nursery.cancel_scope.cancel()
    assert spawns(servers)[:2] == [A, B]


async def test_case_10_a_loaded_embedding_model_answers_while_a_big_one_loads(
    autojump_clock: MockClock,
) -> None:
    embed = ModelId("embed")
    planner = GroupsPlanner(
        {
            "chat": Group((A, B)),
            "embed": Group((embed,), swap=False, exclusive=False, persistent=True),
        }
    )
    servers, chats, embeddings = FakeServers({A: 60, B: 60}, stop_seconds=10), list[Visit](), list[Visit]()
    specs = [ModelSpec(A), ModelSpec(B), ModelSpec(embed)]
    async with swapcore.open_supervisor(specs, planner=planner, launch=servers) as supervisor:
        await supervisor.load(embed)
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, B, 1, chats)
            for _ in range(80):
                await trio.sleep(1)
                nursery.start_soon(visit, supervisor, embed, 3, embeddings)
        assert chats[0].waited == pytest.approx(10 + 60)
        assert [seen.waited for seen in embeddings] == [0] * 80
    assert spawns(servers) == [embed, A, B]


async def test_case_16_a_change_of_the_configuration_leaves_unrelated_streams_alone(
    autojump_clock: MockClock,
) -> None:
    before = [ModelSpec(m, (m, "--old"), f"http://h:{n}") for n, m in enumerate((A, B, C), 1)]
    changed = [attrs.evolve(before[0], command=("a", "--new")), *before[1:]]
    servers, streams, visits = FakeServers(stop_seconds=2), list[Visit](), list[Visit]()
    cuts = list[ModelId]()
    async with swapcore.open_supervisor(
        before,
        planner=BESIDE_EACH_OTHER,
        launch=servers,
        on_stopping=lambda model, endpoint, why: cuts.append(model),
    ) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            for model in (B, C):
                nursery.start_soon(visit, supervisor, model, 300, streams)
            await trio.sleep(10)
            for specs in (changed, before, changed):
                await supervisor.reconfigure(specs, planner=BESIDE_EACH_OTHER)
                for model in (B, C):
                    await visit(supervisor, model, 1, visits)
                await visit(supervisor, A, 1, list[Visit]())
        assert [seen.waited for seen in visits] == [0] * 6
        assert [seen.left for seen in streams] == [pytest.approx(302)] * 2
        assert cuts == [A] * 3
    assert sorted(spawns(servers)) == [A] * 4 + [B, C]


async def test_case_17_a_load_that_gets_on_is_not_killed_however_long_it_takes(
    autojump_clock: MockClock,
) -> None:
    """It is slower than its deadline, than its ttl and than the bound on others' waiting."""

    async def launch(spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        for part in range(40):
            swapcore.current_log().write(b"loaded %d of 40 parts\n" % part)
            await trio.sleep(5)
        task_status.started(Endpoint("http://127.0.0.1:1"))
        await trio.sleep_forever()

    specs = [ModelSpec(A, start_timeout=15, start_timeout_max=3600, ttl=10), ModelSpec(B)]
    visits = list[Visit]()
    policy = SchedulingPolicy(max_wait=60)
    async with swapcore.open_supervisor(specs, launch=launch, policy=policy) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, A, 1, visits)
            await trio.sleep(1)
            nursery.start_soon(visit, supervisor, B, 1, visits)
        a, b = visits
        assert a.waited == pytest.approx(200)
        assert b.waited == pytest.approx(400), "one second after, and another load of 200 s"


async def test_case_18_when_all_are_pinned_another_model_is_refused_at_once(
    autojump_clock: MockClock,
) -> None:
    specs = [ModelSpec(A, pinned=True), ModelSpec(B, pinned=True), ModelSpec(C)]
    planner = MatrixPlanner({"s": (Model(A) & Model(B)) | Model(C)})
    async with swapcore.open_supervisor(specs, planner=planner, launch=FakeServers()) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
        asked = trio.current_time()
        for _ in range(3):
            with pytest.raises(swapcore.Pinned, match="a and b would have to stop"):
                await supervisor.load(C)
        assert trio.current_time() == asked


async def test_case_18_a_pin_refuses_those_who_wait_already(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A), trio.open_nursery() as nursery:
            nursery.start_soon(expect, swapcore.Pinned, supervisor, B)
            await trio.sleep(10)
            supervisor.pin(A)
            with pytest.raises(swapcore.Pinned, match="a would have to stop"):
                await supervisor.load(C)
        assert trio.current_time() == pytest.approx(11)
        supervisor.unpin(A)
        await supervisor.load(B)


async def test_case_19_an_image_job_of_20_minutes_is_neither_cut_nor_keeps_chat_out_for_ever(
    autojump_clock: MockClock,
) -> None:
    image, chat = A, B
    servers, visits, jobs = FakeServers({A: 30, B: 10}, stop_seconds=5), list[Visit](), list[Visit]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(visit, supervisor, image, 1200, jobs)
            await trio.sleep(31)
            nursery.start_soon(visit, supervisor, chat, 3, visits)
            for _ in range(19):  # more jobs come in all the time
                await trio.sleep(60)
                nursery.start_soon(visit, supervisor, image, 1200, jobs)
        assert jobs[0].left == pytest.approx(30 + 1200)
        # At 151 chat had waited for 120 s; the job of 91 was taken before, and ends last.
        assert visits[0].served == pytest.approx(91 + 1200 + 5 + 10)
        assert all(seen.left is not None for seen in jobs), "each of the jobs gets its turn"
    assert spawns(servers) == [image, chat, image]


@pytest.mark.parametrize("planner", [ExclusivePlanner(), LruPlanner(1)])
@pytest.mark.parametrize("crash", [4.999, 5.0, 5.001, 6.0])
async def test_case_20_a_process_that_dies_while_it_is_to_be_evicted_is_evicted_once_at_most(
    autojump_clock: MockClock, crash: float, planner: SwapPlanner
) -> None:
    servers, visits = FakeServers(stop_seconds=2, crash_after={A: crash}), list[Visit]()
    async with swapcore.open_supervisor(SPECS, planner=planner, launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep_until(5)
        await visit(supervisor, B, 5, visits)
        assert visits[0].waited <= 2 + 1
        await trio.sleep(100)
        assert supervisor.state_of(A) is ProcState.STOPPED
        assert supervisor.state_of(B) is ProcState.READY
    assert spawns(servers) == [A, B]
