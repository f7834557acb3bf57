"""What is said while a model loads: rules H152 to H154."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from swapcli.http.loading_words import LoadingWords


def words() -> LoadingWords:
    return LoadingWords("org/m", Random(1))


def test_h152_the_opening() -> None:
    assert words().opening() == ("━━━━━", "\n", "swapcli loading model: org/m", "\n")


@pytest.mark.parametrize(("ready", "text"), [(True, "Done! (2.35s)"), (False, "Failed! (2.35s)")])
def test_h154_the_ending(ready: bool, text: str) -> None:
    assert words().ending(2.345, is_ready=ready) == ("\n", text, "\n", "━━━━━", "\n", " ", "\n")


def test_h153_remarks_come_every_five_to_nine_seconds_and_dots_between() -> None:
    said, spoke_at, remarks = words(), list[float](), list[str]()
    for tick in range(1, 200):
        text = said.progress(tick * 0.5, None, None)
        if text != (".",):
            assert (text[0], text[2]) == ("\n", " ")
            spoke_at.append(tick * 0.5)
            remarks.append(text[1])
    assert spoke_at[0] == 0.5
    gaps = {later - sooner for sooner, later in pairwise(spoke_at)}
    assert gaps <= {5, 6, 7, 8, 9}
    assert len(gaps) > 2
    assert len(set(remarks[:12])) == 12  # none twice before all were said
    assert all(remark.isascii() and len(remark) < 50 for remark in remarks)


def test_h153_a_new_place_in_line_goes_before_a_remark_and_puts_it_off() -> None:
    said = words()
    assert said.progress(0.75, 3, None) == ("\n", "Queue position: #3", " ")
    assert said.progress(1.5, 3, None) == (".",)
    assert said.progress(2.25, 2, None) == ("\n", "Queue position: #2", " ")
    assert said.progress(7.0, 2, None) == (".",)
    assert "Queue" not in said.progress(11.5, 2, None)[1]
    assert said.progress(12.25, None, None) == (".",)  # served, or turned away, at this moment


def test_the_estimate_is_shown_once_it_is_known() -> None:
    said = words()
    assert said.progress(1, 1, None)[1] == "Queue position: #1"
    assert said.progress(2, 1, 11.2)[1] == "Queue position: #1, ready in about 12 s"
    assert said.progress(3, 1, 10.2) == (".",)
    assert said.progress(4, 2, 130)[1] == "Queue position: #2, ready in about 3 min"
    assert said.progress(5, 1, 0.0)[1] == "Queue position: #1, ready in about 1 s"
