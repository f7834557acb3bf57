"""Clients of the soak that do harm: to a model, to the server, or to others; and those who suffer from it.

What is done to a model is said to the judge first, so that nobody wonders at what its callers get.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import attrs
import trio
from http_wire import JSON, CutOff, request
from soak_caller import CHAT, Caller, Question
from soak_fleet import BROKEN, CRASHING, GIANT, GUEST, HANGING, NARROW, TURNS, UNLOADED, WHOLE_FLEET
from soak_judgement import CUT, EVERYONE, RIGHT, Mischief

CRASHED = ("upstream_died", "model_backing_off", CUT)
HUNG = ("upstream_hung", *CRASHED)


@attrs.frozen(eq=False)
class Vandals:
    """What they do, each thing once for a call."""

    caller: Caller
    random: Random

    @property
    def deeds(self) -> Mapping[Callable[[], Awaitable[None]], float]:
        """All of it, and how often compared with other things."""
        return {
            self.leave_while_waiting: 6,
            self.leave_in_midstream: 6,
            self.leave_in_midupload: 2,
            self.crash: 2,
            self.crash_in_midstream: 2,
            self.hang: 0.4,
            self.ask_the_harmed: 4,
            self.ask_the_broken: 0.5,
            self.ask_a_guest: 1,
            self.ask_nobody: 1,
            self.crowd_the_narrow: 1,
            self.unload: 1.5,
            self.unload_all: 0.15,
            self.pin: 0.3,
            self.cancel: 1.5,
            self.talk_nonsense: 1,
        }

    @property
    def _mischief(self) -> Mischief:
        return self.caller.judge.mischief

    # -- who leaves -------------------------------------------------------------------

    async def leave_while_waiting(self) -> None:
        model = self.random.choice((*TURNS, *TURNS, GIANT, CRASHING, HANGING))
        async with self.caller.connected() as client:
            await client.stream.send_all(request("POST", CHAT, JSON, body=self.caller.body(model, hold=1)))
            await trio.sleep(self.random.random() * 0.8)
        self.caller.judge.count("leaves waiting")

    async def leave_in_midstream(self) -> None:
        model = self.random.choice(WHOLE_FLEET)
        async with self.caller.connected() as client:
            body = self.caller.body(model, stream=1000, pause=0.01)
            try:
                await client.stream.send_all(request("POST", CHAT, JSON, body=body))
                await client.head("POST")
                for _ in range(self.random.randint(0, 10)):
                    if await client.piece() is None:
                        break
            except (CutOff, trio.BrokenResourceError):
                pass  # somebody else was faster
        self.caller.judge.count("leaves midstream")

    async def leave_in_midupload(self) -> None:
        model = self.random.choice(WHOLE_FLEET)
        path = self.random.choice((CHAT, f"/upstream/{model}/x"))
        whole = request("POST", path, JSON, body=self.caller.body(model, prompt="y" * 300_000))
        async with self.caller.connected() as client:
            await client.stream.send_all(whole[: self.random.randint(1, len(whole) - 1)])
            await trio.sleep(self.random.random() * 0.2)
        self.caller.judge.count("leaves midupload")

    # -- who does harm, and who suffers it -----------------------------------------------

    async def crash(self) -> None:
        with self._mischief.doing(CRASHING, *CRASHED):
            await self.caller.ask(Question("crash", CRASHING, self.caller.body(CRASHING, die=0), expected=()))

    async def crash_in_midstream(self) -> None:
        with self._mischief.doing(CRASHING, *CRASHED):
            body = self.caller.body(CRASHING, stream=20, pause=0.01, die=self.random.randint(1, 19))
            await self.caller.ask(Question("crash midstream", CRASHING, body, expected=()))

    async def hang(self) -> None:
        # Called off by somebody, it hangs on until it does not answer its health check.
        with self._mischief.doing(HANGING, *HUNG, aftermath=12.0):
            body = self.caller.body(HANGING, hang=self.random.choice(("stopped", "silent")))
            await self.caller.ask(Question("hang", HANGING, body, expected=()))

    async def ask_the_harmed(self) -> None:
        model = self.random.choice((CRASHING, HANGING, UNLOADED))
        if self.random.random() < 0.5:
            await self.caller.ask(Question("short, harmed", model, self.caller.body(model)))
        else:
            await self.caller.ask_stream("stream, harmed", model, 20)

    async def unload(self) -> None:
        with self._mischief.doing(UNLOADED, "unloaded", CUT):
            await self.caller.order("unload", "POST", f"/api/models/unload/{UNLOADED}", (UNLOADED,))

    async def unload_all(self) -> None:
        with self._mischief.doing(EVERYONE, "unloaded", CUT):
            await self.caller.order("unload all", "POST", "/api/models/unload", ())

    async def pin(self) -> None:
        pinned = self.random.choice(TURNS)
        with self._mischief.doing(GIANT, "all_pinned"):
            others = [model for model in TURNS if model != pinned]
            with (
                self._mischief.doing(others[0], "all_pinned"),
                self._mischief.doing(others[1], "all_pinned"),
            ):
                await self.caller.order("pin", "PUT", f"/api/models/pin/{pinned}", ())
                await trio.sleep(self.random.random())
                await self.caller.order("unpin", "DELETE", f"/api/models/pin/{pinned}", ())

    async def cancel(self) -> None:
        """Call off the newest request that carries an id, as the page does it: from what the events say."""
        async with self.caller.connected() as client:
            await client.stream.send_all(request("GET", "/api/events"))
            await client.head()
            received = b""
            while b'"inflight"' not in received or not received.endswith(b"\n\n"):
                if (data := await client.piece()) is None:
                    return
                received += data
        under_way = inflight_in(received)
        for listed in under_way[-1:]:
            self.caller.judge.cancelled.add(listed["req_headers"]["X-Soak"])
            async with self.caller.connected() as client:
                path = f"/api/inflight/{listed['id']}/cancel"
                reply = await self.caller.answer(client, "POST", path, body=b"")
            self.caller.judge.count("cancel", "right" if reply.status == 200 else str(reply.status))

    # -- the odd ones -------------------------------------------------------------------

    async def ask_the_broken(self) -> None:
        await self.caller.ask(
            Question(
                "broken", BROKEN, self.caller.body(BROKEN), expected=("start_failed", "model_backing_off")
            )
        )

    async def ask_a_guest(self) -> None:
        expected = (RIGHT, "not_found", "unloaded")
        await self.caller.ask(Question("guest", GUEST, self.caller.body(GUEST, hold=0.1), expected=expected))

    async def ask_nobody(self) -> None:
        await self.caller.ask(
            Question("nobody", "nobody", self.caller.body("nobody"), expected=("not_found",))
        )

    async def crowd_the_narrow(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(self._ask_the_narrow)

    async def _ask_the_narrow(self) -> None:
        await self.caller.ask(
            Question("narrow", NARROW, self.caller.body(NARROW, hold=0.05), expected=(RIGHT, "queue_full"))
        )

    async def talk_nonsense(self) -> None:
        nonsense = self.random.choice(
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.random.randbytes(200),
                b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"GET /" + b"a" * 2_000_000,
                self.random.randbytes(1000) + b"\r\n\r\n",
            )
        )
        async with self.caller.connected() as client:
            try:
                await client.stream.send_all(nonsense)
                with trio.move_on_after(5):
                    while await client.stream.receive_some(65536):
                        pass
            except trio.BrokenResourceError:
                pass
        self.caller.judge.count("nonsense")


def inflight_in(received: bytes) -> list[dict[str, Any]]:
    """Return the requests with an id of ours in the first snapshot of an event stream."""
    for line in received.decode().split("\n"):
        if line.startswith("data:"):
            message = json.loads(line[5:])
            if message["type"] == "inflight":
                told = json.loads(message["data"])
                return [each for each in told.get("requests", ()) if "X-Soak" in each["req_headers"]]
    return []
