"""`explain` and `status` of a study that was run, by its file and from the record alone; the actors are made up."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.messages.stream import Finished, StepFailed
from orchestrator.execution.runner import Runner
from orchestrator.record.local_store import sqlite_uri
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.study import Study
from studies.errors import StudyError
from tests import fakes
from tests.integration.made_up import Command
from tests.integration.made_up_actors import compute
from tests.schemas import assert_valid
from tests.unit.orchestrator.planning.test_resolve import make_folder
from tests.world import make_cluster

STUDY = """\
study: explained
models: [{path: ./model}]
profile: {corpus: embedded, tokens: 2048, window: 64, pairs: 16}
conditions:
  wasserstein: {select: top, fraction: 0.1, clamp: negative}
  random: {select: random, like: wasserstein, seeds: [0, 1], clamp: negative}
evaluate:
  - embedded_pairs: {per_construction: 8}
noise_floor: false
"""
EVALUATION = "evaluate.embedded_pairs model random/seed=0"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project whose study was run."""
    project = tmp_path_factory.mktemp("explained") / "project"
    make_folder(project / "model")
    (project / ".halfwave").mkdir()
    shutil.copy(empty_database, project / ".halfwave")
    (project / "study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_compute", compute)
        assert Study.open(project / "study.yaml").run().complete
    return project


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def explained(in_process: Command) -> Callable[..., Mapping[str, Any]]:
    """What `explain --json` prints, valid by its schema."""

    def ask(*words: object) -> Mapping[str, Any]:
        found = in_process("explain", *words, "--json")
        assert found.code == 0, found.err
        document = json.loads(found.out)
        assert_valid("explain", document)
        return document

    return ask


def test_a_cached_step_says_when_and_how_it_was_computed(
    project: Path, explained: Callable, in_process: Command
) -> None:
    found = explained(project / "study.yaml", EVALUATION)
    assert (found["standing"], found["why"], found["causes"]) == ("cached", "", [])
    assert (found["step"], found["kind"], found["condition"]) == (EVALUATION, "evaluate", "random/seed=0")
    (neurons,) = found["inputs"]
    assert (neurons["role"], neurons["step"], neurons["cached"]) == ("neurons", "select model random/seed=0", True)
    recorded = found["recorded"]
    assert recorded["study"] == "explained" and recorded["at"] and recorded["run_id"] in recorded["link"]
    assert {"halfwave", "torch"} <= set(recorded["versions"])
    assert recorded["receipt"].startswith("12 neurons in 2 layers clamped, clipped fraction 0.5; tree route on cpu")
    text = in_process("explain", project / "study.yaml", EVALUATION).out
    assert (
        text.startswith(f"{EVALUATION}\n")
        and f"neurons  {neurons['id'][:8]}  select model random/seed=0  cached" in text
    )
    assert "parameters benchmark = embedded_pairs" in text and "needed by  none" in text


def test_a_step_whose_parameter_changed_upstream_says_which(
    project: Path, explained: Callable, in_process: Command
) -> None:
    file = project / "study.yaml"
    file.write_text(STUDY.replace("fraction: 0.1", "fraction: 0.2"))
    found = explained(file, EVALUATION)
    assert (found["standing"], found["why"]) == ("not cached", "wasserstein.fraction 0.1 -> 0.2")
    assert found["causes"] == [
        {
            "parameter": "wasserstein.fraction", "how": "changed", "before": 0.1, "after": 0.2,
            "through": ["select model random/seed=0", "select model wasserstein"],
        }
    ]  # fmt: skip
    assert found["recorded"] is None and found["last_failure"] is None
    assert (
        "because wasserstein.fraction 0.1 -> 0.2\n             through select"
        in in_process("explain", file, EVALUATION).out
    )
    file.write_text(STUDY.replace("  random:", "  bottom: {select: bottom, fraction: 0.1, clamp: negative}\n  random:"))
    assert explained(file, "select bottom")["why"].startswith("new: ")


