"""Environment variables, macros and ports: rules C31 to C59."""

from __future__ import annotations

from textwrap import dedent

import pytest

from swapcli.config import Configuration, ConfigurationError, Source, load_sources

AT = 'proxy: "http://h"'
"""Written ``@`` in the texts below."""


def config(text: str, **environ: str) -> Configuration:
    return load_sources([Source("c.yaml", dedent(text).replace("@", AT))], environ=environ).config


def errors(text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        config(text, **environ)
    return str(caught.value)


def test_c31_the_result_is_typed_by_yaml() -> None:
    assert config("startPort: ${env.P}", P="7000").start_port == 7000
    assert "expected an integer" in errors('startPort: "${env.P}"', P="7000")
    assert "${env.9X} ${env.A-B} ${ENV.X}" in config("logLevel: '${env.9X} ${env.A-B} ${ENV.X}'").log_level


def test_c31_keys_anchors_and_macros_too() -> None:
    found = config(
        """
        macros: {"${env.N}": v}
        x: &${env.N} {cmd: "s ${fig}", proxy: "http://h"}
        models: {"${env.N}": *fig}
        """,
        N="fig",
    )
    assert found.models["fig"].cmd == "s v"


def test_c32_a_comment_needs_no_variable() -> None:
    assert config("logLevel: info # ${env.UNSET}\n# ${env.UNSET}\n").log_level == "info"
    assert "c.yaml:1:11: logLevel: the environment variable UNSET is not set" in errors(
        "logLevel: ${env.UNSET}"
    )
    assert config("logLevel: a${env.E}b", E="").log_level == "ab"


def test_c32_every_use_of_an_unset_variable_is_reported_once() -> None:
    text = errors("logLevel: ${env.A}\nlogTimeFormat: x${env.B}${env.A}\nstartPort: ${env.C}\n")
    assert set(text.splitlines()) == {
        "c.yaml:1:11: logLevel: the environment variable A is not set",
        "c.yaml:2:17: logTimeFormat: the environment variable B is not set",
        "c.yaml:2:25: logTimeFormat: the environment variable A is not set",
        "c.yaml:3:12: startPort: the environment variable C is not set",
    }


def test_c33_in_a_file_that_is_no_yaml_before_comments_count() -> None:
    assert config("apiKeys: [${env.K}]", K="k").api_keys == ("k",)
    assert "UNSET" in errors("apiKeys: [${env.K}] # ${env.UNSET}", K="k")


def test_c34_comment_lines_of_a_command_block_are_no_comments() -> None:
    assert "UNSET" in errors(
        "models:\n  m:\n    proxy: http://h\n    cmd: |\n      run\n      # ${env.UNSET}\n"
    )


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_c35_a_value_with_a_line_break(value: str) -> None:
    assert "the environment variable V holds a line break" in errors("logLevel: '${env.V}'", V=value)
    assert "the environment variable V holds a line break" in errors("# ${env.V}\nlogLevel: info", V=value)


def test_c35_escapes_fit_double_quotes_only() -> None:
    value = 'C:\\x"y'
    assert config('logLevel: "${env.P}"', P=value).log_level == value
    assert config("logLevel: ${env.P}", P=value).log_level == 'C:\\\\x\\"y'
    assert config("logLevel: ${env.P}", P="a # b").log_level == "a"
    assert "c.yaml:1:" in errors("logLevel: ${env.P}", P="a: b")
    assert "c.yaml:1:" in errors("logLevel: '${env.P}'", P="it's")


def test_c36_one_level_of_nesting() -> None:
    assert config("startPort: ${env.A}", A="${env.B}", B="7").start_port == 7
    assert "the environment variable B is not set" in errors("logLevel: ${env.A}", A="${env.B}")
    assert "the environment variable C" in errors("logLevel: ${env.A}", A="${env.B}", B="${env.C}", C="x")
    assert config("macros: {M: m}\nlogLevel: '${env.A}'", A="x${M}").log_level == "xm"


def test_c37_a_variable_that_a_macro_makes_is_not_looked_up() -> None:
    assert "${env.HOME}" in errors('macros: {E: env}\nlogLevel: "${${E}.HOME}"', HOME="/root")


@pytest.mark.parametrize("value", ["[a]", "x", "5"])
def test_c38_macros_is_a_map(value: str) -> None:
    assert "macros must be a map" in errors(f"macros: {value}")


def test_c38_names_may_be_numbers() -> None:
    assert config("macros: {12: a, true: b}\nlogLevel: '${12}${true}'").log_level == "ab"


@pytest.mark.parametrize(
    ("entry", "word"),
    [("a.b: 1", "a.b"), ("k" * 64 + ": 1", "longer"), ("A: ~", "A"), ("A: 2024-01-02", "A"), ("A: {b: 1}",
     "A"),
     ('A: "x${A}"', "self-reference"), ("PID: 1", "reserved"), ("MODEL_ID: 1", "reserved"),
     ('"<<": {a: 1}', "<<")],
)  # fmt: skip
def test_c39_c40_names_and_values(entry: str, word: str) -> None:
    assert word in errors(f"macros: {{{entry}}}")
    assert "models.m.macros" in errors(f"models: {{m: {{{AT}, cmd: s, macros: {{{entry}}}}}}}")


def test_c39_63_bytes_are_not_too_long() -> None:
    config(f"macros: {{{'k' * 63}: 1}}")
    assert "longer" in errors(f"macros: {{{'k' * 61}-ä: 1}}")


def test_c40_macros_may_come_through_an_alias_or_a_merge() -> None:
    found = config(
        """
        x-m: &m {A: a}
        x-model: &model {macros: {B: b}, proxy: "http://h"}
        macros: *m
        models: {m: {<<: *model, cmd: "${A}${B}"}}
        """
    )
    assert found.models["m"].cmd == "ab"


def test_c40_a_merge_inside_macros_is_a_bad_name() -> None:
    assert "<<" in errors("x: &x {A: a}\nmacros: {<<: *x}")


def test_c41_declarations_stay_as_they_are() -> None:
    found = config("macros: {B: 2, A: 'x ${MODEL_ID}'}\nmodels: {m: {@, cmd: s, macros: {C: 1.5}}}")
    assert [(macro.name, macro.value) for macro in found.macros] == [("B", 2), ("A", "x ${MODEL_ID}")]
    assert [(macro.name, macro.value) for macro in found.models["m"].macros] == [("C", 1.5)]


def test_c42_what_a_reference_is() -> None:
    text = "${ A } ${A.b} ${} $A $(x)"
    assert config(f"macros: {{A: 1}}\nlogLevel: '{text}'").log_level == text
    assert config("macros: {A: 1}\nlogLevel: '$${A}'").log_level == "$1"


def test_c43_c44_types_survive_direct_references() -> None:
    found = config('macros: {N: 5, M: "${N}", B: true}\nglobalTTL: "${M}"\nsendLoadingState: ${B}')
    assert found.global_ttl == 5
    assert found.send_loading_state
    assert "expected an integer" in errors("macros: {A: 0}\nmetricsMaxInMemory: 1${A}")


def test_c45_globals_know_no_model() -> None:
    assert config("macros: {A: x}\nzzz: '${NOPE}'\nlogLevel: '${A}'").log_level == "x"
    for name in ("MODEL_ID", "PORT", "PID"):
        assert f"c.yaml:1:11: logLevel: unknown macro ${{{name}}}" in errors(f"logLevel: '${{{name}}}'")


def test_c46_c47_the_order_of_expansion() -> None:
    assert config('macros: {A: a, B: "b${A}"}\nlogLevel: "${B}"').log_level == "ba"
    assert "unknown macro ${B}" in errors('macros: {A: "${B}", B: b}\nlogLevel: "${A}"')
    assert config('macros: {A: "${B}", B: b}').macros
    found = config('macros: {tag: x, msg: "v-${tag}"}\nmodels: {m: {@, cmd: "${msg}", macros: {tag: y}}}')
    assert found.models["m"].cmd == "v-y"
    assert "${own}" in errors('macros: {A: "${own}"}\nmodels: {m: {@, cmd: "${A}", macros: {own: y}}}')


def test_c46_a_models_macros_are_its_own() -> None:
    text = errors("models: {m: {@, cmd: s, macros: {A: 1}}, n: {@, cmd: '${A}'}}\nlogLevel: '${A}'")
    assert "models.n.cmd" in text
    assert "logLevel" in text


def test_c48_keys_are_no_targets() -> None:
    found = config("macros: {A: a}\nmodels: {m: {@, cmd: s, metadata: {'${A}': ['${A}', {b: '${A}'}]}}}")
    assert found.models["m"].metadata == {"${A}": ["a", {"b": "a"}]}


def test_c49_keys_of_set_params_by_id_are() -> None:
    found = config(
        """
        macros: {Q: q4}
        models:
          m: {@, cmd: "s ${PORT}", filters: {setParamsByID: {"${MODEL_ID}-${Q}-${PORT}": {t: "${PORT}"}}}}
        """
    ).models["m"]
    assert found.filters.set_params_by_id == {"m-q4-5800": {"t": 5800}}
    assert found.aliases == ("m-q4-5800",)
    assert "${Z}" in errors("models: {m: {@, cmd: s, filters: {setParamsByID: {'${Z}': {}}}}}")


def test_c50_comment_lines_hide_references() -> None:
    found = config(
        """
        macros:
          block: |
            srv
            # --port ${PORT}
        models:
          m:
            proxy: http://h
            cmd: |
              # ${NOPE} ${PORT}
              run
            cmdStop: |
              stop
                # ${NOPE}
          n: {cmd: "${block}"}
        """
    )
    assert found.models["m"].cmd == "run\n"
    assert found.models["m"].cmd_stop.strip() == "stop"
    # A comment that comes through a macro uses the port all the same.
    assert found.models["n"].proxy == "http://localhost:5800"


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("cmd: '#'", "cmd"),
        ("cmdStop: '#'", "cmdStop"),
        ("proxy: '#'", "proxy"),
        ("name: '#'", "name"),
        ("metadata: {a: '#'}", "metadata.a"),
        ("zzz: '#'", "zzz"),
        ("env: ['#']", "env[0]"),
        ("timeouts: {connect: '#'}", "timeouts.connect"),
        ("filters: {setParams: {a: {b: '#'}}}", "filters.setParams.a.b"),
    ],
)
def test_c51_c52_leftovers_in_a_model(entry: str, place: str) -> None:
    text = errors(f"models: {{m: {{ttl: 1, {entry.replace('#', '${NOPE}')}}}}}")
    assert f"models.m.{place}: unknown macro ${{NOPE}}" in text


