"""ruamel.yaml's scanner, taking the white space that llama-swap's library takes."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml.scanner import Scanner

_BREAKS = "\r\n\x85\u2028\u2029"
_END = "\0" + _BREAKS
_INDICATORS = re.compile(r"([+-]?)([1-9]?)([+-]?)")


class WhiteSpaceScanner(Scanner):
    """Takes what ruamel refuses.

    That is ``key:<tab>value``, ``some<tab>words``, a tab after ``|``, and a block whose first line is blank
    and has fewer spaces than the next one. Indentation stays with spaces.
    """

    def scan_to_next_token(self) -> Any:
        """Go to where the next token starts."""
        super().scan_to_next_token()
        # Where a key may start, white space is indentation.
        while self.reader.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.reader.forward()
            super().scan_to_next_token()

    def scan_plain_spaces(self, indent: Any, start_mark: Any) -> Any:
        """The white space after a word of a plain scalar, as far as it may belong to the scalar."""
        length = 0
        while self.reader.peek(length) in " \t":
            length += 1
        space = self.reader.prefix(length)
        if "\t" not in space:
            return super().scan_plain_spaces(indent, start_mark)
        self.reader.forward(length)
        if self.reader.peek() in _END:
            return super().scan_plain_spaces(indent, start_mark)
        return [space]

    def scan_block_scalar_indicators(self, start_mark: Any) -> Any:
        """Whether trailing line breaks are kept, and the indentation, as written after ``|`` or ``>``."""
        length = 0
        while self.reader.peek(length) in "+-123456789":
            length += 1
        match = _INDICATORS.fullmatch(self.reader.prefix(length))
        if match is None or (match[1] and match[3]) or self.reader.peek(length) != "\t":
            return super().scan_block_scalar_indicators(start_mark)
        self.reader.forward(length)
        chomping = {"+": True, "-": False}.get(match[1] or match[3] or "")
        return chomping, int(match[2]) if match[2] else None

    def scan_block_scalar_ignored_line(self, start_mark: Any) -> Any:
        """The rest of the line of a ``|`` or ``>``."""
        while self.reader.peek() in " \t":
            self.reader.forward()
        return super().scan_block_scalar_ignored_line(start_mark)

    def scan_block_scalar_indentation(self) -> Any:
        """The blank lines before a block's text, the deepest indentation up to it, and where they end."""
        blank, deepest, end = [], 0, self.reader.get_mark()
        while (c := self.reader.peek()) == " " or c in _BREAKS:
            if c == " ":
                self.reader.forward()
                deepest = max(deepest, self.reader.column)
            else:
                blank.append(self.scan_line_break())
                end = self.reader.get_mark()
        return blank, deepest, end
