"""llama-swap's own page, scripts and helpers work against this server: every request that they make.

`Page` does what the script of that page does with what it is told; the server is a real one.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
import scripted_model
from http_wire import rig as in_process
from llama_swap_page import Page, ask, get
from real_children import free_port
from served_models import Server, serving

from swapcore import ModelId

ONE = "org/one"
CONFIG = """
models:
  org/one:
    cmd: {python} {script} one {one} {folder}
    proxy: http://127.0.0.1:{one}
    checkEndpoint: /health
    name: One
    aliases: [gpt]
    capabilities: {{in: [text, image], out: [text], context: 4096}}
  two:
    cmd: {python} {script} two {two} {folder}
    proxy: http://127.0.0.1:{two}
    unlisted: true
includeAliasesInList: true
selectors:
  any: {{strategy: spillover, targets: [org/one, far/x]}}
profiles:
  p: {{description: For work, pins: {{night: two}}}}
peers:
  far: {{proxy: "http://127.0.0.1:{nobody}", models: [x]}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    config = folder / "config.yaml"
    config.write_text(
        CONFIG.format(
            python=sys.executable,
            script=scripted_model.__file__,
            folder=folder,
            one=free_port(),
            two=free_port(),
            nobody=free_port(),
        )
    )
    with serving(config, folder / "log") as server:
        yield server


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    ask(server, "POST", "/api/models/unload")
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/api/events", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    assert answer.status == 200
    page = Page(server)
    thread = threading.Thread(target=page.listen, args=(answer,))
    thread.start()
    page.until(lambda: page.is_complete)
    yield page
    assert connection.sock is not None
    connection.sock.shutdown(2)
    thread.join(10)
    assert not thread.is_alive()
    answer.close()
    connection.close()


def chat(server: Server, model: str = ONE, **more: Any) -> tuple[int, bytes]:
    body = {"model": model, "messages": [], **more}
    return ask(server, "POST", "/v1/chat/completions", body, {"X-Session-ID": "lspg-abcde"})


@pytest.mark.rule("H213", "H209")
def test_what_it_knows_once_it_is_connected(server: Server, page: Page) -> None:
    assert [each["id"] for each in page.models] == [ONE, "two", "far/x"]
    assert page.models[0]["capabilities"] == {"vision": True}
    assert page.session_headers == ["x-session-id", "x-litellm-session-id"]
    assert (page.profile, page.requests) == (None, {})
    assert get(server, "/api/profiles") == {
        "active": None,
        "profiles": [{"id": "p", "description": "For work", "pins": {"night": "two"}}],
    }
    assert set(get(server, "/api/version")) == {"build_date", "commit", "version"}


@pytest.mark.rule("H213", "H141")
def test_a_profile_that_is_chosen_there_holds(server: Server, page: Page) -> None:
    assert ask(server, "PUT", "/api/profiles/active", {"name": "p"})[0] == 200
    page.until(lambda: page.profile == "p")
    assert chat(server, "night")[0] == 200
    ask(server, "PUT", "/api/profiles/active", {"name": None})
    page.until(lambda: page.profile is None)
    assert chat(server, "night")[0] == 404


@pytest.mark.rule("H214", "H210")
def test_a_request_comes_and_goes_in_its_list(server: Server, page: Page) -> None:
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(chat, server, script={"hold": 0.3})
        page.until(lambda: page.state(ONE) == "ready")
        page.until(lambda: "lspg-abcde" in page.sessions_seen)
        assert asking.result(20)[0] == 200
    page.until(lambda: not page.requests and len(page.removed) == 1)
    states = [state for model, state in page.states_seen if model == ONE]
    assert list(dict.fromkeys(states)) == ["stopped", "starting", "ready"]


@pytest.mark.rule("H215", "H166", "H167")
def test_the_table_of_activity_is_asked_for_when_something_was_recorded(server: Server, page: Page) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: chat(server), range(3)))
    page.until(lambda: len(page.activity) >= 3)  # one of an earlier test may come late
    for column in (
        "id", "time", "model", "req_path", "resp_status_code", "resp_content_type", "cached", "prompt",
        "generated", "drafted", "prompt_speed", "gen_speed", "duration",
    ):  # fmt: skip
        for order in ("asc", "desc"):
            found = get(server, f"/api/metrics/activity?page=1&limit=2&sort={column}&order={order}")
            assert (len(found["data"]), found["page"], found["limit"]) == (2, 1, 2)
    newest = max(page.activity)
    query = f"?page=1&limit=25&sort=id&order=desc&model={quote(ONE, safe='')}&min_id={newest}&max_id={newest}"
    (row,) = get(server, "/api/metrics/activity" + query)["data"]
    assert set(row) >= {
        "id", "timestamp", "model", "req_path", "resp_content_type", "resp_status_code", "tokens",
        "duration_ms", "has_capture",
    }  # fmt: skip
    assert set(row["tokens"]) == {
        "cache_tokens", "draft_tokens", "draft_acc_tokens", "input_tokens", "output_tokens",
        "prompt_per_second", "tokens_per_second",
    }  # fmt: skip
    totals = get(server, "/api/metrics/stats?model=" + quote(ONE, safe=""))
    assert totals["total_requests"] >= 3
    assert get(server, "/api/metrics/stats")["total_requests"] >= totals["total_requests"]


