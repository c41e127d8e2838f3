"""The command: JSON keys that others rely on, exit codes, and what a verb does not load."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.study import PlannedStep, Study
from studies.errors import StudyError
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: s
models:
  - ./a
profile: {corpus: embedded}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [embedded_knowledge]
"""
LOADS_NO_RAY = """\
import sys
from typer.testing import CliRunner
from orchestrator import cli, live_display, study, terminal
for words in sys.argv[1:]:
    print(CliRunner().invoke(cli.app, words.split(' ')).output)
assert not {'ray', 'torch', 'vllm'} & set(sys.modules)
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    make_folder(tmp_path / "a")
    (tmp_path / "s.yaml").write_text(STUDY)
    return tmp_path / "s.yaml"


def test_the_keys_of_a_plan_as_json(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = SimpleNamespace(id="0" * 20, title="evaluate.blimp m top")
    fit = Fit("m", "2 CPUs", 2**30, 2**31, "", 1, 0.0, 60.0, 0.1)
    study = SimpleNamespace(
        spec=SimpleNamespace(study="s"),
        planned=lambda: [PlannedStep(step, False, "new", 1e12)],
        forecast=lambda planned, on, tflops: Forecast("4x8", "CPU", (fit,), 60.0, 30.0),
    )
    monkeypatch.setattr(Study, "open", lambda *arguments, **options: study)
    answer = CliRunner().invoke(cli.app, ["plan", str(study_file), "--json"])
    assert answer.exit_code == 0, answer.output
    plan = json.loads(answer.output)
    assert list(plan) == ["study", "steps", "forecast"] and plan["study"] == "s"
    assert plan["steps"] == [
        {"id": "0" * 20, "step": "evaluate.blimp m top", "cached": False, "reason": "new", "flops": 1e12}
    ]
    assert list(plan["forecast"]) == ["where", "device", "models", "makespan", "bound", "device_hours"]
    (model,) = plan["forecast"]["models"]
    assert list(model) == [
        *("model", "takes", "need", "available", "lacking", "actors", "begins", "ends", "device_hours", "fits"),
    ]


def test_a_study_without_a_report_is_one_line(study_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = SimpleNamespace(latest=lambda study: {})
    study = SimpleNamespace(spec=SimpleNamespace(study="s"), record=lambda: record)
    monkeypatch.setattr(Study, "open", lambda *arguments, **options: study)
    answer = CliRunner().invoke(cli.app, ["report", str(study_file)])
    assert isinstance(answer.exception, StudyError) and str(answer.exception) == "s has no report yet; run it first"


def test_a_mistake_is_one_line_and_exit_code_2(
    study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study_file.write_text(STUDY + "claim: x\n")
    monkeypatch.setattr(cli, "redact_logs", lambda: None)
    monkeypatch.setattr(sys, "argv", ["halfwave", "validate", str(study_file)])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    expected = f"halfwave: {study_file}:8: claim: unknown key; did you mean 'claims'?\n"
    assert (ended.value.code, capsys.readouterr().err) == (2, expected)


def test_gc_looks_where_the_study_file_says(study_file: Path, tmp_path: Path) -> None:
    study_file.write_text(STUDY + "tracking_uri: sqlite:///own.db\n")
    answer = CliRunner().invoke(cli.app, ["gc", str(study_file), "--workdir", str(tmp_path / "work")])
    assert isinstance(answer.exception, StudyError)
    assert str(answer.exception).startswith(f"there is no MLflow store at {tmp_path / 'work' / 'own.db'}; ")


def test_importing_the_command_loads_neither_ray_nor_torch() -> None:
    subprocess.run([sys.executable, "-c", LOADS_NO_RAY], check=True)


@pytest.mark.long
def test_plan_and_report_load_neither_ray_nor_torch(study_file: Path, tmp_path: Path) -> None:
    verbs = [f"{verb} {study_file} --workdir {tmp_path / 'work'}" for verb in ("plan", "report")]
    answer = subprocess.run([sys.executable, "-c", LOADS_NO_RAY, *verbs], check=True, capture_output=True, text=True)
    assert "0 cached" in answer.stdout
