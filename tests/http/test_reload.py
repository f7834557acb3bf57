"""Reloading a real server: what an edit concerns is restarted, and nothing and nobody else."""

from __future__ import annotations

import http.client
import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from reload_under_load import EDITED, MODELS, MOVED, STEADY, Sources, check, prepared, run
from served_models import Server, serving


@contextmanager
def reloadable(folder: Path, *options: str) -> Iterator[tuple[Server, Sources]]:
    sources = prepared(folder)
    with serving(sources.file, folder / "log", *options) as server:
        yield server, sources


def ask(server: Server, model: str, **more: object) -> bytes:
    body = json.dumps({"model": model, **more}).encode()
    headers = {"Content-Type": "application/json"}
    posted = urllib.request.Request(f"{server.url}/v1/chat/completions", body, headers)
    with urllib.request.urlopen(posted, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def reload(server: Server, query: str = "") -> tuple[int, dict[str, Any]]:
    try:
        return 200, json.loads(server.get(f"/api/reload{query}", method="POST"))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def select(server: Server, profile: str) -> None:
    body = json.dumps({"name": profile}).encode()
    put = urllib.request.Request(
        f"{server.url}/api/profiles/active", body, {"Content-Type": "application/json"}, method="PUT"
    )
    with urllib.request.urlopen(put, timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.rule("G10")
@pytest.mark.rule("H212")
@pytest.mark.rule("L159")
@pytest.mark.rule("L160")
@pytest.mark.rule("C133")
@pytest.mark.rule("C134")
@pytest.mark.rule("C135")
@pytest.mark.rule("L186")
def test_only_what_was_edited_is_restarted(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        pids = {model: ask(server, model) for model in MODELS}

        sources.edit("comment")
        status, answer = reload(server)
        assert (status, answer["summary"]) == (200, "nothing changed")
        assert answer["models"]["unchanged"] == list(MODELS)

        sources.edit("argument")
        sources.number = 3  # a-guest, the first in byte order, takes nobody's port
        sources.write()
        status, answer = reload(server, "?dry_run=1")
        assert answer["dry_run"]
        assert answer["models"]["restarted"] == [EDITED]
        assert ask(server, EDITED) == pids[EDITED], "a dry run changes nothing"

        status, answer = reload(server)
        assert status == 200
        assert answer["models"] == {
            "added": ["a-guest"], "removed": [], "restarted": [EDITED], "changed": [],
            "unchanged": [STEADY, MOVED],
        }  # fmt: skip
        assert ask(server, EDITED) != pids[EDITED]
        assert [ask(server, model) for model in (STEADY, MOVED)] == [pids[STEADY], pids[MOVED]]
        ask(server, "a-guest")

        sources.number = 4
        sources.write()
        assert reload(server)[1]["models"]["removed"] == ["a-guest"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, "a-guest")
        with caught.value as gone:
            assert gone.code == 404


@pytest.mark.rule("C131")
def test_a_configuration_with_mistakes_changes_nothing_and_says_why(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        pid = ask(server, STEADY)
        sources.write(sources.text().replace("unloadTimeout: 3", "unloadTimeout: soon"))
        for query in ("?dry_run=1", ""):
            status, answer = reload(server, query)
            assert (status, answer["ok"], answer["src"]) == (422, False, "swapcli")
            assert answer["error"]["code"] == "invalid_configuration"
            [problem] = answer["problems"]
            assert (problem["line"], problem["column"], problem["path"]) == (3, 16, "unloadTimeout")
            assert problem["file"] == str(sources.file)
        server.wait_for_log(f"[ERROR] {sources.file}:3:16: unloadTimeout: ")
        server.wait_for_log("the old one stays in force")
        sources.file.unlink()
        assert reload(server)[0] == 422
        assert ask(server, STEADY) == pid
        sources.write(sources.text() + "routing: {router: {planner: 'no_such_module:Planner'}}\n")
        status, answer = reload(server)
        assert (status, answer["problems"][0]["path"]) == (422, "routing.router.planner")
        assert ask(server, STEADY) == pid


@pytest.mark.rule("C129")
@pytest.mark.rule("C132")
def test_sighup_reloads_without_being_asked_to_watch(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        sources.write("logLevel: debug\n" + sources.text())
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: settings logLevel")
        ask(server, STEADY)
        server.wait_for_log("[DEBUG]")


def test_a_watched_file_is_reloaded_by_itself(tmp_path: Path) -> None:
    with reloadable(tmp_path, "-watch-config", "--watch-interval", "0.05") as (server, sources):
        sources.edit("argument")
        server.wait_for_log(f"reloaded: restarted {EDITED}")
        sources.edit("invalid")
        server.wait_for_log("not reloaded: 1 problem")
        sources.edit("port")
        server.wait_for_log(f"reloaded: restarted {MOVED}")


def test_a_stream_on_an_edited_model_ends_as_it_began(tmp_path: Path) -> None:
    """And who comes meanwhile is held to the new configuration."""
    with reloadable(tmp_path) as (server, sources):
        old = ask(server, EDITED)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        body = json.dumps({"model": EDITED, "stream": True})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.readline() == b"x\n"
        sources.edit("argument")
        sources.write(sources.text() + "apiKeys: [secret]\n")
        assert reload(server)[0] == 200
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(server, EDITED)
        with caught.value as refused:
            assert refused.code == 401
        assert response.read() == b"x\n" * 19 + old
        connection.close()


def test_streams_and_requests_notice_no_edit(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        report = trio.run(partial(run, server, sources, edits=30, streams=20, rate=50, every=0.1, hup=True))
    check(report)
    assert report.answered > 100
    assert set(report.edits) == {"comment", "argument", "port", "invalid"}


@pytest.mark.rule("G40", "L133")
def test_a_reload_preloads_what_is_new_or_was_stopped_by_it(tmp_path: Path) -> None:
    sources = prepared(tmp_path)
    sources.write(sources.text() + f"hooks: {{on_startup: {{preload: [{STEADY}]}}}}\n")
    with serving(sources.file, tmp_path / "log") as server:
        server.wait_for_log(f"preloaded {STEADY} in ")
        hook = f"hooks: {{on_startup: {{preload: [{STEADY}, {EDITED}]}}}}\n"
        sources.write(sources.text() + hook)
        assert reload(server)[0] == 200
        server.wait_for_log(f"preloaded {EDITED} in ")
        sources.argument = 9
        sources.write(sources.text() + hook)
        assert reload(server)[1]["models"]["restarted"] == [EDITED]
        server.wait_for_log("stopping edited: its configuration changed")
        server.wait_for_log(f"preloaded {EDITED} in ", times=2)
        assert server.log.read_text().count(f"preloading {STEADY}") == 1


def test_how_a_reload_ended_is_told_to_those_who_watch(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        with urllib.request.urlopen(f"{server.url}/api/events", timeout=20) as events:

            def next_reload() -> dict[str, Any]:
                while True:
                    line = events.readline()
                    if line.startswith(b"data:"):
                        message = json.loads(line[5:])
                        if message["type"] == "configReload":
                            told: dict[str, Any] = json.loads(message["data"])
                            return told

            sources.write("logLevel: [\n")
            status, answer = reload(server)
            told = next_reload()
            assert (status, told["ok"], told["problems"]) == (422, False, answer["problems"])
            sources.edit("argument")
            server.process.send_signal(signal.SIGHUP)
            assert next_reload()["models"]["restarted"] == [EDITED]


@pytest.mark.rule("C136")
@pytest.mark.rule("C9")
def test_logs_counters_pins_and_the_active_profile_stay(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        profiles = "profiles: {night: {pins: {any: steady}}, day: {pins: {any: moved}}}\n"
        sources.write(sources.text() + profiles)
        assert reload(server)[0] == 200
        select(server, "night")
        server.get(f"/api/models/pin/{STEADY}", method="PUT")
        pid = ask(server, "any")
        hardware = server.get("/api/hardware")  # with the time at which it was looked at
        sources.argument = 5
        sources.write(sources.text() + profiles)
        assert reload(server)[0] == 200
        assert ask(server, "any") == pid
        assert json.loads(server.get("/api/profiles"))["active"] == "night"
        assert b"listening on" in server.get("/logs")
        assert server.get("/api/hardware") == hardware
        assert server.get(f"/api/models/log/{STEADY}").startswith(b"a model at")
        fleet = {model["id"]: model for model in json.loads(server.get("/api/fleet"))["models"]}
        assert (fleet[STEADY]["requests"], fleet[STEADY]["pinned"]) == (2, True)
        sources.edit("comment")  # which has no profiles any more
        assert reload(server)[0] == 200
        assert json.loads(server.get("/api/profiles"))["active"] is None


def test_max_drain_ends_the_wait_for_an_endless_stream(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (server, sources):
        sources.write(sources.text() + "routing: {scheduler: {settings: {fifo: {maxDrain: 0.2}}}}\n")
        reload(server)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
        body = json.dumps({"model": EDITED, "stream": True})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.readline() == b"x\n"
        sources.argument = 7
        sources.write(sources.text() + "routing: {scheduler: {settings: {fifo: {maxDrain: 0.1}}}}\n")
        assert reload(server)[1]["models"]["restarted"] == [EDITED]
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        connection.close()
        ask(server, EDITED)


COUNTING_APPLICATIONS = """
import gc, weakref
from swapcli.__main__ import main
from swapcli.http import pages
create, made = pages.create_pages, []
def note(*parts):
    application = create(*parts)
    made.append(weakref.ref(application))
    return application
def count(phase, info):
    if (phase, info["generation"]) == ("stop", 2):
        left = sum(application() is not None for application in made)
        print(f"{left} of {len(made)} applications are left", flush=True)
pages.create_pages = note
gc.callbacks.append(count)
main()
"""


def test_a_reload_leaves_no_garbage_behind(tmp_path: Path) -> None:
    sources = prepared(tmp_path)
    with serving(sources.file, tmp_path / "log", program=("-c", COUNTING_APPLICATIONS)) as server:
        server.get("/ui/")  # the first is there
        for _ in range(6):  # two of which change nothing but a comment
            sources.edit("comment")
            assert reload(server)[0] == 200
        server.wait_for_log(" of 5 applications are left")
        counts = re.findall(r"(\d+) of \d+ applications are left", server.log.read_text())
    assert max(map(int, counts)) <= 2, "the one in use, and the one that was asked for the reload"
