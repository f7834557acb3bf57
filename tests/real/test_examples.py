"""Every example runs as its first lines say, and the README's code does what it says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from real_children import free_port

from swapcore import FleetView, ModelId, ProcState, Supervisor, SwapPlan

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# Stands in for llama-server: answers on the port that follows --port.
LLAMA_SERVER = f"""#!{sys.executable}
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def run(*command: str, **environ: str) -> str:
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def block(heading: str, language: str) -> str:
    """The first block in *language* of the README's section."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The folder of the examples, with each port replaced by one that is free here."""
    folder = tmp_path / "examples"
    folder.mkdir()
    for example in EXAMPLES:
        source = example.read_text(encoding="utf-8")
        for port in sorted(set(re.findall(r"\b184\d\d\b", source))):
            source = source.replace(port, str(free_port()))
        (folder / example.name).write_text(source, encoding="utf-8")
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_runs_as_it_says(example: Path, copies: Path) -> None:
    how = re.search(r"Run it: ``(pytest|python) examples/(\w+\.py)``", example.read_text(encoding="utf-8"))
    assert how is not None, "its docstring must say how to run it"
    assert how[2] == example.name
    copy = str(copies / example.name)
    if how[1] == "pytest":
        options = ("-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
        assert " passed" in run(sys.executable, "-m", "pytest", *options, copy)
    else:
        assert run(sys.executable, copy).strip()


def test_the_pool_in_quart_answers_with_what_the_models_say(copies: Path) -> None:
    assert run(sys.executable, str(copies / "model_pool_in_quart.py")).splitlines() == [
        "/ask/qwen 200 I am qwen",
        "/ask/llama 200 I am llama",
        "/ask/qwen 200 I am qwen",
        "/ask/gpt 404 no model named 'gpt'",
    ]


async def test_a_client_of_the_pool_in_quart_that_hangs_up_leaves_the_line(copies: Path) -> None:
    spec = importlib.util.spec_from_file_location("pool", copies / "model_pool_in_quart.py")
    assert spec is not None
    assert spec.loader is not None
    pool: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pool)
    port = free_port()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(20):
            await nursery.start(partial(pool.app.run_task, port=port))
            supervisor = pool.app.supervisor
            async with supervisor.lease(ModelId("qwen")) as endpoint:
                async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                    await client.send_all(b"GET /ask/llama HTTP/1.1\r\nHost: x\r\n\r\n")
                    await wait_until_waiting(supervisor, 1)
                await wait_until_waiting(supervisor, 0)
                assert supervisor.state_of(ModelId("llama")) is ProcState.STOPPED
        nursery.cancel_scope.cancel()
    with pytest.raises(OSError, match=str(endpoint.port)):
        await trio.open_tcp_stream(endpoint.host, endpoint.port)  # the model is gone with the application


async def wait_until_waiting(supervisor: Supervisor, callers: int) -> None:
    while supervisor.statistics().waiting != callers:  # noqa: ASYNC110 - nothing tells
        await trio.sleep(0.002)


def test_the_readme_s_program_swaps(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(LLAMA_SERVER)
    program.chmod(0o755)
    source, ports = block("Embed", "python"), [free_port(), free_port()]
    for name in ("qwen.gguf", "llama.gguf"):
        (tmp_path / name).touch()
        source = source.replace(name, str(tmp_path / name))
    for port, documented in zip(ports, ("5800", "5801"), strict=True):
        assert documented in source
        source = source.replace(documented, str(port))
    script = tmp_path / "program.py"
    script.write_text(source)
    output = run(sys.executable, str(script), PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert output.splitlines() == [f"talk to 127.0.0.1 {port}" for port in ports]


def test_the_readme_s_planner_keeps_small_models() -> None:
    names: dict[str, type] = {}
    exec(block("Write a planner", "python"), names)
    planner = names["SmallOnesStay"]()
    big, bigger, small = ModelId("big-a"), ModelId("big-b"), ModelId("small")
    assert planner.evictions(small, FleetView(running=[big])) == SwapPlan()
    assert planner.evictions(bigger, FleetView(running=[big, small])).evict == (big,)


def test_the_readme_s_configuration_is_one(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(block("Serve", "yaml"))
    assert "2 models" in run(sys.executable, "-m", "swapcli", "check", str(config))


def test_the_readme_s_two_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\$ make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