def test_c52_port_and_model_id_are_not_called_unknown() -> None:
    assert "should have been substituted" in errors("models: {m: {@, cmd: s, name: '${PORT}'}}")


def test_c53_the_id_is_a_string() -> None:
    assert config("models: {'7': {@, cmd: s, metadata: {v: '${MODEL_ID}'}}}").models["7"].metadata == {
        "v": "7"
    }


def test_c54_pid_belongs_to_cmd_stop() -> None:
    found = config("macros: {K: 'kill ${PID}'}\nmodels: {m: {@, cmd: s, cmdStop: '${K} ${PID}'}}")
    assert found.models["m"].cmd_stop == "kill ${PID} ${PID}"
    assert "cmdStop only" in errors("models: {m: {@, cmd: 's ${PID}'}}")


@pytest.mark.rule("C145")
@pytest.mark.parametrize(
    "model", ["cmd: s", "ttl: 5", "cmd: ~", 'cmd: s, proxy: "http://h:${PORT}"', "cmd: 5"]
)
def test_c55_c58_a_proxy_with_a_port_needs_a_command_with_it(model: str) -> None:
    assert "models.m.proxy: http://" in errors(f"models: {{m: {{{model}}}}}")


def test_c55_no_port_for_those_that_want_none() -> None:
    assert config("models: {m: {@, cmd: s}}").models["m"].proxy == "http://h"
    assert config("models: {m: {cmd: 's ${PORT}', proxy: ''}}").models["m"].proxy == ""


