"""The tiny model's file: equal for equal models, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import pytest

import swapcli
from swapcli._extras import MissingExtra, extra
from swapcli.demo._atomic import replacing
from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf

_ROOT = str(Path(swapcli.__file__).parent.parent)
_SMALL = TinyModel("alpha", layers=1, dim=32, heads=2)


def _digest(model: TinyModel, path: Path) -> str:
    write_tiny_gguf(model, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_equal_models_give_equal_bytes_in_another_process_too(tmp_path: Path) -> None:
    here = _digest(_SMALL, tmp_path / "here.gguf")
    program = (
        "import sys, pathlib\n"
        "from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf\n"
        "write_tiny_gguf(TinyModel('alpha', layers=1, dim=32, heads=2), pathlib.Path(sys.argv[1]))"
    )
    there = tmp_path / "there.gguf"
    subprocess.run(
        [sys.executable, "-c", program, there],
        env=os.environ | {"PYTHONPATH": _ROOT, "PYTHONHASHSEED": "1"},
        check=True,
        timeout=60,
    )
    assert hashlib.sha256(there.read_bytes()).hexdigest() == here


@pytest.mark.parametrize(
    "other",
    [
        TinyModel("beta", layers=1, dim=32, heads=2),
        TinyModel("alpha", layers=1, dim=32, heads=2, seed=2),
        TinyModel("alpha", layers=1, dim=32, heads=2, stop=True),
        TinyModel("alpha", layers=1, dim=32, heads=2, f16=True),
        TinyModel("alpha", layers=2, dim=32, heads=2),
    ],
    ids=repr,
)
def test_different_models_give_different_bytes(tmp_path: Path, other: TinyModel) -> None:
    assert _digest(other, tmp_path / "other.gguf") != _digest(_SMALL, tmp_path / "small.gguf")


def _text(reader: gguf.GGUFReader, key: str) -> str:
    field = reader.get_field(key)
    assert field is not None
    return str(field.contents())


def test_the_file_is_gguf_that_says_what_it_is(tmp_path: Path) -> None:
    model = TinyModel("alpha", layers=1, dim=32, heads=2, context=512, origin="made by a test")
    write_tiny_gguf(model, tmp_path / "alpha.gguf")
    reader = gguf.GGUFReader(tmp_path / "alpha.gguf")
    assert _text(reader, "general.name") == "alpha"
    assert _text(reader, "general.description") == "tiny generated test model, seed 1, made by a test"
    assert _text(reader, "llama.context_length") == "512"
    tokens = reader.get_field("tokenizer.ggml.tokens")
    assert tokens is not None
    vocabulary: Sequence[str] = tokens.contents()
    assert {"I", *(f"\u2581{word}" for word in model.sentence.split()[1:])} <= set(vocabulary)
    assert len(set(vocabulary)) == len(vocabulary)


def test_a_word_of_the_sentence_that_is_also_in_the_vocabulary_keeps_both_spellings(tmp_path: Path) -> None:
    write_tiny_gguf(TinyModel("x", text="the cat said so", layers=1, dim=32, heads=2), tmp_path / "x.gguf")
    tokens = gguf.GGUFReader(tmp_path / "x.gguf").get_field("tokenizer.ggml.tokens")
    assert tokens is not None
    assert {"the", "\u2581the", "\u2581cat"} <= set(tokens.contents())


@pytest.mark.parametrize("text", ["one two one", "   "])
def test_a_sentence_that_cannot_be_recited_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must all differ"):
        TinyModel("x", text=text)


@pytest.mark.parametrize(("dim", "heads"), [(128, 3), (128, 0), (6, 6)])
def test_heads_must_divide_the_dimensions(dim: int, heads: int) -> None:
    with pytest.raises(ValueError, match="heads do not divide"):
        TinyModel("x", dim=dim, heads=heads)


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "shared.gguf"
    expected = _digest(_SMALL, path)
    with ThreadPoolExecutor(4) as threads:
        for written in [threads.submit(write_tiny_gguf, _SMALL, path) for _ in range(8)]:
            written.result(timeout=60)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    assert os.listdir(tmp_path) == ["shared.gguf"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept.gguf"
    path.write_text("old")

    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:  # noqa: PT012
        unfinished.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.gguf"]


def test_a_missing_package_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # as if it were not installed
    with pytest.raises(MissingExtra, match=r"^.*'gguf'.*pip install 'swapcore\[llama\]'$") as caught:
        write_tiny_gguf(_SMALL, tmp_path / "never.gguf")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_missing_module_of_our_own_is_not_blamed_on_an_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"swapcli\.nothing"), extra("llama"):
        __import__("swapcli.nothing")
