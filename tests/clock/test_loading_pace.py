"""How fast the loading of a model is told, on a virtual clock: rules H151, H153, H154."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypercorn.typing import ASGISendEvent
from trio.testing import MockClock

from swapcli.http.exchange import Exchange
from swapcli.http.loading_stream import LoadingStream
from swapcore import ModelId, ModelSpec, Waiting, open_supervisor
from swapcore.testing import FakeServers

M = ModelId("mmm")
OPENING = ["━━━━━", "\n", "swapc", "li lo", "ading", " mode", "l: mm", "m", "\n"]


async def told(wait_for: float, clock: MockClock) -> list[tuple[float, list[str]]]:
    """The pieces that are sent while a model loads for so long, and when."""
    sent: list[tuple[float, list[str]]] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(message: ASGISendEvent) -> None:
        if message["type"] == "http.response.body":
            events = message["body"].decode().replace("data: ", "").split("\n\n")[:-1]
            pieces = [json.loads(event)["choices"][0]["delta"]["reasoning_content"] for event in events]
            sent.append((round(trio.current_time() - started, 3), pieces))

    scope: Any = {"type": "http", "method": "POST", "headers": [], "state": {}, "http_version": "1.1"}
    servers = FakeServers(load_seconds={M: wait_for})
    async with open_supervisor([ModelSpec(M)], launch=servers) as supervisor:
        started = trio.current_time()
        stream = LoadingStream(Exchange(scope, receive, send, 1.0))

        def waits(place: Waiting) -> None:
            stream.begin(M, place)

        async with stream.told_beside(), supervisor.lease(M, on_wait=waits):
            await stream.end(is_ready=True)
            assert trio.current_time() - started == pytest.approx(wait_for)
    return sent


@pytest.mark.rule("L150")
async def test_h151_texts_come_in_pieces_at_the_speed_of_reading(autojump_clock: MockClock) -> None:
    sent = await told(0.7, autojump_clock)
    assert [pieces for _, pieces in sent[:-1]] == [[piece] for piece in OPENING]
    letters = round(5 / 75, 3)
    begin = sent[0][0]
    assert [at for at, _ in sent[1:4]] == pytest.approx([begin, begin, begin + letters], abs=0.002)
    # the last piece of a text is not followed by a pause
    assert sent[7][0] == sent[8][0]


@pytest.mark.rule("L167")
async def test_h153_a_tick_is_750_ms(autojump_clock: MockClock) -> None:
    sent = await told(4.0, autojump_clock)
    dots = [at for at, pieces in sent if pieces == ["."]]
    assert dots[1] - dots[0] == pytest.approx(0.75)
    text = "".join(piece for _, pieces in sent for piece in pieces)
    assert "\n\nQueue position: #1 ." in text


async def test_h154_nothing_is_paced_once_the_model_is_ready(autojump_clock: MockClock) -> None:
    sent = await told(0.2, autojump_clock)  # in the middle of the opening
    assert sent[-1][0] == 0.2
    said = ["".join(pieces) for _, pieces in sent]
    assert "".join(said) == "".join(OPENING) + "\nDone! (0.20s)\n━━━━━\n \n"
    assert said[-1].endswith("\nDone! (0.20s)\n━━━━━\n \n")
    assert all(1 <= len(piece) <= 5 for _, pieces in sent for piece in pieces)
