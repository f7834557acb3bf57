"""Command lines that a person can paste to talk to the demo."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping

from ._models import CHAT, EMBEDDING


def curl_lines(url: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """One command for each of the demo's models, for the shell of this system.

    ``url`` is the server's, without a slash at its end.
    """
    question = [{"role": "user", "content": "Who are you?"}]
    alpha, beta = CHAT
    requests: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("/v1/chat/completions", {"model": alpha, "messages": question}),
        ("/v1/chat/completions", {"model": beta, "messages": question, "stream": True}),
        ("/v1/embeddings", {"model": EMBEDDING, "input": "hello world"}),
    )
    return tuple(_curl(url + path, body, windows=windows) for path, body in requests)


def _curl(url: str, body: Mapping[str, object], *, windows: bool) -> str:
    # -N shows a streamed answer as it comes.
    words = ("curl", "-N", url, "-H", "Content-Type: application/json", "-d", json.dumps(body))
    return " ".join(_cmd_quote(word) if windows else shlex.quote(word) for word in words)


def _cmd_quote(word: str) -> str:
    """Quoted for cmd.exe, which knows no single quotes."""
    if word.replace("-", "").isalnum():
        return word
    return '"' + word.replace('"', '\\"') + '"'