def test_c56_ports_follow_the_byte_order_of_ids() -> None:
    found = config(
        "models: {n: {cmd: 's ${PORT}'}, a: {@, cmd: s}, M: {@, cmd: 's ${PORT}'}, é: {cmd: '${PORT}'}}"
    )
    assert [found.models[id].cmd for id in ("M", "n", "é")] == ["s 5800", "s 5801", "5802"]


def test_c57_the_port_is_an_integer_in_every_corner() -> None:
    found = config(
        "macros: {P: '${PORT}'}\nmodels: {m: {cmd: 's ${P}', metadata: {p: '${PORT}', q: ['${P}', 'x${P}']}}}"
    )
    assert found.models["m"].metadata == {"p": 5800, "q": [5800, "x5800"]}


def test_c59_the_first_port() -> None:
    assert (
        config('macros: {P: 6100}\nstartPort: "${P}"\nmodels: {m: {cmd: "s ${PORT}"}}').models["m"].cmd
        == "s 6100"
    )
    assert config("startPort: 1").start_port == 1
    assert "startPort: must be at least 1" in errors("startPort: 0")


def test_a_place_after_a_replaced_variable_is_right() -> None:
    text = "models: {m: {cmd: '${env.LONG} ${NOPE}', proxy: http://h, ttl: x}}\n"
    for value in ("", "a", "a" * 300, "${env.A}"):
        column = text.index("x}}") + 1
        assert f"c.yaml:1:{column}: models.m.ttl" in errors(text, LONG=value, A="b" * 50)


def test_macros_that_double_each_other_end_soon() -> None:
    lines = ["  A0: xxxxxxxxxx"] + [f'  A{n}: "${{A{n - 1}}}${{A{n - 1}}}"' for n in range(1, 64)]
    assert "characters of text" in errors("macros:\n" + "\n".join(lines) + '\nlogLevel: "${A63}"\n')
