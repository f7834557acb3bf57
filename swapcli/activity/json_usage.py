"""Figures in an answer that is one JSON document, read as it passes. Pure.

A short document is decoded at its end, at the speed of C. A long one (a batch of embeddings, images) is not
kept: a walk over its brackets and strings finds the members that matter.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .growing_bytes import grown
from .json_walk import JsonWalk
from .tokens import UsageFigures

SHORT = 256 * 1024
"""Bytes up to which a document is kept to be decoded whole."""


class _Document(msgspec.Struct):
    usage: Any = msgspec.UNSET
    timings: Any = msgspec.UNSET
    metrics: Any = msgspec.UNSET


_MAY_BE_JSON = re.compile(rb"[ \t\r\n]*(?:[{\[]|$)")
_NAMES = _Document.__struct_fields__
_DOCUMENT = msgspec.json.Decoder(_Document)
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class JsonUsage(msgspec.Struct, eq=False):
    """Feed it the document piece by piece; at the end, `figures` says what was in it."""

    infill: bool = False
    """The document may be a list, as llama.cpp's ``/infill`` answers; the last element counts."""
    _kept: bytes | bytearray = b""
    _walk: JsonWalk | None = None
    _hopeless: bool = False

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self._hopeless:
            return
        if self._walk is not None:
            self._walk.feed(data)
            return
        if not self._kept and not _MAY_BE_JSON.match(data):
            self._hopeless = True  # sound, an image, text
            return
        self._kept = grown(self._kept, data)
        if len(self._kept) > SHORT:
            self._walk = JsonWalk(_NAMES)
            self._walk.feed(bytes(self._kept))
            self._kept = b""

    @property
    def unread(self) -> int:
        """Bytes that `figures` has to look at."""
        return len(self._kept)

    def figures(self) -> UsageFigures:
        """Return what was found; nothing, if the document is not valid JSON, or was cut off."""
        figures = UsageFigures()
        if self._walk is not None:
            members = self._walk.members if self._walk.is_complete else {}
            for name, raw in members.items():
                _add(figures, name, _decoded(raw))
        elif self._kept:
            document = self._decode(bytes(self._kept))
            for name in _NAMES:
                if (value := getattr(document, name)) is not msgspec.UNSET:
                    _add(figures, name, value)
        return figures

    def _decode(self, text: bytes) -> _Document:
        try:
            if self.infill and text.lstrip().startswith(b"["):
                elements = _ELEMENTS.decode(text)
                last = _DOCUMENT.decode(elements[-1]) if elements else _Document()
                return _Document(timings=last.timings)
            return _DOCUMENT.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _Document()


def _add(figures: UsageFigures, name: str, value: Any) -> None:
    figures.found = True  # a member that is there and null is an answer, too: nothing was used
    match name:
        case "usage":
            figures.add_usage(value)
        case "timings":
            figures.add_timings(value)
        case _:
            figures.add_metrics(value)


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
