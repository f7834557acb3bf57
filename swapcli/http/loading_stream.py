"""Shows a client that waits for a model how that goes, as the reasoning of the answer that is to come.

The wait is told by a task of its own, so it delays nobody: when the model is there, or will not be, what is
left to say is said at once, and the answer follows in the same stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio
from hypercorn.typing import ASGISendEvent

from swapcore import ModelId, ProcState, Waiting

from .error_answers import ErrorAnswer
from .exchange import Exchange, Headers
from .json_text import to_json
from .loading_words import LoadingWords

_TICK = 0.75
_PIECE = 5
"""Characters that are shown at once, as if somebody typed."""
_BYTES_PER_SECOND = 75
_ERROR_SIZE = 64 * 1024
"""Bytes of a model's error that are looked at."""


@attrs.define(eq=False)
class _Wait:
    """For one model."""

    words: LoadingWords
    place: Waiting
    before: _Wait | None
    """The one that has to be told to its end first."""
    began: float = attrs.field(factory=trio.current_time)
    ended: trio.Event = attrs.field(factory=trio.Event)
    is_ready: bool = False
    told: trio.Event = attrs.field(factory=trio.Event)

    def end(self, *, is_ready: bool) -> None:
        """The second time changes nothing."""
        if not self.ended.is_set():
            self.is_ready = is_ready
            self.ended.set()


@attrs.define(eq=False)
class LoadingStream:
    """The answer to one request, whose first part may be the tale of how its model was loaded.

    For the request's own task. Until a wait begins it changes nothing.
    """

    _exchange: Exchange
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _wait: _Wait | None = attrs.field(default=None, init=False)
    _is_sending: bool = attrs.field(default=False, init=False)
    _status: int = attrs.field(default=0, init=False)
    """Of the model's answer; 0 until that begins."""
    _failure: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def has_begun(self) -> bool:
        return self._wait is not None

    @property
    def is_answered(self) -> bool:
        """The model's own answer has begun."""
        return self._status != 0 if self.has_begun else self._exchange.is_answered

    @asynccontextmanager
    async def told_beside(self) -> AsyncGenerator[None]:
        """Tell of waits during the block, and of none after it."""
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel()

    def begin(self, model: ModelId, place: Waiting) -> None:
        """The request is in line for ``model``. Never blocks; for ``on_wait`` of a lease.

        Only within `told_beside`.
        """
        assert self._nursery is not None
        if place.state is not ProcState.READY:
            self._wait = _Wait(LoadingWords(model), place, self._wait)
            self._nursery.start_soon(self._tell, self._wait)

    async def end(self, *, is_ready: bool) -> None:
        """The wait is over. Returns when that was told, which takes as long as the client takes to read."""
        if self._wait is not None:
            self._wait.end(is_ready=is_ready)
            await self._wait.told.wait()

    async def send(self, message: ASGISendEvent) -> None:
        """An ASGI ``send`` for the model's answer, of which only the body is left to be sent."""
        if not self.has_begun:
            await self._exchange.send(message)
        elif message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            if self._status < 400:
                await self._exchange.send(message)
                return
            self._failure += message["body"][: _ERROR_SIZE - len(self._failure)]
            if not message["more_body"]:
                await self._finish(_as_event(self._status, bytes(self._failure)))

    async def fail(self, error: ErrorAnswer) -> ErrorAnswer | None:
        """Say what went wrong, as an event that client libraries take for an error, and end the answer.

        Returns the error if it can still be sent in the ordinary way.
        """
        if not self._exchange.is_answered:
            return error
        if not self._is_sending:  # else the last event is torn, and what follows would not be read
            await self._finish(error.as_openai)
        return None

    async def _finish(self, error: object) -> None:
        body = b"data: %b\n\ndata: [DONE]\n\n" % to_json(error)
        await self._exchange.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _tell(self, wait: _Wait) -> None:
        if wait.before is None:
            await self._start()
        else:
            await wait.before.told.wait()
        left = await self._type(wait, wait.words.opening())
        while not wait.ended.is_set():
            with trio.move_on_after(_TICK):
                await wait.ended.wait()
                break
            elapsed, place = trio.current_time() - wait.began, wait.place
            left = await self._type(wait, wait.words.progress(elapsed, place.position, place.estimate))
        ending = wait.words.ending(trio.current_time() - wait.began, is_ready=wait.is_ready)
        await self._say([*left, *(piece for piece, _ in _pieces(ending))])
        wait.told.set()

    async def _start(self) -> None:
        headers = [
            (b"Content-Type", b"text/event-stream"),
            (b"Cache-Control", b"no-cache"),
            (b"X-Accel-Buffering", b"no"),
        ]
        if self._exchange.scope["http_version"] != "2":  # there, the header is an error
            headers.append((b"Connection", b"keep-alive"))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _type(self, wait: _Wait, texts: Sequence[str]) -> Sequence[str]:
        """Show ``texts`` at the speed of reading; returns what is left of them when the wait ends."""
        pieces = list(_pieces(texts))
        for number, (piece, goes_on) in enumerate(pieces):
            if wait.ended.is_set():
                return [piece for piece, _ in pieces[number:]]
            await self._say([piece])
            if goes_on:
                with trio.move_on_after(len(piece.encode()) / _BYTES_PER_SECOND):
                    await wait.ended.wait()
        return ()

    async def _say(self, pieces: Sequence[str]) -> None:
        events = (
            b"data: %b\n\n" % to_json({"choices": [{"delta": {"reasoning_content": piece}}]})
            for piece in pieces
        )
        await self._send({"type": "http.response.body", "body": b"".join(events), "more_body": True})

    async def _send(self, message: ASGISendEvent) -> None:
        self._is_sending = True  # and so it stays when it is cancelled
        await self._exchange.send(message)
        self._is_sending = False


def _pieces(texts: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each piece, and whether its text goes on after it."""
    for text in texts:
        for at in range(0, len(text), _PIECE):
            yield text[at : at + _PIECE], at + _PIECE < len(text)


def uncompressed(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return a request's headers so that its answer can follow what was said without compression."""
    kept = [(name, value) for name, value in headers if name != b"accept-encoding"]
    return [*kept, (b"accept-encoding", b"identity")]


def _as_event(status: int, body: bytes) -> object:
    """The error that a model answered, in a shape that client libraries take for one."""
    try:
        match json.loads(body):
            case {"error": dict() | str()} as error:
                return error
            case _:
                pass
    except ValueError:
        pass
    text = body.decode(errors="replace").strip()
    return ErrorAnswer(status, f"the model answered with status {status}: {text[:1000]}").as_openai
