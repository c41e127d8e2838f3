"""docs/example.ipynb, cell by cell, on the quickstart as actors that answer at once leave it."""

import ast
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from actors.messages.ablation import EvaluateRequest
from actors.messages.stream import Finished
from orchestrator.execution.runner import Runner
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.study import Study
from tests.conftest import ROOT
from tests.fakes import NODE, FakePool, scored
from tests.unit.orchestrator.planning.test_resolve import make_folder
from tests.world import make_cluster

NOTEBOOK = ROOT / "docs" / "example.ipynb"
CHANGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "path: ./model",
    "fraction: 0.01": "fraction: 0.1",
    "seeds: [0, 1, 2]": "seeds: [0]",
    "per_construction: 8": "per_construction: 4",
}
"""What a model with few neurons, and few seconds, ask of the quickstart."""


def noise(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Every condition answers otherwise."""
    if not isinstance(request, EvaluateRequest):
        return
    for step in request.interventions:
        usual = scored(step, request)
        yield replace(usual, sums=usual.sums - np.random.default_rng(int(step[:8], 16)).random(len(usual.sums)))
    yield Finished()


def compute(study: Study, runner: Runner, *where: object) -> None:
    """In place of `Study._compute`."""
    cluster = make_cluster([NODE], {model.label: Demand(2.0, 0.0) for model in study.plan.study.models})
    runner.run(FakePool(study.plan, noise), cluster, {})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project in which the quickstart was run, on a model with few neurons."""
    folder = tmp_path_factory.mktemp("example")
    (folder / ".halfwave").mkdir()
    shutil.copy(empty_database, folder / ".halfwave")
    (folder / "docs").mkdir()
    make_folder(folder / "model")
    text = (ROOT / "studies" / "catalog" / "quickstart.yaml").read_text(encoding="utf-8")
    for old, new in CHANGED.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "quickstart.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_compute", compute)
        assert Study.open(folder / "quickstart.yaml").run().complete
    return folder


def test_the_example_notebook_runs_from_its_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "docs")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {}
    shown = [run_cell(code, namespace) for code in codes]
    assert len(shown) > 8 and all(value is not None for value in shown), "every cell shows something"
    for value in shown:
        if isinstance(value, pandas.DataFrame | pandas.Series):
            assert len(value), value
    assert "<table>" in shown[1]._repr_html_() and "data:image/" in shown[-1]._repr_html_()


def run_cell(code: str, namespace: dict[str, Any]) -> Any:
    """Run a cell; returns what a notebook would show below it."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr), code
    exec(compile(ast.Module(before, []), NOTEBOOK.name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), namespace)
