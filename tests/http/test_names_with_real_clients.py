"""The openai package through a profile's pin, a selector, and a peer that is another such server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
import openai
import pytest
from real_children import free_port
from served_models import ENGINE, Server, serving

from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf


def configure(folder: Path, *names: str, more: str = "") -> Path:
    """Write models that say what they are called, and their configuration."""
    folder.mkdir()
    lines = ["healthCheckTimeout: 30", "models:"]
    for name in names:
        write_tiny_gguf(TinyModel(name), folder / f"{name}.gguf")
        port = free_port()
        lines += [
            f"  {name}:",
            f"    cmd: {ENGINE} --model {folder / name}.gguf --port {port}",
            f"    proxy: http://127.0.0.1:{port}",
        ]
    config = folder / "config.yaml"
    config.write_text("\n".join([*lines, more]))
    return config


@attrs.frozen
class Pair:
    near: Server
    client: openai.OpenAI

    def chat(self, model: str, *, stream: bool = False) -> str:
        ask = self.client.chat.completions.create
        if not stream:
            answer = ask(model=model, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=20)
            return str(answer.choices[0].message.content)
        chunks = ask(
            model=model, messages=[{"role": "user", "content": "Who are you?"}], max_tokens=20, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def select(self, profile: str | None) -> None:
        request = urllib.request.Request(
            f"{self.near.url}/api/profiles/active", json.dumps({"name": profile}).encode(), method="PUT"
        )
        request.add_header("Authorization", "Bearer near-key")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer) == {"active": profile}


NEAR = """
apiKeys: [near-key]
peers:
  far: {{proxy: '{url}', models: [south], apiKey: far-key}}
selectors:
  any: {{strategy: spillover, targets: [north, far/south]}}
  here: {{strategy: warm, targets: [north]}}
profiles:
  away: {{pins: {{gpt: south, north: south}}}}
  home: {{pins: {{gpt: here}}}}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    far_config = configure(folder / "far", "south", more="apiKeys: [far-key]\n")
    with serving(far_config, folder / "far.log") as far:
        near_config = configure(folder / "near", "north", more=NEAR.format(url=far.url))
        with (
            serving(near_config, folder / "near.log") as near,
            openai.OpenAI(base_url=f"{near.url}/v1", api_key="near-key", timeout=30, max_retries=0) as client,
        ):
            yield Pair(near, client)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["far/south", "south"])
def test_a_peer_answers(pair: Pair, name: str, stream: bool) -> None:
    assert "called south" in pair.chat(name, stream=stream)


@pytest.mark.parametrize("name", ["any", "here"])
def test_a_selector_chooses(pair: Pair, name: str) -> None:
    assert "called north" in pair.chat(name)


def test_a_profile_says_what_names_mean(pair: Pair) -> None:
    with pytest.raises(openai.NotFoundError):
        pair.chat("gpt")
    pair.select("away")
    assert "called south" in pair.chat("gpt")
    assert "called south" in pair.chat("north", stream=True)
    pair.select("home")
    assert "called north" in pair.chat("gpt")
    pair.select(None)
    with pytest.raises(openai.NotFoundError):
        pair.chat("gpt")


def test_every_name_is_listed(pair: Pair) -> None:
    assert [model.id for model in pair.client.models.list()] == ["any", "far/south", "here", "north"]


def test_the_key_of_a_peer_opens_nothing_here(pair: Pair) -> None:
    with openai.OpenAI(
        base_url=f"{pair.near.url}/v1", api_key="far-key", timeout=30, max_retries=0
    ) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
