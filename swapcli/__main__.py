"""Where `swapcli` and `python -m swapcli` begin."""

from __future__ import annotations

import errno
import io
import sys


def main() -> None:
    """Run the command line and exit with its status: 0, 1 for a failure it explained, 2 for wrong usage."""
    from ._extras import MissingExtra, extra
    from ._garbage import collect_less_often

    collect_less_often()  # the imports are most of a start
    try:
        with extra("serve"):
            from ._cli import swapcli
    except MissingExtra as missing:  # click itself is missing, so nothing nicer can say it
        sys.exit(f"swapcli: {missing}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # models may have names that the locale has not
    try:
        swapcli(prog_name="swapcli")
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        sys.stdout = None  # what is still to be printed would fail again
        sys.exit(f"swapcli: the output cannot be written: {error.strerror}")


if __name__ == "__main__":
    main()
