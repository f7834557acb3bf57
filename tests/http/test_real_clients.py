"""The client packages that people use, against a real server that swaps real models."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from anthropic.types import MessageParam
from openai.types.chat import ChatCompletionMessageParam
from served_models import Server, serving, write_models

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Who are you?"}]
CLAUDE_QUESTION: list[MessageParam] = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    with serving(write_models(folder), folder / "log") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", timeout=120, max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=20)
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize("model", ["north", "south"])
def test_openai_chat(client: openai.OpenAI, model: str) -> None:
    assert f"called {model}" in chat(client, model)


@pytest.mark.parametrize("model", ["north", "south"])
def test_openai_chat_streamed(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=20, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 5
    assert f"called {model}" in "".join(pieces)


def test_openai_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="north", prompt="Say", max_tokens=20)
    assert "called north" in answer.choices[0].text


def test_openai_embeddings_by_alias(client: openai.OpenAI) -> None:
    same, other = (
        client.embeddings.create(model="embedder", input=text).data[0].embedding
        for text in ("cat dog", "king")
    )
    assert len(same) == len(other) == 128
    assert same != other


def test_openai_responses(client: openai.OpenAI) -> None:
    assert (
        "called south"
        in client.responses.create(model="south", input="Hello", max_output_tokens=20).output_text
    )


def test_openai_responses_streamed(client: openai.OpenAI) -> None:
    events = client.responses.create(model="north", input="Hello", max_output_tokens=20, stream=True)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "called north" in text


@pytest.mark.parametrize("model", ["north", "south"])
def test_anthropic_messages(claude: anthropic.Anthropic, model: str) -> None:
    answer = claude.messages.create(model=model, messages=CLAUDE_QUESTION, max_tokens=20)
    assert f"called {model}" in "".join(block.text for block in answer.content if block.type == "text")


@pytest.mark.parametrize("model", ["north", "south"])
def test_anthropic_messages_streamed(claude: anthropic.Anthropic, model: str) -> None:
    with claude.messages.stream(model=model, messages=CLAUDE_QUESTION, max_tokens=20) as stream:
        assert f"called {model}" in "".join(stream.text_stream)


def test_anthropic_count_tokens(claude: anthropic.Anthropic) -> None:
    few, many = (
        claude.messages.count_tokens(model="north", messages=[{"role": "user", "content": text}])
        for text in ("cat", "cat dog king queen red green blue fast slow")
    )
    assert few.input_tokens + 8 == many.input_tokens


def test_tools_reach_the_engine(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """The small models never call one; but the engine reads what it is given, and says what is wrong."""
    city: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
    answer = client.chat.completions.create(
        model="north",
        messages=QUESTION,
        max_tokens=20,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": city}}],
    )
    assert "called north" in str(answer.choices[0].message.content)
    with pytest.raises(openai.APIStatusError) as declined:
        client.chat.completions.create(
            model="north",
            messages=QUESTION,
            tools=[{"type": "function", "function": {"name": "weather", "parameters": city}}],
            extra_body={"tool_choice": "nonsense"},
        )
    assert "tool_choice" in str(declined.value)
    message = claude.messages.create(
        model="north",
        messages=CLAUDE_QUESTION,
        max_tokens=20,
        tools=[{"name": "weather", "input_schema": {"type": "object"}}],
    )
    assert message.stop_reason == "end_turn"


def test_forty_alternating_requests(client: openai.OpenAI) -> None:
    for model in ["north", "south"] * 20:
        assert f"called {model}" in chat(client, model)


def test_forty_requests_at_once_each_reach_their_own_model(client: openai.OpenAI) -> None:
    models = ["north", "south"] * 20
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda model: chat(client, model), models))
    for model, answer in zip(models, answers, strict=True):
        assert f"called {model}" in answer


def test_an_unknown_model_is_the_client_library_s_not_found(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with pytest.raises(openai.NotFoundError):
        chat(client, "west")
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="west", messages=CLAUDE_QUESTION, max_tokens=20)


def test_the_listing_names_every_model(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["east", "north", "south"]


def test_what_is_llama_cpp_s_own(server: Server) -> None:
    """Properties, by the model's name and by its path; and a completion in the engine's own form."""
    by_name = json.loads(server.get("/props?model=north"))
    assert by_name == json.loads(server.get("/upstream/north/props"))
    assert by_name["model_path"].endswith("north.gguf")
    asked = json.dumps({"model": "north", "prompt": "Say", "n_predict": 4}).encode()
    posted = urllib.request.Request(f"{server.url}/completion", asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(posted, timeout=30) as answer:
        own = json.load(answer)
    assert own["tokens_predicted"] == 4
    assert own["timings"]["predicted_n"] == 4
