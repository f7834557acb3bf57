"""The code in the tutorial and the how-to guides runs, and prints what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from real_children import free_port

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial" / "embed-swapcore.md").read_text(encoding="utf-8")
LAUNCHER = (ROOT / "docs" / "how-to" / "write-a-launcher.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def with_free_ports(text: str, pattern: str) -> str:
    """Replace each port of the page by one that is free here."""
    for port in sorted(set(re.findall(pattern, text))):
        text = text.replace(port, str(free_port()))
    return text


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(
        (sys.executable, *command),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def steps_of_the_tutorial() -> list[tuple[str, str, str]]:
    """Heading, whole program, and expected output of each step; the first item is what they talk to."""
    sections = [section.partition("\n") for section in TUTORIAL.split("\n## ")[1:]]
    (_, _, model), (heading, _, first), *others = sections
    program, output = (text for _, text in BLOCK.findall(first))
    before, after = re.split(
        r"^async def main\(\):\n.*(?=^trio\.run)", program, flags=re.DOTALL | re.MULTILINE
    )
    steps = [("model.py", BLOCK.findall(model)[0][1], ""), (heading, program, output)]
    for heading, _, section in others:
        if blocks := BLOCK.findall(section):
            (_, replacement), (_, output) = blocks
            steps.append((heading, f"{before}{replacement}\n\n{after}", output))
    return steps


MODEL, *STEPS = steps_of_the_tutorial()


@pytest.mark.parametrize(("program", "output"), [step[1:] for step in STEPS], ids=[step[0] for step in STEPS])
def test_each_step_of_the_tutorial_prints_what_it_says(tmp_path: Path, program: str, output: str) -> None:
    (tmp_path / "model.py").write_text(MODEL[1])
    (tmp_path / "swap.py").write_text(with_free_ports(program, r"\b58\d\d\b"))
    assert run(tmp_path, "swap.py") == output


def test_no_block_of_the_tutorial_is_left_out() -> None:
    assert len(STEPS) == 5
    assert 2 * len(STEPS) + 1 == len(BLOCK.findall(TUTORIAL))


def test_the_code_of_the_launcher_guide_passes_its_own_tests(tmp_path: Path) -> None:
    code = "\n\n".join(text for language, text in BLOCK.findall(LAUNCHER) if language == "python")
    (tmp_path / "test_guide.py").write_text(with_free_ports(code, r"\b184\d\d\b"))
    output = run(
        tmp_path,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "test_guide.py",
    )
    assert f"{code.count('def test_')} passed" in output


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    entries = re.findall(r"^\*\*([\w ]+)\*\*", GLOSSARY, re.MULTILINE)
    assert entries == sorted(set(entries))
    assert {"model", "process", "lease", "ticket", "swap", "planner", "guardian", "evict", "claim"} <= set(
        entries
    )
