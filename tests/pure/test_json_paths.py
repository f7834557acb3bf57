"""Edits of JSON texts by path: rules H61 to H65."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from swapcli.http.json_container import take_apart
from swapcli.http.json_paths import PathFault, Query, Step, parse_path, remove_from, set_in
from swapcli.http.json_queries import replace_found
from swapcli.http.json_values import NoJson, rendered, string


def with_set(text: str, path: str, value: str) -> str:
    container, steps = take_apart(text.encode()), parse_path(path)
    assert container is not None
    if isinstance(steps, Query):
        replace_found(container, steps.text, value.encode())
    else:
        set_in(container, steps, value.encode())
    return container.joined().decode()


def without(text: str, path: str) -> str:
    container, steps = take_apart(text.encode()), parse_path(path)
    assert container is not None
    assert not isinstance(steps, Query)
    remove_from(container, steps)
    return container.joined().decode()


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{"model":"m1", "temperature" : 1 , "k":2}', "temperature", '{"model":"m1" , "k":2}'),
        ('{ "t" : 1, "k":2}', "t", '{ "k":2}'),
        ('{ "t":1 }', "t", "{ }"),
        ('{"k":2,"t":1 \n}', "t", '{"k":2 \n}'),
        ('{"k":2}', "t", '{"k":2}'),
        ('{"a":{"b":1,"c":[1,2]},"d":3}', "a.b", '{"a":{"c":[1,2]},"d":3}'),
        ('{"a":[1, 2 ,3]}', "a.1", '{"a":[1 ,3]}'),
        ('{"a":[1, 2 ,3]}', "a.-1", '{"a":[1, 2 ]}'),
        ('{"a":[]}', "a.-1", '{"a":[]}'),
        ('{"a":[1]}', "a.b", '{"a":[1]}'),
        ('{"a":5}', "a.b", '{"a":5}'),
        ('{"a.b":1,"a":2}', r"a\.b", '{"a":2}'),
        ('{"t":1,"k":2,"t":3}', "t", '{"k":2}'),
        ('{"k":2,"t":1', "t", '{"k":2'),
        ('{"\\u0074":1,"k":2} junk}', "t", '{"k":2} junk}'),
    ],
)
def test_h61_remove(before: str, path: str, after: str) -> None:
    assert without(before, path) == after


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ('{"k" : 1.50, "t" : 7 }', "t", "8", '{"k" : 1.50, "t" : 8 }'),
        ('{"t":1,"t":2}', "t", "3", '{"t":3,"t":2}'),
        ('{\n  "model": "m1"\n}', "a.b", "3", '{\n  "model": "m1"\n,"a":{"b":3}}'),
        ("{}", "a", "1", '{"a":1}'),
        ("{ }", "a", "1", '{ "a":1}'),
        ('{"k":1} junk}', "a", "1", '{"k":1,"a":1} junk}'),
        ('{"k":1', "a", "1", '{"k":1,"a":1'),
        ('{"k":1,,"z":2}', "a", "1", '{"k":1,"a":1,,"z":2}'),
        ('\ufeff {"k":1}', "a", "1", '\ufeff {"k":1,"a":1}'),
    ],
)
def test_h61_set(before: str, path: str, value: str, after: str) -> None:
    assert with_set(before, path, value) == after


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{"a":{"b":1 , "c":2}}', "a.b", '{"a":{"b":V , "c":2}}'),
        ('{"a":{}}', "a.b.c", '{"a":{"b":{"c":V}}}'),
        ("{}", r"a\.b", '{"a.b":V}'),
        ("{}", r"a\\b\*", '{"a\\\\b*":V}'),
        ("{}", "a.:2", '{"a":{"2":V}}'),
        ('{"a":{"2":0}}', "a.2", '{"a":{"2":V}}'),
        ("{}", "a.2", '{"a":[null,null,V]}'),
        ("{}", "a.1.b", '{"a":[null,{"b":V}]}'),
        ("{}", "a.-1", '{"a":[V]}'),
        ("{}", "2", '{"2":V}'),
        ('{"a":[1, 2 ]}', "a.-1", '{"a":[1, 2 ,V]}'),
        ('{"a":[]}', "a.-1", '{"a":[V]}'),
        ('{"a":[1, 2]}', "a.0", '{"a":[V, 2]}'),
        ('{"a":[1]}', "a.3", '{"a":[1,null,null,V]}'),
        ('{"a":[]}', "a.2", '{"a":[null,null,V]}'),
        ('{"a":[{"b":1}]}', "a.0.c", '{"a":[{"b":1,"c":V}]}'),
        ('{"a":5}', "a.b", '{"a":{"b":V}}'),
        ('{"a":null}', "a.b", '{"a":{"b":V}}'),
        ('{"a":"x"}', "a.0", '{"a":[V]}'),
    ],
)
def test_h62_paths(before: str, path: str, after: str) -> None:
    assert with_set(before, path, "V") == after


@pytest.mark.parametrize("path", ["a.b", "a.:0", "a.99999999"])
def test_h62_h65_what_cannot_be_done_in_an_array(path: str) -> None:
    with pytest.raises(PathFault):
        with_set('{"a":[1]}', path, "V")
    if path.endswith("9"):
        with pytest.raises(PathFault):
            with_set("{}", path, "V")


def test_steps() -> None:
    assert parse_path("a.:1.-1") == (Step("a"), Step("1", is_key=True), Step("-1"))
    assert parse_path("a.b:c") == (Step("a"), Step("b:c"))
    assert parse_path("a*") == Query("a*")


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ('{"m":[{"c":1}, {"c":2},{"d":3}]}', "m.#.c", '{"m":[{"c":V}, {"c":V},{"d":3}]}'),
        ('{"m":[{"c":[{"t":1}]},{"c":"x"}]}', "m.#.c.#.t", '{"m":[{"c":[{"t":V}]},{"c":"x"}]}'),
        ('{"m":[1,2]}', "m.#", '{"m":[1,2]}'),
        ('{"m":[{"r":"a","c":1},{"r":"b","c":2},{"r":"b","c":3}]}', 'm.#(r=="b").c',
         '{"m":[{"r":"a","c":1},{"r":"b","c":V},{"r":"b","c":3}]}'),
        ('{"m":[{"r":"a","c":1},{"r":"b","c":2},{"r":"b","c":3}]}', 'm.#(r=="b")#.c',
         '{"m":[{"r":"a","c":1},{"r":"b","c":V},{"r":"b","c":V}]}'),
        ('{"m":[{"n":{"k":44}},{"n":{"k":68.5}}]}', "m.#(n.k>45)#", '{"m":[{"n":{"k":44}},V]}'),
        ('{"m":["Sara","Alex"]}', 'm.#(!%"*a*")', '{"m":["Sara",V]}'),
        ('{"child":1,"childs":2}', "chi?d*", '{"child":V,"childs":2}'),
        ('{"a[b":{"x":1}}', "a[*.x", '{"a[b":{"x":V}}'),
        ('{"a*":{"x":1},"ab":{"x":1}}', r"a\*|x", '{"a*":{"x":V},"ab":{"x":1}}'),
        ('{"m":[1,2]}', "m|1", '{"m":[1,V]}'),
        ('{"m":[1,2]}', "m.#(>1)#|0", '{"m":[1,2]}'),
        ('{"m":[1,2]}', "m.@reverse", '{"m":[1,2]}'),
        ('{"m":{"x":1}}', "m.#.x", '{"m":{"x":1}}'),
        ('{"m":[1,2]}', "m.#(nonsense)", '{"m":[1,2]}'),
        ('{"m":[1,2]}', "m.#(", '{"m":[1,2]}'),
        ('{"k":1}', "x*", '{"k":1}'),
    ],
)  # fmt: skip
def test_h63_queries_replace_what_is_there(before: str, path: str, after: str) -> None:
    assert with_set(before, path, "V") == after


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain <b> & co", '"plain <b> & co"'),
        ("<é", '"\\u003cé"'),
        ('say "<"', '"say \\"\\u003c\\""'),
        ("a\\b\n\x01", '"a\\\\b\\n\\u0001"'),
        (42, "42"),
        (-(10**30), "-1" + "0" * 30),
        (0.00001, "0.00001"),
        (1e25, "10000000000000000000000000"),
        (1.0, "1"),
        (0.7, "0.7"),
        (-0.0, "-0"),
        (True, "true"),
        (None, "null"),
        ({"b": [1, None, {}], "a": {"z": 1.0, "é": "<"}}, '{"a":{"z":1,"é":"\\u003c"},"b":[1,null,{}]}'),
        ([], "[]"),
    ],
)
def test_h64_rendering(value: Any, text: str) -> None:
    assert rendered(value).decode() == text


@pytest.mark.parametrize("value", [{1: "x"}, {"a": {True: 1}}, float("nan"), [float("inf")], {1, 2}, b"x"])
def test_h65_no_json(value: Any) -> None:
    with pytest.raises(NoJson):
        rendered(value)


@given(st.text())
def test_strings_mean_what_they_say(text: str) -> None:
    assert json.loads(string(text)) == text.encode("utf-8", "replace").decode()


KEYS = st.text(alphabet="ab.\\:0-é*", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), KEYS, VALUES, st.sampled_from([None, 1]))
def test_one_key_changes_and_nothing_else(
    document: dict[str, Any], key: str, value: Any, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    path = "".join(f"\\{character}" for character in key)
    assert json.loads(with_set(text, path, json.dumps(value))) == {**document, key: value}
    assert json.loads(without(text, path)) == {k: v for k, v in document.items() if k != key}
    untouched = take_apart(text.encode())
    assert untouched is not None
    assert untouched.joined() == text.encode()


@given(
    st.text(alphabet='{}[]:," \\ab1.', max_size=30), st.text(alphabet="ab1.:-*#\\(", min_size=1, max_size=5)
)
def test_anything_is_taken(text: str, path: str) -> None:
    container = take_apart(text.encode())
    if container is None:
        return
    assert container.joined() == text.encode()
    try:
        with_set(text, path, "1")
    except PathFault:
        assert "[" in text
