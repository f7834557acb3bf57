"""What clients may ask of the record."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from swapcli.activity.query import COLUMNS, ActivityQuery, BadQuery, parse_query


def parsed(query: str) -> ActivityQuery:
    values = parse_qs(query, keep_blank_values=True)
    return parse_query(lambda name: values.get(name, []))


@pytest.mark.rule("H179")
def test_what_is_not_given_has_a_default() -> None:
    assert parsed("") == parsed("limit=&page=%20&model=&sort=&order=&start=&min_id=") == ActivityQuery()
    assert ActivityQuery() == ActivityQuery(limit=25, page=1, sort="id", descending=True)


@pytest.mark.rule("H179")
def test_every_parameter() -> None:
    found = parsed(
        "model=a&model=%20b%20&model=&start=1970-01-01T00:01:40.9Z&end=1970-01-01T01:01:41%2B01:00"
        "&min_id=2&max_id=2&limit=999&page=3&sort=gen_speed&order=ASC"
    )
    assert found == ActivityQuery(
        models=("a", "b"),
        start=100,
        end=101,
        min_id=2,
        max_id=2,
        limit=999,
        page=3,
        sort="gen_speed",
        descending=False,
    )
    assert parsed("start=1970-01-01T00:00:09Z&end=1970-01-01T00:00:09.5Z").end == 9


@pytest.mark.rule("H179")
@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("limit=x", "invalid limit"),
        ("limit=0", "limit must be between 1 and 999"),
        ("limit=1000", "limit must be between 1 and 999"),
        ("limit=-" + "9" * 30, "limit must be between 1 and 999"),
        ("page=0", "page must be >= 1"),
        ("page=1.5", "page must be >= 1"),
        ("sort=password", "invalid sort column"),
        ("order=up", "order must be asc or desc"),
        ("min_id=0", "min_id must be >= 1"),
        ("max_id=x", "max_id must be >= 1"),
        ("min_id=3&max_id=2", "min_id must be <= max_id"),
        ("start=yesterday", "invalid 'start' timestamp, use RFC3339 format"),
        ("start=2026-02-30T00:00:00Z", "invalid 'start' timestamp, use RFC3339 format"),
        ("end=2026-02-03", "invalid 'end' timestamp, use RFC3339 format"),
        ("end=2026-02-03T00:00:00", "invalid 'end' timestamp, use RFC3339 format"),
        ("start=2026-02-03T00:00:01Z&end=2026-02-03T00:00:00Z", "start must be before end"),
    ],
)
def test_what_makes_no_sense_is_said(query: str, complaint: str) -> None:
    with pytest.raises(BadQuery) as bad:
        parsed(query)
    assert str(bad.value) == complaint


@pytest.mark.rule("H180")
def test_what_may_be_sorted_by() -> None:
    assert set(COLUMNS) == {
        "id", "time", "model", "req_path", "resp_status_code", "resp_content_type", "cached", "prompt",
        "generated", "drafted", "prompt_speed", "gen_speed", "duration",
    }  # fmt: skip
