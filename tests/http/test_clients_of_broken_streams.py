"""What client libraries make of a process that dies in the middle of its answer: an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anthropic
import httpx2
import openai
import pytest
import trio
from http_wire import CHUNKED, PATIENCE, Seen, chunk, rig, upstream

from swapcore import Endpoint

OF_OPENAI = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"half an ans"},"finish_reason":null}]}\n\n'
)
OF_ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"1","type":"message",'
    b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
)


def of_openai(url: str) -> Iterable[object]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=20, max_retries=0) as client:
        yield from client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )


def of_anthropic(url: str) -> Iterable[object]:
    with anthropic.Anthropic(base_url=url, api_key="none", timeout=20, max_retries=0) as client:
        yield from client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True
        )


@pytest.mark.rule("G45")
@pytest.mark.parametrize(
    ("events", "first"), [(of_openai, OF_OPENAI), (of_anthropic, OF_ANTHROPIC)], ids=["openai", "anthropic"]
)
async def test_an_answer_that_breaks_off_is_raised(
    events: Callable[[str], Iterable[object]], first: bytes
) -> None:
    came = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(first))
        with trio.fail_after(PATIENCE):
            await came.wait()
        stream.socket.close()

    got: list[object] = []
    async with upstream(answer) as up, rig(Endpoint(f"http://127.0.0.1:{up.port}")) as served:

        def consume() -> None:
            for event in events(f"http://127.0.0.1:{served.server.port}"):
                got.append(event)
                trio.from_thread.run_sync(came.set)

        with pytest.raises((httpx2.RemoteProtocolError, openai.APIError, anthropic.APIError)):
            await trio.to_thread.run_sync(consume)
    assert len(got) == 1
