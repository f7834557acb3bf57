"""What a new configuration changes, and which ports it leaves alone."""

from __future__ import annotations

from textwrap import dedent

import pytest

from swapcli.config import Changes, Configuration, Loaded, Ports, Source, changes, load_sources

A, B, C = (f"  {id}: {{cmd: 's --port ${{PORT}}'}}\n" for id in "abc")


def loaded(text: str, ports: Ports | None = None) -> Loaded:
    return load_sources([Source("c.yaml", dedent(text))], environ={}, ports=ports or Ports())


def config(text: str) -> Configuration:
    return loaded(text).config


def port(text: Loaded, id: str) -> str:
    return text.config.models[id].proxy.rpartition(":")[2]


@pytest.mark.rule("G10")
def test_comments_order_and_defaults_spelt_out_change_nothing() -> None:
    old = config(f"startPort: 6000\nmodels:\n{A}{B}")
    new = config(f"# why\nmodels: # these\n{B}{A}\nstartPort: 6000\nhealthCheckTimeout: 120\n")
    found = changes(old, new)
    assert found.nothing
    assert set(found.unchanged) == {"a", "b"}


def test_a_command_that_is_split_into_the_same_words_restarts_nothing() -> None:
    old = config(f"models:\n{A}")
    new = config("macros: {p: --port}\nmodels:\n  a:\n    cmd: |\n      s\n      ${p} ${PORT}\n")
    assert changes(old, new).changed == ("a",)
    assert changes(old, new).restarted == ()


def test_each_model_is_in_one_place() -> None:
    old = config("""
        models:
          same: {cmd: s, proxy: 'http://h:1'}
          gone: {cmd: s, proxy: 'http://h:2'}
          other-command: {cmd: s, proxy: 'http://h:3'}
          other-port: {cmd: s, proxy: 'http://h:4'}
          other-name: {cmd: s, proxy: 'http://h:5'}
          other-ttl: {cmd: s, proxy: 'http://h:6'}
          other-stop: {cmd: s, proxy: 'http://h:7'}
          other-env: {cmd: s, proxy: 'http://h:8'}
        """)
    new = config("""
        models:
          new: {cmd: s, proxy: 'http://h:9'}
          same: {cmd: s, proxy: 'http://h:1'}
          other-command: {cmd: s -v, proxy: 'http://h:3'}
          other-port: {cmd: s, proxy: 'http://h:40'}
          other-name: {cmd: s, proxy: 'http://h:5', name: N}
          other-ttl: {cmd: s, proxy: 'http://h:6', ttl: 5}
          other-stop: {cmd: s, proxy: 'http://h:7', cmdStop: 'kill ${PID}'}
          other-env: {cmd: s, proxy: 'http://h:8', env: [A=1]}
        """)
    assert changes(old, new) == Changes(
        added=("new",),
        removed=("gone",),
        restarted=("other-command", "other-port", "other-stop", "other-env"),
        changed=("other-name", "other-ttl"),
        unchanged=("same",),
        settings=("routing",),  # the default group lists the models
    )


def test_a_setting_that_reaches_into_models_is_told_in_both_places() -> None:
    old, new = config(f"models:\n{A}"), config(f"unloadTimeout: 3\nlogLevel: debug\nmodels:\n{A}")
    found = changes(old, new)
    assert found.changed == ("a",)
    assert set(found.settings) == {"unloadTimeout", "logLevel"}


@pytest.mark.rule("G10")
def test_a_new_model_moves_nobody_elses_port() -> None:
    first = loaded(f"startPort: 6000\nmodels:\n{B}")
    second = loaded(f"startPort: 6000\nmodels:\n{A}{B}{C}", first.ports)
    assert [port(second, id) for id in "abc"] == ["6001", "6000", "6002"]
    assert changes(first.config, second.config).unchanged == ("b",)


def test_a_model_that_comes_back_gets_the_port_that_it_had() -> None:
    first = loaded(f"models:\n{A}{B}")
    without = loaded(f"models:\n{B}{C}", first.ports)
    assert port(without, "c") == "5802", "a process of a may still be draining on 5800"
    back = loaded(f"models:\n{A}{B}{C}", without.ports)
    assert [port(back, id) for id in "abc"] == ["5800", "5801", "5802"]


def test_another_start_port_moves_all() -> None:
    first = loaded(f"models:\n{A}{B}")
    moved = loaded(f"startPort: 7000\nmodels:\n{A}{B}", first.ports)
    assert [port(moved, id) for id in "ab"] == ["7000", "7001"]
    assert changes(first.config, moved.config).restarted == ("a", "b")


def test_read_for_the_first_time_ports_follow_the_byte_order_of_ids() -> None:
    again = loaded(f"models:\n{C}{A}{B}")
    assert [port(again, id) for id in "abc"] == ["5800", "5801", "5802"]
