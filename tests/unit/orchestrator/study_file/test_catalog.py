"""The catalog: what its files say of themselves, and which file a bare name stands for."""

from pathlib import Path

import pytest

from orchestrator.study_file import catalog
from orchestrator.study_file.catalog import Entry, found_study, is_of_catalog
from orchestrator.study_file.catalog_list import listed
from orchestrator.study_file.load import load_spec, study_text
from orchestrator.workspace import default_workdir
from studies.errors import StudyError
from tests.conftest import ROOT

FILES = sorted((ROOT / "studies" / "catalog").glob("*.yaml"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_is_in_the_catalog_and_says_in_a_sentence_what_it_asks_and_needs() -> None:
    assert catalog.names() == [file.stem for file in FILES] and len(FILES) > 10
    for file in FILES:
        entry = catalog.entry(file.stem)
        assert entry.text == file.read_text() and entry.needs and set(entry.needs) <= set(catalog.NEEDS), file
        assert entry.about.endswith((".", "?")) and len(entry.about) <= 125, file
        assert load_spec(Path(file.stem))[0] == load_spec(file)[0]


def test_what_the_list_says_is_read_from_the_file() -> None:
    text = """\
# Asks this.
# Needs: weights, data
# More, which is no part of it. Needs: hub
study: mine
checkpoints: {of: m, revisions: [step1, step2]}
models: [{name: a/b}]
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [perplexity]
"""
    entry = Entry("name", "Asks this.", ("weights", "data"), text)
    found = listed(entry)
    assert (found.name, found.study, found.conditions) == ("name", "mine", ("top",))
    assert sorted(found.models) == ["b", "m@step1", "m@step2"]


def test_a_bare_name_is_a_file_here_before_it_is_a_study_of_the_catalog(here: Path) -> None:
    name = Path("quickstart")
    assert found_study(name) == name and is_of_catalog(name)
    assert "study: quickstart" in study_text(name)
    (here / "quickstart").mkdir()
    assert is_of_catalog(name), "a folder is no study file"
    (here / "quickstart.yaml").write_text("study: own\n")
    assert found_study(name) == Path("quickstart.yaml")
    (here / "quickstart").rmdir()
    (here / "quickstart").write_text("study: own too\n")
    assert found_study(name) == name and not is_of_catalog(name) and study_text(name) == "study: own too\n"


def test_paths_are_left_to_whoever_reads_them() -> None:
    for path in (Path("quickstart.yaml"), Path("a/quickstart"), Path("/quickstart")):
        assert found_study(path) == path and not is_of_catalog(path)
        with pytest.raises(StudyError, match="cannot be read: No such file"):
            study_text(path)


def test_a_name_that_is_nothing_is_one_line_with_the_nearest_name(here: Path) -> None:
    (here / "my_study.yaml").write_text("")
    for typed, hint in (
        ("quickstrat", "; did you mean 'quickstart'?"),
        ("my_studi", "; did you mean 'my_study'?"),
        ("zzz", "; `halfwave catalog` lists them"),
    ):
        with pytest.raises(StudyError) as caught:
            found_study(Path(typed))
        assert str(caught.value) == f"{typed} is neither a study file nor a study of the catalog{hint}"


def test_its_working_folder_is_that_of_the_current_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_workdir(Path("quickstart")) == here / ".halfwave"
    (here / "deep").mkdir()
    (here / ".halfwave").mkdir()
    monkeypatch.chdir(here / "deep")
    assert default_workdir(Path("quickstart")) == here / ".halfwave", "the project's"


def test_a_copy_never_takes_the_place_of_a_file(here: Path) -> None:
    assert catalog.copy("quickstart", None) == Path("quickstart.yaml")
    assert (here / "quickstart.yaml").read_bytes() == (ROOT / "studies" / "catalog" / "quickstart.yaml").read_bytes()
    (here / "quickstart.yaml").write_text("mine")
    (here / "link.yaml").symlink_to("nowhere")
    for file, why in ((None, "exists and is left"), (Path("link.yaml"), "exists"), (Path("a/b.yaml"), "No such file")):
        with pytest.raises(StudyError, match=why):
            catalog.copy("quickstart", file)
    assert (here / "quickstart.yaml").read_text() == "mine" and not (here / "nowhere").exists()
    with pytest.raises(StudyError, match="has no study 'quickstrat'; did you mean 'quickstart'"):
        catalog.copy("quickstrat", None)
