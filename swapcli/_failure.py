"""How the command line says that something went wrong which the user can put right."""

from __future__ import annotations

from typing import IO, Any

import click


class Failure(click.ClickException):
    """Ends the command with status 1 and ``swapcli: MESSAGE`` on standard error, without a traceback."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"swapcli: {self.format_message()}", file=file, err=True)
