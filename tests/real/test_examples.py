"""Every example runs as its first lines say, and the README's code does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from real_children import free_port

from swapcore import FleetView, ModelId, SwapPlan

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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_runs_as_it_says(example: Path) -> None:
    how = re.search(r"Run it: ``(pytest|python) examples/(\w+\.py)``", example.read_text(encoding="utf-8"))
    assert how is not None, "its docstring must say how to run it"
    assert how[2] == example.name
    if how[1] == "pytest":
        assert " passed" in run(sys.executable, "-m", "pytest", "-q", str(example))
    else:
        assert run(sys.executable, str(example)).strip()


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
