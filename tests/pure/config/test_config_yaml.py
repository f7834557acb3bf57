"""How YAML is read: rules C13 to C30."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from swapcli.config import Configuration, ConfigurationError, Loaded, Source, load, load_sources

RUN = 'cmd: run, proxy: "http://h"'
"""Written ``@`` in the texts below."""


def loaded(text: str, **environ: str) -> Loaded:
    return load_sources([Source("c.yaml", dedent(text).replace("@", RUN))], environ=environ)


def config(text: str, **environ: str) -> Configuration:
    return loaded(text, **environ).config


def errors(text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text, **environ)
    return str(caught.value)


def metadata(value: str) -> Any:
    return config(f"models: {{m: {{{RUN}, metadata: {{v: {value}}}}}}}").models["m"].metadata["v"]


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "~", "null", "{}", "[]", "hello", "'quoted'", "12", "---\n"]
)
def test_c13_c14_nothing_is_a_configuration(text: str) -> None:
    empty = config(text)
    assert not empty.models
    assert list(empty.routing.router.settings.groups) == ["(default)"]


def test_c14_a_list_is_none() -> None:
    assert "c.yaml:1:1: the root of the file must be a mapping" in errors("- a\n- b\n")


def test_c15_only_the_first_document_counts() -> None:
    assert config("globalTTL: 5\n---\n]]] not even YAML: [\n").global_ttl == 5


def test_c16_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"logLevel: info\nname: caf\xe9\n")
    for name, words in (
        ("missing.yaml", "cannot be read"),
        ("latin.yaml", "latin.yaml:2:10: not utf-8 text"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load([tmp_path / name], environ={})
        assert name in str(caught.value)
        assert words in str(caught.value)


def test_c16_both_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load([tmp_path / "one.yaml", tmp_path / "two.yaml"], environ={})
    assert len(caught.value.problems) == 2


def test_c16_a_syntax_error_has_a_place() -> None:
    assert errors("models:\n\tm: x\n").startswith("c.yaml:2:1: ")
    assert errors("a: [1\nb: 2").startswith("c.yaml:2:2: ")
    assert "unknown anchor nowhere" in errors("a: *nowhere")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "c.yaml").write_text("globalTTL: 4\n", encoding=encoding)
        assert load([tmp_path / "c.yaml"], environ={}).config.global_ttl == 4


SCALARS = [
    ("", None), ("~", None), ("NULL", None), ("nUll", "nUll"), ("TRUE", True), ("False", False),
    ("tRUE", "tRUE"),
    ("yes", "yes"), ("on", "on"), ("y", "y"), ("12:30", "12:30"), ("0x", "0x"), ("1e400", "1e400"),
    ("1e3", 1000),
    ("017", 15), ("08", 8), ("0o17", 15), ("0b101", 5), ("-0x10", -16), ("+7", 7), ("1_000", 1000),
    ("_1", "_1"),
    ("18446744073709551615", 2**64 - 1), ("18446744073709551616", 2.0**64),
    ("-9223372036854775808", -(2**63)),
    (".5", 0.5), (".5e3", 500), ("1.25", 1.25), ("-.5", -0.5), (".", "."), ("-", "-"), (".inf", float("inf")),
    ("-.Inf", float("-inf")), ("2024-1-2", "2024-01-02T00:00:00Z"),
    ("2024-01-02T3:04:05.60+02:00", "2024-01-02T03:04:05.6+02:00"),
    ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"), ("2024-13-02", "2024-13-02"), ("24-01-02", "24-01-02"),
    ("'017'", "017"), ('"true"', "true"), ("!!str 5", "5"), ("!!int 5", 5), ("!!int '5'", 5),
    ("!!float 1.5", 1.5),
    ("!!binary aGk=", "hi"), ("2e6", 2000000.0), ("100000.0", 100000), ("1e6", 1e6), ("-0.0", 0), ("1.0", 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [s for s in SCALARS if s[0] != "-"])
def test_c17_c29_scalars(text: str, value: Any) -> None:
    found = metadata(text)
    assert found == value
    assert type(found) is type(value)


def test_c17_huge_numbers_are_read_at_once() -> None:
    assert metadata("9" * 10_000) == "9" * 10_000  # too large even for a float
    assert metadata("0x" + "f" * 10_000) == "0x" + "f" * 10_000


@pytest.mark.parametrize(
    "text", ["!!int x", "!!int 5.5", "!!bool yes", "!!binary %%", "!mine x", "!!null x", "!!int true"]
)
def test_c17_a_tag_must_fit(text: str) -> None:
    assert "c.yaml:1:" in errors(f"globalTTL: {text}")


def test_c18_a_key_twice_is_an_error_anywhere() -> None:
    assert "c.yaml:2:1: m: the key 'm' is already defined at line 1" in errors('m: 1\n"m": 2\n')
    assert "x-a.b.c" in errors("x-a: {b: {c: 1, c: 2}}")
    assert "models.m.cmd" in errors("models: {m: {cmd: a, cmd: b}}")


def test_c18_every_repetition_is_reported() -> None:
    assert errors("a: 1\na: 2\nb: 1\nb: 2\na: 3\n").count("already defined") == 3


def test_c19_merging_is_shallow_and_ordered() -> None:
    found = config(
        """
        defs:
          one: &one {cmd: one, ttl: 1, metadata: {a: 1, b: 2}}
          two: &two {cmd: two, ttl: 2, name: two}
        models:
          m: {<<: [*one, *two], proxy: "http://h", metadata: {c: 3}}
          n: {<<: *one, cmd: own, proxy: "http://h"}
        """
    ).models
    assert (found["m"].cmd, found["m"].ttl, found["m"].name, found["m"].metadata) == (
        "one",
        1,
        "two",
        {"c": 3},
    )
    assert found["n"].cmd == "own"


@pytest.mark.parametrize("value", ["5", "[5]", "[{a: 1}, x]", "&a {<<: *a}"])
def test_c19_a_merge_takes_maps_only(value: str) -> None:
    errors(f"x: {{<<: {value}}}")


def test_c19_a_quoted_merge_key_is_a_key() -> None:
    assert config("models: {m: {@, metadata: {'<<': 1}}}").models["m"].metadata == {"<<": 1}


def test_c19_an_anchor_inside_itself() -> None:
    assert "contains itself" in errors("a: &a [1, *a]")


def test_c19_an_alias_bomb_is_refused_quickly() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "excessive aliasing" in errors("\n".join(levels))


def test_c19_many_aliases_of_a_small_anchor_are_fine() -> None:
    models = "".join(f"  m{n}: *m\n" for n in range(500))
    assert len(config(f"x-m: &m {{{RUN}}}\nmodels:\n{models}").models) == 500


def test_c20_unknown_keys_are_warnings() -> None:
    found = loaded("performance: {enable: true}\nmodels: {m: {@, Cmd: x, chekEndpoint: /}}\nzzz: 1\nx-y: 2\n")
    assert {str(w) for w in found.warnings} == {
        "c.yaml:1:15: performance.enable: unknown key",
        "c.yaml:2:43: models.m.Cmd: unknown key (did you mean cmd?)",
        "c.yaml:2:51: models.m.chekEndpoint: unknown key (did you mean checkEndpoint?)",
        "c.yaml:3:1: zzz: unknown key",
    }


@pytest.mark.parametrize("key", ["listen", "port"])
def test_c20_an_address_is_no_key(key: str) -> None:
    found = loaded(f"{key}: 8080\nmodels: {{m: {{@}}}}")
    assert str(found.warnings[0]) == (
        f"c.yaml:1:1: {key}: unknown key (the address to listen on is the option --listen)"
    )


def test_c20_strict_makes_them_errors() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean globalTTL\?"):
        load_sources([Source("c.yaml", "global_ttl: 1")], environ={}, strict=True)


def test_c20_a_misspelt_key_is_shown_with_the_error_that_it_causes() -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded("models:\n  m:\n    cmdd: s ${PORT}\n")
    assert any("did you mean cmd?" in str(w) for w in caught.value.warnings)


def test_c21_null_is_absent_or_empty() -> None:
    found = config(
        "ui: {activity: {session_id: ~}}\nhealthCheckTimeout: ~\n"
        "models: {m: {@, aliases: [a, ~, b], ttl: ~, timeouts: ~}}\n"
        "profiles: {p: {pins: {x: ~}}}\n"
        "routing: {scheduler: {settings: {fifo: {priority: {m: ~}}}}}"
    )
    assert found.ui.activity.session_id == ()
    assert found.health_check_timeout == 120
    assert found.models["m"].aliases == ("a", "b")
    assert found.models["m"].timeouts.connect == 30
    assert found.profiles["p"].pins == {"x": ""}
    assert found.routing.scheduler.settings.fifo.priority == {"m": 0}


def test_c21_a_null_key_drops_its_entry() -> None:
    found = loaded("models: {m: {@, metadata: {~: 1, a: 2}}}")
    assert found.config.models["m"].metadata == {"a": 2}
    assert "without a key" in str(found.warnings[0])


def test_c22_an_empty_entry_has_every_default() -> None:
    found = loaded("models: {m: }\ngroups: {g: }\npeers: {p: }\nglobalTTL: 7")
    model = found.config.models["m"]
    assert (model.cmd, model.proxy, model.ttl, model.timeouts.connect, model.check_endpoint) == (
        "",
        "",
        7,
        30,
        "/health",
    )
    assert found.config.routing.router.settings.groups["g"].swap
    assert {w.path for w in found.warnings} == {"models.m.cmd", "peers.p"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0x10", "16"), ("007", "7"), ("true", "true"), ("1.10", "1.1"), ("1000000.0", "1e+06"), ("0.00001",
     "1e-05"),
     ("1234567.0", "1.234567e+06"), ("123456.0", "123456"), ("2024-01-02", "2024-01-02T00:00:00Z"),
     ("1e3", "1000")],
)  # fmt: skip
def test_c23_c24_a_string_takes_any_scalar(text: str, value: str) -> None:
    assert config(f"models: {{m: {{{RUN}, name: {text}, aliases: [{text}]}}}}").models["m"].name == value
    assert value in config(f"models: {{m: {{{RUN}, aliases: [{text}]}}}}").aliases


@pytest.mark.parametrize("text", ["[a]", "{a: b}"])
def test_c23_a_string_takes_no_list_and_no_map(text: str) -> None:
    assert "logLevel: expected a string" in errors(f"logLevel: {text}")


def test_c25_an_integer_is_cut_towards_zero() -> None:
    assert config("startPort: 5800.9").start_port == 5800
    assert config("globalTTL: -0.5").global_ttl == 0


@pytest.mark.parametrize(
    "text", ['"6000"', "true", "x", "[1]", ".inf", ".nan", "1e30", "99999999999999999999"]
)
def test_c25_what_no_integer_is(text: str) -> None:
    assert "c.yaml:1:12: startPort: expected an integer" in errors(f"startPort: {text}")


@pytest.mark.parametrize(
    ("text", "value"), [("yes", True), ('"On"', True), ("N", False), ("off", False), ("TRUE", True)]
)
def test_c26_booleans(text: str, value: bool) -> None:
    assert config(f"sendLoadingState: {text}").send_loading_state is value


@pytest.mark.parametrize("text", ['"true"', "1", "0", "maybe", "yEs", "[]"])
def test_c26_what_no_boolean_is(text: str) -> None:
    assert "expected true or false" in errors(f"sendLoadingState: {text}")


@pytest.mark.parametrize(
    "text",
    ["apiKeys: a", "models: [a]", "performance: [a]", "peers: 5", "models: {m: [x]}", "ui: {activity: x}"],
)
def test_c27_lists_and_maps(text: str) -> None:
    assert "expected a" in errors(text)


def test_c28_all_mismatches_are_reported_together() -> None:
    text = errors(
        """
        startPort: x
        apiKeys: [a, [b], {c: d}]
        models:
          m: {cmd: s, proxy: "http://h", ttl: soon, timeouts: {connect: [1]}}
        """
    )
    for place in (
        "c.yaml:2:12: startPort",
        "c.yaml:3:14: apiKeys[1]",
        "c.yaml:3:19: apiKeys[2]",
        "models.m.ttl",
    ):
        assert place in text
    assert "models.m.timeouts.connect" in text
    assert len(text.splitlines()) == 5


def test_c30_ids_that_are_no_strings_are_taken_as_written() -> None:
    found = config(f"models: {{7: {{{RUN}}}, 3.10: {{{RUN}}}, true: {{{RUN}}}, b: {{{RUN}}}}}")
    assert set(found.models) == {"7", "3.10", "true", "b"}
    assert config("models: {m: {@, metadata: {0x10: a, 1.0: b}}}").models["m"].metadata == {
        "16": "a",
        "1": "b",
    }


def test_c30_a_strange_key_in_a_model_changes_nothing_else() -> None:
    found = loaded("models: {m: {cmd: 's ${PORT} ${MODEL_ID}', 5: x}}")
    assert found.config.models["m"].cmd == "s 5800 m"
    assert [w.path for w in found.warnings] == ["models.m.5"]


def test_c29_strings_keep_their_first_line_break_and_tab() -> None:
    assert metadata('"\\n a"') == "\n a"
    assert metadata('"\\ta\\nb"') == "\ta\nb"


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    with model.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ConfigurationError, match=r"model\.gguf: is no configuration: .* 16 MiB"):
        load([model], environ={})


def test_thousands_of_problems_are_found_soon() -> None:
    lines = "".join(f"  m{n}: {{ttl: x, aliases: y, tttl: 1}}\n" for n in range(3000))
    start = time.process_time()
    assert errors(f"models:\n{lines}").count("expected an integer") == 3000
    assert time.process_time() - start < 12  # a search through the map for each would take a minute


def test_nesting_is_bounded() -> None:
    assert "nested more than 100 deep" in errors("a: " + "[" * 100_000)
    merges = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 300)]
    assert "nested more than 100 deep" in errors("\n".join(merges))
    chain = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300)]
    assert "nested more than 100 deep" in errors("\n".join(chain))


def test_problems_are_one_line_each_whatever_the_names() -> None:
    text = errors('models: {"a\\nb\\e[2J": {cmd: [1], proxy: "http://h"}}')
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
