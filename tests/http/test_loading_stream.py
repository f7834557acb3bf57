"""What a streaming chat shows while its model loads, on real sockets: rules H148 to H157, G4, G22, G37."""

from __future__ import annotations

import json
import re
from contextlib import AbstractAsyncContextManager
from typing import Any

import openai
import pytest
import trio
from gated_server import ANSWER, CHAT, Served, served as serve, streams
from http_wire import CHUNKED, END, PATIENCE, Answer, Client, CutOff, Seen, chunk, plain

from swapcli.config import ModelConfig, Selector
from swapcore import ModelId, ProcState

RULE = "━━━━━"
LOADS = ModelConfig(send_loading_state=True)


def served(
    models: dict[str, ModelConfig] | None = None, answer: Answer | None = None, **keys: Any
) -> AbstractAsyncContextManager[Served]:
    return serve(models or {"m": LOADS}, answer, **keys)


def events(body: bytes) -> list[str]:
    *whole, rest = body.decode().split("\n\n")
    assert rest == ""
    assert all(event.startswith("data: ") and "\n" not in event for event in whole)
    return [event.removeprefix("data: ") for event in whole]


def told(body: bytes) -> tuple[str, list[str]]:
    """What was said of the loading, and the events after it."""
    text, found = "", events(body)
    while found and "reasoning_content" in found[0]:
        said = json.loads(found.pop(0))
        piece = said["choices"][0]["delta"]["reasoning_content"]
        assert said == {"choices": [{"delta": {"reasoning_content": piece}}]}
        assert 1 <= len(piece) <= 5
        text += piece
    return text, found


def seconds_in(text: str, after: str) -> float:
    """How long it took, as it is told behind these words."""
    found = re.search(re.escape(after) + r"\((\d+\.\d+)s\)", text)
    assert found is not None, text
    return float(found[1])


async def until_told(client: Client, text: str) -> bytes:
    """Read the answer's head, if that was not done, and its body until ``text`` was said."""
    if not client.has_head:
        await client.head("POST")
    body = b""
    while text not in told(body)[0]:
        piece = await client.piece()
        assert piece is not None, body
        body += piece
    return body


@pytest.mark.rule("L70")
@pytest.mark.rule("L149")
async def test_h149_h150_h152_h154_h155_loading_is_told_and_the_answer_follows() -> None:
    async with served() as fleet:
        began = trio.current_time()
        client = await fleet.ask()
        head = await client.head("POST")  # at once: the model does not load before the gate opens
        assert head.status == 200
        assert head["content-type"] == "text/event-stream"
        assert head["cache-control"] == "no-cache"
        assert head["connection"] == "keep-alive"
        assert head["x-accel-buffering"] == "no"
        body = await until_told(client, "loading")
        assert fleet.up.seen == []
        fleet.gate("m").set()
        text, answer = told(body + await client.rest_of_body())
        took = trio.current_time() - began
    opening, done = f"{RULE}\nswapcli loading model: m\n", text.split("\n")[-4]
    assert text.startswith(opening)
    assert 0.1 < seconds_in(done, "Done! ") < took + 0.01
    assert text == f"{opening}\n{done}\n{RULE}\n \n"
    assert "".join(f"data: {event}\n\n" for event in answer) == ANSWER.decode()


@pytest.mark.parametrize(
    ("path", "stream", "model"),
    [
        ("/v/chat/completions", True, "m"),
        ("/v1/completions", True, "m"),
        ("/v1/messages", True, "m"),
        ("/v1/responses", True, "m"),
        (CHAT, False, "m"),
        (CHAT, True, "silent"),
    ],
)
@pytest.mark.rule("L148")
async def test_h148_others_just_wait(path: str, stream: bool, model: str) -> None:
    async with served({"m": LOADS, "silent": ModelConfig()}) as fleet:
        fleet.gate(model).set()
        client = await fleet.ask(model, path=path, stream=stream)
        reply = await client.reply("POST")
    assert (reply.status, reply.body) == (200, ANSWER)


@pytest.mark.rule("L148")
async def test_h148_nothing_is_told_of_a_model_that_is_ready() -> None:
    async with served() as fleet:
        fleet.gate("m").set()
        await fleet.supervisor.load(ModelId("m"))
        assert (await (await fleet.ask()).reply("POST")).body == ANSWER


