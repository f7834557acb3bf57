"""A model that hangs, for real: its process is frozen, so it is there and does not answer."""

from __future__ import annotations

import os
import signal

import pytest
import trio
from real_children import SERVE, Children
from time_taken import seconds_waited, slowness

from swapcore import Crashed, Hung, Liveness, ModelId, ProcState, StateChanged, open_supervisor

MODEL = ModelId("model")
EVERY = 0.4
TELLS = SERVE.replace("client.recv(65536)", 'client.recv(65536)\n    os.write(1, b"asked\\n")')


@pytest.mark.rule("G20", "L48")
async def test_a_frozen_model_is_noticed_within_two_intervals_and_replaced(children: Children) -> None:
    spec = children.spec(
        TELLS, check_path="/health", liveness=Liveness(every=EVERY), unload_timeout=0.5, start_timeout=20
    )
    with trio.fail_after(30):
        async with open_supervisor([spec]) as supervisor, supervisor.events() as events:
            await supervisor.load(MODEL)
            frozen = children.alive()
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            stopped_at, waited = trio.current_time(), seconds_waited()
            async for event in events:
                if isinstance(event, StateChanged) and event.after is ProcState.STOPPING:
                    took = trio.current_time() - stopped_at - (seconds_waited() - waited)
                    assert took <= 2 * EVERY + 0.2 * slowness()
                if isinstance(event, Crashed):
                    assert isinstance(event.error, Hung)
                    break
            await supervisor.load(MODEL)
            assert set(children.alive()).isdisjoint(frozen)
            log = supervisor.log(MODEL)
            asked = log.history().count(b"asked")
            with log.subscribe() as chunks:
                while log.history().count(b"asked") < asked + 3:
                    await anext(chunks)
            assert supervisor.state_of(MODEL) is ProcState.READY, "probes that are answered change nothing"
