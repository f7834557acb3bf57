"""Pins and the report about the fleet, over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import trio
from http_wire import rig

from swapcli.http import tell
from swapcli.http.fleet_history import FleetHistory
from swapcli.http.resident_memory import resident_memory
from swapcore import Endpoint, ModelId, ModelSpec, open_supervisor
from swapcore.testing import FakeServers

ENDPOINT = Endpoint("http://127.0.0.1:9")


async def test_a_pin_is_set_and_undone() -> None:
    async with rig(ENDPOINT) as served:
        for method, call in (("PUT", "pin"), ("DELETE", "unpin")):
            reply = await served.ask(method, "/api/models/pin/m")
            assert (reply.status, json.loads(reply.body)) == (200, {"msg": "ok"})
            assert served.fleet.calls[-1] == (call, "m")
            assert (await served.ask(method, "/api/models/pin/other")).status == 404
        assert (await served.ask("POST", "/api/models/pin/m"))["allow"] == "DELETE, PUT"


async def test_the_log_of_one_model() -> None:
    async with rig(ENDPOINT) as served:
        served.fleet.log(ModelId("m")).write(b"one\ntwo \xff\n")
        reply = await served.ask("GET", "/api/models/log/m")
        assert reply.body.decode() == "one\ntwo \N{REPLACEMENT CHARACTER}\n"
        assert reply["content-type"] == "text/plain; charset=utf-8"
        assert (await served.ask("GET", "/api/models/log/other")).status == 404


async def test_what_is_not_known_is_null() -> None:
    async with rig(ENDPOINT) as served:
        report = json.loads((await served.ask("GET", "/api/fleet")).body)
        [model] = report["models"]
        assert report["swaps"] == []
        assert (model["id"], model["state"]) == ("m", "stopped")
        assert model["memory_bytes"] is model["seconds_in_state"] is model["load_seconds"] is None


async def test_the_history_keeps_the_newest_swaps(autojump_clock: trio.testing.MockClock) -> None:
    history, models = FleetHistory(), [ModelId("a"), ModelId("b")]
    servers = FakeServers(load_seconds=dict.fromkeys(models, 2), stop_seconds=1)
    async with open_supervisor(map(ModelSpec, models), launch=servers) as supervisor:
        async with supervisor.events() as events, trio.open_nursery() as nursery:
            nursery.start_soon(tell, events, [history.take])
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(30):
                for model in models:
                    await supervisor.load(model)
            await trio.testing.wait_all_tasks_blocked()
            assert history.changed_at(models[1]) == trio.current_time()
            assert history.changed_at(models[0]) == pytest.approx(trio.current_time() - 2)
            nursery.cancel_scope.cancel()
    assert len(history.swaps) == 50
    assert [swap.target for swap in history.swaps][-2:] == models
    assert history.swaps[-1].evicted == ("a",)
    assert history.swaps[-1].load_seconds == pytest.approx(2)


def test_memory_is_that_of_the_whole_tree_below_the_guardian() -> None:
    hungry = "import sys; x = bytearray(40 << 20); print(flush=True); sys.stdin.read()"
    leader = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hungry!r}])",
    ]
    guardian = f"import subprocess; subprocess.run({leader!r})"
    with subprocess.Popen(
        [sys.executable, "-c", guardian], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = resident_memory({"hungry": leader, "other": ["sleep", "1"], "none": []}, os.getpid())
        process.communicate()
    assert set(found) == {"hungry"}
    assert 40 << 20 < found["hungry"] < 200 << 20
