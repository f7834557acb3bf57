"""The client packages of people, and what small real models cannot do: media, tools, dying, refusing."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import attrs
import httpx2
import openai
import pytest
import scripted_model
from anthropic.types import MessageParam, ToolParam
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from real_children import free_port
from served_models import Server, serving
from time_taken import takes

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Who are you?"}]
CLAUDE_QUESTION: list[MessageParam] = [{"role": "user", "content": "Who are you?"}]
CITY: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": CITY}}
]
CLAUDE_TOOLS: list[ToolParam] = [{"name": "weather", "description": "of a city", "input_schema": CITY}]
ARGUMENTS = json.loads(scripted_model.ARGUMENTS)
RECORDING = hashlib.shake_256(b"a recording").digest(3_000_001)
FILE_OF_RECORDING = ["memo.wav", len(RECORDING), hashlib.sha256(RECORDING).hexdigest()]
BROKEN_OFF = "peer closed connection|Connection error"
"""What either package says; the one raises an error of its own, the other that of the HTTP client below."""


@attrs.frozen
class Rig:
    server: Server
    folder: Path

    on_answer: Callable[[httpx2.Response], object] = lambda _: None
    """Called with each answer that a client gets, those included after which it tries again."""

    def openai(self, *, retries: int = 0) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.server.url}/v1",
            api_key="none",
            timeout=30,
            max_retries=retries,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [self.on_answer]}),
        )

    def anthropic(self, *, retries: int = 0) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.server.url,
            api_key="none",
            timeout=30,
            max_retries=retries,
            http_client=anthropic.DefaultHttpxClient(event_hooks={"response": [self.on_answer]}),
        )

    def requests(self) -> list[dict[str, Any]]:
        """What the models were asked since the test began."""
        return [json.loads(line) for line in (self.folder / "requests").read_text().splitlines()]


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("scripted")
    config = folder / "config.yaml"
    lines = ["healthCheckTimeout: 30", "models:"]
    for name, more in (
        ("scripted", ""),
        ("mortal", "restart: {backoff: 0, intensity: 1000}"),
        ("narrow", "concurrencyLimit: 1"),
        ("broken-ask_openai", ""),
        ("broken-ask_anthropic", ""),
        ("recovering", ""),
    ):
        port = free_port()
        lines += [
            f"  {name}:",
            f"    cmd: {sys.executable} {scripted_model.__file__} {name} {port} {folder}",
            f"    proxy: http://127.0.0.1:{port}",
            f"    {more}",
        ]
    config.write_text("\n".join(lines))
    with serving(config, folder / "log") as server:
        yield Rig(server, folder)


@pytest.fixture
def rig(module_rig: Rig) -> Rig:
    (module_rig.folder / "requests").write_text("")
    return module_rig


# -- media -----------------------------------------------------------------------------


def test_openai_image(rig: Rig) -> None:
    with rig.openai() as client:
        (image,) = client.images.generate(model="scripted", prompt="a cat").data or []
    assert base64.b64decode(image.b64_json or "") == scripted_model.PIXELS


def test_openai_image_edit_sends_both_files_unharmed(rig: Rig) -> None:
    mask = RECORDING[:1000]
    with rig.openai() as client:
        (image,) = (
            client.images.edit(
                model="scripted",
                prompt="blüer",
                image=("memo.wav", RECORDING, "image/png"),
                mask=("mask.png", mask, "image/png"),
            ).data
            or []
        )
    fields = json.loads(image.revised_prompt or "")
    assert fields["image"] == FILE_OF_RECORDING
    assert fields["mask"] == ["mask.png", 1000, hashlib.sha256(mask).hexdigest()]
    assert fields["prompt"] == "blüer"


def test_openai_speech_read_whole_and_streamed(rig: Rig) -> None:
    with rig.openai() as client:
        speech = client.audio.speech
        whole = speech.create(model="scripted", voice="alloy", input="Hello").content
        with speech.with_streaming_response.create(model="scripted", voice="alloy", input="Hello") as answer:
            pieces = list(answer.iter_bytes())
    assert whole == scripted_model.SOUND == b"".join(pieces)
    assert len(pieces) > 1


def test_openai_transcription_of_an_upload(rig: Rig) -> None:
    with rig.openai() as client:
        answer = client.audio.transcriptions.create(
            model="scripted", file=("memo.wav", RECORDING), language="de"
        )
    assert json.loads(answer.text) == {"file": FILE_OF_RECORDING, "language": "de", "model": "scripted"}


def test_openai_speech_of_an_upload_while_others_chat(rig: Rig) -> None:
    def upload(_: int) -> str:
        with rig.openai() as client:
            file = ("memo.wav", RECORDING)
            return client.audio.transcriptions.create(model="scripted", file=file).text

    def chat(_: int) -> str:
        with rig.openai() as client:
            answer = client.chat.completions.create(model="scripted", messages=QUESTION)
            return str(answer.choices[0].message.content)

    with ThreadPoolExecutor(8) as pool:
        uploads, chats = pool.map(upload, range(6)), pool.map(chat, range(12))
        assert set(chats) == {"scripted"}
        assert all(json.loads(text)["file"] == FILE_OF_RECORDING for text in uploads)


# -- tools -----------------------------------------------------------------------------


def test_openai_tool_call(rig: Rig) -> None:
    with rig.openai() as client:
        answer = client.chat.completions.create(model="scripted", messages=QUESTION, tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)


def test_openai_tool_call_streamed(rig: Rig) -> None:
    with rig.openai() as client:
        stream = client.chat.completions.create(model="scripted", messages=QUESTION, tools=TOOLS, stream=True)
        calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    functions = [call.function for call in calls if call.function]
    assert functions[0].name == "weather"
    assert json.loads("".join(function.arguments or "" for function in functions)) == ARGUMENTS


def test_anthropic_tool_use(rig: Rig) -> None:
    with rig.anthropic() as client:
        answer = client.messages.create(
            model="scripted", messages=CLAUDE_QUESTION, tools=CLAUDE_TOOLS, max_tokens=9
        )
    (block,) = answer.content
    assert block.type == "tool_use"
    assert (answer.stop_reason, block.name, block.input) == ("tool_use", "weather", ARGUMENTS)


def test_anthropic_tool_use_streamed(rig: Rig) -> None:
    with (
        rig.anthropic() as client,
        client.messages.stream(
            model="scripted", messages=CLAUDE_QUESTION, tools=CLAUDE_TOOLS, max_tokens=9
        ) as stream,
    ):
        (block,) = stream.get_final_message().content
    assert block.type == "tool_use"
    assert block.input == ARGUMENTS


# -- death -----------------------------------------------------------------------------


def script(**what: float | str) -> dict[str, object]:
    return {"script": what}


@pytest.mark.rule("G45")
def test_openai_raises_when_the_model_dies_in_mid_stream(rig: Rig) -> None:
    with rig.openai(retries=2) as client:
        stream = client.chat.completions.create(
            model="mortal", messages=QUESTION, stream=True, extra_body=script(die_after=4)
        )
        got: list[str] = []
        with pytest.raises(Exception, match=BROKEN_OFF):
            got.extend(str(chunk.choices[0].delta.content) for chunk in stream)
    assert got == ["", "word0 ", "word1 ", "word2 "]
    assert len(rig.requests()) == 1


@pytest.mark.rule("G45")
def test_anthropic_raises_when_the_model_dies_in_mid_stream(rig: Rig) -> None:
    got: list[str] = []
    with rig.anthropic(retries=2) as client:
        stream = client.messages.create(
            model="mortal",
            messages=CLAUDE_QUESTION,
            max_tokens=9,
            stream=True,
            extra_body=script(die_after=4),
        )
        with pytest.raises(Exception, match=BROKEN_OFF):
            got.extend(event.type for event in stream)
    assert got == ["message_start", "content_block_start", *["content_block_delta"] * 2]
    assert len(rig.requests()) == 1


@pytest.mark.rule("G45")
def test_openai_raises_when_the_model_dies_in_mid_answer(rig: Rig) -> None:
    with rig.openai() as client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="mortal", messages=QUESTION, extra_body=script(die_after=1))


def test_after_a_death_the_next_request_is_answered(rig: Rig) -> None:
    with rig.openai() as client:
        stream = client.chat.completions.create(
            model="mortal", messages=QUESTION, stream=True, extra_body=script(die_after=1)
        )
        with pytest.raises(Exception, match=BROKEN_OFF):
            list(stream)
        answer = client.chat.completions.create(model="mortal", messages=QUESTION)
    assert answer.choices[0].message.content == "scripted"


# -- trying again ------------------------------------------------------------------------


def ask_openai(rig: Rig, model: str, retries: int, **what: float | str) -> str:
    with rig.openai(retries=retries) as client:
        answer = client.chat.completions.create(model=model, messages=QUESTION, extra_body=script(**what))
    return str(answer.choices[0].message.content)


def ask_anthropic(rig: Rig, model: str, retries: int, **what: float | str) -> str:
    with rig.anthropic(retries=retries) as client:
        answer = client.messages.create(
            model=model, messages=CLAUDE_QUESTION, max_tokens=9, extra_body=script(**what)
        )
    return "".join(block.text for block in answer.content if block.type == "text")


Ask = Callable[..., str]
REFUSED = (openai.APIStatusError, anthropic.APIStatusError)
BOTH = pytest.mark.parametrize("ask", [ask_openai, ask_anthropic])


@BOTH
@pytest.mark.parametrize("status", [429, 503])
def test_a_model_s_own_refusal_and_its_retry_after_reach_the_client(rig: Rig, ask: Ask, status: int) -> None:
    with takes(most=4):
        assert ask(rig, "scripted", 1, refuse=status, times=1, wait=1) == "scripted"
    first, second = rig.requests()
    assert second["at"] - first["at"] > 0.9  # Retry-After, not the half second of the client's own


@BOTH
def test_a_client_over_the_concurrency_limit_tries_again_and_is_served(
    rig: Rig, ask: Ask, tmp_path: Path
) -> None:
    cue = tmp_path / "cue"
    assert ask(rig, "narrow", 0) == "scripted"  # loaded
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, rig, "narrow", 0, hold=20, cue=str(cue))
        deadline = time.monotonic() + 20
        while len(rig.requests()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # another program's file sends no events
        with pytest.raises(REFUSED) as refused:
            ask(rig, "narrow", 0)
        assert isinstance(refused.value, REFUSED)
        assert refused.value.status_code == 429
        assert refused.value.response.headers["Retry-After"] == "1"

        def make_room(answer: httpx2.Response) -> None:
            if answer.status_code == 429:
                cue.touch()

        assert ask(attrs.evolve(rig, on_answer=make_room), "narrow", 3) == "scripted"
        assert slow.result() == "scripted"


@BOTH
def test_a_start_that_fails_is_not_tried_again(rig: Rig, ask: Ask) -> None:
    with pytest.raises(REFUSED) as failed:
        ask(rig, model := f"broken-{ask.__name__}", 5)  # each its own: one that backs off is tried again
    assert isinstance(failed.value, REFUSED)
    assert failed.value.status_code == 502
    assert model in str(failed.value)
    assert failed.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_model_that_backs_off_says_when_and_the_client_comes_back_then(rig: Rig) -> None:
    with rig.openai() as client:  # one for both: the second request has to come within the pause
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="recovering", messages=QUESTION)
        with pytest.raises(openai.InternalServerError) as again:
            client.chat.completions.create(model="recovering", messages=QUESTION)
    assert failed.value.status_code == 502
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert again.value.status_code == 503
    assert again.value.response.headers["Retry-After"] == "1"
    assert ask_openai(rig, "recovering", 1) == "scripted"
