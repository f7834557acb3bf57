"""Peers, selectors and profiles: rules C107 to C119."""

from __future__ import annotations

from textwrap import dedent

import pytest

from swapcli.config import Configuration, ConfigurationError, Loaded, Source, load_sources

MODELS = "models:\n" + "".join(f"  {id}: {{cmd: s, proxy: 'http://h', aliases: [al-{id}]}}\n" for id in "abc")
PEERS = "peers: {p: {proxy: 'http://h', models: [pm, dup]}, q: {proxy: 'http://h', models: [dup, qm]}}\n"


def loaded(text: str) -> Loaded:
    return load_sources([Source("c.yaml", MODELS + dedent(text))], environ={})


def config(text: str) -> Configuration:
    return loaded(text).config


def errors(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("peer", "path"),
    [("{models: [x]}", "proxy"), ("{proxy: '', models: [x]}", "proxy"), ("{proxy: '1:b:c', models: [x]}",
     "proxy"),
     ("{proxy: 'http://h'}", "models"), ("{proxy: 'http://h', models: []}", "models"),
     ("{proxy: 'http://h', models: [~]}", "models")],
)  # fmt: skip
def test_c107_peers(peer: str, path: str) -> None:
    assert f"peers.far.{path}: " in errors(f"peers: {{far: {peer}}}")


def test_c107_repeats_are_fine() -> None:
    assert config("peers: {p: {proxy: 'http://h', models: [x, x, ~]}}").peers["p"].models == ("x", "x")


def test_c108_full_names_are_reserved() -> None:
    assert "p/q/r" in errors(
        "peers: {p: {proxy: 'http://h', models: [q/r]}, p/q: {proxy: 'http://h', models: [r]}}"
    )
    peer = "peers: {p: {proxy: 'http://h', models: [x]}}\n"
    assert "p/x is a selector" in errors(peer + "selectors: {p/x: {strategy: pin, targets: [a]}}")
    assert "p/x is a pin of profile d" in errors(peer + "profiles: {d: {pins: {p/x: a}}}")
    for model in (
        "p/x: {cmd: s, proxy: 'http://h'}",
        "m: {cmd: s, proxy: 'http://h', aliases: [p/x]}",
        "m: {cmd: s, proxy: 'http://h', filters: {setParamsByID: {p/x: {}}}}",
    ):
        with pytest.raises(ConfigurationError, match="p/x is a"):
            load_sources([Source("c.yaml", f"{peer}models: {{{model}}}")], environ={})


def test_c109_names_of_peer_models() -> None:
    found = config(PEERS)
    assert found.resolve_peer("pm") == ("p", "pm")
    assert found.resolve_peer("dup") is None
    assert found.resolve_peer("q/dup") == ("q", "dup")
    found = config("peers: {p: {proxy: 'http://h', models: [q/x]}, q: {proxy: 'http://h', models: [x]}}")
    assert found.resolve_peer("q/x") == ("q", "x")
    found = config("peers: {p: {proxy: 'http://h', models: [a, al-b, one, one]}}")
    assert [found.resolve_peer(name) for name in ("a", "al-b", "one")] == [None, None, ("p", "one")]


def selector(body: str, more: str = "") -> str:
    return errors(f"{PEERS}{more}\nselectors: {{sel: {body}}}")


@pytest.mark.parametrize(
    ("body", "place"),
    [("{targets: [a]}", "selectors.sel.strategy: required"), ("{strategy: Pin, targets: [a]}",
     "selectors.sel.strategy: must be"),
     ("{strategy: pin}", "selectors.sel.targets: at least"), ("~", "selectors.sel.strategy"),
     ("{strategy: pin, targets: [a, ghost]}", "selectors.sel.targets[1]: no model 'ghost'"),
     ("{strategy: pin, targets: [dup]}", "selectors.sel.targets[0]: no model"),
     ("{strategy: pin, targets: [sel]}", "selectors.sel.targets[0]: 'sel' is a selector"),
     ("{strategy: warm, targets: [a, pm]}",
     "selectors.sel.targets[1]: 'pm' is a peer's model; strategy warm"),
     ("{strategy: spillover, targets: [pm], settings: {spillover: 0}}", "selectors.sel.settings.spillover"),
     ("{strategy: spillover, targets: [pm, p/pm]}",
     "selectors.sel.targets[1]: 'p/pm' is the same model as 'pm'"),
     ("{strategy: spillover, targets: [a, al-a]}",
     "selectors.sel.targets[1]: 'al-a' is the same model as 'a'")],
)  # fmt: skip
@pytest.mark.rule("L125")
def test_c112_c114_selectors(body: str, place: str) -> None:
    assert place in selector(body)


def test_c111_c112_selectors_that_load() -> None:
    found = config(
        PEERS
        + """
selectors:
  one:
    {strategy: pin, targets: [p/dup, al-a, a, a], settings: {spillover: 0}, unlisted: yes, metadata: {a: 1.0}}
  two: {strategy: spillover, targets: [pm, qm], settings: {spillover: 3}}
"""
    ).selectors
    assert (found["one"].unlisted, found["one"].metadata) == (True, {"a": 1})
    assert found["two"].settings.spillover == 3


@pytest.mark.parametrize(
    ("name", "word"), [("a", "a model has this id"), ("al-a", "alias of the model a"), ("' '", "blank")]
)
def test_c112_ids_of_selectors(name: str, word: str) -> None:
    assert word in errors(f"selectors: {{{name}: {{strategy: pin, targets: [b]}}}}")


