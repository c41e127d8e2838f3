"""Which files are a model, and which digests of them still hold."""

import hashlib
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors import model_files
from actors.model_files import FileDigests, sha256, signature
from studies.errors import StudyError
from tests.tampering import flip, replace


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.mark.parametrize("change", [flip, replace])
def test_a_change_that_keeps_path_size_and_mtime_is_seen(file: Path, tmp_path: Path, change) -> None:
    digests = FileDigests(tmp_path / "digests.json")
    before = file.stat()
    assert digests.sha256(file) == hashlib.sha256(b"weights").hexdigest()
    digests.save()
    change(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    for again in (digests, FileDigests(tmp_path / "digests.json")):
        assert not again.knows(file)
        assert again.sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_that_changes_while_it_is_read_has_no_digest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_reader(*arguments: object):
        flip(file)
        return hashlib.sha256(b"half of either")

    monkeypatch.setattr(hashlib, "file_digest", slow_reader)
    with pytest.raises(StudyError) as caught:
        sha256(file)
    assert str(caught.value) == f"{file} changed while it was read; run again once it is complete"


def test_the_vocabularies_of_every_tokenizer_of_transformers_are_among_the_files(tmp_path: Path) -> None:
    spec = find_spec("transformers")
    assert spec and spec.origin
    named: set[str] = set()
    for module in Path(spec.origin).parent.glob("models/*/tokenization_*.py"):
        for table in re.findall(r"^VOCAB_FILES_NAMES = \{(.*?)\}", module.read_text(), re.DOTALL | re.MULTILINE):
            named |= set(re.findall(r': "([^"]+)"', table))
    assert len(named) > 15
    for name in named | {"qwen.tiktoken", "modeling_own.py", "chat_template.jinja", "generation_config.json"}:
        (tmp_path / name).touch()
    assert named <= set(model_files.model_files(tmp_path, pickled=False))


def test_what_no_loader_reads_is_no_part_of_a_model(tmp_path: Path) -> None:
    for name in ("model.safetensors", "pytorch_model.bin", "README.md", "provenance.json", "optimizer.pt"):
        (tmp_path / name).touch()
    (tmp_path / "runs.json").mkdir()
    assert list(model_files.model_files(tmp_path, pickled=False)) == ["model.safetensors"]
    assert list(model_files.model_files(tmp_path, pickled=True)) == ["model.safetensors", "pytorch_model.bin"]


DAMAGED = {
    "no JSON": "{",
    "a list": "[1, 2]",
    "too deep": "[" * 100_000,
    "not text": b"\xff\xfe",
    "not digests": '{"%s": 7, "x": "zz"}',
    "half a digest": '{"%s": "abc"}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_cache_is_read_as_empty(file: Path, tmp_path: Path, content: str | bytes) -> None:
    cache = tmp_path / "digests.json"
    if isinstance(content, bytes):
        cache.write_bytes(content)
    else:
        cache.write_text(content.replace("%s", signature(file)))
    digests = FileDigests(cache)
    assert not digests.knows(file) and digests.sha256(file) == sha256(file)
    before = cache.read_bytes()
    digests.save()
    assert json.loads(cache.read_text()) == {signature(file): sha256(file)}
    (aside,) = tmp_path.glob("digests.json.set-aside-*")  # it may be somebody's data
    assert aside.read_bytes() == before


def test_two_actors_that_save_at_once_keep_what_both_have_read(tmp_path: Path) -> None:
    cache, files = tmp_path / "digests.json", [tmp_path / name for name in "ab"]
    actors = [FileDigests(cache) for _ in files]
    for digests, file in zip(actors, files, strict=True):
        file.write_text(file.name)
        digests.sha256(file)
    for digests in actors:
        digests.save()
    assert all(FileDigests(cache).knows(file) for file in files)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_cache_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MAX_ENTRIES", 3)
    cache, files = tmp_path / "digests.json", [tmp_path / str(i) for i in range(5)]
    for file in files:
        file.touch()
        digests = FileDigests(cache)
        digests.sha256(file)
        digests.save()
    assert [FileDigests(cache).knows(file) for file in files] == [False, False, True, True, True]


def test_what_is_forgotten_stays_forgotten(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "digests.json"
    digests = FileDigests(cache)
    digests.sha256(file)
    digests.save()
    digests.forget([signature(file)])
    digests.save()
    assert not FileDigests(cache).knows(file)
