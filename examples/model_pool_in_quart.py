"""A Quart-Trio application of one's own that serves two models which may not run at once.

Run it: ``python examples/model_pool_in_quart.py`` (asks itself and ends; ``--serve``: stays, at port 5000)
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator

import trio
from quart_trio import QuartTrio

from swapcore import ModelId, ModelSpec, Supervisor, SwapcoreError, UnknownModel, open_supervisor

MODEL = """
import sys, wsgiref.simple_server
def answer(environ, start): start("200 OK", []); return [f"I am {sys.argv[1]}".encode()]
wsgiref.simple_server.make_server("127.0.0.1", int(sys.argv[2]), answer).serve_forever()
"""
SPECS = [
    ModelSpec(ModelId(name), (sys.executable, "-c", MODEL, name, str(port)), f"http://127.0.0.1:{port}")
    for name, port in (("qwen", 18416), ("llama", 18417))
]


class ModelPool(QuartTrio):
    supervisor: Supervisor


app = ModelPool(__name__)


@app.while_serving
async def run_models() -> AsyncGenerator[None]:
    async def hold(*, task_status: trio.TaskStatus[Supervisor]) -> None:
        async with open_supervisor(SPECS) as supervisor:
            task_status.started(supervisor)
            await serving_ended.wait()

    serving_ended = trio.Event()
    app.supervisor = await app.nursery.start(hold)  # in a task: no nursery may surround the yield
    yield
    serving_ended.set()


@app.get("/ask/<model>")
async def ask(model: str) -> bytes:
    async with app.supervisor.lease(ModelId(model)) as endpoint:  # a client that hangs up leaves the line
        stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join([bytes(chunk) async for chunk in stream]).partition(b"\r\n\r\n")[2]


@app.errorhandler(SwapcoreError)
async def turned_away(error: SwapcoreError) -> tuple[str, int]:
    return str(error), 404 if isinstance(error, UnknownModel) else 503


async def ask_itself() -> None:
    async with app.test_app() as running:
        for path in ("/ask/qwen", "/ask/llama", "/ask/qwen", "/ask/gpt"):
            response = await running.test_client().get(path)
            print(path, response.status_code, await response.get_data(as_text=True))


if __name__ == "__main__":
    app.run() if "--serve" in sys.argv else trio.run(ask_itself)
