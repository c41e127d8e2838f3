"""The upload: the study's project without what git ignores, environments, models and records."""

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

from orchestrator.jobs import upload as module
from orchestrator.jobs.upload import MAX_BYTES, Upload, choose_files
from orchestrator.workspace import project_of
from studies.errors import StudyError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    names = ("pyproject.toml", "studies/a.yaml", "data/pairs.jsonl", "notes.txt", "big/weights.bin")
    never = (".halfwave/mlflow.db", ".venv/bin/python", ".models/m/config.json", "studies/__pycache__/a.pyc")
    for name in names + never:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def git(folder: Path, *command: str) -> None:
    subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True)


def names(project: Path, study: str = "studies/a.yaml") -> set[str]:
    return {str(file) for file in choose_files(project / study).files}


def test_without_git_everything_but_environments_models_and_records(project: Path) -> None:
    upload = choose_files(project / "studies" / "a.yaml")
    assert (upload.root, upload.study) == (project, Path("studies/a.yaml"))
    assert names(project) == {"pyproject.toml", "studies/a.yaml", "data/pairs.jsonl", "notes.txt", "big/weights.bin"}


def test_files_that_git_ignores_are_left_out_but_never_the_study_file(project: Path) -> None:
    git(project, "init")
    (project / ".gitignore").write_text("big/\nstudies/a.yaml\n")
    git(project, "add", "notes.txt")
    assert names(project) == {".gitignore", "pyproject.toml", "studies/a.yaml", "data/pairs.jsonl", "notes.txt"}
    (project / "notes.txt").unlink()  # still in git's index
    assert "notes.txt" not in names(project)


def test_the_archive_holds_the_files_and_is_the_same_twice(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    upload = choose_files(project / "studies" / "a.yaml")
    first, second = (tmp_path_factory.mktemp("packed") / "project.zip" for _ in range(2))
    upload.pack(first)
    upload.pack(second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert set(packed.namelist()) == {".halfwave/", *names(project)}
        packed.extractall(project / "job")
        assert packed.read("data/pairs.jsonl") == b"data/pairs.jsonl"
    assert project_of(project / "job" / "studies" / "a.yaml") == project / "job"


def test_the_limit_is_that_of_rays_dashboard() -> None:
    assert MAX_BYTES == DASHBOARD_CLIENT_MAX_SIZE


def test_relative_paths_are_in_the_upload_and_absolute_ones_on_the_cluster(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = choose_files(project / "studies" / "a.yaml")
    monkeypatch.chdir(project / "studies")
    assert upload.path_in_job(Path("../data"), "--data-root") == "data"
    assert upload.path_in_job(Path("/mnt/models"), "--model-root") == "/mnt/models"


LEFT_OUT = (
    "is absent, ignored by git, or never uploaded, so the job would not have it; give the cluster's absolute path"
)
REFUSED: dict[str, tuple[Callable[[Upload], object], str]] = {
    "outside": (
        lambda upload: upload.path_in_job(Path("../.."), "--data-root"),
        "--data-root: ../.. lies outside of {project}, so the job would not have it; give the cluster's absolute path",
    ),
    "never uploaded": (
        lambda upload: upload.path_in_job(Path("../.models"), "--model-root"),
        f"--model-root: ../.models {LEFT_OUT}",
    ),
    "absent": (lambda upload: upload.path_in_job(Path("absent"), "--model-root"), f"--model-root: absent {LEFT_OUT}"),
    "too large": (
        lambda upload: choose_files(upload.root / upload.study),
        "{project}: 5 files of 1.0 MiB would be uploaded, a job takes 1.0 MiB; largest: big/weights.bin (1.0 MiB), "
        "data/pairs.jsonl (0.0 MiB), pyproject.toml (0.0 MiB); let git ignore what the job does not need, or copy it "
        "to the cluster and name its path there with --data-root or --model-root",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_uploaded_is_one_line_with_the_remedy(
    act: Callable[[Upload], object], message: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = choose_files(project / "studies" / "a.yaml")
    monkeypatch.chdir(project / "studies")
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    (project / "big" / "weights.bin").write_bytes(bytes(2**20))
    with pytest.raises(StudyError) as caught:
        act(upload)
    assert str(caught.value) == message.format(project=project)
