"""The command: JSON keys that others rely on, exit codes, and what a verb does not load."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.planned_steps import PlannedStep
from orchestrator.planning.power import PlannedPower
from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.study import Study
from studies.claims.power import ClaimPower
from studies.errors import StudyError
from tests.conftest import ROOT
from tests.unit.orchestrator.planning.test_resolve import CONFIG, make_folder

STUDY = """\
study: s
models:
  - ./a
profile: {corpus: embedded}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate: [embedded_knowledge]
"""
POWER = ClaimPower("syntax_loss", 0.4, 0.04, ("blimp",), "67 paradigms", "defaults")
LOADS_NO_RAY = """\
import sys
from typer.testing import CliRunner
from orchestrator import cli, study
from orchestrator.terminal import live, plan, report
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
    fit = Fit("m", "float32", "2 CPUs", 2**30, 2**31, "", 1, 0.0, 60.0, 0.1)
    study = SimpleNamespace(
        spec=SimpleNamespace(study="s"),
        warnings=["s.yaml:4: profile.window: too long"],
        special_tokens=lambda: {"m": {"blimp": {"kind": "sentences"}}, "on the hub": None},
        planned=lambda *, keep_versions: [PlannedStep(step, False, "new", 1e12)],
        second_file=lambda: "",
        forecast=lambda planned, on, tflops: Forecast("4x8", "CPU", (fit,), 60.0, 30.0),
        powers=lambda *, by_store: [PlannedPower("m", POWER)] if by_store else [],
    )
    monkeypatch.setattr(Study, "open", lambda *arguments, **options: study)
    answer = CliRunner().invoke(cli.app, ["plan", str(study_file), "--json"])
    assert answer.exit_code == 0, answer.output
    plan = json.loads(answer.stdout)
    assert answer.stderr == "halfwave: warning: s.yaml:4: profile.window: too long\n"
    assert list(plan) == ["study", "steps", "special_tokens", "power", "forecast"] and plan["study"] == "s"
    assert [(entry["model"], entry["claim"], entry["power"]) for entry in plan["power"]] == [("m", "syntax_loss", 0.4)]
    assert plan["special_tokens"] == {"m": {"blimp": {"kind": "sentences"}}, "on the hub": None}
    assert plan["steps"] == [
        {"id": "0" * 20, "step": "evaluate.blimp m top", "cached": False, "reason": "new", "flops": 1e12}
    ]
    assert list(plan["forecast"]) == ["where", "device", "models", "makespan", "bound", "device_hours"]
    (model,) = plan["forecast"]["models"]
    assert list(model) == [
        *(
            "model",
            "dtype",
            "takes",
            "need",
            "available",
            "lacking",
            "actors",
            "begins",
            "ends",
            "device_hours",
            "fits",
        ),
    ]


