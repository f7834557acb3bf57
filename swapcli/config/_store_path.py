"""Can ``store.path`` be a file? A look at the disk; nothing is left on it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from swapcli.activity.database_file import foreign_file


def store_fault(path: str) -> str | None:
    """Why no database can be written at *path*; ``None`` when one can, whether it exists or not."""
    try:
        file = Path(path)
        if file.is_dir():
            return f"{path} is a directory"
        if file.exists():
            return foreign_file(path) if _writable_file(file) else f"{path} is not writable"
        if not file.parent.is_dir():
            return f"the directory {file.parent} does not exist"
        return None if _writable_directory(file.parent) else f"the directory {file.parent} is not writable"
    except (OSError, ValueError) as error:
        return str(error)


def _writable_file(file: Path) -> bool:
    if os.name != "nt":
        return os.access(file, os.W_OK)
    # Access rights say little on Windows; opening does.
    try:
        with file.open("r+b"):
            return True
    except OSError:
        return False


def _writable_directory(directory: Path) -> bool:
    if os.name != "nt":
        return os.access(directory, os.W_OK)
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
