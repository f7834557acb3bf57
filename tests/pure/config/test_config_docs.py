"""The reference names every key, its examples load, and the schema accepts what the loader accepts."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from swapcli.config import Source, load_sources, schema
from swapcli.config._reference import sections, table, with_tables
from swapcli.config._yaml_keys import attributes_of

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
PAGES = ["docs/reference/configuration.md", "docs/how-to/from-llama-swap.md"]
EXAMPLES = [
    (page, example)
    for page in PAGES
    for example in re.findall(
        r"^ *```yaml\n(.*?)^ *```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
]
ENVIRON = {"SWAPCLI_KEY": "k1", "WORKSTATION_KEY": "k2"}


@pytest.mark.parametrize(("path", "cls"), list(sections()), ids=lambda value: str(value))
def test_every_key_is_in_the_reference(path: str, cls: type) -> None:
    older = path in ("groups.<name>", "matrix")
    heading = "### Top level" if not path else f"### `{path}`"
    if not older:
        assert heading in REFERENCE
    assert table(cls) in REFERENCE
    for key in attributes_of(cls):
        assert f"`{key}`" in REFERENCE


def test_the_tables_are_current() -> None:
    assert with_tables(REFERENCE) == REFERENCE, (
        "python -m swapcli.config._reference docs/reference/configuration.md"
    )


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_every_example_loads_without_a_warning(page: str, example: str) -> None:
    loaded = load_sources([Source(page, example)], environ=ENVIRON, strict=True)
    assert not loaded.warnings
    assert not loaded.refusals


def test_every_section_has_an_example() -> None:
    sections = re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert len(sections) > 10
    for _, body in sections:
        assert "```yaml" in body


class Validator:
    """The few words of JSON Schema that our schema uses."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root

    def accepts(self, value: Any, rule: dict[str, Any]) -> bool:
        if "$ref" in rule:
            return self.accepts(value, self.root["$defs"][rule["$ref"].rpartition("/")[2]])
        if "anyOf" in rule and not any(self.accepts(value, one) for one in rule["anyOf"]):
            return False
        if "enum" in rule and value not in rule["enum"]:
            return False
        if "type" in rule and not any(self.is_type(value, name) for name in self.names(rule["type"])):
            return False
        if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
            return False
        if isinstance(value, list):
            return all(self.accepts(item, rule.get("items", {})) for item in value)
        if isinstance(value, dict):
            return all(self.accepts_entry(str(key), item, rule) for key, item in value.items())
        return True

    def accepts_entry(self, key: str, value: Any, rule: dict[str, Any]) -> bool:
        if key in rule.get("properties", {}):
            return self.accepts(value, rule["properties"][key])
        if any(re.search(pattern, key) for pattern in rule.get("patternProperties", {})):
            return True
        other = rule.get("additionalProperties", {})
        return other is not False and self.accepts(value, other)

    @staticmethod
    def names(types: str | list[str]) -> list[str]:
        return [types] if isinstance(types, str) else types

    @staticmethod
    def is_type(value: Any, name: str) -> bool:
        kinds: dict[str, Any] = {
            "object": dict,
            "array": list,
            "string": str,
            "boolean": bool,
            "null": type(None),
        }
        if name == "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(value, kinds[name])


CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(ROOT / "tests" / "data" / "config_cases.yaml")
VALID = [case for case in CASES if isinstance(case["expect"], list) and case.get("yaml")]


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.rule("C144")
@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_the_schema_accepts_every_valid_case(case: dict[str, Any]) -> None:
    rule = schema()
    assert Validator(rule).accepts(read(case["yaml"]), rule)


@pytest.mark.parametrize(("page", "example"), EXAMPLES)
def test_the_strict_schema_accepts_every_example(page: str, example: str) -> None:
    rule = schema(strict=True)
    assert Validator(rule).accepts(read(example), rule)


@pytest.mark.parametrize(
    "text",
    [
        "modles: {}",
        "models: {m: {ttll: 1}}",
        "models: [a]",
        "apiKeys: k",
        "startPort: x",
        "unloadTimeout: true",
        "logToStdout: nowhere",
        "logLevel: loud",
        "routing: {router: {use: matrices}}",
        "routing: {scheduler: {use: lifo}}",
        "selectors: {s: {strategy: warmest, targets: [a]}}",
        "models: {m: {capabilities: {in: [smell]}}}",
        "models: {m: {restart: {policy: sometimes}}}",
        "models: {m: {stopSignal: TREM}}",
    ],
)
def test_the_strict_schema_rejects_what_is_wrong(text: str) -> None:
    rule = schema(strict=True)
    assert not Validator(rule).accepts(read(text), rule)


@pytest.mark.parametrize(
    "text",
    [
        "logLevel: ' WARN'",
        "logTimeFormat: RFC3339",
        "logTimeFormat: ''",
        "logToStdout: '${where}'\nmacros: {where: both}",
        "routing: {router: {use: ''}}",
        "models: {m: {cmd: s, stopSignal: sigint, proxy: 'http://h'}}",
        "models: {m: {cmd: s, stopSignal: 15, proxy: 'http://h'}}",
        "models: {m: {cmd: s, restart: {policy: ~}, proxy: 'http://h'}}",
    ],
)
def test_the_schema_accepts_every_spelling_of_a_word(text: str) -> None:
    assert not load_sources([Source("c.yaml", text)], environ={}, strict=True).warnings
    rule = schema(strict=True)
    assert Validator(rule).accepts(read(text), rule)


def test_one_class_has_one_meaning_per_name() -> None:
    """Definitions of the schema are named by class; two classes of one name would overwrite each other."""
    classes = defaultdict(set)
    for _, cls in sections():
        classes[cls.__name__].add(cls)
    assert all(len(found) == 1 for found in classes.values())
