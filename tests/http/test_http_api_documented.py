"""The page about the HTTP API knows every route, and every code that an error may have."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from swapcli.http import ROUTES, Route
from swapcli.http.routes import ANY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
ROWS = {
    (cells[1].strip(" `"), cells[2].strip(" `"), cells[3].strip(" `"))
    for cells in (line.split("|") for line in PAGE.splitlines() if line.startswith("| `"))
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_every_route_is_documented(route: Route) -> None:
    documented = [third for method, path, third in ROWS if (method, path) == (route.method, route.pattern)]
    assert len(documented) == 1
    if not route.is_ours:
        expected = "the same" if route.upstream_path == route.pattern else route.upstream_path
        assert documented[0] == expected


def test_no_route_is_documented_that_is_not_there() -> None:
    methods = {"GET", "POST", "PUT", "DELETE", ANY}
    documented = {(method, path) for method, path, _ in ROWS if method in methods and path.startswith("/")}
    assert documented == {(route.method, route.pattern) for route in ROUTES}


def test_every_code_is_documented() -> None:
    source = (ROOT / "swapcli" / "http" / "error_answers.py").read_text(encoding="utf-8")
    codes = [
        ast.literal_eval(node.args[2])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ErrorAnswer" and len(node.args) > 2
        if isinstance(node.args[2], ast.Constant)
    ]
    assert len(codes) > 8
    for code in codes:
        assert f"| `{code}` |" in PAGE
