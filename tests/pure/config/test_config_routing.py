"""Groups, the matrix and the scheduler: rules C84 to C106, and planners."""

from __future__ import annotations

import time
from textwrap import dedent

import pytest

from swapcli.config import (
    Configuration,
    ConfigurationError,
    Either,
    Loaded,
    ModelTerm,
    SetTerm,
    Source,
    Together,
    load_sources,
)
from swapcli.config._natural_order import natural_order

MODELS = "models:\n" + "".join(
    f"  {id}: {{cmd: s, proxy: 'http://h', aliases: [al-{id}]}}\n" for id in "abcd"
)


def loaded(text: str) -> Loaded:
    return load_sources([Source("c.yaml", MODELS + dedent(text))], environ={})


def config(text: str) -> Configuration:
    return loaded(text).config


def errors(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    return str(caught.value)


def sets(text: str) -> str:
    return errors(f"matrix: {{sets: {{s: '{text}'}}}}")


GROUPS = "groups: {g: {members: [a]}}"
MATRIX = "matrix: {sets: {s: a}}"


@pytest.mark.parametrize("legacy", [GROUPS, MATRIX, "matrix: {}"])
@pytest.mark.parametrize(
    "new", ["use: group", f"settings: {{{GROUPS}}}", f"settings: {{{MATRIX}}}", "settings: {matrix: {}}"]
)
def test_c84_both_spellings(legacy: str, new: str) -> None:
    assert "migrate" in errors(f"{legacy}\nrouting: {{router: {{{new}}}}}")


def test_c84_empty_ones_do_not_count() -> None:
    assert (
        config(f"groups: {{}}\nrouting: {{router: {{settings: {{{GROUPS}}}}}}}").routing.router.use == "group"
    )
    assert (
        config(f"{MATRIX}\nrouting: {{router: {{settings: {{groups: {{}}}}}}}}").routing.router.use
        == "matrix"
    )
    assert config(f"{GROUPS}\nrouting: {{scheduler: {{use: fifo}}}}").routing.router.use == "group"


def test_c85_groups_and_matrix() -> None:
    assert "groups and matrix" in errors(f"{GROUPS}\n{MATRIX}")


def test_c86_use() -> None:
    assert "routing.router.use: must be group or matrix, not 'Group'" in errors(
        "routing: {router: {use: Group}}"
    )
    assert "routing.router.settings.matrix" in errors("routing: {router: {use: matrix}}")
    router = config("routing: {router: {settings: {matrix: {sets: {s: '((('}}}}}").routing.router
    assert (router.use, router.settings.matrix) == ("group", None)
    found = config(
        f"routing: {{router: {{use: matrix, settings: {{{MATRIX}, groups: {{g: {{members: [a, a]}}}}}}}}}}"
    )
    assert found.routing.router.settings.groups == {}


def test_c87_both_spellings_end_in_one_place() -> None:
    for text in (GROUPS, f"routing: {{router: {{settings: {{{GROUPS}}}}}}}"):
        groups = config(text).routing.router.settings.groups
        assert groups["g"].members == ("a",)
        assert groups["(default)"].members == ("b", "c", "d")
    for text in (MATRIX, f"routing: {{router: {{use: matrix, settings: {{{MATRIX}}}}}}}"):
        found = config(text)
        assert found.routing.router.settings.matrix is not None
        assert found.routing.router.settings.groups == {}
        assert found.matrix_program is not None


def test_c88_group_defaults() -> None:
    group = config("groups: {g: {members: ~}}").routing.router.settings.groups["g"]
    assert (group.swap, group.exclusive, group.persistent, group.members) == (True, True, False, ())
    assert "groups.g: expected a map" in errors("groups: {g: [a]}")


def test_c90_the_default_group_is_sorted() -> None:
    default = config("groups: {g: {members: [b]}}").routing.router.settings.groups["(default)"]
    assert (default.swap, default.exclusive, default.persistent, default.members) == (
        True,
        True,
        False,
        ("a", "c", "d"),
    )


def test_c91_an_own_default_group_keeps_its_members_served() -> None:
    found = loaded("groups: {'(default)': {swap: false, members: [a]}, g: {members: [b]}}")
    default = found.config.routing.router.settings.groups["(default)"]
    assert default.swap
    assert default.members == ("a", "c", "d")
    assert [w.path for w in found.warnings] == ["groups.(default)"]


def test_c92_members_are_in_one_group_once() -> None:
    assert "groups.g.members[1]: a is in group g twice" in errors("groups: {g: {members: [a, a]}}")
    text = errors("groups: {g: {members: [a]}, h: {members: [b, a]}}")
    assert "groups.h.members[1]: a is in multiple groups: g and h" in text
    assert "twice" in errors("groups: {g: {members: [al-a, al-a]}}")


@pytest.mark.rule("L109", "L110")
@pytest.mark.rule("G42")
def test_c93_members_that_are_no_models() -> None:
    found = loaded("groups: {g: {members: [ghost, al-b]}}")
    assert [str(r) for r in found.refusals] == [
        "c.yaml:6:24: groups.g.members[0]: no model has the id 'ghost'"
    ]
    assert [w.path for w in found.warnings] == ["groups.g.members[1]"]
    groups = found.config.routing.router.settings.groups
    assert groups["g"].members == ("ghost", "b")
    assert groups["(default)"].members == ("a", "c", "d")


@pytest.mark.parametrize(
    ("groups", "ignored"),
    [("g: {members: [a, al-a]}", "groups.g.members[1]"), ("g: {members: [al-a, a]}", "groups.g.members[0]"),
     ("g: {members: [a]}, h: {members: [al-a]}", "groups.h.members[0]")],
)  # fmt: skip
@pytest.mark.rule("G42")
def test_c93_a_member_that_is_there_by_its_id_and_by_an_alias(groups: str, ignored: str) -> None:
    found = loaded(f"groups: {{{groups}}}")
    assert [w.path for w in found.warnings] == [ignored]
    assert "a member, too" in found.warnings[0].message
    assert found.config.routing.router.settings.groups["g"].members == ("a",)


@pytest.mark.parametrize(
    ("matrix", "path"),
    [("{}", "matrix.sets"), ("{sets: {}}", "matrix.sets"), ("{sets: [a]}", "matrix.sets"),
     ("{vars: {x_y: a}, sets: {s: a}}", "matrix.vars.x_y"),
     ("{vars: {x: al-a}, sets: {s: a}}", "matrix.vars.x"), ("{evict_costs: {a: 0}, sets: {s: a}}",
     "matrix.evict_costs.a"),
     ("{evict_costs: {a: ~}, sets: {s: a}}", "matrix.evict_costs.a"),
     ("{evict_costs: {a: 0.9}, sets: {s: a}}", "matrix.evict_costs.a"),
     ("{evict_costs: {z: 2}, sets: {s: a}}", "matrix.evict_costs.z"), ("{vars: {'': a}, sets: {s: a}}",
     "matrix.vars."),
     ("{vars: {" + "v" * 33 + ": a}, sets: {s: a}}", "matrix.vars.vvv")],
)  # fmt: skip
def test_c95_the_matrix_is_checked(matrix: str, path: str) -> None:
    assert path in errors(f"matrix: {matrix}")


def test_c95_everything_is_reported() -> None:
    text = errors("matrix: {vars: {x_: ghost}, evict_costs: {y: 0}, sets: {s: 'a &', t: '+u | zz'}}")
    assert len(text.splitlines()) == 7


def test_c94_c98_only_sets_are_needed_and_not_every_model_is_in_one() -> None:
    found = loaded("matrix: {sets: {s: a & b}}")
    assert not found.warnings
    assert found.config.matrix_program is not None
    assert found.config.matrix_program.costs == {}
    assert found.config.resolve("c") == "c"


@pytest.mark.rule("G42")
def test_c96_costs() -> None:
    program = config("matrix: {vars: {x: a}, evict_costs: {x: 5, b: 2.9}, sets: {s: x & b}}").matrix_program
    assert program is not None
    assert program.costs == {"a": 5, "b": 2}
    found = loaded("matrix: {vars: {x: a}, evict_costs: {a: 3, x: 5}, sets: {s: x}}")
    assert found.config.matrix_program is not None
    assert found.config.matrix_program.costs == {"a": 3}
    assert [w.path for w in found.warnings] == ["matrix.evict_costs.x"]


def test_c97_natural_order() -> None:
    names = ["b", "ab", "a10", "a2", "a1", "a-b", "a", "A", "s10", "s9", "a01", "a1b"]
    assert natural_order(names) == ["A", "a", "a-b", "a1", "a1b", "a01", "a2", "a10", "ab", "b", "s9", "s10"]
    program = config("matrix: {sets: {z: a & b, s10: b, s9: c, y: a & c}}").matrix_program
    assert program is not None
    assert [s.name for s in program.sets] == ["s9", "s10", "y", "z"]


def test_c99_c100_expressions() -> None:
    program = config("matrix: {vars: {v.1: d}, sets: {t: d, s: 'a|b & (c | +t)&v.1'}}").matrix_program
    assert program is not None
    assert program.sets[0].expression == ModelTerm("d")
    by_name = {s.name: s.expression for s in program.sets}
    assert by_name["s"] == Either(
        (
            ModelTerm("a"),
            Together((ModelTerm("b"), Either((ModelTerm("c"), SetTerm("t"))), ModelTerm("d"))),
        )
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a &",
        "| a",
        "a && b",
        "a b",
        "a+t",
        "(a",
        "a)",
        "()",
        "a/b",
        "+",
        "+ s",
        "a & + s",
        "a,b",
        'a "b',
    ],
)
def test_c100_what_no_expression_is(text: str) -> None:
    assert "matrix.sets.s: " in sets(text)


