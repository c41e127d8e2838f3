"""The wheel: built from a copy, installed elsewhere, imported from there; no network, nothing left in the tree."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("orchestrator", "actors", "studies")
IMPORTED = (
    "halfwave",
    "orchestrator.cli",
    "orchestrator.execution.runner",
    "actors.messages.ablation",
    "studies.benchmarks.corpora",
)
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree without what git ignores: setuptools builds in place, and would ship what an old build/ holds."""
    copy = tmp_path_factory.mktemp("source") / "halfwave"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    return Path(shutil.copytree(ROOT, copy, ignore=ignored))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed") / "site"
    run(*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel))
    return target


def run(*command: str, **more: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(source: Path, wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith(".dist-info")}
    files = [file for package in PACKAGES for file in (source / package).rglob("*") if file.is_file()]
    assert names == {"halfwave.py", *(file.relative_to(source).as_posix() for file in files)}
    assert (source / "tests" / "integration" / "test_wheel.py").is_file()  # so that the next line can fail
    assert {name.split("/")[0] for name in names} == {"halfwave.py", *PACKAGES}


@pytest.mark.parametrize(
    "pattern", ["studies/catalog/*.yaml", "studies/embedded/knowledge.jsonl", "studies/embedded/corpus/*.txt"]
)
def test_the_data_is_installed_unchanged(source: Path, installed: Path, pattern: str) -> None:
    files = [file.relative_to(source) for file in source.glob(pattern)]
    assert files
    for file in files:
        assert (installed / file).read_bytes() == (source / file).read_bytes()


def test_the_installed_packages_work_from_where_they_were_installed(installed: Path, tmp_path: Path) -> None:
    """The environment may hold an editable install of this tree, so the files' own places are looked at."""
    code = f"""
import importlib
for name in {IMPORTED}:
    print(importlib.import_module(name).__file__)
from studies.benchmarks.corpora import load_corpus
assert load_corpus("embedded", split="train", joiner=" ").text
"""
    printed = run(sys.executable, "-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)})
    files = [Path(line) for line in printed.splitlines()]
    assert len(files) == len(IMPORTED)
    assert [file for file in files if not file.is_relative_to(installed)] == []


def test_the_command_is_installed(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    assert "run" in run(str(installed / "bin" / "halfwave"), "--help", cwd=tmp_path, env=environment)


def test_the_catalog_is_used_by_name_from_any_folder(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    halfwave = str(installed / "bin" / "halfwave")
    files = [file.stem for file in (installed / "studies" / "catalog").glob("*.yaml")]
    listed = json.loads(run(halfwave, "catalog", "--json", cwd=tmp_path, env=environment))
    assert [study["name"] for study in listed["studies"]] == sorted(files) and len(files) > 10
    before = sorted(installed.rglob("*"))
    found = subprocess.run(
        [halfwave, "validate", "quickstart"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 2 and found.stderr.startswith("halfwave: quickstart:"), "there are no weights"
    assert (tmp_path / ".halfwave").is_dir()
    assert [file for file in installed.rglob("*") if file not in before and "__pycache__" not in file.parts] == []
