"""Talking to a running server from the command line."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from ._failure import Failure

_CONNECT_SECONDS = 10.0
_PIECE = 65536


class Refused(Failure):
    """The server answered with an error; ``answer`` is its JSON, empty where it was none."""

    def __init__(self, message: str, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.answer = answer


@attrs.frozen
class Client:
    """A server at a base URL. Every method raises `Failure`, with what the user can do about it."""

    url: str
    key: str = ""

    def ask(self, method: str, path: str, model: str = "") -> Any:
        """Send a request and return the answer: what its JSON says, or its text. Takes as long as it takes.

        Args:
          model: goes behind *path*.
        """
        body = b"".join(self.stream(method, path, model))
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")

    def stream(self, method: str, path: str, model: str = "") -> Iterator[bytes]:
        """Send a request as `ask` does, and yield its answer as it comes."""
        connection, base = self._connection()
        with closing(connection):
            response = self._answer(connection, method, base + path + quote(model, safe="/"), model)
            try:
                while piece := response.read1(_PIECE):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise Failure(f"the server at {self.url} has gone") from error

    def _answer(
        self, connection: http.client.HTTPConnection, method: str, path: str, model: str
    ) -> http.client.HTTPResponse:
        headers: dict[str, str | bytes] = {"Accept": "application/json", "User-Agent": "swapcli"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}".encode("utf-8", "surrogateescape")
        try:
            connection.connect()
            # From here on the server is there, and a load takes as long as it takes.
            connection.sock.settimeout(None)
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(self._unreachable(error)) from error
        if response.status >= 400:
            raise self._refused(response, model)
        return response

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
        try:
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError
            port = parts.port
        except ValueError:
            raise Failure(
                f"{self.url!r} is no URL of a server; write for example http://127.0.0.1:8080"
            ) from None
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return make(parts.hostname, port, timeout=_CONNECT_SECONDS), parts.path.rstrip("/")

    def _unreachable(self, error: Exception) -> str:
        match error:
            case ConnectionRefusedError() | socket.gaierror():
                why = f"no server answers at {self.url}"
            case TimeoutError():
                why = f"{self.url} does not answer"
            case ssl.SSLCertVerificationError():
                return (
                    f"the certificate of {self.url} is not trusted: {error.verify_message}; one that is "
                    "meant to be goes into a file that SSL_CERT_FILE names"
                )
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
                return f"the server at {self.url} does not speak TLS; write http:// instead of https://"
            case http.client.RemoteDisconnected() if not self.url.startswith("https"):
                return f"the server at {self.url} answers nothing; if it speaks TLS, write https://"
            case _:
                why = f"cannot talk to {self.url}: {str(error) or type(error).__name__}"
        return f"{why}; start one with `swapcli serve`, or name another with --url or SWAPCLI_URL"

    def _refused(self, response: http.client.HTTPResponse, model: str) -> Failure:
        body = response.read(_PIECE)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("src") != "swapcli":
            return Failure(
                f"what answers at {self.url} is no swapcli server: {response.status} {response.reason}"
            )
        if response.status == 401:
            wrong = "does not know this key" if self.key else "wants a key"
            return Failure(f"the server at {self.url} {wrong}; give one with --api-key or SWAPCLI_API_KEY")
        message = str(answer.get("error", {}).get("message", response.reason))
        if response.status == 404 and model:
            message += f": {model!r}; `swapcli ps --all` lists the models"
        return Refused(message, answer)
