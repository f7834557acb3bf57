"""Optional dependencies: what to install when a part of swapcli is used whose packages are not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(Exception):
    """Packages of an optional part are not installed. ``str()`` is one line that says how to get them."""

    def __init__(self, name: str, module: str) -> None:
        install = f"pip install 'swapcore[{name}]'"
        super().__init__(f"the Python package {module!r} is missing; install it with: {install}")
        self.name = name
        self.module = module


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Do the imports of the extra ``name`` inside; our own modules are not part of any extra.

    Raises:
      MissingExtra: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "swapcli", "swapcore"):
            raise  # a mistake of ours, which no install mends
        raise MissingExtra(name, package) from error
