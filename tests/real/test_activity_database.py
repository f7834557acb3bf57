"""The record in SQLite: what is written, found, summed up, refused."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from swapcli.activity import schema
from swapcli.activity.database import ActivityDatabase
from swapcli.activity.database_file import foreign_file
from swapcli.activity.histogram import Histogram
from swapcli.activity.query import COLUMNS, ActivityQuery
from swapcli.activity.record import ActivityRecord, local_time
from swapcli.activity.retention import Retention
from swapcli.activity.tokens import Tokens


def record(id: int, **changes: Any) -> ActivityRecord:
    plain = ActivityRecord(
        id=id,
        recorded_at=1000 + id,
        model="m",
        path="/v1/chat/completions",
        content_type="application/json",
        status=200,
        tokens=Tokens(1, 2, 3, 4, 5, 6.5, 7),
        duration_ms=8,
    )
    return replace(plain, **changes)


def ids(database: ActivityDatabase, query: ActivityQuery) -> list[int]:
    return [found.id for found in database.page(query).records]


def test_what_is_written_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "activity.db")
    written = record(3, error="why", metadata={"selector": "s", "fifo_priority": "0"}, model="ünï\u2028")
    database = ActivityDatabase.open(path)
    database.write([written])
    database.close()
    again = ActivityDatabase.open(path)
    assert again.page(ActivityQuery()).records == (written,)
    again.close()


def test_others_may_read_it_while_it_is_written(tmp_path: Path) -> None:
    path = str(tmp_path / "activity.db")
    database = ActivityDatabase.open(path)
    database.write([record(1)])
    with closing(sqlite3.connect(path, timeout=0)) as reader:
        reader.execute("BEGIN")
        count = "SELECT count(*) FROM activity"
        assert reader.execute(count).fetchone() == (1,)
        database.write([record(2)])
        assert reader.execute(count).fetchone() == (1,), "a reader sees what was there when it began"
        reader.execute("COMMIT")
        assert reader.execute(count).fetchone() == (2,)
    database.close()


@pytest.mark.rule("H166")
@pytest.mark.rule("H167")
def test_the_form_that_clients_get() -> None:
    shown = record(1, error="e", metadata={"z": "1", "a": "2"}).as_json(has_capture=True)
    assert list(shown) == [
        "id", "timestamp", "model", "req_path", "resp_content_type", "resp_status_code", "tokens",
        "duration_ms", "has_capture", "error_msg", "metadata",
    ]  # fmt: skip
    assert list(shown["tokens"].items()) == [
        ("cache_tokens", 1), ("draft_tokens", 2), ("draft_acc_tokens", 3), ("input_tokens", 4),
        ("output_tokens", 5), ("prompt_per_second", 6.5), ("tokens_per_second", 7),
    ]  # fmt: skip
    assert isinstance(shown["tokens"]["tokens_per_second"], int)
    assert list(shown["metadata"]) == ["a", "z"]
    assert {"error_msg", "metadata"}.isdisjoint(record(1).as_json(has_capture=False))


@pytest.mark.rule("H166")
def test_times_are_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    for zone, expected in (("UTC0", "1970-01-01T00:01:40Z"), ("XYZ-05:30", "1970-01-01T05:31:40+05:30")):
        with monkeypatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            assert local_time(100) == expected
    time.tzset()


@pytest.mark.rule("H173")
def test_in_memory_only_the_newest_stay() -> None:
    database = ActivityDatabase.open()
    database.write([record(id) for id in range(1, 8)], Retention(3))
    assert ids(database, ActivityQuery()) == [7, 6, 5]
    database.write([record(20)], Retention(3))
    assert ids(database, ActivityQuery()) == [20]
    database.write([record(id) for id in range(21, 12_001)])
    database.write([record(12_001)], Retention(3))
    assert ids(database, ActivityQuery()) == [12_001, 12_000, 11_999], "at once, however many"
    database.close()


def test_what_is_too_old_goes() -> None:
    database = ActivityDatabase.open()
    database.write([record(id, recorded_at=100 * id) for id in range(1, 8)], Retention(seconds=300))
    assert ids(database, ActivityQuery()) == [7, 6, 5, 4]
    database.write([record(8, recorded_at=1000)], Retention(2, 300))
    assert ids(database, ActivityQuery()) == [8, 7], "each limit holds"
    database.write([record(9, recorded_at=1301)], Retention(2, 300))
    assert ids(database, ActivityQuery()) == [9]
    database.close()


def test_limits_beyond_all_reason_forget_nothing() -> None:
    database = ActivityDatabase.open()
    database.write([record(1), record(2, recorded_at=-5)], Retention(2**63 - 1, (2**63 - 1) * 86400))
    assert ids(database, ActivityQuery()) == [2, 1]
    database.close()


@pytest.mark.parametrize("limit", [Retention(10), Retention(seconds=9)])
def test_of_a_long_history_a_new_limit_forgets_a_part_with_each_write(
    tmp_path: Path, limit: Retention
) -> None:
    database = ActivityDatabase.open(str(tmp_path / "a.db"))
    database.write([record(id, recorded_at=id) for id in range(1, 12_001)])
    left = []
    for id in range(12_001, 12_004):
        database.write([record(id, recorded_at=id)], limit)
        left.append(database.page(ActivityQuery()).total)
    assert left == [7001, 2002, 10]
    database.close()


def test_an_id_is_known_after_its_record_has_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "activity.db")
    database = ActivityDatabase.open(path)
    database.write([record(9), record(5)])
    database.write([record(7)])
    database.close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DELETE FROM activity")
    again = ActivityDatabase.open(path)
    assert again.last_id == 9
    again.close()


@pytest.mark.rule("H179")
def test_filters_all_have_to_hold() -> None:
    database = ActivityDatabase.open()
    database.write([record(id, model="abc"[id % 3]) for id in range(1, 10)])
    assert ids(database, ActivityQuery(models=("a",))) == [9, 6, 3]
    assert ids(database, ActivityQuery(models=("a", "b"), min_id=3, max_id=6)) == [6, 4, 3]
    assert ids(database, ActivityQuery(start=1004, end=1005)) == [5, 4]
    assert ids(database, ActivityQuery(models=("A",))) == []
    database.close()


@pytest.mark.rule("H180")
def test_every_order_with_ties_by_id() -> None:
    database = ActivityDatabase.open()
    rng = random.Random(1)
    records = [
        record(
            id,
            recorded_at=rng.randrange(3), model=rng.choice("ab"), path=rng.choice("ab"),
            content_type=rng.choice("ab"), status=rng.randrange(3), duration_ms=rng.randrange(3),
            tokens=Tokens(*(rng.randrange(3) for _ in range(7))),
        )
        for id in range(1, 30)
    ]  # fmt: skip
    database.write(records)
    of_tokens = {
        "cached": "cache", "prompt": "input", "generated": "output", "drafted": "draft",
        "prompt_speed": "prompt_per_second", "gen_speed": "per_second",
    }  # fmt: skip
    of_record = {
        "id": "id", "time": "recorded_at", "model": "model", "req_path": "path", "resp_status_code": "status",
        "resp_content_type": "content_type", "duration": "duration_ms",
    }  # fmt: skip
    for sort in COLUMNS:

        def key(each: ActivityRecord, sort: str = sort) -> tuple[object, int]:
            name = of_tokens.get(sort)
            return (getattr(each.tokens, name) if name else getattr(each, of_record[sort])), each.id

        expected = [each.id for each in sorted(records, key=key)]
        assert ids(database, ActivityQuery(sort=sort, descending=False, limit=99)) == expected
        assert ids(database, ActivityQuery(sort=sort, limit=99)) == expected[::-1]
    database.close()


@pytest.mark.rule("H181")
def test_pages() -> None:
    database = ActivityDatabase.open()
    assert database.page(ActivityQuery()).total == 0
    database.write([record(id) for id in range(1, 8)])
    page = database.page(ActivityQuery(limit=3, page=3))
    assert ([each.id for each in page.records], page.total) == ([1], 7)
    for number in (4, 2**63 - 1):
        page = database.page(ActivityQuery(limit=3, page=number))
        assert (page.records, page.total) == ((), 7)
    database.close()


@pytest.mark.rule("H182")
def test_totals() -> None:
    database = ActivityDatabase.open()
    assert database.totals().requests == 0
    database.write(
        [
            record(1, model="a", tokens=Tokens(-1, -1, -1, 10, 20, -1, 0)),
            record(2, model="a", tokens=Tokens(5, 0, 0, 1, 2, 0, 0)),
            record(3, model="b", tokens=Tokens(7, 0, 0, 100, 200, 3, 4)),
        ]
    )
    everything, of_a = database.totals(), database.totals("a")
    assert (everything.requests, everything.input_tokens, everything.output_tokens) == (3, 111, 222)
    assert everything.cache_tokens == 12
    assert (of_a.requests, of_a.input_tokens, of_a.cache_tokens) == (2, 11, 5)
    assert of_a.prompt_speeds is of_a.speeds is None
    assert everything.speeds == Histogram((1,), 4, 4, 0, (4, 4, 4))
    assert database.totals("nobody").requests == 0
    database.close()


@pytest.mark.rule("H183")
def test_histograms() -> None:
    database = ActivityDatabase.open()
    speeds = [10, 40, 30, 20]
    database.write(
        [record(id, tokens=Tokens(per_second=speed)) for id, speed in enumerate([*speeds, 0, -1], 1)]
    )
    found = database.totals().speeds
    assert found == Histogram((1, 1, 0, 1, 1), 10, 40, 6, (25, 38.5, 39.699999999999996))
    database.write([record(id, model="same", tokens=Tokens(per_second=2.5)) for id in range(50, 60)])
    assert database.totals("same").speeds == Histogram((10,), 2.5, 2.5, 0, (2.5, 2.5, 2.5))
    database.write([record(id, model="many", tokens=Tokens(per_second=id)) for id in range(100, 1100)])
    many = database.totals("many").speeds
    assert many is not None
    assert (len(many.bins), sum(many.bins), many.min, many.max) == (11, 1000, 100, 1099)
    assert many.percentiles[0] == 599.5
    database.close()


# -- whose file is it ---------------------------------------------------------------------


def foreign(path: Path, *tables: str) -> None:
    with closing(sqlite3.connect(path)) as raw:
        for table in tables:
            raw.execute(f"CREATE TABLE {table} (id INTEGER)")
        raw.commit()


def test_a_file_of_llama_swap_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "llama-swap.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("CREATE TABLE activity (id INTEGER)")
        raw.execute("CREATE TABLE goose_db_version (id INTEGER)")
    before = path.read_bytes()
    assert foreign_file(str(path)) == (
        f"{path} was written by llama-swap, whose records are left alone; name another file"
    )
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["llama-swap.db"]


def test_other_files_are_refused_too(tmp_path: Path) -> None:
    other, text, empty = tmp_path / "other.db", tmp_path / "notes.txt", tmp_path / "empty"
    foreign(other, "activity")
    text.write_text("SQLite format, no")
    empty.touch()
    assert "was written by another program" in str(foreign_file(str(other)))
    assert "is no database" in str(foreign_file(str(text)))
    assert foreign_file(str(empty)) is None
    assert foreign_file(str(tmp_path / "new.db")) is None
    ActivityDatabase.open(str(empty)).close()
    assert foreign_file(str(empty)) is None


def test_a_file_is_known_as_ours_while_it_is_in_use_and_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = ActivityDatabase.open(str(path))
    database.write([record(1)])
    assert foreign_file(str(path)) is None
    killed = tmp_path / "killed.db"  # what is on the disk now is all that a killed server leaves
    killed.write_bytes(path.read_bytes())
    Path(f"{killed}-wal").write_bytes(Path(f"{path}-wal").read_bytes())
    database.close()
    assert foreign_file(str(killed)) is None
    again = ActivityDatabase.open(str(killed))
    assert again.last_id == 1
    again.close()


def test_a_look_at_a_file_in_use_leaves_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = ActivityDatabase.open(str(path))
    database.write([record(1)])
    assert foreign_file(str(path)) is None
    # Another program that reads: the last one to close a database puts the log into it and deletes the log.
    code = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT id FROM activity'))"
    shown = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert shown.stdout == "(1,)\n"
    assert Path(f"{path}-wal").exists()
    database.write([record(2)])
    database.close()
    again = ActivityDatabase.open(str(path))
    assert again.last_id == 2
    again.close()


# -- older and newer files --------------------------------------------------------------------


def test_an_older_file_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "activity.db")
    database = ActivityDatabase.open(path)
    database.write([record(1)])
    database.close()
    with closing(sqlite3.connect(path)) as raw:
        steps = (*schema.MIGRATIONS, "CREATE TABLE more (x); INSERT INTO more VALUES (1);")
        schema.migrate(raw, steps)
        schema.migrate(raw, steps)
        assert raw.execute("SELECT count(*) FROM more").fetchone() == (1,)
        assert raw.execute("PRAGMA user_version").fetchone() == (2,)
        with pytest.raises(sqlite3.Error):
            schema.migrate(raw, (*steps, "CREATE TABLE yet_more (x); CREATE TABLE more (x);"))
        names = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
        assert "yet_more" not in names
    with pytest.raises(schema.NewerFile, match="a later version"):
        ActivityDatabase.open(path)


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    database = ActivityDatabase.open()
    with pytest.raises(OverflowError):
        database.write([record(1), record(2, duration_ms=2**70)])
    assert database.page(ActivityQuery()).total == 0
    database.write([record(1)])
    database.write([record(1)])
    assert database.page(ActivityQuery()).total == 1
    database.close()


def test_the_file_survives_the_death_of_its_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "activity.db"
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_activity_database import record\n"
        "from swapcli.activity.database import ActivityDatabase\n"
        "ActivityDatabase.open(sys.argv[1]).write([record(1), record(2)])\n"
        "os._exit(9)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(path), str(Path(__file__).parent)],
        check=False, timeout=30, env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    database = ActivityDatabase.open(str(path))
    assert ids(database, ActivityQuery()) == [2, 1]
    database.close()
