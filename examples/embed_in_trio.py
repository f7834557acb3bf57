"""Two servers that may not run at once, and a program that talks to both.

Run it: ``python examples/embed_in_trio.py``
"""

from __future__ import annotations

import sys

import trio

from swapcore import ModelId, ModelSpec, open_supervisor

# Any program that answers a GET of its check_path with 200 will do; these two serve this folder.
SERVER = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")
SPECS = [
    ModelSpec(ModelId("qwen"), (*SERVER, "18411"), "http://127.0.0.1:18411", check_path="/"),
    ModelSpec(ModelId("llama"), (*SERVER, "18412"), "http://127.0.0.1:18412", check_path="/"),
]


async def ask(host: str, port: int) -> bytes:
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        return (await stream.receive_some(100)).splitlines()[0]


async def main() -> None:
    async with open_supervisor(SPECS) as supervisor:
        for model in (ModelId("qwen"), ModelId("llama"), ModelId("qwen")):
            async with supervisor.lease(model) as endpoint:  # waits for the swap
                print(model, "at", endpoint.url, "says", (await ask(endpoint.host, endpoint.port)).decode())
    # Here every process is gone.


if __name__ == "__main__":
    trio.run(main)