def test_c99_the_place_of_a_wrong_character() -> None:
    assert "'/' at character 6" in sets("a & b/c")


def test_c101_variables_go_before_models() -> None:
    program = config("matrix: {vars: {a: b}, sets: {s: a}}").matrix_program
    assert program is not None
    assert program.sets[0].expression == ModelTerm("b")
    assert "'al-a' is neither" in sets("al-a")


def test_c102_sets_in_sets() -> None:
    program = config("matrix: {sets: {a: '+z & +b', b: c, z: '+b | d'}}").matrix_program
    assert program is not None
    assert [s.name for s in program.sets] == ["b", "z", "a"]
    assert "+nope names no set" in sets("+nope")
    assert "circular reference s -> s" in sets("+s")
    text = errors("matrix: {sets: {s: '+t', t: 'a | (b & +u)', u: +s}}")
    assert "circular reference s -> t -> u -> s" in text


def test_c102_a_long_chain_of_sets() -> None:
    chain = "".join(f"    s{n}: +s{n + 1}\n" for n in range(3000)) + "    s3000: a\n"
    program = config(f"matrix:\n  sets:\n{chain}").matrix_program
    assert program is not None
    assert program.sets[0].name == "s3000"


def test_c103_a_product_is_not_multiplied_out() -> None:
    letters = [f"m{n}" for n in range(60)]
    groups = " & ".join("(" + " | ".join(letters[n : n + 10]) + ")" for n in range(0, 60, 10))
    models = "".join(f"  {id}: {{cmd: s, proxy: 'http://h'}}\n" for id in letters)
    selector = "selectors: {x: {strategy: spillover, targets: [m0, m10, m20, m30, m40, m50]}}"
    text = f"models:\n{models}matrix: {{sets: {{s: '{groups}'}}}}\n{selector}\n"
    start = time.process_time()
    assert load_sources([Source("c.yaml", text)], environ={}).config.matrix_program is not None
    with pytest.raises(ConfigurationError, match="m1"):
        load_sources([Source("c.yaml", text.replace("m10, m20", "m1, m20"))], environ={})
    assert time.process_time() - start < 5


