"""Every module imports on every platform: what only POSIX has is used in functions, not while importing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for top in ("swapcore", "swapcli") for path in (ROOT / top).rglob("*.py"))

# The standard library's documentation gives "Availability: Unix" for these.
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# What Windows has of these modules, as far as it matters here.
PORTABLE = {
    "signal": {"SIGINT", "SIGTERM", "SIGABRT", "SIG_DFL", "SIG_IGN", "Signals", "Handlers", "signal"},
    "os": {
        *("environ", "path", "name", "sep", "pathsep", "linesep", "defpath", "devnull", "PathLike", "getpid"),
        *("open", "close", "read", "write", "pipe", "urandom", "O_RDONLY", "O_WRONLY", "O_CREAT", "O_EXCL"),
    },
}


def while_importing(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is evaluated when the module is imported: not the bodies of functions, not annotations."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for part in [
                    *child.decorator_list,
                    *child.args.defaults,
                    *filter(None, child.args.kw_defaults),
                ]:
                    yield part
                    yield from while_importing(part)
            case ast.Lambda():
                pass
            case ast.AnnAssign(value=value):
                if value is not None:
                    yield value
                    yield from while_importing(value)
            case _:
                yield child
                yield from while_importing(child)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_only_posix_has_is_needed_to_import(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert path.stem == "__init__" or "from __future__ import annotations" in source, (
        "annotations are evaluated"
    )
    for node in while_importing(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                assert not {name.name for name in names} & POSIX_MODULES
            case ast.ImportFrom(module=module):
                assert module not in POSIX_MODULES
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in PORTABLE:
                assert name in PORTABLE[module], f"{module}.{name} while importing"
            case _:
                pass
