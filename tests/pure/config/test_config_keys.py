"""Top-level keys, models and filters: rules C60 to C83, and the keys of our own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from swapcli.config import (
    Configuration,
    ConfigurationError,
    Loaded,
    ModelConfig,
    Source,
    effective,
    load,
    load_sources,
    to_specs,
)
from swapcore import RestartPolicy, RestartWhen

RUN = 'cmd: run, proxy: "http://h"'
"""Written ``@`` in the texts below."""


def loaded(text: str, *, windows: bool = False) -> Loaded:
    return load_sources(
        [Source("c.yaml", dedent(text).replace("@,", RUN + ",").replace("@}", RUN + "}"))],
        environ={},
        windows=windows,
    )


def config(text: str, *, windows: bool = False) -> Configuration:
    return loaded(text, windows=windows).config


def errors(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    return str(caught.value)


def warnings(text: str) -> dict[str, str]:
    return {problem.path: problem.message for problem in loaded(text).warnings}


def model(keys: str) -> ModelConfig:
    return config(f"models: {{m: {{@, {keys}}}}}").models["m"]


@pytest.mark.parametrize(("text", "value"), [("3", 15), ("-9", 15), ("15", 15), ("16", 16), ("0", 15)])
@pytest.mark.rule("L22")
def test_c60_health_check_timeout_has_a_least_value(text: str, value: int) -> None:
    found = config(f"healthCheckTimeout: {text}\nmodels: {{m: {{@}}}}")
    assert found.health_check_timeout == found.models["m"].health_check_timeout == value


@pytest.mark.rule("L42")
def test_c60_unload_timeout() -> None:
    assert config("unloadTimeout: 0").unload_timeout == 10
    assert "unloadTimeout" in errors("unloadTimeout: -1")


@pytest.mark.parametrize("value", ["Proxy", '""', "stdout", "5"])
def test_c60_log_to_stdout(value: str) -> None:
    assert "c.yaml:1:14: logToStdout: must be one of" in errors(f"logToStdout: {value}")


def test_c60_unvalidated_keys_load() -> None:
    found = loaded("logLevel: LOUD\nlogTimeFormat: sundial\nmetricsMaxInMemory: -1\ncaptureBuffer: -5\n")
    assert (found.config.metrics_max_in_memory, found.config.capture_buffer) == (-1, -5)
    assert {w.path for w in found.warnings} == {"logLevel", "logTimeFormat"}
    assert not loaded("logLevel: ' Debug '\nlogTimeFormat: RFC3339Nano").warnings


def test_c62_store_without_a_path() -> None:
    for text in ("store: {}", "store: {path: '  '}", "store: {path: ~}"):
        assert "store.path: must name a file" in errors(text)
    assert config("store: ~").store is None


def test_what_the_store_forgets() -> None:
    store = config("store: {path: a.db, maxRecords: 5000, maxDays: 30}").store
    assert store is not None
    assert (store.max_records, store.max_days) == (5000, 30)
    for key in ("maxRecords", "maxDays"):
        assert f"store.{key}: must not be negative: -1" in errors(f"store: {{path: a.db, {key}: -1}}")


def test_c62_store_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"

    def attempt(path: Path) -> str:
        file.write_text(f"store: {{path: '{path}'}}")
        try:
            load([file], environ={})
        except ConfigurationError as error:
            return str(error)
        return ""

    assert attempt(tmp_path / "new.db") == ""
    assert not (tmp_path / "new.db").exists()
    assert "store.path" in attempt(tmp_path)
    assert "does not exist" in attempt(tmp_path / "missing" / "a.db")
    (tmp_path / "notes").write_text("not a database")
    assert "notes exists and is no database" in attempt(tmp_path / "notes")
    if os.name == "posix" and os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "old.db").touch(mode=0o400)
        assert "not writable" in attempt(tmp_path / "old.db")


def test_c63_session_headers() -> None:
    found = config("ui: {activity: {session_id: [' X-A ', '', x-a, X-B]}}")
    assert found.ui.activity.session_id == ("X-A", "X-B")
    assert config("ui: {activity: {session_id: []}}").ui.activity.session_id == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90),
        ("1.5h", 5400),
        ("5000ms", 5),
        ("0", 5),
        ("0s", 5),
        ("+6s", 6),
        ("10000000us", 10),
        (".5m", 30),
    ],
)
def test_c64_durations(text: str, seconds: float) -> None:
    assert config(f"performance: {{every: '{text}'}}").performance.every_seconds == seconds


@pytest.mark.parametrize("text", ["4s", "-6s", "1d", "s", "5", "''", "1 s", "5s x", "99999999999h", "'5'"])
def test_c64_what_no_duration_is(text: str) -> None:
    assert "performance.every" in errors(f"performance: {{disabled: true, every: {text}}}")


def test_c64_a_number_is_no_duration() -> None:
    assert "expected a duration" in errors("performance: {every: 0}")


def test_c65_api_keys() -> None:
    assert config('apiKeys: ["a\\tb", a, a]').api_keys == ("a\tb", "a", "a")
    text = errors('apiKeys: [ok, "", "be ta", "secret word"]')
    assert "apiKeys[1]: must not be empty" in text
    assert "apiKeys[3]: must not contain spaces" in text
    assert "secret" not in text


def test_c66_ignore_paths() -> None:
    default = config("upstream: {ignorePaths: ~}").upstream
    assert default.ignores("/static/app.JS".lower())
    assert not default.ignores("/v1/models")
    own = config("upstream: {ignorePaths: ['^/x', '\\.svg$']}").upstream
    assert (own.ignores("/xyz"), own.ignores("/a.svg"), own.ignores("/a.js")) == (True, True, False)
    text = errors("upstream: {ignorePaths: [ok, '(?=a)', '[']}")
    assert "upstream.ignorePaths[1]: '(?=a)'" in text
    assert "upstream.ignorePaths[2]: '['" in text
    assert "${word}" in errors("upstream: {ignorePaths: ['${word}']}")


def test_c67_preload() -> None:
    found = loaded(
        "models: {m: {@, aliases: [al]}}\nhooks: {on_startup: {preload: [' m ', al, '', nope, m]}}"
    )
    assert found.config.hooks.on_startup.preload == ("m", "m", "m")
    assert [w.path for w in found.warnings] == ["hooks.on_startup.preload[3]"]


def test_c68_ids_are_free_text() -> None:
    assert set(config("models: {'': {@}, a/b:c d: {@}, é: {@}}").models) == {"", "a/b:c d", "é"}


def test_c68_a_command_is_not_needed_to_load() -> None:
    assert warnings("models: {m: {proxy: 'http://h'}}") == {
        "models.m.cmd": "there is no command: the model cannot be started"
    }


@pytest.mark.rule("L37")
def test_c68_stop_command_on_windows() -> None:
    assert config("models: {m: {@}}", windows=True).models["m"].cmd_stop == "taskkill /f /t /pid ${PID}"
    assert model("ttl: 0").cmd_stop == ""


@pytest.mark.parametrize(
    ("own", "everywhere", "value"), [("-1", 9, 9), ("~", 9, 9), ("0", 9, 0), ("5", 9, 5)]
)
@pytest.mark.rule("L50")
def test_c69_ttl(own: str, everywhere: int, value: int) -> None:
    found = config(f"globalTTL: {everywhere}\nmodels: {{m: {{@, ttl: {own}}}}}")
    assert found.models["m"].ttl == value
    assert to_specs(found)[0].ttl == (value or None)


def test_c70_environment() -> None:
    found = loaded("models: {m: {@, env: [a=b=c, lower=1, NAKED, =x, A=1, A=2, E=]}}")
    assert len(found.config.models["m"].env) == 7
    assert to_specs(found.config)[0].env == {"a": "b=c", "lower": "1", "A": "2", "E": ""}
    assert {w.path for w in found.warnings} == {"models.m.env[2]", "models.m.env[3]"}
    assert "models.m.env" in errors("models: {m: {@, env: A=b}}")


def test_everything_that_is_wrong_is_told_at_once_from_the_top_of_the_file() -> None:
    text = """\
        groups: {g: {members: [nobody]}}
        models:
          a: {cmd: run, ttl: soon, proxy: ""}
          b: {cmd: 'run ${PORT}', checkEndpoint: /%zz}
          c: {}
        apiKeys: [" "]
        """
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    assert [problem.line for problem in caught.value.problems] == [1, 3, 4, 5, 6]
    assert caught.value.problems[0].message == "no model has the id 'nobody'"


def test_a_model_without_command_and_address_is_told_to_have_either() -> None:
    what = "http://localhost:${PORT} needs ${PORT}, but there is no cmd that could use it: set cmd or proxy"
    assert errors("models: {m: {ttl: 3}}") == f"c.yaml:1:10: models.m.proxy: {what}"


def test_an_empty_address_is_a_warning_at_its_place() -> None:
    assert warnings("models: {m: {cmd: run, proxy: ''}}") == {
        "models.m.proxy": "there is no URL: the model cannot be started"
    }
    assert [w.column for w in loaded("models: {m: {cmd: run, proxy: ''}}").warnings] == [31]
    assert warnings("models: {m: }") == {"models.m.cmd": "there is no command: the model cannot be started"}


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [("/health", "/health"), (" none ", None), ("None", "/None"), ("health?x=1", "/health?x=1"), ("''", ""),
     ("http://other:9/ready?a=%20", "/ready?a=%20"), ("/a b", "/a%20b"), ("/%C3%A4", "/%C3%A4")],
)  # fmt: skip
def test_c71_check_endpoint(endpoint: str, path: str | None) -> None:
    assert to_specs(config(f"models: {{m: {{@, checkEndpoint: {endpoint}}}}}"))[0].check_path == path


@pytest.mark.parametrize("endpoint", ["/%zz", "'http://[::1/x'", '"/a\\nb"'])
@pytest.mark.rule("G13")
def test_a_check_endpoint_that_is_no_path_is_an_error_with_its_place(endpoint: str) -> None:
    assert "c.yaml:1:58: models.m.checkEndpoint" in errors(f"models: {{m: {{@, checkEndpoint: {endpoint}}}}}")


@pytest.mark.rule("L55")
def test_c72_timeouts() -> None:
    assert model("timeouts: {connect: -5}").timeouts.connect == -5
    peers = config("peers: {p: {proxy: 'http://h', models: [a], timeouts: {connect: 1}}}").peers
    assert (peers["p"].timeouts.connect, peers["p"].timeouts.response_header) == (1, 60)


def test_c73_capabilities() -> None:
    text = errors("models: {m: {@, capabilities: {in: [text, Text], out: [audio, smell], context: -1}}}")
    assert "models.m.capabilities.in[1]: 'Text'" in text
    assert "models.m.capabilities.out[1]: 'smell'" in text
    assert "models.m.capabilities.context" in text
    assert model("capabilities: {in: [], tools: no, context: 0}").capabilities.empty
    assert not model("capabilities: {in: [text, text]}").capabilities.empty


@pytest.mark.rule("L74")
def test_c74_comfyui_auto() -> None:
    found = config(
        "models: {comfyui_auto: {@, concurrencyLimit: 3, compat: {ignoreWebsockets: false}}}"
    ).models
    assert (found["comfyui_auto"].concurrency_limit, found["comfyui_auto"].compat.ignore_websockets) == (
        50,
        True,
    )


GOOD_URLS = ["", "localhost:8080", "relative/path", "ftp://x:1", "http://h:99999", "http://[::1]:8",
             "http://h/x y",
             "http://h/?%zz", "mailto:x", "http://h:", "*", "//h/p", "http://ä/", "HTTP://H"]  # fmt: skip
BAD_URLS = ["127.0.0.1:8080", "://x", "http://h:web", "http://h/%zz", "http://a b/", "http://[::1", "http://::1/",
            "http://h]/", "a_b:80", "http://h%41/", "http://h#%zz", ":", "http://h%20/"]  # fmt: skip


@pytest.mark.parametrize("url", GOOD_URLS)
def test_c75_urls(url: str) -> None:
    assert config(f"models: {{m: {{cmd: s, proxy: '{url}'}}}}").models["m"].proxy == url


@pytest.mark.parametrize("url", BAD_URLS)
def test_c75_what_no_url_is(url: str) -> None:
    assert "models.m.proxy: no URL" in errors(f"models: {{m: {{cmd: s, proxy: '{url}'}}}}")


def test_c75_user_names() -> None:
    assert config("peers: {p: {proxy: 'http://u:p%40x@h', models: [a]}}").peers
    assert "peers.p.proxy: no URL" in errors("peers: {p: {proxy: 'http://u ser@h', models: [a]}}")


def test_c75_a_control_character() -> None:
    assert "control character" in errors('models: {m: {cmd: s, proxy: "http://h/\\u0001"}}')


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://h", "http://", "http://h:99999", "x"])
def test_a_url_that_leads_nowhere_is_a_warning(url: str) -> None:
    assert "nothing can be sent" in warnings(f"models: {{m: {{cmd: s, proxy: '{url}'}}}}")["models.m.proxy"]


def test_c76_aliases() -> None:
    assert "duplicate alias 'a': m has it already" in errors("models: {m: {@, aliases: [a, a]}}")
    text = errors("models: {m: {@, aliases: [a]}, n: {@, aliases: [b, a]}}")
    assert "models.n.aliases[1]: duplicate alias 'a': m has it already" in text
    found = config("models: {m: {@, aliases: [n, m, '', ' x ']}, n: {@}}")
    assert [found.resolve(name) for name in ("n", "m", "", " x ", "x")] == ["n", "m", "m", "m", None]


def test_c77_parameter_names_become_aliases() -> None:
    found = config("models: {m: {@, filters: {setParamsByID: {m: {a: 1}, fast: {}, slow: ~}}}}")
    assert set(found.models["m"].aliases) == {"fast", "slow"}
    assert found.resolve("slow") == "m"
    text = errors("models: {m: {@, filters: {setParamsByID: {n: {}}}}, n: {@}}")
    assert "models.m.filters.setParamsByID.n: n is another model" in text
    text = errors("models: {m: {@, filters: {setParamsByID: {x: {}}}}, n: {@, aliases: [x]}}")
    assert "duplicate alias 'x': n has it already, m" in text


def test_c78_names_are_exact() -> None:
    found = config("models: {m: {@}}\npeers: {p: {proxy: 'http://h', models: [m, other]}}")
    assert found.resolve("m") == "m"
    assert found.resolve("M") is None
    assert found.resolve_peer("m") is None
    assert found.resolve_peer("p/m") == ("p", "m")
    assert found.resolve_peer("other") == ("p", "other")


def test_c79_filters_of_a_peer_make_no_aliases_and_expand_no_keys() -> None:
    found = config(
        "macros: {A: 1}\npeers: {p: {proxy: 'http://h', models: [a], filters: {stripParams: x, "
        "setParams: {t: '${A}'}, setParamsByID: {fast: {t: 2}, '${A}': {t: 3}}}}}"
    )
    filters = found.peers["p"].filters
    assert (filters.strip_list, filters.set_params) == (("x",), {"t": 1})
    assert filters.set_params_by_id == {"fast": {"t": 2}, "${A}": {"t": 3}}
    assert found.aliases == {}


def test_c80_the_older_spelling_of_strip_params() -> None:
    assert model("filters: {strip_params: 'a, b'}").filters.strip_list == ("a", "b")
    assert model("filters: {stripParams: x, strip_params: [not, looked, at]}").filters.strip_list == ("x",)
    assert "models.m.filters.strip_params" in errors("models: {m: {@, filters: {strip_params: [a]}}}")
    assert "models.m.filters.stripParams" in errors("models: {m: {@, filters: {stripParams: [a]}}}")
    peer = "peers: {p: {proxy: 'http://h', models: [a], filters: {strip_params: x}}}"
    assert config(peer).peers["p"].filters.strip_list == ()


def test_c81_c82_effective_filters() -> None:
    filters = model(
        "filters: {stripParams: ' , model ,b, a ,b', setParams: {z: 1, model: x, a: {model: 2}}}"
    ).filters
    assert filters.strip_params == " , model ,b, a ,b"
    assert filters.strip_list == ("a", "b")
    assert list(filters.set_params_effective.items()) == [("a", {"model": 2}), ("z", 1)]


def test_c83_parameters_by_name() -> None:
    filters = model("filters: {setParamsByID: {x: {b: 1, model: y, a: 2}}}").filters
    assert list(filters.set_params_for("x").items()) == [("a", 2), ("b", 1)]
    assert filters.set_params_for("y") == {}


def test_own_keys_have_the_defaults_that_are_documented() -> None:
    plain = model("ttl: 0")
    assert (plain.max_waiting, plain.waiting_limit, plain.pinned, plain.stop_signal) == (
        None,
        256,
        False,
        "TERM",
    )
    assert effective(config("models: {m: {@}}"))["models"]["m"]["restart"] == {
        "policy": "on-demand", "intensity": 3, "period": 30, "backoff": 1, "backoffMax": 60,
    }  # fmt: skip
    assert (plain.liveness.every, plain.liveness.silent) == (0, 0)
    assert plain.prefetch
    fifo = config("").routing.scheduler.settings.fifo
    assert (fifo.max_wait, fifo.leeway, fifo.min_residency, fifo.max_drain) == (120, 60, 0, 0)


@pytest.mark.parametrize(
    ("keys", "path"),
    [("maxWaiting: -1", "maxWaiting"), ("stopSignal: BOO", "stopSignal"), ("restart: {policy: maybe}",
     "restart.policy"),
     ("restart: {intensity: 0}", "restart.intensity"), ("restart: {period: -1}", "restart.period"),
     ("liveness: {every: -0.5}", "liveness.every"), ("liveness: {silent: x}", "liveness.silent"),
     ("pinned: 5", "pinned"), ("restart: {backoff: .inf}", "restart.backoff"), ("prefetch: 5", "prefetch")],
)  # fmt: skip
def test_own_keys_are_checked(keys: str, path: str) -> None:
    assert f"models.m.{path}" in errors(f"models: {{m: {{@, {keys}}}}}")


@pytest.mark.parametrize("key", ["maxWait", "leeway", "minResidency", "maxDrain"])
def test_own_keys_of_the_scheduler_are_checked(key: str) -> None:
    text = errors(f"routing: {{scheduler: {{settings: {{fifo: {{{key}: -1}}}}}}}}")
    assert f"routing.scheduler.settings.fifo.{key}" in text


@pytest.mark.parametrize("value", ["INT", "SIGINT", "int", "2", "' sigint '"])
def test_signals_by_name_and_number(value: str) -> None:
    found = config(f"models: {{m: {{@, stopSignal: {value}}}}}")
    assert found.models["m"].stop_signal == "INT"
    assert to_specs(found)[0].stop_signal == signal.SIGINT


@pytest.mark.parametrize(
    ("keys", "files"), [("ttl: 0", None), ("prefetch: true", None), ("prefetch: false", ())]
)
def test_the_files_that_are_read_ahead_are_found_in_the_command_or_are_none(
    keys: str, files: tuple[()] | None
) -> None:
    (spec,) = to_specs(config(f"models: {{m: {{@, {keys}}}}}"))
    assert spec.prefetch == files


@pytest.mark.rule("G39", "L22")
@pytest.mark.rule("G42")
def test_a_models_own_start_deadline_is_honoured() -> None:
    found = config(
        "healthCheckTimeout: 60\n"
        "models: {a: {@, healthCheckTimeout: 5}, b: {@}, c: {@, healthCheckTimeout: 0}}"
    )
    assert {spec.id: spec.start_timeout for spec in to_specs(found)} == {"a": 5, "b": 60, "c": 60}


@pytest.mark.parametrize(
    ("keys", "parallel", "waiting", "in_all"),
    [("ttl: 0", 10, 256, None), ("concurrencyLimit: 3", 3, 0, 3), ("concurrencyLimit: -1", 10, 256, None),
     ("maxWaiting: 7", 10, 7, None), ("concurrencyLimit: 3, maxWaiting: 0", 3, 0, None)],
)  # fmt: skip
@pytest.mark.rule("L74")
def test_how_many_requests_run_and_wait(keys: str, parallel: int, waiting: int, in_all: int | None) -> None:
    spec = to_specs(config(f"models: {{m: {{@, {keys}}}}}"))[0]
    assert (spec.concurrency, spec.max_waiting) == (parallel, waiting)
    assert model(keys).admission_limit == in_all


def test_specs_have_everything_that_starts_a_process() -> None:
    found = config(
        """
        unloadTimeout: 7
        models:
          m:
            cmd: |
              # a comment
              srv --port ${PORT} "two words"
            cmdStop: stop ${PID}
            env: [A=1]
        routing: {scheduler: {settings: {fifo: {priority: {m: 4}}}}}
        """
    )
    spec = to_specs(found)[0]
    assert spec.command == ("srv", "--port", "5800", "two words")
    assert (spec.url, spec.stop_command, spec.env) == (
        "http://localhost:5800",
        ("stop", "${PID}"),
        {"A": "1"},
    )
    assert (spec.unload_timeout, spec.priority, spec.check_path) == (7, 4, "/health")
    assert (spec.restart, spec.pinned) == (RestartPolicy(), False)
    own = "models: {m: {@, pinned: true, restart: {policy: always, intensity: 5, period: 9, backoff: 0.5}}}"
    spec = to_specs(config(own))[0]
    assert spec.pinned
    assert spec.restart == RestartPolicy(when=RestartWhen.ALWAYS, intensity=5, period=9, backoff=0.5)


def test_the_effective_configuration_hides_secrets() -> None:
    text = """
        apiKeys: [k1, k2]
        models: {m: {@, env: [TOKEN=abc, X]}}
        peers: {p: {proxy: 'http://h', models: [a], apiKey: k3}}
        """
    hidden = effective(config(text))
    assert hidden["apiKeys"] == ["***", "***"]
    assert hidden["models"]["m"]["env"] == ["TOKEN=***", "X"]
    assert hidden["peers"]["p"]["apiKey"] == "***"
    shown = effective(config(text), secrets=True)
    assert shown["peers"]["p"]["apiKey"] == "k3"
    assert shown["models"]["m"]["env"][0] == "TOKEN=abc"


@pytest.mark.parametrize(
    "keys",
    [
        "cmd: run --hf-token hush-hush",
        "cmd: docker run -e HF_TOKEN=hush-hush image",
        "cmd: sh -c 'A=1 MY_API_KEY=hush-hush exec run'",
        "cmd: run, cmdStop: stop 'PASSWORD=hush-hush'",
        "cmd: run, proxy: 'https://me:hush-hush@h/v1'",
        "cmd: run, env: [THE_SECRET=hush-hush], metadata: {note: 'it is hush-hush'}",
    ],
)
def test_secrets_are_hidden_wherever_they_stand(keys: str) -> None:
    proxy = "" if "proxy" in keys else "proxy: 'http://h', "
    found = config(f"models: {{m: {{{proxy}{keys}}}}}")
    assert "hush-hush" not in str(effective(found))
    assert "hush-hush" in str(effective(found, secrets=True))


def test_what_is_only_spelt_like_a_secret_is_shown() -> None:
    text = "models: {m: {@, env: [MAX_TOKENS=4096, TOKENIZER=bert-base], name: bert-base up to 4096}}"
    assert effective(config(text))["models"]["m"]["name"] == "bert-base up to 4096"


def keys_in(data: Any) -> set[str]:
    match data:
        case dict():
            return set(data) | {key for value in data.values() for key in keys_in(value)}
        case list():
            return {key for value in data for key in keys_in(value)}
        case _:
            return set()


def test_the_effective_configuration_uses_yaml_names() -> None:
    names = keys_in(effective(config("models: {m: {@}}")))
    assert {
        "globalTTL",
        "checkEndpoint",
        "setParamsByID",
        "on_startup",
        "session_id",
        "backoffMax",
        "in",
    } <= names
    assert "global_ttl" not in names
