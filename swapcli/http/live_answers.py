"""Answers that go on for as long as the client stays: logs and events, as they are written and happen.

They are plain ASGI: a stream costs a task, and a client that does not read makes nobody wait but itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from urllib.parse import parse_qs

import attrs
import trio

from swapcli.config import Configuration
from swapcli.logs import ServerLogs
from swapcore import ModelId, ModelLog, UnknownModel

from .current_state import CurrentState
from .error_answers import NO_SUCH_LOG, ErrorAnswer
from .event_hub import EventHub, Missed
from .event_messages import ActivityRecorded, LogData, frame
from .exchange import Exchange, Headers
from .fleet import Fleet

_Write: TypeAlias = Callable[[bytes], Awaitable[None]]

_LAST_WORDS = 1.0
"""Seconds that a client has to take what was sent to it, once the server stops; it may be asleep."""

_LOG_HEADERS = [
    (b"Content-Type", b"text/plain"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Accel-Buffering", b"no"),
]
_EVENT_HEADERS = [
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Accel-Buffering", b"no"),
]


@attrs.frozen(eq=False)
class Live:
    """What live answers tell of. Made once for the server; it outlives configurations."""

    logs: ServerLogs
    state: CurrentState
    ending: trio.Event
    """The server is stopping: streams end, so that they do not hold it up."""

    @classmethod
    def of_nothing(cls, fleet: Fleet, config: Configuration) -> Live:
        """Return one that nobody feeds."""
        return cls(ServerLogs.unprinted(), CurrentState(EventHub(), fleet, config), trio.Event())


@attrs.frozen(eq=False)
class LiveAnswers:
    """The live answers of one configuration, by the names that the route table gives them."""

    _live: Live
    _fleet: Fleet
    _config: Configuration

    async def logs(self, exchange: Exchange, _rest: str) -> ErrorAnswer | None:
        """What was printed lately; a browser is sent to the page that shows it."""
        if "text/html" in exchange.header(b"accept"):
            headers = [(b"Location", b"/ui/"), (b"Content-Type", b"text/html; charset=utf-8")]
            await exchange.reply(302, headers, b'<a href="/ui/">Found</a>.\n\n')
        else:
            history = self._live.logs.combined.history()
            await exchange.reply(200, [(b"Content-Type", b"text/plain")], history)
        return None

    async def log_stream(self, exchange: Exchange, rest: str) -> ErrorAnswer | None:
        """A log: what it keeps, unless ``no-history`` is asked for, and then what is written to it."""
        log = self._log(rest)
        if log is None:
            return NO_SUCH_LOG
        query = parse_qs(exchange.scope["query_string"].decode("latin-1"), keep_blank_values=True)

        with log.subscribe() as chunks:
            history = b"" if "no-history" in query else log.history()

            async def follow(write: _Write) -> None:
                async for chunk in chunks:
                    if chunk.lost:
                        gap = f"\n— {chunk.lost} bytes dropped, {chunk.lost_lines} lines —\n"
                        await write(gap.encode())
                    await write(chunk.data)

            await _endless(exchange, _LOG_HEADERS, self._live.ending, history, follow)
        return None

    async def events(self, exchange: Exchange, _rest: str) -> ErrorAnswer | None:
        """All that happens, as server-sent events; first what is true now."""
        logs, state = self._live.logs, self._live.state

        with state.hub.subscribe() as events:
            histories = (LogData("proxy", _text(logs.proxy)), LogData("upstream", _text(logs.upstream)))
            opening = b"".join(map(frame, (*histories, *state.messages())))

            async def follow(write: _Write) -> None:
                async for news in events:
                    match news:
                        case bytes():
                            await write(news)
                        case Missed():
                            await write(self._caught_up(news))

            # HTTP/2 has no such header; there it is an error.
            keep_alive = [] if exchange.scope["http_version"] == "2" else [(b"Connection", b"keep-alive")]
            headers = [*_EVENT_HEADERS, *keep_alive]
            await _endless(exchange, headers, self._live.ending, opening, follow)
        return None

    def _caught_up(self, missed: Missed) -> bytes:
        gaps = [LogData(source, f"\n— {lines} lines dropped —\n") for source, lines in missed.lines.items()]
        records = [] if missed.last_activity is None else [ActivityRecorded(missed.last_activity)]
        return b"".join(map(frame, (*gaps, *self._live.state.messages(), *records)))

    def _log(self, name: str) -> ModelLog | None:
        """Return the log that *name* stands for: a source, or a model with anything after its name."""
        parts = [part for part in name.split("/") if part]
        match parts:
            case []:
                return self._live.logs.combined
            case ["proxy"]:
                return self._live.logs.proxy
            case ["upstream"]:
                return self._live.logs.upstream
            case _:
                return self._log_of_model(parts)

    def _log_of_model(self, parts: Sequence[str]) -> ModelLog | None:
        for length in range(len(parts), 0, -1):
            if (model := self._config.resolve("/".join(parts[:length]))) is not None:
                try:
                    return self._fleet.log(ModelId(model))
                except UnknownModel:  # the configuration is being replaced
                    return None
        return None


def _text(log: ModelLog) -> str:
    return log.history().decode(errors="replace")


async def _endless(
    exchange: Exchange,
    headers: Headers,
    ending: trio.Event,
    opening: bytes,
    follow: Callable[[_Write], Awaitable[None]],
) -> None:
    """Send headers and *opening* at once, then what *follow* writes, until the client leaves or *ending*."""

    async def write(data: bytes) -> None:
        await exchange.send({"type": "http.response.body", "body": data, "more_body": True})

    async def until_ending(scope: trio.CancelScope) -> None:
        await ending.wait()
        scope.cancel()

    async def hang_up_on_who_does_not_read() -> None:
        await ending.wait()
        await trio.sleep(_LAST_WORDS)
        exchange.hang_up()

    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    async with trio.open_nursery() as ended:
        ended.start_soon(hang_up_on_who_does_not_read)
        async with trio.open_nursery() as nursery:
            exchange.bound(nursery.cancel_scope)
            nursery.start_soon(until_ending, nursery.cancel_scope)
            await write(opening)  # Hypercorn keeps the headers back until then, even if there is nothing more
            if exchange.method != "HEAD":
                await follow(write)
            nursery.cancel_scope.cancel()
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})
        ended.cancel_scope.cancel()
