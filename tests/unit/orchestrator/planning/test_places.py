"""Where the names of a study file are looked up: the command line before the file, relative to the file's folder."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.places import Places, places
from orchestrator.study_file.load import parse_spec
from orchestrator.study_file.located import Problem
from tests.plans import STUDY


def looked_up(text: str, folder: Path, data_root: Path | None = None, model_roots: tuple[Path, ...] = ()) -> Places:
    """The places of a study file with these lines added."""
    found, problems = looked_for(text, folder, data_root, model_roots)
    assert not problems
    return found


def looked_for(text: str, folder: Path, *roots: Any) -> tuple[Places, list[Problem]]:
    data_root, model_roots = roots or (None, ())
    return places(*parse_spec(STUDY + text, "study.yaml"), folder=folder, data_root=data_root, model_roots=model_roots)


def test_paths_of_a_study_file_start_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    path = looked_up("", tmp_path).path
    assert path("data") == tmp_path / "data"
    assert path("/data") == Path("/data")
    assert path("~/data") == Path("/home/ada/data")
    assert path("~nobody-here/data") == tmp_path / "~nobody-here" / "data"


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    for name in ("own", "given"):
        (tmp_path / name).mkdir()
    text = "data: {root: own}\nmodel_root: own\n"
    own = looked_up(text, tmp_path)
    assert (own.data_root, own.model_roots) == (tmp_path / "own", (tmp_path / "own",))
    given = looked_up(text, tmp_path, tmp_path / "given", (tmp_path / "given",))
    assert (given.data_root, given.model_roots) == (tmp_path / "given", (tmp_path / "given",))


@pytest.mark.parametrize(
    ("line", "place"), [("data: {root: absent}", "data.root"), ("model_root: absent", "model_root")]
)
def test_a_folder_of_the_file_that_is_not_there_is_named_with_its_line(tmp_path: Path, line: str, place: str) -> None:
    found, (problem,) = looked_for(f"{line}\n", tmp_path)
    assert problem.message == f"study.yaml:9: {place}: there is no folder {tmp_path / 'absent'}"
    assert (found.data_root, found.model_roots) == (None, ())
