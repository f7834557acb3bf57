"""The good clients of the soak: they ask, wait, read, and look at every answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from random import Random

import attrs
import trio
from http_wire import JSON, CutOff, request
from soak_caller import CHAT, PATIENCE, Caller, Question, code_in
from soak_fleet import ASSISTANT, EDITED, EITHER, GIANT, NEVER_HARMED, STEADY, TURNS, UNLOADED
from soak_judgement import CUT, RIGHT
from soak_model import filling


@attrs.frozen(eq=False)
class Customers:
    """What they do, each thing once for a call."""

    caller: Caller
    random: Random

    @property
    def deeds(self) -> Mapping[Callable[[], Awaitable[None]], float]:
        """All of it, and how often compared with other things."""
        return {
            self.ask_a_few: 25,
            self.stream: 12,
            self.long_prompt: 3,
            self.multipart: 3,
            self.websocket: 3,
            self.read_slowly: 2,
            self.be_impatient: 2,
            self.ask_the_giant: 0.6,
            self.load: 1,
            self.change_profile: 0.5,
            self.look_around: 4,
            self.look_at_a_capture: 0.5,
        }

    def _somebody(self) -> str:
        """One whom nobody harms, and who is not too much for the others."""
        return self.random.choice((*NEVER_HARMED[:-1], STEADY, STEADY, EDITED, ASSISTANT, EITHER))

    async def ask_a_few(self) -> None:
        async with self.caller.connected() as client:
            for _ in range(self.random.randint(1, 4)):
                model = self._somebody()
                hold = self.random.choice((0, 0, 0, 0.05, 0.3))
                question = Question("short", model, self.caller.body(model, hold=hold))
                if not await self.caller.ask_on(client, question):
                    return

    async def stream(self) -> None:
        model = self._somebody()
        await self.caller.ask_stream("stream", model, self.random.randint(1, 60))

    async def long_prompt(self) -> None:
        model = self.random.choice(NEVER_HARMED[:-1])
        prompt = "".join(self.random.choices("abcdefgh \u00fc\u4e16", k=1000)) * self.random.randint(50, 1500)
        body = json.dumps({"model": model, "prompt": prompt}, ensure_ascii=False).encode()
        path = self.random.choice(
            ("/v1/completions", f"/upstream/{model}/v1/completions", f"/upstream/{model}/x")
        )
        await self.caller.ask(Question("long prompt", model, body, path=path))

    async def multipart(self) -> None:
        model = self.random.choice(NEVER_HARMED[:-1])
        sound = self.random.randbytes(self.random.randint(100, 300_000))
        form = f'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n--edge\r\n'
        form += 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        await self.caller.ask(
            Question(
                "multipart",
                model,
                form.encode() + sound + b"\r\n--edge--\r\n",
                path="/v1/audio/transcriptions",
                content_type="Content-Type: multipart/form-data; boundary=edge",
            )
        )

    async def websocket(self) -> None:
        model, since = self.random.choice((STEADY, EDITED, *TURNS)), trio.current_time()
        hello = request(
            "GET",
            f"/upstream/{model}/talk",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        async with self.caller.connected() as client:
            try:
                with trio.fail_after(PATIENCE):
                    outcome = await self._echo(client.stream, hello)
            except trio.BrokenResourceError:
                outcome = CUT
            except trio.TooSlowError:
                outcome = "no answer"
        self.caller.judge.ended("websocket", (model,), outcome, since=since)

    async def _echo(self, stream: trio.SocketStream, hello: bytes) -> str:
        await stream.send_all(hello)
        received = b""
        while b"\r\n\r\n" not in received:
            if not (data := await stream.receive_some(65536)):
                return CUT
            received += data
        head, _, received = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            # The rest of an error is not worth reading: the code is near its beginning.
            return code_in(received + await stream.receive_some(65536))
        for _ in range(self.random.randint(0, 10)):
            said = self.random.randbytes(self.random.randint(1, 20_000))
            await stream.send_all(said)
            while len(received) < len(said):
                if not (data := await stream.receive_some(65536)):
                    return CUT
                received += data
            if received != said:
                return "another echo"
            received = b""
            await trio.sleep(self.random.choice((0, 0.1)))
        return RIGHT

    async def read_slowly(self) -> None:
        """For a few seconds, while the answer waits at every station of its way."""
        model, size, since = (
            self.random.choice((STEADY, EDITED, TURNS[0])),
            6_000_000,
            trio.current_time(),
        )
        async with self.caller.connected() as client:
            try:
                await client.stream.send_all(
                    request("POST", CHAT, JSON, body=self.caller.body(model, fill=size))
                )
                head = await client.head("POST")
                received = bytearray()
                while (data := await client.piece()) is not None:
                    received += data
                    if len(received) < 2_000_000:
                        await trio.sleep(0.05)
                right = filling(model, size) == received
                outcome = (
                    RIGHT if right else code_in(bytes(received)) if head.status != 200 else "other bytes"
                )
            except (CutOff, trio.BrokenResourceError):
                outcome = CUT
            except trio.TooSlowError:
                outcome = "no answer"
        self.caller.judge.ended("slow reader", (model,), outcome, since=since)

    async def be_impatient(self) -> None:
        model = self.random.choice((*TURNS, GIANT))
        deadline = f"X-Swap-Deadline: {self.random.choice((0.05, 0.3, 1))}"
        expected = (RIGHT, "deadline_exceeded")
        await self.caller.ask(
            Question("impatient", model, self.caller.body(model), headers=[deadline], expected=expected)
        )

    async def load(self) -> None:
        model = self.random.choice((STEADY, *TURNS, UNLOADED))
        await self.caller.order("load", "POST", f"/api/models/load/{model}", (model,))

    async def ask_the_giant(self) -> None:
        await self.caller.ask(Question("giant", GIANT, self.caller.body(GIANT, hold=0.1)))

    async def change_profile(self) -> None:
        name = self.random.choice(("day", "night", None))
        async with self.caller.connected() as client:
            body = json.dumps({"name": name}).encode()
            reply = await self.caller.answer(client, "PUT", "/api/profiles/active", JSON, body=body)
        if json.loads(reply.body) != {"active": name}:
            self.caller.judge.fault(f"profile {name}: {reply}")
        self.caller.judge.count("profile")

    async def look_around(self) -> None:
        path = self.random.choice(
            (
                *(
                    "/running",
                    "/v1/models",
                    "/api/fleet",
                    "/api/metrics/stats",
                    "/api/profiles",
                    "/openapi.json",
                ),
                *("/api/metrics/activity?limit=50", "/api/metrics/activity?sort=duration&page=3", "/ui/"),
                *("/api/hardware", "/health", f"/api/models/log/{STEADY}", "/logs"),
            )
        )
        await self.caller.order(f"GET {path.partition('?')[0]}", "GET", path, ())

    async def look_at_a_capture(self) -> None:
        async with self.caller.connected() as client:
            reply = await self.caller.answer(client, "GET", "/api/metrics/activity?limit=5", body=None)
            for record in json.loads(reply.body)["data"]:
                if record["has_capture"]:
                    capture = await self.caller.answer(
                        client, "GET", f"/api/captures/{record['id']}", body=None
                    )
                    # Newer ones may have taken its place meanwhile.
                    self.caller.judge.count(
                        "capture", "right" if capture.status == 200 else str(capture.status)
                    )