def test_c113_a_selector_may_have_the_bare_name_of_a_peers_model() -> None:
    found = config(PEERS + "selectors: {pm: {strategy: pin, targets: [p/pm]}}")
    assert found.selectors["pm"].targets == ("p/pm",)
    assert "'pm' is a selector" in errors(PEERS + "selectors: {pm: {strategy: pin, targets: [pm]}}")


SPILL = "selectors: {sel: {strategy: spillover, targets: [a, b, pm]}}\n"


@pytest.mark.parametrize(
    ("groups", "word"),
    [("{}", "a is in no group"), ("{g: {members: [a, b]}}", "the group g of a swaps"),
     ("{g: {swap: no, members: [a]}}", "b is in (default)"),
     ("{g: {swap: no, members: [a]}, h: {swap: no, members: [b]}}", "b is in h, a in g")],
)  # fmt: skip
@pytest.mark.rule("L125")
def test_c115_spillover_in_groups(groups: str, word: str) -> None:
    assert word in errors(f"{PEERS}{SPILL}groups: {groups}")


@pytest.mark.rule("L125")
def test_c115_spillover_that_fits() -> None:
    found = config(f"{PEERS}{SPILL}groups: {{g: {{swap: no, members: [a, b]}}}}")
    assert found.selectors["sel"].settings.spillover == 1
    config(f"{PEERS}{SPILL}matrix: {{sets: {{s: 'a | (a | c) & b'}}}}")
    config(f"{PEERS}{SPILL}matrix: {{sets: {{t: c & a, s: b & +t}}}}")


@pytest.mark.rule("L125")
def test_c115_spillover_in_a_matrix() -> None:
    assert "no alternative of a matrix set has a, b" in errors(
        f"{PEERS}{SPILL}matrix: {{sets: {{s: a | b, t: a & c}}}}"
    )
    three = "selectors: {sel: {strategy: spillover, targets: [a, b, c]}}\n"
    assert "selectors.sel" in errors(f"{three}matrix: {{sets: {{s: a & b, t: b & c, u: a & c}}}}")
    assert "selectors.sel" in errors(f"{three}matrix: {{sets: {{s: (a | b) & (b | c)}}}}")
    config(f"{three}matrix: {{sets: {{s: (a | b) & (b | c) & (a | c)}}}}")


@pytest.mark.rule("C145")
def test_c117_the_older_list_of_profiles() -> None:
    assert "profiles.day: expected a map with pins, not a list: the legacy list syntax" in errors(
        "profiles: {day: [a]}"
    )


@pytest.mark.parametrize(
    ("profiles", "place"),
    [("{day: {}}", "profiles.day.pins"), ("{day: ~}", "profiles.day.pins"), ("{' ': {pins: {x: a}}}",
     "must not be blank"),
     ("{day: {pins: {' ': a}}}", "must not be blank"), ("{day: {pins: {x: ghost}}}",
     "profiles.day.pins.x: no model or selector 'ghost'"),
     ("{day: {pins: {x: ' a'}}}", "profiles.day.pins.x"), ("{day: {pins: {x: a, y: x}}}",
     "profiles.day.pins.y"), ("{day: {pins: [a]}}", "profiles.day.pins: expected a map")],
)  # fmt: skip
def test_c119_profiles(profiles: str, place: str) -> None:
    assert place in errors(f"profiles: {profiles}")


def test_c110_c119_what_a_pin_may_be() -> None:
    found = config(
        PEERS
        + """
selectors: {sel: {strategy: pin, targets: [a]}}
profiles: {day: {pins: {a: b, pm: al-c, x: "", y: ~, z: sel, u: p/dup, v: qm}}}
"""
    )
    assert found.profiles["day"].pins == {
        "a": "b", "pm": "al-c", "x": "", "y": "", "z": "sel", "u": "p/dup", "v": "qm",
    }  # fmt: skip


def test_c143_everything_wrong_is_reported_and_nothing_twice() -> None:
    text = errors(
        """
        globalTTL: -1
        logToStdout: nowhere
        performance: {every: 1s}
        apiKeys: [""]
        groups: {g: {members: [a, a]}}
        peers: {p: {}}
        selectors: {sel: {strategy: [x], targets: [ghost]}}
        profiles: {d: {pins: {x: ghost}}}
        """
    )
    paths = [line.split(": ")[1] for line in text.splitlines()]
    assert paths == [
        "globalTTL",
        "logToStdout",
        "performance.every",
        "apiKeys[0]",
        "groups.g.members[1]",
        "selectors.sel.strategy",
        "selectors.sel.targets[0]",
        "profiles.d.pins.x",
    ]


def test_one_mistake_is_not_reported_as_several() -> None:
    text = errors(
        """
        x-common: &common {a: 1, a: 2}
        peers: {far: [oops]}
        selectors: {sel: {strategy: pin, targets: [d, far/x]}}
        """
    )
    assert [line.split(": ")[1] for line in text.splitlines()] == [
        "x-common.a",
        "peers.far",
        "selectors.sel.targets[0]",
        "selectors.sel.targets[1]",
    ]
    with pytest.raises(ConfigurationError) as caught:
        load_sources(
            [
                Source(
                    "c.yaml",
                    dedent(
                        """
                        x: &x {ttl: 1, ttl: 2, proxy: "http://h", cmd: s}
                        models: {a: *x, b: *x, c: [1], d: {cmd: "s ${env.UNSET}"}, e: {cmd: "s ${NO}"}}
                        selectors: {sel: {strategy: pin, targets: [c]}}
                        groups: {g: {members: [c]}}
                        """
                    ),
                )
            ],
            environ={},
        )
    assert [problem.path for problem in caught.value.problems] == [
        "x.ttl",
        "models.c",
        "models.d.cmd",
        "models.e.cmd",
    ]
