"""An upstream that speaks https."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from http_wire import plain
from localhost_certificate import write_certificate

from swapcore import Endpoint


@asynccontextmanager
async def encrypted_upstream(folder: Path) -> AsyncGenerator[tuple[Endpoint, Path]]:
    """Answer every request with "over tls"; gives the endpoint, and the file of its certificate."""
    certificate, key = write_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def converse(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while await stream.receive_some():
                await stream.send_all(plain(b"over tls"))
        except trio.BrokenResourceError:
            pass  # the relay did not like the certificate, or has closed
        finally:
            stream.transport_stream.socket.close()

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
    inner = listeners[0].transport_listener
    assert isinstance(inner, trio.SocketListener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield Endpoint(f"https://localhost:{inner.socket.getsockname()[1]}"), certificate
        nursery.cancel_scope.cancel()
