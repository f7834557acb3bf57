"""The reference page of the command line, written by the commands themselves.

python -m swapcli._cli_reference > docs/reference/cli.md
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from ._cli import swapcli

_INTRODUCTION = """\
# Command line

<!-- Written by `python -m swapcli._cli_reference`; a test fails when it is out of date. -->

`python -m swapcli` does the same as `swapcli`. Every command ends with status 0 when all went well, 1 for a
failure that it explains, and 2 for wrong usage.
"""


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join((_INTRODUCTION, *_sections(swapcli, "swapcli")))


def _sections(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=100,
        max_content_width=100,
        **command.context_settings,
    )
    with context.scope(cleanup=False):
        help_text = command.get_help(context)
    yield f"## {context.command_path}\n\n```text\n{textwrap.dedent(help_text).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _sections(command.commands[child], child, context)


if __name__ == "__main__":
    print(reference(), end="")
