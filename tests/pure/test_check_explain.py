"""What `swapcli check --explain` says: the real planner's answers, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapcli._check_what_if import WhatIf
from swapcli._explain import NotExplained, explain
from swapcli.config import Source, load_sources, make_planner, to_specs
from swapcore import ModelId

A, B, C, D = map(ModelId, "abcd")


def models(ids: str, extra: str = "") -> str:
    return "models:\n" + "".join(f"  {id}: {{cmd: s, proxy: 'http://h', {extra}}}\n" for id in ids)


def said(text: str, name: str = "") -> list[str]:
    loaded = load_sources([Source("c.yaml", text)], environ={})
    return explain(loaded.config, make_planner(loaded, Path()), name).split("\n")


def what_if(text: str) -> WhatIf:
    loaded = load_sources([Source("c.yaml", text)], environ={})
    return WhatIf(make_planner(loaded, Path()), to_specs(loaded.config))


GROUPS = models("abcd") + "groups: {g: {swap: no, exclusive: no, persistent: yes, members: [c, d]}}\n"
MATRIX = models("abc") + "matrix: {vars: {x: a, y: b, z: c}, sets: {s: x & y, t: x & z, u: y & z}}\n"
LRU = models("abc") + "routing: {router: {planner: lru, settings: {planner: {limit: 2}}}}\n"


def test_groups() -> None:
    assert said(GROUPS) == [
        "Decided by: groups.",
        "These may run together:",
        "  - a, c, d",
        "  - b, c, d",
    ]
    assert said(GROUPS, "a") == [
        "A request for a",
        "  - stops, if they run: b.",
        "  - leaves running: c, d.",
        "It may run together with:",
        "  - c, d",
        "A model that is in use is stopped once its requests are done.",
    ]


def test_each_alone() -> None:
    assert said(models("ab")) == ["Decided by: groups.", "Only one at a time, and nothing beside it: a, b."]
    assert "It may run together with nobody." in said(models("ab"), "a")
    assert said("models: {}") == ["Decided by: groups.", "There are no models."]


def test_an_order_that_matters_is_said() -> None:
    one_way = models("ab") + "groups: {g: {exclusive: no, members: [b]}}\n"
    assert said(one_way)[1:] == ["These may run together:", "  - a, b (started in this order)"]


def test_a_matrix_has_every_pair() -> None:
    assert said(MATRIX) == [
        "Decided by: matrix.",
        "These may run together:",
        "  - a, b",
        "  - a, c",
        "  - b, c",
    ]
    assert said(MATRIX, "c")[1:4] == [
        "  - stops, if they run: nobody.",
        "  - leaves running: a, b.",
        "  - while a, b run, stops b.",
    ]


def test_a_limit_counts_together() -> None:
    text = said(LRU, "c")
    assert text[1:4] == [
        "  - stops, if they run: nobody.",
        "  - leaves running: a, b.",
        "  - while a, b run, stops a.",
    ]
    assert text[-1] == "A model that is in use is stopped once its requests are done."
    assert said(LRU)[0] == "Decided by: the planner lru."


def test_a_pinned_model_turns_others_away() -> None:
    pinned = "models: {a: {cmd: s, proxy: 'http://h', pinned: yes}, b: {cmd: s, proxy: 'http://h'}}"
    assert said(pinned, "b")[3] == (
        "  - is turned away while a runs: a would have to stop, and may not: pinned."
    )


def test_aliases_and_selectors_are_models_too() -> None:
    text = models("ab", "aliases: []") + "selectors: {s: {strategy: pin, targets: [a, b]}}\n"
    assert [line for line in said(text, "s") if line.startswith("A request")] == [
        "A request for a",
        "A request for b",
    ]
    assert said(models("a", "aliases: [x]"), "x")[0] == "A request for a"


@pytest.mark.parametrize(("name", "reason"), [("nix", "no model 'nix'; there are: a"), ("p/q", "peer p")])
def test_what_is_no_model(name: str, reason: str) -> None:
    text = models("a") + "peers: {p: {proxy: 'http://p', models: [q]}}\n"
    with pytest.raises(NotExplained, match=reason):
        said(text, name)


def test_a_planner_that_raises_turns_away() -> None:
    class Broken:
        def evictions(self, target: ModelId, view: object) -> None:
            raise KeyError(target)

    broken = WhatIf(Broken(), what_if(GROUPS).specs.values())  # type: ignore[arg-type]
    assert broken.requested(A, ()).refusal == "Broken failed: KeyError: 'a'"
    assert list(broken.sets()) == []


def test_every_two_that_may_run_together_are_in_a_set() -> None:
    for text in (GROUPS, MATRIX, LRU):
        question = what_if(text)
        sets = list(question.sets())
        ids = list(question.specs)
        for at, one in enumerate(ids):
            for other in ids[at + 1 :]:
                together = question.can_start((one, other)) or question.can_start((other, one))
                assert together == any({one, other} <= set(found) for found in sets)
        assert all(question.can_start(found) for found in sets)