@pytest.mark.rule("L69")
async def test_h148_who_is_turned_away_gets_a_status() -> None:
    async with served(answer=streams()) as fleet:
        client = await fleet.ask("m", "X-Swap-Deadline: nonsense")
        assert (await client.reply("POST")).status == 400
        fleet.supervisor.close()
        reply = await (await fleet.ask()).reply("POST")
        assert reply.status == 503
        assert json.loads(reply.body)["error"]["code"] == "shutting_down"


async def test_h153_the_place_in_line_and_the_estimate() -> None:
    async with served({"m": LOADS, "m2": LOADS}) as fleet:
        for model in ("m", "m2", "m"):  # once each, to measure how long that takes
            fleet.gate(model).set()
            await fleet.supervisor.load(ModelId(model))
        fleet.gates["m2"] = trio.Event()
        client = await fleet.ask("m2")
        body = await until_told(client, "ready in about 1 s ")
        fleet.gate("m2").set()
        text, _ = told(body + await client.rest_of_body())
    assert "\n\nQueue position: #1, ready in about 1 s " in text


@pytest.mark.rule("G22")
@pytest.mark.rule("L150", "L151", "L152")
async def test_g4_g22_the_tale_delays_neither_its_own_request_nor_another() -> None:
    async with served({"m": LOADS, "silent": ModelConfig()}) as fleet:
        behind, ends = [], []
        for _ in range(10):
            fleet.gates["m"] = trio.Event()
            fleet.arrived.clear()
            teller = await fleet.ask()
            body = await until_told(teller, "swapc")  # in the middle of a text
            other = await fleet.ask(stream=False)
            await fleet.until_called("m", 2)
            granted = trio.current_time()
            fleet.gate("m").set()
            while b"[DONE]" not in body:
                body += await teller.piece() or b""
            ends.append(trio.current_time() - granted)
            assert (await other.reply("POST")).body == ANSWER
            first, second = (at - granted for _, at in fleet.arrived)
            behind.append(abs(first - second))
            await fleet.supervisor.unload()
        # A loaded machine adds to either at times; a paced end would add 67 ms each time.
        assert min(behind) < 0.005
        assert min(ends) < 0.05


@pytest.mark.rule("H222", "L153")
async def test_g37_h156_a_start_that_fails_is_an_error_event_and_an_end() -> None:
    async with served() as fleet:
        fleet.broken.add("m")
        began = trio.current_time()
        client = await fleet.ask()
        await until_told(client, "load")
        fleet.gate("m").set()
        body = await client.rest_of_body()
        took = trio.current_time() - began
        text, (error, done) = told(body)
        again = await (await fleet.ask("m")).reply("POST")  # it backs off: there is nothing to wait for
    assert 0.1 < seconds_in(text, "\nFailed! ") < took + 0.01
    assert done == "[DONE]"
    assert json.loads(error)["src"] == "swapcli"
    assert json.loads(error)["error"]["code"] == "start_failed"
    assert "no such file" in json.loads(error)["error"]["message"]
    assert again.status == 503


async def test_h156_an_unloaded_model_and_a_deadline_are_error_events_too() -> None:
    async with served() as fleet:
        client = await fleet.ask()
        await until_told(client, "load")
        await fleet.supervisor.unload(ModelId("m"))
        *_, error, done = events(await client.rest_of_body())
        assert (json.loads(error)["error"]["code"], done) == ("unloaded", "[DONE]")
        client = await fleet.ask("m", "X-Swap-Deadline: 0.1")
        *_, error, done = events((await client.reply("POST")).body)
        assert (json.loads(error)["error"]["code"], done) == ("deadline_exceeded", "[DONE]")
        assert fleet.supervisor.callers(ModelId("m")) == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"error": {"code": 400,\n "message": "too long"}}', "too long"),
        (b"<h1>Oops</h1>", "the model answered with status 400: <h1>Oops</h1>"),
    ],
)
async def test_g37_an_error_that_the_model_answers_is_an_error_event(answer: bytes, message: str) -> None:
    async with served(answer=streams(plain(answer, status="400 Bad Request"))) as fleet:
        fleet.gate("m").set()
        reply = await (await fleet.ask()).reply("POST")
        text, (error, done) = told(reply.body)
    assert reply.status == 200
    assert "Done!" in text
    assert json.loads(error)["error"]["message"] == message
    assert done == "[DONE]"