def test_a_step_is_meant_by_its_id_or_words(project: Path, explained: Callable, in_process: Command) -> None:
    file = project / "study.yaml"
    step = explained(file, EVALUATION)["id"]
    assert explained(file, step[:8])["id"] == step
    assert explained(file, "evaluate.embedded_pairs", "seed=0")["id"] == step, "a title may be several words"
    for words, message in (
        ((file, "seed=0"), "STEP: 2 steps fit 'seed=0'; did you mean one of these?"),
        ((file, EVALUATION.replace("pairs", "pears")), f"; did you mean '{EVALUATION}'?"),
        ((file,), f"STEP: which step of {file}? give its id or its title; `halfwave plan {file}` lists them"),
        ((file, "x", "--study", "y"), f"--study: {file} names its study itself"),
    ):
        found = in_process("explain", *words)
        assert found.code == 2 and found.out == "" and message in found.err and found.err.count("\n") == 1


def test_a_recorded_step_needs_neither_study_file_nor_model(
    project: Path, explained: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_file = explained(project / "study.yaml", "select", "wasserstein")
    shutil.rmtree(project / "model")
    uri = sqlite_uri(project / ".halfwave" / "mlflow.db")
    found = explained("select", "wasserstein", "--study", "explained", "--tracking-uri", uri)
    assert found == by_file, "as by the file"
    assert {one["step"] for one in found["needed_by"]} == {
        "select model random/seed=0", "select model random/seed=1", "evaluate.embedded_pairs model wasserstein",
    }  # fmt: skip
    (project / "study.yaml").unlink()
    monkeypatch.chdir(project)
    assert explained("select", "wasserstein") == by_file, "of the only study of the project's store"


def failing(study: Study, runner: Runner, *where: object) -> None:
    """As `compute`, but that one evaluation fails."""

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        for step in getattr(request, "interventions", ()):
            if study.plan.steps[step].title == EVALUATION:
                yield StepFailed(step=step, error="no memory")
            else:
                yield fakes.scored(step, request)
        if hasattr(request, "interventions"):
            yield Finished()

    cluster = make_cluster([fakes.NODE], {model.label: Demand(2.0, 0.0) for model in study.plan.study.models})
    runner.run(fakes.FakePool(study.plan, answer), cluster, {})


def interrupted(study: Study, runner: Runner, *where: object) -> None:
    raise KeyboardInterrupt


def without_cluster(study: Study, runner: Runner, *where: object) -> None:
    raise StudyError("--address h:1: nothing answers there")


def run(project: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch, actors: Callable[..., None]) -> Any:
    """Change the study, run it, and ask how it is."""
    file = project / "study.yaml"
    file.write_text(STUDY.replace("fraction: 0.1", "fraction: 0.2"))
    monkeypatch.setattr(Study, "_compute", actors)
    code = in_process("run", file).code
    (found,) = json.loads(in_process("status", file, "--json").out)["studies"]
    return code, found


def counts(status: Mapping[str, Any]) -> dict[str, int]:
    """Steps by state, without zeros."""
    rows = [{name: count for name, count in row.items() if name != "name"} for row in status["steps"]["by_name"]]
    return {name: total for name in rows[0] if (total := sum(row[name] for row in rows))}


def test_a_run_that_finished(project: Path, in_process: Command) -> None:
    (found,) = json.loads(in_process("status", project / "study.yaml", "--json").out)["studies"]
    assert (found["state"], counts(found)) == ("finished", {"done": 8})
    assert found["steps"]["total"] == found["steps"]["ended"] == 8 and found["ended"] and found["headline"]


def test_a_run_with_a_failed_step(
    project: Path, in_process: Command, explained: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = run(project, in_process, monkeypatch, failing)
    assert (code, found["state"]) == (1, "failed")
    assert counts(found) == {"cached": 2, "done": 5, "failed": 1}
    assert found["failures"] == [{"step": EVALUATION, "reason": "no memory"}]
    assert found["next"]["command"] == f"halfwave run {project / 'study.yaml'}"
    assert explained(project / "study.yaml", EVALUATION)["last_failure"] == "no memory"


def test_a_run_that_was_interrupted(project: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = run(project, in_process, monkeypatch, interrupted)
    assert (code, found["state"], counts(found)) == (130, "interrupted", {"cached": 2, "pending": 6})
    assert found["ended"] and found["next"]["why"] == "to resume it"


def test_a_run_that_could_not_begin(project: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, found = run(project, in_process, monkeypatch, without_cluster)
    assert (code, found["state"], found["error"]) == (2, "failed", "--address h:1: nothing answers there")
    assert found["headline"] == [], "the report is that of the run before"
