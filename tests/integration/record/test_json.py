"""What the verbs that open a store print with `--json`, against the schemas in docs/schemas."""

import json
import shutil
from pathlib import Path

import pytest

from tests import schemas
from tests.integration.made_up import Command
from tests.integration.record.test_second_file import STUDY, ran
from tests.unit.orchestrator.planning.test_resolve import CONFIG, make_folder


@pytest.fixture
def project(tmp_path: Path, empty_database: Path) -> Path:
    """A study file that was run; a second driver left something in the outbox."""
    make_folder(tmp_path / "model", CONFIG | {"max_position_embeddings": 4096})
    (tmp_path / ".halfwave").mkdir()
    shutil.copy(empty_database, tmp_path / ".halfwave")
    file = tmp_path / "first.yaml"
    file.write_text(STUDY + "claims: double_dissociation\n")
    ran(file)
    (tmp_path / ".halfwave" / "spool" / "of others").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("verb", ["validate", "plan", "report", "gc"])
def test_a_verb_says_what_its_schema_says(project: Path, in_process: Command, verb: str) -> None:
    answer = in_process(verb, project / "first.yaml", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found and schemas.mistakes(verb, found) == []
    if verb == "plan":
        assert found["power"] and found["forecast"]["models"] and found["special_tokens"]
