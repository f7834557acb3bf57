"""TLS towards clients: what may be spoken below it, and certificates that cannot be used."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from h2.settings import SettingCodes
from http_wire import CHUNKED, PATIENCE, Client, Seen, always, chunk, plain, request, rig, upstream
from localhost_certificate import write_certificate
from time_taken import takes

from swapcli.http import CannotUseCertificate, ServerLimits, ServerTls

BODY = b'{"model":"m"}'


async def connect(port: int, certificate: Path, *protocols: str) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.create_default_context(cafile=str(certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=context, https_compatible=True
    )
    with trio.fail_after(PATIENCE):
        await stream.do_handshake()
    return stream


@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("h3", "http/1.1")])
async def test_http1_below_tls(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    tls = ServerTls(*write_certificate(tmp_path))
    async with upstream(always(plain(b"x" * 100_000))) as up, rig(up.endpoint, tls=tls.context) as served:
        stream = await connect(served.server.port, tls.certificate, *protocols)
        client = Client(stream)  # type: ignore[arg-type]
        for _ in range(2):
            ask = request("POST", "/v1/completions", "Content-Type: application/json", body=BODY)
            await client.send(ask)
            assert (await client.reply("POST")).body == b"x" * 100_000
        await stream.aclose()


async def test_http2_for_clients_that_ask_for_it(tmp_path: Path) -> None:
    tls = ServerTls(*write_certificate(tmp_path))
    async with upstream(always(plain(b"x" * 100_000))) as up, rig(up.endpoint, tls=tls.context) as served:
        stream = await connect(served.server.port, tls.certificate, "h2", "http/1.1")
        assert stream.selected_alpn_protocol() == "h2"
        client = h2.connection.H2Connection(h2.config.H2Configuration())
        client.initiate_connection()
        head = [(":method", "POST"), (":path", "/v1/completions"), (":scheme", "https"), (":authority", "x")]
        client.send_headers(1, [*head, ("content-type", "application/json")])
        client.send_data(1, BODY, end_stream=True)
        await stream.send_all(client.data_to_send())
        received, ended = 0, False
        with trio.fail_after(PATIENCE):
            while not ended:
                for event in client.receive_data(bytes(await stream.receive_some(65536))):
                    if isinstance(event, h2.events.RemoteSettingsChanged):
                        offered = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
                        assert offered is None or offered.new_value == 0, "websockets are HTTP/1.1"
                    if isinstance(event, h2.events.DataReceived):
                        received += len(event.data)
                        client.acknowledge_received_data(event.flow_controlled_length, 1)
                    ended = ended or isinstance(event, h2.events.StreamEnded)
                await stream.send_all(client.data_to_send())
        assert received == 100_000
        await stream.aclose()


async def test_a_client_that_leaves_is_seen_below_tls_too(tmp_path: Path) -> None:
    tls = ServerTls(*write_certificate(tmp_path))

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        await stream.receive_some(1)
        up.client_gone.set()

    async with upstream(answer) as up, rig(up.endpoint, tls=tls.context) as served:
        stream = await connect(served.server.port, tls.certificate)
        await stream.send_all(request("POST", "/v1/completions", "Content-Type: application/json", body=BODY))
        await stream.receive_some(1000)
        stream.transport_stream.socket.close()
        with takes(most=0.5), trio.fail_after(10):
            await up.client_gone.wait()


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""])
async def test_who_speaks_no_tls_ends_nobody_else(tmp_path: Path, first: bytes) -> None:
    tls = ServerTls(*write_certificate(tmp_path))
    async with rig(tls=tls.context, limits=ServerLimits(tls_handshake=0.5)) as served:
        client = await served.server.client()
        await client.send(first)
        await client.rest()  # until the server hangs up
        stream = await connect(served.server.port, tls.certificate)
        await stream.send_all(request("GET", "/health"))
        assert b" 200 " in await stream.receive_some(1000)
        await stream.aclose()


async def test_a_certificate_can_be_replaced_while_the_server_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(*write_certificate(tmp_path))
    good = tls.certificate.read_text()
    async with rig(tls=tls.context) as served:
        tls.certificate.write_text("nonsense")
        with caplog.at_level(logging.WARNING):
            tls.renew()
        assert "the old certificate stays in use" in caplog.text
        other = tmp_path / "other.pem"
        other.write_text(good)
        await (await connect(served.server.port, other)).aclose()
        tls.certificate.write_text(good)
        tls.renew()
        await (await connect(served.server.port, other)).aclose()


ENCRYPTED = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhlx3ZES5892AICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEC4pevTuMDAH17u8SIiwnMEEgZDt
+H8mluhtTR7/4UF1iP7rh+niezOSsGFO1vRr3SMX3VvEvJxZQ4YewcQZDzJnQgsl
HIy6WC5xpu2knl7Et6tpJhiPOw9nRZ7lpJVt8jIcLm5xxqa8pIIjxWlgoYSWnP3l
qCPfEZE/S7rA4GpHuLAazwvXFCegdgHpgIL588v92Att5fCTpGMWL6ZboXX8gkI=
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("certificate.pem", None, "No such file"),
        ("key.pem", None, "No such file"),
        ("certificate.pem", "nonsense", "no certificate and key in PEM"),
        ("key.pem", "nonsense", "no certificate and key in PEM"),
        ("key.pem", ENCRYPTED, "passphrase"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, file: str, text: str | None, why: str) -> None:
    certificate, key = write_certificate(tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(CannotUseCertificate, match=why) as error:
        ServerTls(certificate, key)
    assert file in str(error.value)
