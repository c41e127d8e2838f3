"""Which study file a study was last run from, and what is said of another one."""

import shutil
from pathlib import Path

import pytest

from orchestrator.definition import definition_of, report_note, second_file
from orchestrator.record.tags import Definition
from orchestrator.study_file.load import study_text
from orchestrator.study_file.located import Located

FIRST = "study: same\nfraction: 0.05\n"
SECOND = "# another one\nstudy: same\nfraction: 0.2\n"
STARTED = "2026-11-29T21:03:07+00:00"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two study files of one name, the first in a folder of its own."""
    folder = tmp_path / "project"
    (folder / "studies").mkdir(parents=True)
    (folder / ".halfwave").mkdir()
    (folder / "studies" / "first.yaml").write_text(FIRST)
    (folder / "second.yaml").write_text(SECOND)
    return folder


def located(file: Path) -> Located:
    return Located(file.read_text(), str(file))


def run_from(file: Path) -> Definition:
    """What a run from this file leaves behind."""
    return definition_of(file, located(file))._replace(started=STARTED)


def refusal(file: Path, last: Definition | None) -> str:
    return second_file(file, located(file), "same", last)


def note(file: Path, shown: Definition | None) -> str:
    return report_note(file, located(file), shown)


def test_a_file_is_known_by_its_place_in_the_project_and_by_what_it_says(project: Path) -> None:
    first = run_from(project / "studies" / "first.yaml")
    assert first.file == "studies/first.yaml" and len(first.digest) == 64
    moved = shutil.move(project, project.with_name("elsewhere"))
    assert run_from(Path(moved) / "studies" / "first.yaml") == first


def test_comments_and_layout_are_no_definition_but_the_order_of_conditions_is() -> None:
    digest = Located("a: {b: 1, c: [2]}\n", "x").digest
    assert digest == Located("# why\na:\n  b: 1\n  c:\n  - 2\n", "y").digest
    assert digest != Located("a: {c: [2], b: 1}\n", "x").digest
    assert digest != Located("a: {b: 1, c: [3]}\n", "x").digest
    assert Located("7: x\n", "x").digest


def test_the_second_file_of_a_name_is_refused_with_the_remedy(project: Path) -> None:
    second = project / "second.yaml"
    assert refusal(second, run_from(project / "studies" / "first.yaml")) == (
        f"{second}:2: study: same was last run from studies/first.yaml (2026-11-29 21:03 UTC), which still has this "
        "name, and would be mixed with it in the record; give one of the two files another name after `study:`, or "
        "this one another --workdir"
    )


def test_an_edited_renamed_moved_or_copied_file_passes_and_so_does_a_store_that_does_not_know(project: Path) -> None:
    first, second = project / "studies" / "first.yaml", project / "second.yaml"
    last = run_from(first)
    first.write_text(FIRST.replace("0.05", "0.06"))
    assert refusal(first, last) == "", "edited"
    renamed = first.rename(project / "third.yaml")
    assert refusal(renamed, last) == refusal(second, last) == "", "renamed, and edited before"
    shutil.copy(second, first)
    assert refusal(first, run_from(second)) == "", "a copy says the same"
    renamed.write_text("study: other\n")
    assert refusal(second, last._replace(file="third.yaml")) == "", "the other file has another name by now"
    for text in (b"study: [", b"\xff", b"- 1\n"):
        renamed.write_bytes(text)
        assert refusal(second, last._replace(file="third.yaml")) == "", "nobody can tell"
    assert refusal(second, None) == note(second, None) == ""


def test_a_job_has_the_same_place_in_its_upload(project: Path, tmp_path: Path) -> None:
    upload = shutil.copytree(project, tmp_path / "session" / "_ray_pkg_0123")
    assert run_from(upload / "studies" / "first.yaml") == run_from(project / "studies" / "first.yaml")
    assert refusal(project / "second.yaml", run_from(upload / "second.yaml")) == ""


def test_a_report_of_another_definition_says_which_file_and_date(project: Path) -> None:
    first, second = project / "studies" / "first.yaml", project / "second.yaml"
    shown = run_from(first)
    assert note(first, shown) == ""
    assert note(second, shown) == (
        "this is the report of studies/first.yaml, run on 2026-11-29 21:03 UTC, not of second.yaml, whose study has "
        "the same name"
    )
    first.write_text(FIRST.replace("0.05", "0.06"))
    assert note(first, shown) == (
        "this is the report of studies/first.yaml as it was run on 2026-11-29 21:03 UTC; the file says something else "
        "now: run it for its own"
    )


def test_a_name_that_is_not_utf_8_can_be_noted(project: Path) -> None:
    odd = project / "caf\udce9.yaml"
    odd.write_text(FIRST)
    assert run_from(odd).file.encode() == b"caf\\udce9.yaml"


def test_a_study_of_the_catalog_is_one_file_from_wherever_it_is_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Path("quickstart")
    text = study_text(name)
    of_catalog = Located(text, "quickstart")
    monkeypatch.chdir(project)
    last = definition_of(name, of_catalog)._replace(started=STARTED)
    monkeypatch.chdir(project / "studies")
    assert definition_of(name, of_catalog) == last._replace(started="") and last.file == "quickstart"
    assert second_file(name, of_catalog, "quickstart", last._replace(digest="an earlier version's")) == ""
    copied = project / "copied.yaml"
    copied.write_text(text)
    assert second_file(copied, located(copied), "quickstart", last) == "", "it says the same"
    copied.write_text(text.replace("0.01", "0.02"))
    assert "study: quickstart was last run from the catalog's quickstart (2026-11-29 21:03 UTC), which" in second_file(
        copied, located(copied), "quickstart", last
    )
    assert "was last run from copied.yaml" in second_file(name, of_catalog, "quickstart", run_from(copied))
