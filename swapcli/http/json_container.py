"""A JSON object or array in pieces, any of which may be replaced while the others keep every byte. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from .json_members import Text, elements, members

_SPACE = re.compile(rb"[ \t\r\n]*")
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*([{\[])")


@attrs.define(eq=False)
class Entry:
    """A member of an object, or an element of an array, with what stands around it."""

    key: str
    """Empty in an array."""
    before: Text
    """The key and its colon, and white space."""
    value: Text | Container
    """A container once something in it was to be edited."""
    after: list[Text] = attrs.field(factory=list[Text])
    """White space up to the comma or the end."""

    def inside(self) -> Container | None:
        """Return the container that the value is, for edits in place; None when it is none."""
        match self.value:
            case Container() as container:
                return container
            case text:
                inner = take_apart(text)
                self.value = text if inner is None else inner
                return inner

    def text(self) -> Text:
        """Return the value in one piece."""
        match self.value:
            case Container() as container:
                return container.joined()
            case text:
                return text


@attrs.define(eq=False)
class Container:
    """Made by `take_apart`. It need not be complete: whatever follows the last whole entry stays as it is."""

    is_object: bool
    opening: list[Text]
    entries: list[Entry]
    closing: Text

    def append(self, before: bytes, value: Text, key: str = "") -> None:
        """Add an entry directly before the closing bracket."""
        self.entries.append(Entry(key, before, value))

    def remove(self, entry: Entry) -> None:
        """Take an entry out, with one comma, and the space that this leaves over."""
        at = self.entries.index(entry)
        if at:
            self.entries[at - 1].after += entry.after
        elif len(self.entries) == 1:
            self.opening += entry.after
        del self.entries[at]

    def pieces(self) -> Iterator[Text]:
        """Yield the text from beginning to end."""
        yield from self.opening
        for number, entry in enumerate(self.entries):
            if number:
                yield b","
            yield entry.before
            match entry.value:
                case Container() as inner:
                    yield from inner.pieces()
                case text:
                    yield text
            yield from entry.after
        yield self.closing

    def joined(self) -> bytes:
        return b"".join(self.pieces())


def take_apart(text: Text) -> Container | None:
    """Return the container that ``text`` is; None when it is something else, or nothing."""
    document, opening = memoryview(text), _OPENING.match(text)
    if opening is None:
        return None
    is_object = opening[1] == b"{"
    position = end = opening.end()
    container = Container(is_object, [document[:position]], [], b"")
    for member in members(document) if is_object else elements(document):
        end = _end_of_space(document, member.end)
        before, value = document[position : member.start], document[member.start : member.end]
        container.entries.append(Entry(member.key, before, value, [document[member.end : end]]))
        position = end + 1  # behind the comma; where there is none, no entry follows
    if not container.entries:
        end = _end_of_space(document, position)
        container.opening.append(document[position:end])
    container.closing = document[end:]
    return container


def _end_of_space(document: Text, start: int) -> int:
    space = _SPACE.match(document, start)
    assert space is not None
    return space.end()
