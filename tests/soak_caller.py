"""A client of the soak, and how it sees that an answer is right."""

from __future__ import annotations

import json
import socket
import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import attrs
import trio
from http_wire import JSON, Client, CutOff, Reply, request
from soak_fleet import ASSISTANT, EDITED, EITHER, STEADY
from soak_judgement import CUT, RIGHT, Judge

PATIENCE = 60.0
"""Seconds without a byte after which an answer is overdue: more than the wait bound, and every swap."""
CHAT = "/v1/chat/completions"
MEANT = {ASSISTANT: (STEADY, EDITED), EITHER: (STEADY, EDITED)}
"""Models that a name may stand for."""


@attrs.frozen
class Question:
    """A request to a model, and what may come of it."""

    kind: str
    """For the counts."""
    model: str
    body: bytes
    path: str = CHAT
    content_type: str = JSON
    headers: Sequence[str] = ()
    """Further ones, as whole lines."""
    expected: Sequence[str] = (RIGHT,)
    """As long as nobody harms the model."""
    wrong_in: Callable[[Reply], str] | None = None
    """Says what is wrong with an answer; by default it is the usual JSON."""

    @property
    def meant(self) -> tuple[str, ...]:
        """The models of which one has to answer."""
        return MEANT.get(self.model, (self.model,))


@attrs.define(eq=False)
class Caller:
    """Asks the server, and has the judge look at what comes back."""

    port: int
    random: Random
    judge: Judge
    _last_id: int = attrs.field(default=0, init=False)

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Client]:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        try:
            yield Client(stream, PATIENCE)
        finally:
            if self.random.random() < 0.2:  # in the rude way
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()

    def body(self, model: str, **more: Any) -> bytes:
        content = "x" * self.random.randint(1, 2000)
        # So that every log is full, and grows no more, after a few minutes.
        say = 10_000 if self.random.random() < 0.05 else 0
        messages = [{"role": "user", "content": content}]
        return json.dumps({"model": model, "say": say, **more, "messages": messages}).encode()

    async def answer(
        self, client: Client, method: str, path: str, *headers: str, body: bytes | None
    ) -> Reply:
        """Ask, and read the answer to its end. Raises like `Client`."""
        await client.stream.send_all(request(method, path, *headers, body=body))
        return await client.reply(method)

    async def ask(self, question: Question) -> None:
        """Ask on a connection of its own, and have the answer judged."""
        async with self.connected() as client:
            await self.ask_on(client, question)

    async def ask_on(self, client: Client, question: Question) -> bool:
        """Ask on a connection, and have the answer judged; returns whether the connection is still good."""
        since, expected, detail, is_good = trio.current_time(), set(question.expected), "", False
        self._last_id += 1
        id = str(self._last_id)
        headers = (question.content_type, f"X-Soak: {id}", *question.headers)
        try:
            reply = await self.answer(client, "POST", question.path, *headers, body=question.body)
            outcome = word_of(reply, question.wrong_in or partial(wrong_in_json, question))
            detail = f"{reply.status} {reply.body[:300]!r}"
            is_good = "connection" not in reply
        except (CutOff, trio.BrokenResourceError):
            outcome = CUT if client.has_head else "hung up on"
        except trio.TooSlowError:
            outcome = "no answer"
        if question.model == EITHER:  # while the giant takes the place of both
            expected.add("service_unavailable")
        if id in self.judge.cancelled:
            expected |= {"cancelled", CUT}
            self.judge.cancelled.discard(id)
        self.judge.ended(
            question.kind, question.meant, outcome, since=since, expected=expected, detail=detail
        )
        return is_good

    async def ask_stream(self, kind: str, model: str, events: int) -> None:
        """Ask for so many events, and have them judged."""
        body = self.body(model, stream=events, pause=self.random.choice((0, 0.005, 0.03)))
        meant = MEANT.get(model, (model,))
        await self.ask(
            Question(kind, model, body, wrong_in=lambda reply: wrong_in_stream(reply, meant, events))
        )

    async def order(self, kind: str, method: str, path: str, models: Sequence[str]) -> None:
        since, detail = trio.current_time(), b""
        async with self.connected() as client:
            try:
                reply = await self.answer(client, method, path, body=b"" if method != "GET" else None)
                outcome, detail = word_of(reply, lambda _: ""), reply.body[:300]
            except trio.TooSlowError:
                outcome = "no answer"
        self.judge.ended(kind, models, outcome, since=since, detail=repr(detail))


def word_of(reply: Reply, wrong: Callable[[Reply], str]) -> str:
    """Return what became of a request, in a word."""
    return (wrong(reply) or RIGHT) if reply.status == 200 else code_in(reply.body)


def code_in(body: bytes) -> str:
    """Return the code of an error of this server's; another answer is no outcome that anybody expects."""
    try:
        answer = json.loads(body)
        return str(answer["error"]["code"]) if answer["src"] == "swapcli" else "a foreign error"
    except (ValueError, KeyError, TypeError):
        return f"no error of ours: {body[:200]!r}"


def wrong_in_json(question: Question, reply: Reply) -> str:
    """Return what is wrong with the usual answer, if anything."""
    told = json.loads(reply.body)
    if told["model"] not in question.meant:
        return f"answered by {told['model']}"
    # Another name in the request is replaced, and the length with it.
    is_unchanged = (told["bytes"], told["crc"]) == (len(question.body), zlib.crc32(question.body))
    return "" if is_unchanged or question.model in MEANT else "the request was changed"


def wrong_in_stream(reply: Reply, models: Sequence[str], events: int) -> str:
    told = [event.removeprefix("data: ") for event in reply.body.decode().split("\n\n")]
    if told[-2:] != ["[DONE]", ""]:
        return "an end that is none"
    numbers = [json.loads(event) for event in told[:-2]]
    if [each["number"] for each in numbers] != list(range(events)):
        return "events are missing"
    authors = {each["model"] for each in numbers}
    return "" if len(authors) == 1 and authors <= set(models) else f"answered by {authors}"
