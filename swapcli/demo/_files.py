"""Where the demo's files are, and making them."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from ._atomic import replacing
from ._config_text import config_text
from ._models import MODELS, file_name, write_if_needed

_SIGNATURE = "# Untouched since swapcli wrote it: "


@attrs.frozen
class DemoFiles:
    """What `prepare` left on disk."""

    config: Path
    kept: bool
    """The configuration was edited by someone, so it was left alone."""


def demo_directory(*, environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where the demo's files live: the user's cache, where losing them costs nothing.

    Source: XDG Base Directory Specification (a relative path in ``XDG_CACHE_HOME`` is to be ignored); the
    conventions of macOS and Windows.
    """
    home = Path(environ.get("HOME") or Path.home())
    given = environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        cache = Path(given)
    elif platform == "darwin":
        cache = home / "Library" / "Caches"
    elif platform == "win32":
        cache = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        cache = home / ".cache"
    return cache / "swapcli" / "demo"


def prepare(directory: Path, *, progress: Callable[[str], None]) -> DemoFiles:
    """Make what is missing or out of date in ``directory``; several programs may do so at once. Blocks.

    Args:
      progress: called with one line for the user after each file written.

    Raises:
      MissingExtra: models must be made, and the packages of the extra ``llama`` are not installed.
      OSError: a file cannot be written.
      ValueError: the directory's name cannot be written in a configuration.
    """
    text = config_text(directory, python=sys.executable)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for model in MODELS:
        if write_if_needed(model, directory):
            progress(f"wrote {directory / file_name(model)}")
    config = directory / "config.yaml"
    signed = _sign(text)
    found = config.read_text(encoding="utf-8", errors="replace") if config.exists() else None
    if found is not None and not _is_ours(found):
        return DemoFiles(config, kept=True)
    if found != signed:
        with replacing(config) as unfinished:
            unfinished.write_text(signed, encoding="utf-8", newline="\n")
        progress(f"wrote {config}")
    return DemoFiles(config, kept=False)


def _sign(text: str) -> str:
    return f"{text}{_SIGNATURE}{hashlib.sha256(text.encode()).hexdigest()}\n"


def _is_ours(found: str) -> bool:
    """Whether the last line still fits the text above it, whichever release wrote it."""
    text, mark, _ = found.rpartition(_SIGNATURE)
    return bool(mark) and found == _sign(text)
