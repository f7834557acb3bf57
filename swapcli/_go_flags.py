"""Go's way of writing flags, which scripts for llama-swap have: ``-config=x``, ``-watch-config``."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import click

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


def double_dashed(
    arguments: Iterable[str], *, with_value: Collection[str], switches: Collection[str]
) -> list[str]:
    """``arguments`` with Go's spellings turned into those of click; what is no flag stays.

    Args:
      with_value: names, without dashes, of the options that take a value.
      switches: names of those that take none; in Go they may be written ``-name=true`` or ``-name=false``.
    """
    rest = iter(arguments)
    out: list[str] = []
    for argument in rest:
        name, equals, value = argument.lstrip("-").partition("=")
        dashes = len(argument) - len(argument.lstrip("-"))
        if dashes not in (1, 2) or not name:  # Go stops here, and so does this: a value, "-" or "--"
            return [*out, argument, *rest]
        if name in switches and equals and value in _TRUE | _FALSE:
            out += [f"--{name}"] if value in _TRUE else []
        elif dashes == 1 and len(name) > 1:
            out.append(f"-{argument}")
        else:
            out.append(argument)
        if name in with_value and not equals:
            out += [value for value in (next(rest, None),) if value is not None]
    return out


class GoFlagsCommand(click.Command):
    """A command whose long options may also be written with a single dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        flags = {spelling.lstrip("-"): option.is_flag for option in options for spelling in option.opts}
        return super().parse_args(
            ctx,
            double_dashed(
                args,
                with_value={name for name, switch in flags.items() if not switch},
                switches={name for name, switch in flags.items() if switch},
            ),
        )
