"""The words that a key takes, where they are fixed. The checks and the JSON Schema go by the same ones."""

from __future__ import annotations

LOG_LEVELS = ("debug", "info", "warn", "error")
LOG_TIME_FORMATS = (
    "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z", "rfc3339",
    "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip
LOG_TO_STDOUT = ("proxy", "upstream", "both", "none")
MEDIA = ("text", "audio", "image")
RESTART_POLICIES = ("never", "on-demand", "always")
# By name rather than from the signal module, so that a file checks the same on every platform.
SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL")
ROUTERS = ("group", "matrix")
SCHEDULERS = ("fifo",)
STRATEGIES = ("warm", "pin", "spillover")


def in_any_case(words: tuple[str, ...], *, before: str = "") -> str:
    """A pattern of JSON Schema for *words*, whatever their case, with blanks around them.

    Patterns there are JavaScript's, which has no switch for case inside a pattern.

    Args:
      before: what may stand before a word, and need not.
    """

    def any_case(text: str) -> str:
        return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in text)

    return rf"^\s*(?:{any_case(before)})?(?:{'|'.join(map(any_case, words))})\s*$"
