"""Where `swapcli` and `python -m swapcli` begin."""

from __future__ import annotations

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
    swapcli(prog_name="swapcli")


if __name__ == "__main__":
    main()