def test_parentheses_are_bounded() -> None:
    assert "parentheses inside each other" in sets("(" * 5000 + "a" + ")" * 5000)


@pytest.mark.rule("L63")
def test_c105_the_scheduler() -> None:
    assert config("routing: {scheduler: {use: ''}}").routing.scheduler.use == "fifo"
    assert "routing.scheduler.use: must be fifo, not 'lifo'" in errors("routing: {scheduler: {use: lifo}}")


@pytest.mark.rule("L85")
@pytest.mark.rule("G42")
def test_c106_priorities() -> None:
    fifo = "routing: {scheduler: {settings: {fifo: {priority: "
    found = loaded(fifo + "{a: -2, al-b: 5}}}}}")
    assert found.config.routing.scheduler.settings.fifo.priority == {"a": -2, "b": 5}
    assert "the priority goes to the model 'b'" in found.warnings[0].message
    both = loaded(fifo + "{al-a: 9, a: 1}}}}}")
    assert both.config.routing.scheduler.settings.fifo.priority == {"a": 1}
    assert "the priority of 'a' itself counts" in both.warnings[0].message
    assert "routing.scheduler.settings.fifo.priority.ghost: no model or alias 'ghost'" in errors(
        fifo + "{ghost: 1}}}}}"
    )


@pytest.mark.parametrize("name", ["lru", "mine:Planner", "a.b.c:D.E", "größe:K"])
def test_planner_names(name: str) -> None:
    assert config(f"routing: {{router: {{planner: '{name}'}}}}").routing.router.planner == name


@pytest.mark.parametrize("name", ["fifo", "a.b", ":X", "a:", "a-b:C", "a:b:c", "1a:B", "a b:C"])
def test_what_no_planner_name_is(name: str) -> None:
    assert "routing.router.planner: the planner must be" in errors(
        f"routing: {{router: {{planner: '{name}'}}}}"
    )


def test_a_priority_key_has_to_be_one_of_the_keys() -> None:
    both = "apiKeys: [one, two]\nrouting: {scheduler: {settings: {fifo: {priorityKeys: [two, three]}}}}\n"
    assert config(both).routing.scheduler.settings.fifo.priority_keys == ("two", "three")
    (warning,) = loaded(both).warnings
    assert "none of apiKeys" in str(warning)
    assert "three" not in str(warning)
