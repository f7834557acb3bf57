"""Talking to a running server from the command line."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import attrs
import msgspec

from ._answers import ConfigurationProblem, Done, Error, NotReloaded
from ._failure import Failure

_CONNECT_SECONDS = 10.0
_PIECE = 65536
_SENT_AS_IT_IS = "/%:@!$&'()*+,;=~"
"""In the path of a URL, besides what never is quoted."""

_T = TypeVar("_T")


class Refused(Failure):
    """The server answered with an error; ``answer`` is its JSON."""

    def __init__(self, message: str, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.answer = answer

    @property
    def problems(self) -> list[ConfigurationProblem]:
        """Those of a configuration, for which it was not reloaded."""
        refusal = _fitting(self.answer, NotReloaded)
        return [] if refusal is None else refusal["problems"]


def _fitting(value: Any, shape: type[_T]) -> _T | None:
    """Return *value*, all of it, if what *shape* names is there and of its type."""
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None
    fits: _T = value
    return fits


def _json(text: bytes) -> Any:
    """Return what it says; ``None``, if it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@attrs.frozen
class Client:
    """A server at a base URL. Every method raises `Failure`, with what the user can do about it."""

    url: str
    key: str = ""

    def ask(self, method: str, path: str, shape: type[_T]) -> _T:
        """Send a request and return the answer, which is JSON. Takes as long as it takes.

        Args:
          shape: what the answer has at least; a typed dictionary.
        """
        answer = _fitting(_json(b"".join(self.stream(method, path))), shape)
        if answer is None:
            raise self._stranger()
        return answer

    def do(self, path: str, model: str = "") -> None:
        """Have something done, and return once the server says that it is.

        Args:
          model: goes behind *path*.
        """
        said = b"".join(self.stream("POST", path, model))
        if said != b"OK" and _fitting(_json(said), Done) is None:
            raise self._stranger()

    def stream(self, method: str, path: str, model: str = "") -> Iterator[bytes]:
        """Send a request, and yield its answer as it comes. *model* goes behind *path*."""
        connection, base = self._connection()
        with closing(connection):
            # An argument that is no text of this locale is passed on byte by byte.
            name = quote(model, safe="/", errors="surrogateescape")
            response = self._answer(connection, method, base + path + name, model)
            left = response.length  # of which `read1` does not say that it was not all
            try:
                while piece := response.read1(_PIECE):
                    left = left and left - len(piece)
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise Failure(f"the server at {self.url} has gone") from error
            if left:
                raise Failure(f"the server at {self.url} has gone")

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
        except ValueError as error:  # of a header; the path is quoted
            raise Failure("a key is one line; this one is longer") from error
        if response.status != 200:
            raise self._refused(response, model)
        return response

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        try:
            parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError
            parts.hostname.encode("idna")  # as the look-up of its address will do
            make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            connection = make(parts.hostname, parts.port, timeout=_CONNECT_SECONDS)
        except (ValueError, http.client.InvalidURL):
            raise Failure(
                f"{self.url!r} is no URL of a server; write for example http://127.0.0.1:8080"
            ) from None
        return connection, quote(parts.path.rstrip("/"), safe=_SENT_AS_IT_IS, errors="surrogateescape")

    def _stranger(self) -> Failure:
        return Failure(f"what answers at {self.url} is no swapcli server, or one of another version")

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
            case http.client.BadStatusLine() if not isinstance(error, http.client.RemoteDisconnected):
                return f"what answers at {self.url} is no swapcli server: it does not speak HTTP"
            case _:
                why = f"cannot talk to {self.url}: {str(error) or type(error).__name__}"
        return f"{why}; start one with `swapcli serve`, or name another with --url or SWAPCLI_URL"

    def _refused(self, response: http.client.HTTPResponse, model: str) -> Failure:
        try:
            body = response.read(_PIECE)
        except (OSError, http.client.HTTPException):
            return Failure(f"the server at {self.url} has gone")
        answer = _fitting(_json(body), Error)
        if answer is None or answer["src"] != "swapcli":
            return Failure(
                f"what answers at {self.url} is no swapcli server: {response.status} {response.reason}"
            )
        if response.status == 401:
            wrong = "does not know this key" if self.key else "wants a key"
            return Failure(f"the server at {self.url} {wrong}; give one with --api-key or SWAPCLI_API_KEY")
        message = answer["error"]["message"]
        if response.status == 404 and model:
            message += f": {model!r}; `swapcli ps --all` lists the models"
        return Refused(message, answer)
