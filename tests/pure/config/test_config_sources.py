"""Several files: rules C120 to C128; and how problems are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapcli.config import (
    Configuration,
    ConfigurationError,
    Loaded,
    Problem,
    Source,
    find_sources,
    load,
    load_sources,
    render,
)

MODEL = '{cmd: s, proxy: "http://h"}'


def loaded(*texts: str, **environ: str) -> Loaded:
    sources = [Source(f"{name}.yaml", text) for name, text in zip("abcdef", texts, strict=False)]
    return load_sources(sources, environ=environ)


def config(*texts: str, **environ: str) -> Configuration:
    return loaded(*texts, **environ).config


def errors(*texts: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(*texts, **environ)
    return str(caught.value)


def test_c120_the_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "sub.yaml").mkdir()
    (tmp_path / "sub.yaml" / "deep.yaml").touch()
    for name in ("9.yaml", "10.yaml", ".hidden.yml", "B.yaml", "a.YAML", "c.yml.bak"):
        (tmp_path / name).touch()
    (tmp_path / "link.yml").symlink_to(tmp_path / "9.yaml")
    found = find_sources(None, tmp_path)
    assert isinstance(found, tuple)
    assert [path.name for path in found] == [".hidden.yml", "10.yaml", "9.yaml", "B.yaml", "link.yml"]
    assert load([tmp_path], environ={}).config == config("")


def test_c120_the_file_comes_first(tmp_path: Path) -> None:
    main, directory = tmp_path / "z.yaml", tmp_path / "conf.d"
    directory.mkdir()
    main.touch()
    (directory / "a.yaml").touch()
    assert find_sources(main, directory) == (main, directory / "a.yaml")


def test_c120_no_files(tmp_path: Path) -> None:
    for found in (
        find_sources(None, tmp_path),
        find_sources(None, tmp_path / "missing"),
        find_sources(None, None),
    ):
        assert isinstance(found, Problem)
    assert find_sources(tmp_path / "x.yaml", tmp_path) == (tmp_path / "x.yaml",)
    with pytest.raises(ConfigurationError, match="yaml file in"):
        load([tmp_path], environ={})
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load([], environ={})


def test_c121_a_file_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert isinstance(find_sources(Path("a.yaml"), tmp_path), Problem)
    with pytest.raises(ConfigurationError, match=r"a\.yaml"):
        load([Path("a.yaml"), tmp_path], environ={})


def test_c12_c122_macros_are_shared_and_variables_are_not_confused() -> None:
    found = config("macros: {A: x}", f"macros: {{B: '${{A}}y'}}\nmodels: {{m: {MODEL}}}\nlogLevel: '${{B}}'")
    assert found.log_level == "xy"
    assert "b.yaml:1:11: logLevel" in errors("logLevel: info", "logLevel: ${env.NO}")
    assert "b.yaml:2:1" in errors("a: 1", "b:\n\tc: 1")


def test_c122_syntax_errors_of_all_files_are_reported() -> None:
    text = errors("a: [", "b: 1", "c: ]")
    assert "a.yaml:" in text
    assert "c.yaml:" in text


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("globalTTL: 5", "globalTTL: 5", 5),
        ("globalTTL:", "globalTTL: 5", 5),
        ("globalTTL: 5", "globalTTL:", 5),
    ],
)
def test_c123_scalars_that_agree(one: str, other: str, value: int) -> None:
    assert config(one, other).global_ttl == value


@pytest.mark.parametrize(
    ("one", "other"),
    [("globalTTL: 5", "globalTTL: 6"), ("globalTTL: 5", "globalTTL: 5.0"), ("globalTTL: 0x10",
     "globalTTL: 16"),
     ("logLevel: 5", 'logLevel: "5"'), ("globalTTL: ~", "globalTTL: 5"), ("globalTTL: 5", "globalTTL: null"),
     ("store: {path: a}", "store: [a]"), ("apiKeys: [a]", "apiKeys: a"), ("x: &x 1\ny: *x", "y: 1"),
     ("y: 1", "x: &x 1\ny: *x")],
)  # fmt: skip
def test_c123_c124_conflicts(one: str, other: str) -> None:
    text = errors(one, other)
    assert text.startswith("b.yaml:")
    assert "a.yaml" in text


def test_c124_quotes_make_no_difference_to_strings() -> None:
    assert config("logLevel: info", 'logLevel: "info"').log_level == "info"


@pytest.mark.parametrize(
    "key",
    [
        "models",
        "groups",
        "profiles",
        "selectors",
        "peers",
        "matrix",
        "routing.router.settings.groups",
        "routing.router.settings.matrix",
    ],
)
def test_c125_entries_stand_in_one_file(key: str) -> None:
    def nested(value: str) -> str:
        for part in reversed(key.split(".")):
            value = f"{{{part}: {value}}}"
        return value

    text = errors(nested("{same: {}}"), nested("{same: {}}"))
    assert "duplicate" in text
    assert f"{key}.same" in text
    assert f"{key}: must be a map" in errors(nested("{same: {}}"), nested(""))


def test_c125_parts_of_a_matrix_may_be_in_several_files() -> None:
    models = "models: {a: @, b: @}".replace("@", MODEL)
    program = config(models + "\nmatrix: {vars: {x: a}}", "matrix: {sets: {s: x & b}}").matrix_program
    assert program is not None
    assert "duplicate" in errors(models + "\nmatrix: {sets: {t: a}}", "matrix: {sets: {s: b}}")


def test_c126_what_is_joined() -> None:
    found = config("macros: {A: 1}\napiKeys: [a]", "macros: {A: 1, B: 2}\napiKeys: [a, b]", "apiKeys: [c]")
    assert [macro.name for macro in found.macros] == ["A", "B"]
    assert found.api_keys == ("a", "a", "b", "c")
    assert "macros.A" in errors("macros: {A: 1}", "macros: {A: 2}")


def test_c127_a_key_twice_in_a_later_file_is_always_found() -> None:
    assert "b.yaml:2:1: globalTTL: the key 'globalTTL' is already defined" in errors(
        "x: 1", "globalTTL: 1\nglobalTTL: 2"
    )
    assert "already defined" in errors("globalTTL: 1", "globalTTL: 1\nglobalTTL: 1")


def test_c128_anchors_hold_in_their_file() -> None:
    found = config(
        "x-a: &m {cmd: one, proxy: 'http://h'}\nmodels: {a: *m}",
        "x-b: &m {cmd: two, proxy: 'http://h'}\nmodels: {b: *m}",
    )
    assert (found.models["a"].cmd, found.models["b"].cmd) == ("one", "two")
    assert "unknown anchor m" in errors("x-a: &m 1", "x-b: *m")


def test_values_know_their_own_file() -> None:
    text = errors(
        "models: {a: {cmd: s, proxy: 'http://h', ttl: x}}",
        "\nmodels: {b: {cmd: s, proxy: 'http://h', ttl: y}}",
    )
    assert [line.split(": ")[0] for line in text.splitlines()] == ["a.yaml:1:46", "b.yaml:2:46"]


def test_a_problem_is_rendered_with_its_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded("models:\n  m:\n\n    ttl: soon\n    cmd: s\n    proxy: http://h\n")
    assert render(caught.value.problems[0]).split("\n") == [
        "a.yaml:4:10: models.m.ttl: expected an integer, not the string 'soon'",
        "     4 |     ttl: soon",
        "       |          ^",
    ]


def test_a_long_line_is_cut_around_the_place() -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded("x: '" + "y" * 5000 + "'\n" + "upstream: {ignorePaths: [" + "key, " * 1000 + "[]]}")
    first, line, caret = render(caught.value.problems[0], width=60).split("\n")
    assert first.startswith("a.yaml:2:5026: upstream.ignorePaths[1000]")
    assert len(line) < 80
    assert line[caret.index("^")] == "["


def test_a_tab_before_the_place_is_kept() -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded("globalTTL:\t\tx")
    assert render(caught.value.problems[0]).endswith("|           \t\t^")


@pytest.mark.parametrize(("id", "columns"), [("模型", 4), ("e\u0301", 1), ("😀", 2), ("é", 1)])
def test_the_caret_stands_under_the_place_whatever_is_before_it(id: str, columns: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(f"models: {{{id}: []}}")
    _, line, caret = render(caught.value.problems[0]).split("\n")
    assert caret.endswith("^")
    before = line.index(id)
    assert len(caret) - 1 == before + columns + len(": ")


def test_a_problem_without_a_place() -> None:
    assert render(Problem("f", 0, 0, "", "what")) == "f: what"


def test_a_problem_after_loading_has_a_place_too() -> None:
    found = loaded(f"models: {{m: {MODEL}}}\nrouting: {{router: {{planner: 'a:B'}}}}")
    assert str(found.problem(("routing", "router", "planner"), "no module")) == (
        "a.yaml:2:29: routing.router.planner: no module"
    )
    assert found.problem(("routing", "scheduler", "use"), "absent").line == 2
    assert found.problem(("hooks",), "absent").line == 0
