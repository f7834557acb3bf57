"""Documentation that can be checked is checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swapcore._states import TRANSITIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def state_diagram() -> str:
    """Draw the table in mermaid's language."""
    lines = ["stateDiagram-v2", "    [*] --> stopped"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state.value} --> {to.value}: {event.__name__}" for event, to in row.items()]
    return "\n".join(lines)


def test_the_state_diagram_is_the_table() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{state_diagram()}\n```" in page, f"put this into design.md:\n{state_diagram()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """What the headings of *page* are called in links, as GitHub makes it of them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    # A second heading of the same name is `name-1`.
    return {
        name if (before := names[:at].count(name)) == 0 else f"{name}-{before}"
        for at, name in enumerate(names)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def test_every_page_is_in_the_table_of_contents() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert {page.resolve() for page in PAGES if page.is_relative_to(index.parent)} - listed == {index}
    assert "docs/README.md" in (ROOT / "README.md").read_text()
