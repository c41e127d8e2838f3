"""Study files on disk: the catalog is valid, and a file that cannot be read is one line."""

import pickle
from pathlib import Path

import pytest

from orchestrator.study_file.load import load_spec
from studies.errors import StudyError
from tests.conftest import ROOT
from tests.unit.orchestrator.study_file.tiny_study import parse


@pytest.mark.parametrize("path", sorted((ROOT / "studies" / "catalog").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_catalog_is_valid_and_short(path: Path) -> None:
    study, _ = load_spec(path)
    assert study.conditions and len(path.read_text().splitlines()) < 40


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"study: \xff\xfe\n", "the study file cannot be read: it is not UTF-8 text"),
        (None, "No such file or directory"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=expected) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_folder_is_not_a_study_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="Is a directory"):
        load_spec(tmp_path)


def test_errors_survive_a_pickle_round_trip() -> None:
    with pytest.raises(StudyError) as caught:
        parse("")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
