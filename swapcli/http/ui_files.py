"""The web page's files, our own or those of another build: which one a path means, and how it is sent."""

from __future__ import annotations

import base64
import hashlib
import re
from mimetypes import MimeTypes
from pathlib import Path

import attrs

_OWN_FOLDER = Path(__file__).parents[1] / "ui"
_INDEX = "index.html"
_TYPES = MimeTypes()
for _ending, _type in {
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _TYPES.add_type(_type, _ending)  # the same on every system
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@attrs.frozen
class UiFile:
    """What is sent."""

    body: bytes
    headers: dict[str, str]


@attrs.frozen
class UiFiles:
    """The files of one folder. Reads them when they are asked for, so a build may be replaced at any time."""

    folder: Path = _OWN_FOLDER

    def read(self, name: str, accept_encoding: str) -> UiFile | None:
        """Return what ``/ui/<name>`` is: the file, or the page itself, whose script knows other paths, too.

        Blocks, on the disk. ``None``: the name is one of a file, and there is none.

        Args:
          name: percent-decoded; whatever it says, nothing outside of the folder is read.
          accept_encoding: the request's; if it has ``br``, a compressed file beside the file is sent.
        """
        if (found := self._read(name, accept_encoding)) is not None:
            return found
        return None if "." in name.rpartition("/")[2] else self._read(_INDEX, accept_encoding)

    def _read(self, name: str, accept_encoding: str) -> UiFile | None:
        path = self._inside(name)
        if path is None:
            return None
        headers = {
            "Content-Type": _type_of(name),
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
        }
        codings = {item.partition(";")[0].strip() for item in accept_encoding.split(",")}
        compressed = self._inside(f"{name}.br") if "br" in codings else None
        body = None if compressed is None else _bytes_of(compressed)
        if body is not None:
            headers |= {"Content-Encoding": "br", "Vary": "Accept-Encoding"}
        else:
            body = _bytes_of(path)
        if body is None:
            return None
        if self.folder == _OWN_FOLDER and name == _INDEX:
            headers["Content-Security-Policy"] = _policy(body)
        return UiFile(body, headers)

    def _inside(self, name: str) -> Path | None:
        """Return the path of a file in the folder; links may not lead out of it."""
        parts = name.split("/")
        if any(part in ("", ".", "..") or re.search(r"[\\:\0]", part) for part in parts):
            return None
        try:
            path, folder = self.folder.joinpath(*parts).resolve(), self.folder.resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a name that cannot be one
            return None
        return path if path.is_relative_to(folder) else None


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def _type_of(name: str) -> str:
    kind = _TYPES.guess_type(name.rpartition("/")[2])[0] or "application/octet-stream"
    is_text = kind.startswith("text/") or kind == "application/json"
    return f"{kind}; charset=utf-8" if is_text else kind


def _policy(page: bytes) -> str:
    """What a browser lets the page do: run its own script, and talk to this server."""
    digests = (base64.b64encode(hashlib.sha256(script).digest()) for script in _SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
