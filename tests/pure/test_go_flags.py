"""Go's way of writing flags, read as click's."""

from __future__ import annotations

import pytest

from swapcli._go_flags import double_dashed


@pytest.mark.rule("C2")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-config x", "--config x"),
        ("-config=x", "--config=x"),
        ("--config x -listen :80", "--config x --listen :80"),
        ("-config -listen -listen :80", "--config -listen --listen :80"),
        ("-config", "--config"),
        ("-watch", "--watch"),
        ("-watch=true --watch=T -watch=1", "--watch --watch --watch"),
        ("-watch=false -config x", "--config x"),
        ("-watch=maybe", "--watch=maybe"),
        ("-h -unknown", "-h --unknown"),
        ("-watch file -config x", "--watch file -config x"),
        ("-- -config x", "-- -config x"),
        ("- -config x", "- -config x"),
        ("---config x", "---config x"),
        ("", ""),
    ],
)
def test_single_dashes_become_double_ones(given: str, expected: str) -> None:
    turned = double_dashed(given.split(), with_value={"config", "listen"}, switches={"watch"})
    assert turned == expected.split()
