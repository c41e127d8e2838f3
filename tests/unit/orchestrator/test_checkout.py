"""What git is asked of a folder, and that nothing of the folder's own runs, whatever its configuration says."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator import checkout
from orchestrator.checkout import listed_files, own_commit
from tests.hostile_git import commit, git, make_hostile


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of Halfwave in which this process seems to run."""
    root = tmp_path / "own"
    (root / "orchestrator").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "halfwave"\n')
    (root / "orchestrator" / "checkout.py").write_text("code\r\n")
    (root / "link").symlink_to("pyproject.toml")
    commit(root)
    monkeypatch.setattr(checkout, "__file__", str(root / "orchestrator" / "checkout.py"))
    return root


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD").stdout.decode().strip()


def test_the_commit_is_that_of_the_own_checkout_and_says_whether_files_were_changed(own: Path) -> None:
    assert own_commit() == head(own)
    (own / "new.txt").write_text("not tracked")
    assert own_commit() == head(own)
    (own / "orchestrator" / "checkout.py").write_text("code\n")
    assert own_commit() == head(own) + "-dirty"
    (own / "orchestrator" / "checkout.py").unlink()
    assert own_commit() == head(own) + "-dirty"


def test_a_repository_around_an_installed_halfwave_is_not_its_own(own: Path) -> None:
    (own / "pyproject.toml").write_text('[project]\nname = "another"\n')
    assert own_commit() == ""
    (own / "pyproject.toml").write_text('[project]\nname = "halfwave"\n')
    shutil.move(own / ".git", own.parent / ".git")
    assert own_commit() == ""


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_variables_of_git_lead_nowhere_else(own: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/nowhere")
    assert own_commit() == head(own)
    assert set(map(str, listed_files(own) or ())) == {
        ".gitattributes",
        "link",
        "orchestrator/checkout.py",
        "pyproject.toml",
    }


def test_nothing_that_a_repository_configures_runs(own: Path, tmp_path: Path) -> None:
    marker, expected = tmp_path / "ran", head(own)
    make_hostile(own, marker)
    assert own_commit() == expected and len(listed_files(own) or ()) == 4
    (own / "orchestrator" / "checkout.py").write_text("changed")
    assert own_commit() == f"{expected}-dirty" and not marker.exists()
    subprocess.run(["git", "-C", str(own), "ls-files", "--others"], capture_output=True)
    assert marker.exists(), "the configuration works where git is asked without care"


def test_an_object_that_is_missing_is_not_fetched(own: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    tree = git(own, "rev-parse", "HEAD:orchestrator").stdout.decode().strip()
    (own / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    make_hostile(own, marker)
    assert own_commit() == "" and len(listed_files(own) or ()) == 4 and not marker.exists()


def test_a_configuration_that_never_ends_is_as_good_as_none(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "endless")
    with (own / ".git" / "config").open("a") as config:
        config.write(f"[include]\n\tpath = {tmp_path}/endless\n")
    monkeypatch.setattr(checkout, "SECONDS", 0.5)
    assert own_commit() == "" and listed_files(own) is None


def test_a_file_outside_of_the_folder_is_never_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkout, "_git", lambda *_: b"a\0../b\0/c\0d/../../e\0")
    assert listed_files(tmp_path) == [Path("a")]
