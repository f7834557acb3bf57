"""Expressions of ``upstream.ignorePaths``: RE2's, as in llama-swap, matched in time linear in the text.

A client chooses the text, and Python's `re` would be busy with some of them for ever.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import re2  # type: ignore[import-untyped]


def pattern_fault(pattern: str) -> str | None:
    """Why *pattern* is no RE2 expression; ``None`` when it is one."""
    try:
        _compiled(pattern)
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    except re2.error as error:
        reason: bytes = error.args[0]
        return reason.decode(errors="replace")
    return None


def is_found(pattern: str, text: str) -> bool:
    """*pattern*, which has no fault, matches somewhere in *text*."""
    return _compiled(pattern).search(text.encode(errors="replace").decode()) is not None


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # on standard error
    return re2.compile(pattern, options=options)
