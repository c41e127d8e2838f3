"""Special tokens read from a tokenizer's files are those of the tokenizer that an actor loads."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from actors.tokens import marks_of
from orchestrator.planning.tokenizer_files import local_marks
from tests import oracles
from tests.unit.actors.trained_tokenizers import KINDS, trained


def model(folder: Path, **spec: Any) -> Any:
    return SimpleNamespace(path=str(folder), revision=None, spec=SimpleNamespace(trust_remote_code=False, **spec))


@pytest.mark.parametrize("template", ["$A", "<s> $A", "$A </s>", "<s> $A </s>", "<s> <s> $A"])
def test_a_folder_tells_what_its_tokenizer_does(template: str, tmp_path: Path) -> None:
    oracles.make_tokenizer(tmp_path, template)
    assert local_marks(model(tmp_path)) == marks_of(AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_of_all_kinds(kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind, ["a b c"])
    tokenizer.eos_token = "<s>"
    tokenizer.save_pretrained(tmp_path)
    assert local_marks(model(tmp_path)) == marks_of(AutoTokenizer.from_pretrained(tmp_path))


def test_what_the_files_leave_open_is_not_guessed(tmp_path: Path) -> None:
    assert local_marks(model(tmp_path)) is None, "no files"
    oracles.make_tokenizer(tmp_path)
    (remote := model(tmp_path)).spec.trust_remote_code = True
    assert local_marks(remote) is None, "code of its own"
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": config["tokenizer_class"]}))
    assert local_marks(model(tmp_path)) is None, "the class's own BOS"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert local_marks(model(tmp_path)) is None, "not readable"


def test_a_token_may_be_written_with_its_properties(tmp_path: Path) -> None:
    oracles.make_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"bos_token": {"content": "<s>", "special": True}, "eos_token": None}
    path.write_text(json.dumps(config))
    marks = local_marks(model(tmp_path))
    assert marks is not None and marks.bos == (0, "<s>") and marks.eos is None
