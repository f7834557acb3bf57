"""Finds some members of a JSON object without keeping the document. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

import attrs

_PART_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SHALLOW = re.compile(rb'["{}\[\],:]')
_DEEP = re.compile(rb'["{}\[\]]')
_OPENING, _CLOSING = b"{[", b"}]"
_MOST = 64 * 1024
"""Bytes that are kept of a key or a value; what is longer is not what we look for."""


@attrs.define(eq=False)
class JsonWalk:
    """Follows the brackets and strings of an object. What lies between them is not checked.

    Pieces may be cut anywhere. The work for each is proportional to the brackets and strings in it; numbers
    and the insides of strings pass at the speed of a search.
    """

    _names: Collection[str]
    members: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)
    """Of those that were asked for, what was found, as it is written."""
    _depth: int = attrs.field(default=0, init=False)
    _in_string: bool = attrs.field(default=False, init=False)
    _escaped: bool = attrs.field(default=False, init=False)
    """The last piece ended with the backslash of an escape."""
    _name: str = attrs.field(default="", init=False)
    """Of the member at hand, once its key was read."""
    _in_key: bool = attrs.field(default=False, init=False)
    _text: bytearray | None = attrs.field(default=None, init=False)
    """The key or value at hand, where it matters."""
    _broken: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    @property
    def is_complete(self) -> bool:
        """The object was closed, and nothing that follows it made no sense."""
        return self._ended and not self._broken

    def feed(self, data: bytes) -> None:
        """Take the next piece of the document."""
        position = kept_to = 0
        while position < len(data) and not self._broken:
            if self._in_string:
                position = self._through_string(data, position)
                continue
            found = (_SHALLOW if self._depth <= 1 else _DEEP).search(data, position)
            if self._depth == 0 and data[position : found.start() if found else None].strip():
                self._broken = True
                return
            if found is None:
                break
            position = found.end()
            kept_to = self._at(data, found.start(), kept_to)
        self._keep(data[kept_to:])

    def _through_string(self, data: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        part = _PART_OF_STRING.match(data, position)
        assert part is not None
        end = part.end()
        if end < len(data):
            if data[end] == 0x22:
                self._in_string = False
            else:
                self._escaped = True
            end += 1
        return end

    def _at(self, data: bytes, start: int, kept_to: int) -> int:
        """Take the step that the character at *start* means; returns from where on to keep text."""
        character = data[start : start + 1]
        if character == b'"':
            self._in_string = True
            if self._depth == 0:
                self._broken = True
            elif self._depth == 1 and self._in_key and self._text is None:
                self._text = bytearray()
                return start
        elif character in (b"{", b"["):
            if self._depth == 0 and (self._ended or character == b"["):
                self._broken = True
            self._depth += 1
            self._in_key = self._depth == 1
        elif character in (b"}", b"]"):
            if self._depth == 1:
                self._finish_value(data[kept_to:start])
                self._ended = True
            self._depth -= 1
            self._broken = self._broken or self._depth < 0
        elif self._depth == 0:
            self._broken = True
        elif character == b":" and self._in_key:
            self._finish_key(data[kept_to:start])
            return start + 1
        elif character == b",":
            self._finish_value(data[kept_to:start])
            self._in_key, self._name = True, ""
        return kept_to

    def _keep(self, data: bytes) -> None:
        if self._text is not None and data:
            self._text += data
            if len(self._text) > _MOST:
                self._text, self._name = None, ""

    def _finish_key(self, rest: bytes) -> None:
        self._keep(rest)
        key, self._text, self._in_key = self._text, None, False
        name = bytes(key or b"").strip()[1:-1].decode("utf-8", "replace")
        if name in self._names:
            self._name, self._text = name, bytearray()

    def _finish_value(self, rest: bytes) -> None:
        self._keep(rest)
        if self._text is not None and self._name:
            self.members[self._name] = bytes(self._text)
        self._text = None