REFUSED = {
    "a mistake in the file": ("validate", "claim: x\n", "{file}:8: claim: unknown key; did you mean 'claims'?"),
    "no report": (
        "report", "",
        "s has no report yet: there is no MLflow store at {file.parent}/work/mlflow.db; run the study first, or name "
        "its store with --workdir or --tracking-uri",
    ),
    "gc in the store that the file names": (
        "gc", "tracking_uri: sqlite:///own.db\n",
        "there is no MLflow store at {file.parent}/work/own.db; name it with --workdir or --tracking-uri",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("verb", "more", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_and_exit_code_2(
    study_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    more: str,
    message: str,
) -> None:
    study_file.write_text(STUDY + more)
    monkeypatch.setattr(cli, "redact_logs", lambda: None)
    words = ["halfwave", verb, str(study_file), "--workdir", str(study_file.parent / "work")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"halfwave: {message.format(file=study_file)}\n")


def test_a_check_as_json(study_file: Path) -> None:
    words = ["validate", str(study_file), "--workdir", str(study_file.parent / "work"), "--json"]
    answer = CliRunner().invoke(cli.app, words)
    found = json.loads(answer.stdout)
    assert list(found) == ["valid", "study", "models", "steps", "warnings"]
    assert found["valid"] and found["study"] == "s" and found["models"] == 1 and found["steps"] > 1
    study_file.write_text(STUDY + "claim: x\nmodel: y\n")
    answer = CliRunner().invoke(cli.app, words)
    mistakes = str(answer.exception).split("\n")
    assert len(mistakes) == 2 and json.loads(answer.stdout) == {"valid": False, "mistakes": mistakes}


def test_a_check_warns_of_claims_with_too_little_data(study_file: Path) -> None:
    words = ["validate", str(study_file), "--workdir", str(study_file.parent / "work"), "--json"]
    study_file.write_text(STUDY + "claims: double_dissociation\n")
    answer = CliRunner().invoke(cli.app, words)
    *others, warning = json.loads(answer.stdout)["warnings"]
    assert not any("power" in other for other in others), "what the study does not ask of its conditions is no mistake"
    assert warning.startswith(
        f"{study_file}:7: evaluate.0: knowledge_spared has under 1 % power to show that there is no"
    )
    assert warning.endswith("by defaults (discordance 0.06); about 5 times as many items would give 80 %")
    assert answer.stderr.endswith(f"halfwave: warning: {warning}\n") and answer.exit_code == 0


@pytest.mark.parametrize("given", [[], ["--keep-versions"], ["--takeover"], ["--keep-versions", "--takeover"]])
def test_a_job_does_what_its_submission_was_told(
    given: list[str], study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    monkeypatch.setattr(
        "orchestrator.jobs.submit.submit",
        lambda study, options, **where: sent.append(list(options.others)) or SimpleNamespace(id="job"),
    )
    answer = CliRunner().invoke(cli.app, ["submit", str(study_file), "--no-wait", *given])
    assert answer.exit_code == 0, answer.output
    assert sent == [given]


def test_importing_the_command_loads_neither_ray_nor_torch() -> None:
    subprocess.run([sys.executable, "-c", LOADS_NO_RAY], check=True)


@pytest.mark.long
def test_verbs_that_read_load_neither_ray_nor_torch(study_file: Path, tmp_path: Path) -> None:
    verbs = [f"{verb} {study_file} --workdir {tmp_path / 'work'}" for verb in ("plan", "report", "status", "explain")]
    verbs[-1] += " profile"
    answer = subprocess.run([sys.executable, "-c", LOADS_NO_RAY, *verbs], check=True, capture_output=True, text=True)
    assert "0 cached" in answer.stdout and "new: the study has recorded nothing under this name" in answer.stdout


def test_versions_are_shown_and_nothing_of_them_is_loaded() -> None:
    answer = subprocess.run([sys.executable, "-c", LOADS_NO_RAY, "--version"], capture_output=True, text=True)
    names = [line.split()[0].rstrip(":") for line in answer.stdout.split("\n") if line]
    assert answer.returncode == 0, answer.stderr
    assert names == ["halfwave", "vllm", "ray", "torch", "transformers", "mlflow"]


def refused(verb: str, *words: str) -> str:
    answer = CliRunner().invoke(cli.app, [verb, *words])
    assert isinstance(answer.exception, StudyError), answer.output
    return str(answer.exception)


def test_verbs_take_a_name_of_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the package is installed elsewhere: see `integration/test_wheel.py`."""
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "models" / "SmolLM2-135M-Instruct", CONFIG | {"intermediate_size": 200})
    answer = CliRunner().invoke(cli.app, ["validate", "quickstart", "--model-root", "models", "--json"])
    assert json.loads(answer.stdout)["study"] == "quickstart", answer.output
    assert (tmp_path / ".halfwave").is_dir(), "its working folder"
    assert refused("explain", "quickstart").startswith("STEP: which step of quickstart? ")
    assert "which step of" not in refused("explain", "no-such-step/of-layers=0-3")
    for verb in ("report", "gc", "status", "ui"):
        assert f"there is no MLflow store at {tmp_path}/.halfwave/mlflow.db" in refused(verb, "quickstart")
    for verb in ("validate", "plan", "run", "submit", "report", "gc"):
        assert refused(verb, "quickstrat").endswith("nor a study of the catalog; did you mean 'quickstart'?")


def test_the_name_of_a_study_need_not_be_that_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the catalog's NAME ends with `halfwave ui NAME`, and that opens its study."""
    monkeypatch.chdir(tmp_path)
    absent = "double-dissociation has no record yet"
    assert absent in refused("ui", "double_dissociation_smollm2")
    assert absent in refused("compare", "double_dissociation_smollm2", "quickstart")


def test_a_study_of_the_catalog_is_copied_before_it_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--tracking-uri", "http://127.0.0.1:1", "--address", "http://127.0.0.1:2")
    assert "copy it with `halfwave catalog quickstart --copy`, then submit quickstart.yaml" in refused(
        "submit", "quickstart", *where
    )
    CliRunner().invoke(cli.app, ["catalog", "quickstart", "--copy"])
    assert "127.0.0.1:2" in refused("submit", "quickstart", *where), "it is a file now, and only the cluster is missing"


def test_the_catalog_is_listed_printed_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def printed(*words: str) -> str:
        answer = CliRunner().invoke(cli.app, ["catalog", *words])
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    listed = {study["name"]: study for study in json.loads(printed("--json"))["studies"]}
    assert list(listed["quickstart"]) == ["name", "study", "about", "needs", "models", "conditions"]
    assert listed["quickstart"]["models"] == ["SmolLM2-135M-Instruct"]
    assert listed["quickstart"]["conditions"] == ["wasserstein", "random", "matched", "depth", "depth_random"]
    (row,) = [line for line in printed().split("\n") if " quickstart " in line]
    assert "weights or hub" in row and listed["quickstart"]["about"] in row
    assert printed("quickstart") == (ROOT / "studies" / "catalog" / "quickstart.yaml").read_text()
    assert printed("quickstart", "--copy", "mine.yaml") == "wrote mine.yaml\n"
    assert (tmp_path / "mine.yaml").read_text() == printed("quickstart")
    assert refused("catalog", "quickstart", "mine.yaml") == "mine.yaml: a file to write needs --copy"
