"""How a process ends for whoever ends it, who is asked, what is reaped, and how soon that is known."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import attrs
import pytest
import trio
from process_tree import children_of, parent_of
from real_children import FAMILY, FAMILY_SIZE, SERVE, WAIT, Children, launched
from time_taken import seconds_waited, slowness, takes

import swapcore
from swapcore import Crashed, Liveness, ModelId, ProcState, StateChanged
from swapcore.testing import recorded_events

A, B = ModelId("a"), ModelId("b")
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
GRACE = 0.4


@pytest.mark.rule("G8", "L42", "L43")
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("unload", "unload"),
        ("ttl", "ttl"),
        ("eviction", "b runs alone"),
        ("removal", "no longer configured"),
        ("hang", "a: in use, and silent for 0.2 s"),
        ("shutdown", "shutdown"),
    ],
)
@pytest.mark.rule("L168")
async def test_whoever_stops_it_a_process_has_its_own_grace_and_is_killed_after_it(
    children: Children, who: str, reason: str
) -> None:
    stubborn = attrs.evolve(
        children.spec(STUBBORN + SERVE, unload_timeout=GRACE, check_path="/"),
        id=A,
        ttl=0.1 if who == "ttl" else None,
        liveness=Liveness(silent=0.2 if who == "hang" else 0),
    )
    other = attrs.evolve(children.spec(WAIT, unload_timeout=60), id=B)
    with ExitStack() as until_all_is_over, trio.fail_after(30):
        async with swapcore.open_supervisor([stubborn, other]) as supervisor:
            events = until_all_is_over.enter_context(recorded_events(supervisor))
            async with supervisor.events() as feed, supervisor.lease(A):
                waited = seconds_waited()
                match who:
                    case "unload":
                        await supervisor.unload(A)
                    case "removal":
                        await supervisor.reconfigure([other], drain_limit=0)
                    case "hang":
                        async for event in feed:
                            if isinstance(event, Crashed):
                                break
                    case _:
                        pass
            match who:
                case "ttl":
                    while supervisor.state_of(A) is ProcState.READY:  # noqa: ASYNC110 - as its users see it
                        await trio.sleep(0.01)
                case "eviction":
                    await supervisor.load(B)
                case _:
                    pass
    began, ended = (
        next(e for e in events if isinstance(e, StateChanged) and e.model == A and e.after is state)
        for state in (ProcState.STOPPING, ProcState.STOPPED)
    )
    assert began.reason == reason
    took, waited = ended.at - began.at, seconds_waited() - waited
    assert GRACE <= took < GRACE + 0.3 * slowness() + waited
    # That it had to be killed is nobody's failure, but for the one that was stopped because it hangs.
    assert any(isinstance(event, Crashed) for event in events) is (who == "hang")
    assert children.alive() == []


@pytest.mark.rule("L43")
async def test_a_kill_at_the_end_of_the_grace_is_a_stop_like_any_other(children: Children) -> None:
    async with launched(children.spec(STUBBORN + WAIT, unload_timeout=0.2)) as run:
        await run.wait_output(b"up")
        await run.stop()
    assert run.error is None


@pytest.mark.rule("L13", "L35")
async def test_the_whole_group_is_asked_to_stop_and_not_its_leader_alone(children: Children) -> None:
    """A wrapper that waits for its server: the server must hear of it."""
    code = """
def asked(number, frame):
    os.write(1, b"server asked\\n")
    os._exit(0)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, asked)
    os.write(1, b"up\\n")
    while True:
        time.sleep(60)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.wait()
"""
    async with launched(children.spec(code, unload_timeout=5)) as run:
        await run.wait_output(b"up")
        with takes(most=1):
            await run.stop()
        assert run.log.tail()[-1] == "server asked"


@pytest.mark.rule("L49")
async def test_orphans_are_reaped_while_the_model_goes_on(children: Children) -> None:
    code = """
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
print(os.getpid(), flush=True)
"""
    async with launched(children.spec(code + WAIT)) as run:
        await run.wait_output(b"up")
        pid = int(run.log.tail()[0])
        guardian = parent_of(pid)
        with trio.fail_after(20):
            while [one for one in children_of(guardian) if one != pid]:  # noqa: ASYNC110 - it is not our child
                await trio.sleep(0.005)
        assert children_of(guardian) == [pid]


@pytest.mark.rule("G24", "L24")
@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_it_is_known_to_be_gone_within_a_tenth_of_a_second_of_the_last_death(
    children: Children, how: str
) -> None:
    """The best of five, or the first that will do: what a busy machine adds to one is not the program's."""
    for _ in range(5):
        async with launched(children.spec(FAMILY + WAIT)) as run:
            await run.wait_output(b"up")
            await children.wait_alive(lambda pids: len(pids) == FAMILY_SIZE)
            leader = min(children.alive())
            if how == "stop":
                run.scope.cancel()
            else:
                os.kill(leader, signal.SIGKILL)
            await children.wait_alive(lambda pids: not pids)
            last_death = trio.current_time()
            with trio.fail_after(20):
                await run.ended.wait()
            delay = trio.current_time() - last_death
        if delay < 0.1:
            break
    assert delay < 0.1