@pytest.mark.rule("H216")
def test_its_buttons(server: Server, page: Page) -> None:
    status, _ = ask(server, "GET", f"/upstream/{ONE}/?_={int(time.time() * 1000)}")
    assert 200 <= status < 300
    page.until(lambda: page.state(ONE) == "ready")
    assert ask(server, "GET", f"/upstream/{quote(ONE, safe='')}/") == (200, b"ok")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(chat, server, script={"hold": 600})
        page.until(lambda: bool(page.requests))
        (id,) = page.requests
        assert ask(server, "POST", f"/api/inflight/{id}/cancel") == (200, b'{"msg":"ok"}\n')
        assert asking.result(20)[0] == 503
    page.until(lambda: not page.requests)
    assert ask(server, "POST", f"/api/models/unload/{ONE}") == (200, b"OK")
    page.until(lambda: page.state(ONE) == "stopped")
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    connection.request("GET", f"/logs/stream/{quote(ONE, safe='')}")
    tab = connection.getresponse()
    assert (tab.status, tab.getheader("Content-Type")) == (200, "text/plain")
    tab.close()
    connection.close()


@pytest.mark.rule("H217")
def test_the_list_of_its_playground(server: Server) -> None:
    by_kind: dict[str, dict[str, Any]] = {}
    for record in get(server, "/v1/models")["data"]:
        by_kind.setdefault(record["meta"]["llamaswap"]["type"], {})[record["id"]] = record
    assert {kind: list(ids) for kind, ids in by_kind.items()} == {
        "selector": ["any"], "peer": ["far/x"], "alias": ["gpt"], "model": [ONE],
    }  # fmt: skip
    assert by_kind["alias"]["gpt"]["meta"]["llamaswap"]["modelID"] == ONE
    assert by_kind["peer"]["far/x"]["meta"]["llamaswap"]["peerID"] == "far"
    selector = by_kind["selector"]["any"]["meta"]["llamaswap"]
    assert (selector["strategy"], selector["targets"]) == ("spillover", [ONE, "far/x"])
    assert selector["spillover"] == 1
    assert by_kind["model"][ONE]["capabilities"] == {"vision": True}


@pytest.mark.rule("H217")
def test_a_chat_in_its_playground(server: Server) -> None:
    """It reads lines that begin with `data: `, with a blank."""
    status, body = chat(server, stream=True)
    assert status == 200
    lines = [line for line in body.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    said = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines)
    assert said == "".join(f"word{number} " for number in range(8))


@pytest.mark.rule("H217")
@pytest.mark.parametrize(
    ("method", "path", "sends_a_body"),
    [
        ("POST", "/v1/messages", True), ("POST", "/v1/responses", True), ("POST", "/v1/audio/speech", True),
        ("GET", "/v1/audio/voices?model=org%2Fone", False), ("POST", "/v1/images/generations", True),
        ("POST", "/sdapi/v1/txt2img", True), ("GET", "/sdapi/v1/loras?model=org%2Fone", False),
        ("POST", "/v1/rerank", True),
    ],
)  # fmt: skip
def test_other_requests_of_its_playground(server: Server, method: str, path: str, sends_a_body: bool) -> None:
    body = {"model": ONE, "input": "x", "messages": []} if sends_a_body else None
    assert ask(server, method, path, body)[0] == 200


@pytest.mark.rule("H218", "H162")
def test_its_view_of_a_capture(server: Server, page: Page) -> None:
    assert chat(server, mark="a capture")[0] == 200

    def newest() -> dict[str, Any]:
        rows = get(server, "/api/metrics/activity?limit=1")["data"]
        if not rows:
            return {"req_body": ""}
        assert rows[0]["has_capture"] is True
        found: dict[str, Any] = get(server, f"/api/captures/{rows[0]['id']}")
        return found

    page.until(lambda: b"a capture" in base64.b64decode(newest()["req_body"]))
    capture = newest()
    assert "choices" in json.loads(base64.b64decode(capture["resp_body"]))
    assert capture["req_headers"]["Content-Type"] == "application/json"
    assert capture["resp_headers"]["Content-Type"] == "application/json"
    assert ask(server, "GET", "/api/captures/999999")[0] == 404


@pytest.mark.rule("H218", "H186", "H189")
async def test_its_page_of_the_machine() -> None:
    from swapcli.machine import SystemSample
    from swapcli.rfc3339 import parse

    def sample(second: int) -> SystemSample:
        at = parse(f"2026-01-01T12:00:{second:02}.25Z")
        return SystemSample(
            at=at, cpu_util_per_core=(1.0,), mem_total_mb=4, mem_used_mb=1, mem_free_mb=3, swap_used_mb=0,
            swap_total_mb=0, load_avg=(0.0, 0.0, 0.0), net_io={},
        )  # fmt: skip

    async with in_process() as served:
        first = json.loads((await served.ask("GET", "/api/performance")).body)
        assert (first["enabled"], first["sys_stats"], first["gpu_stats"]) == (True, None, None)
        served.measured.monitor.system += [sample(0), sample(5)]
        last = json.loads((await served.ask("GET", "/api/performance")).body)["sys_stats"][-1]["timestamp"]
        served.measured.monitor.system.append(sample(10))
        reply = await served.ask("GET", "/api/performance?after=" + quote(last, safe=""))
        more = json.loads(reply.body)
    assert [each["timestamp"] for each in more["sys_stats"]] == ["2026-01-01T12:00:10.25Z"]
    assert more["gpu_stats"] == []


@pytest.mark.rule("H219")
async def test_no_line_of_the_events_is_longer_than_a_helper_can_read() -> None:
    """wol-proxy reads lines of up to 2 MiB, to know whether the server is there."""
    async with in_process() as served:
        for number in range(1100):
            served.live.logs.write_line(b"\x01" * 99 + b"\n")
            served.live.logs.write_output(ModelId("m"), b'"\\' * 49 + b"%d\n" % (number % 10))
        client = await served.server.client()
        await client.send(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.head()).status == 200
        text = b""
        while b'"snapshot' not in text:
            text += await client.piece() or b""
    lines = [len(line) for line in text.split(b"\n")]
    assert 500_000 < max(lines) < 2 * 1024 * 1024
