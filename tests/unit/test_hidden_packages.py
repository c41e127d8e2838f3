"""A folder with the name of one of our packages hides it: whoever imports it is told so, in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

REMEDY = "rename it, or take its folder off PYTHONPATH and start Python elsewhere"


def python(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    places = [str(path)] if path else []
    environment = {**inherited, "PYTHONPATH": os.pathsep.join([*places, str(ROOT)])}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(params=["orchestrator", "actors", "studies"])
def hiding(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A package of somebody else's, with the name of one of ours."""
    folder = tmp_path / "project" / request.param
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    return folder


def line(folder: Path) -> str:
    return f"{folder} is found in place of Halfwave's package {folder.name} ({ROOT / folder.name}); {REMEDY}"


@pytest.mark.parametrize("by", ["PYTHONPATH", "the current folder"])
def test_the_command_says_which_folder_hides_which_package(hiding: Path, tmp_path: Path, by: str) -> None:
    project = hiding.parent
    where = {"cwd": tmp_path, "path": project} if by == "PYTHONPATH" else {"cwd": project}
    done = python("-m", "halfwave", "--help", **where)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"halfwave: {line(hiding)}\n")


def test_importing_says_so_too(hiding: Path, tmp_path: Path) -> None:
    if hiding.name == "orchestrator":
        pytest.skip("nothing of ours is asked")
    done = python("-c", "import orchestrator.study", cwd=tmp_path, path=hiding.parent)
    assert done.stderr.splitlines()[-1] == f"ImportError: {line(hiding)}"
    done = python("-m", "orchestrator.cli", "--help", cwd=tmp_path, path=hiding.parent)
    assert done.returncode and done.stderr.count("\n") == 1 and line(hiding) in done.stderr


def test_a_notebook_is_told_so_once_it_asks_for_a_study(hiding: Path, tmp_path: Path) -> None:
    """Importing looks for none of our packages, so that the line stands where something is asked for."""
    code = """
import sys
import halfwave
heavy = {"mlflow", "pandas", "numpy", "ray", "torch", "vllm", "orchestrator", "actors", "studies"}
assert not heavy & set(sys.modules)
for ask in (halfwave.load, halfwave.studies):
    try:
        ask("anywhere")
    except ImportError as error:
        print(error)
"""
    done = python("-c", code, cwd=tmp_path, path=hiding.parent)
    assert (done.stdout, done.stderr) == (2 * f"{line(hiding)}\n", "")
    imported = f"import {hiding.name}; {code.partition('heavy')[0]}halfwave.load('.')"
    done = python("-c", imported, cwd=tmp_path, path=hiding.parent)
    assert done.stderr.splitlines()[-1] == f"ImportError: {line(hiding)}", (
        "also where the other one is imported already"
    )


def test_a_folder_without_modules_hides_nothing_of_an_ordinary_installation(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.yaml").write_text("study: mine\n")
    done = python("-m", "halfwave", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "validate" in done.stdout
