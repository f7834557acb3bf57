"""The text of one configuration file, and where in it an offset lies after substitution."""

from __future__ import annotations

import bisect
import codecs
from pathlib import Path

import attrs

from ._problem import Path as KeyPath, Problem, Severity, path_text
from ._secrecy import veiled

_SUFFIXES = (".yml", ".yaml")
MAX_BYTES = 16 * 1024 * 1024
"""Of one file. What is larger is a model, or a device without an end, and would fill the memory."""


@attrs.frozen
class Edits:
    """Which stretches of a text were replaced, in order; maps an offset in the new text to one in the old.

    ``Edits(((3, 10, 3, 5),))``: characters 3 to 10 of the old text became characters 3 to 5 of the new one.
    """

    spans: tuple[tuple[int, int, int, int], ...] = ()
    _starts: list[int] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_starts", [span[2] for span in self.spans])

    def original(self, offset: int) -> int:
        """The offset in the old text; a place inside a replacement is the start of what it replaced."""
        at = bisect.bisect_right(self._starts, offset) - 1
        if at < 0:
            return offset
        old_start, old_end, _, new_end = self.spans[at]
        return old_start if offset < new_end else offset - new_end + old_end


@attrs.frozen(eq=False)
class Source:
    """One file: its name as the user gave it, its text as written, and how the parsed text came from it."""

    name: str
    text: str
    edits: tuple[Edits, ...] = ()

    def problem(
        self,
        offset: int | None,
        message: str,
        path: KeyPath = (),
        severity: Severity = Severity.ERROR,
    ) -> Problem:
        """A `Problem` at *offset* of the substituted text; ``None``: with the file as a whole."""
        if offset is None:
            return Problem(self.name, 0, 0, path_text(path), message, severity=severity, keys=path)
        for edits in reversed(self.edits):
            offset = edits.original(offset)
        offset = min(offset, len(self.text))
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")
        number = self.text.count("\n", 0, offset) + 1
        column = offset - start + 1
        return veiled(Problem(self.name, number, column, path_text(path), message, line, severity, path))


def decode(name: str, data: bytes) -> Source | Problem:
    """The text of a file: UTF-8, or UTF-16 when a byte order mark says so."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        return Source(name, before).problem(
            len(before), f"not {encoding[:6].rstrip('-')} text: {error.reason}"
        )
    return Source(name, text)


def read(path: Path) -> Source | Problem:
    """The source at *path*, or why there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Problem(str(path), 0, 0, "", f"cannot be read: {reason}")
    if len(data) > MAX_BYTES:
        return Problem(str(path), 0, 0, "", f"is no configuration: it has more than {MAX_BYTES >> 20} MiB")
    return decode(str(path), data)


def find_sources(file: Path | None, directory: Path | None) -> tuple[Path, ...] | Problem:
    """The files of ``--config`` and ``--config-dir``, in the order in which they are merged.

    Of a directory every entry is taken whose name ends in ``.yml`` or ``.yaml`` and that is no directory, in
    byte order of the names; it is not searched deeper.
    """
    found = [file] if file is not None else []
    if directory is not None:
        try:
            entries = [p for p in directory.iterdir() if p.name.endswith(_SUFFIXES) and not p.is_dir()]
        except OSError as error:
            return Problem(str(directory), 0, 0, "", f"cannot be read: {error.strerror or error}")
        entries.sort(key=lambda path: str(path).encode(errors="surrogateescape"))
        # Absolute, but with its symbolic links: a link to the file is a second source, as in llama-swap.
        if file is not None and file.absolute() in [entry.absolute() for entry in entries]:
            return Problem(str(file), 0, 0, "", f"is also in the configuration directory {directory}")
        found += entries
    if not found:
        where = (
            f"no .yml or .yaml file in {directory}"
            if directory is not None
            else "no configuration file given"
        )
        return Problem(str(directory or ""), 0, 0, "", where)
    return tuple(found)