async def test_h157_the_record_has_the_status_and_the_tokens() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    async with served(answer=streams(CHUNKED + chunk(usage) + END)) as fleet:
        fleet.gate("m").set()
        await (await fleet.ask()).reply("POST")
        with trio.fail_after(PATIENCE):
            while len(fleet.recorder.inflight):  # noqa: ASYNC110 - the end of a request sends no event
                await trio.sleep(0.001)
        reply = await (await fleet.server.client()).ask("GET", "/api/metrics/activity")
    (row,) = json.loads(reply.body)["data"]
    assert (row["resp_status_code"], row["resp_content_type"]) == (200, "text/event-stream")
    assert (row["tokens"]["input_tokens"], row["tokens"]["output_tokens"]) == (4, 2)


async def test_an_answer_that_breaks_off_is_not_completed() -> None:
    async def break_off(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(ANSWER[:50]))
        await stream.aclose()

    async with served(answer=break_off) as fleet:
        fleet.gate("m").set()
        client = await fleet.ask()
        with pytest.raises(CutOff):
            await client.reply("POST")


async def test_compression_is_not_asked_for() -> None:
    async with served() as fleet:
        fleet.gate("m").set()
        await (await fleet.ask("m", "Accept-Encoding: gzip, br")).reply("POST")
    assert fleet.up.seen[0].values("accept-encoding") == ["identity"]


async def test_a_client_that_leaves_leaves_the_line_and_nobody_loads_for_it() -> None:
    async with served({"m": LOADS, "m2": LOADS}) as fleet:
        client = await fleet.ask()
        await until_told(client, "load")
        waiting = await fleet.ask("m2")
        await until_told(waiting, "load")
        await client.stream.aclose()
        await fleet.until_called("m", 0)
        fleet.gate("m2").set()  # without another caller the start of `m` gives way
        assert ANSWER in await waiting.rest_of_body()
        assert fleet.supervisor.state_of(ModelId("m")) is ProcState.STOPPED


async def test_h154_a_request_that_is_cancelled_ends_with_an_error_event() -> None:
    async with served() as fleet:
        client = await fleet.ask()
        body = await until_told(client, "load")
        cancel = await (await fleet.server.client()).ask("POST", "/api/inflight/1/cancel", body=b"")
        assert cancel.status == 200
        text, (error, done) = told(body + await client.rest_of_body())
    assert "Done" not in text
    assert (json.loads(error)["error"]["code"], done) == ("cancelled", "[DONE]")


async def test_another_target_takes_over_in_the_same_stream() -> None:
    selectors = {"both": Selector("spillover", ("m", "m2"))}
    async with served({"m": LOADS, "m2": LOADS}, selectors=selectors) as fleet:
        fleet.broken.add("m")
        fleet.gate("m").set()
        client = await fleet.ask("both")
        fleet.gate("m2").set()
        text, answer = told((await client.reply("POST")).body)
    first, second = text.split(" \n", 1)
    assert "swapcli loading model: m\n" in first
    assert "Failed!" in first
    assert "swapcli loading model: m2\n" in second
    assert "Done!" in second
    assert answer[-1] == "[DONE]"


# -- the package that people use -----------------------------------------------------------------


def _chat(port: int) -> tuple[str, str]:
    reasoning = content = ""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
        for piece in client.chat.completions.create(model="m", messages=[], stream=True):
            delta = piece.choices[0].delta
            reasoning += getattr(delta, "reasoning_content", "")
            content += delta.content or ""
    return reasoning, content


async def test_openai_shows_the_loading_as_reasoning() -> None:
    async with served() as fleet, trio.open_nursery() as nursery:

        async def open_gate() -> None:
            await fleet.until_called("m", 1)
            fleet.gate("m").set()

        nursery.start_soon(open_gate)
        reasoning, content = await trio.to_thread.run_sync(_chat, fleet.server.port)
    assert "swapcli loading model: m" in reasoning
    assert content == "Hello"


async def test_openai_raises_when_the_start_fails() -> None:
    async with served() as fleet:
        fleet.broken.add("m")
        fleet.gate("m").set()
        with pytest.raises(openai.APIError, match="no such file"):
            await trio.to_thread.run_sync(_chat, fleet.server.port)


async def test_openai_raises_when_the_model_answers_with_an_error() -> None:
    answer = streams(plain(b'{"error":{"message":"too long"}}', status="400 Bad Request"))
    async with served(answer=answer) as fleet:
        fleet.gate("m").set()
        with pytest.raises(openai.APIError, match="too long"):
            await trio.to_thread.run_sync(_chat, fleet.server.port)
