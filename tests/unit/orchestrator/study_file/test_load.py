"""Study files on disk: the catalog is valid, and a file that cannot be read is one line."""

import pickle
from pathlib import Path

import pytest

from orchestrator.study_file.load import MAX_CHARACTERS, load_spec
from studies.errors import StudyError
from tests.conftest import ROOT
from tests.unit.orchestrator.study_file.tiny_study import STUDY, parse


@pytest.mark.parametrize("path", sorted((ROOT / "studies" / "catalog").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_catalog_is_valid_and_short(path: Path) -> None:
    study, _ = load_spec(path)
    assert study.conditions and len(path.read_text().splitlines()) < 40


TOO_LONG = f"a study file has at most {MAX_CHARACTERS} characters; put neurons into a .parquet file"
UNREADABLE = {
    "other bytes": ("bytes.yaml", "the study file cannot be read: it is not UTF-8 text"),
    "no file": ("absent.yaml", "the study file cannot be read: No such file or directory"),
    "a folder": ("folder", "a folder, not a study file; name one"),
    "an enormous file": ("enormous.yaml", TOO_LONG),
    "an endless file": ("/dev/zero", TOO_LONG),
}


@pytest.mark.parametrize(("name", "expected"), UNREADABLE.values(), ids=UNREADABLE)
def test_files_that_cannot_be_read_are_one_line(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"study: \xff\xfe\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "enormous.yaml").write_text(STUDY + "#" * MAX_CHARACTERS)
    with pytest.raises(StudyError) as caught:
        load_spec(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {expected}"


def test_errors_survive_a_pickle_round_trip() -> None:
    with pytest.raises(StudyError) as caught:
        parse("")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
