"""A study goes on after an upgrade: plan, run and report on a store whose recorded versions are older."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.steps.comparability import recorded_key
from orchestrator.study import Study
from orchestrator.workspace import engine_versions
from tests import fakes, oracles
from tests.fakes import ENGINE
from tests.integration import made_up
from tests.integration.made_up import Command, command, run, write_study
from tests.integration.made_up_actors import compute
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = """\
study: upgraded
models:
  - {{path: {root}/llama}}
profile: {{corpus: {root}/text.txt, tokens: 2000, window: 64, bins: 256, scores: [wasserstein_distance]}}
conditions:
  top: {{select: top, fraction: 0.1, clamp: zero}}
evaluate:
  - perplexity: {{corpus: {root}/text.txt, window: 64, tokens: 640}}
  - pairs: {root}/pairs.jsonl
"""
MORE = STUDY.replace("evaluate:", "  random: {{select: random, like: top, seeds: [0], clamp: zero}}\nevaluate:")
YET_MORE = MORE.replace("evaluate:", "  half: {{select: top, fraction: 0.5, clamp: zero}}\nevaluate:")
OLD = "2.0.0"


def age(workdir: Path) -> None:
    """Make all results of the store look as if an older torch had computed them."""
    client, now = MlflowClient(f"sqlite:///{workdir / 'mlflow.db'}"), engine_versions()["torch"]
    for experiment in client.search_experiments():
        for stored in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY):
            for name, value in stored.data.tags.items():
                if f"torch-{now}" in value:
                    client.set_tag(stored.info.run_id, name, value.replace(f"torch-{now}", f"torch-{OLD}"))


def answer(study_file: Path, workdir: Path, verb: str, *options: str) -> Any:
    """What a verb prints as JSON."""
    called = command(study_file, workdir, verb, "--json", *options)
    return json.loads(subprocess.run(called, capture_output=True, text=True, check=True).stdout)


def torches(study_file: Path, workdir: Path, name: str = "upgraded") -> dict[str, str]:
    """{condition: the versions of torch that its evaluations were recorded with}."""
    study = Study.open(study_file, workdir=workdir)
    found: dict[str, set[str]] = {}
    for (_, condition, step_name), step in study.record().latest(name).items():
        if (key := step.tags.get(f"comparability.{step_name}")) is not None:
            found.setdefault(condition, set()).add(key.split()[4].removeprefix("torch-"))
    return {condition: ", ".join(sorted(versions)) for condition, versions in found.items()}


def to_run(plan: dict[str, Any]) -> dict[str, str]:
    """{step: why}, of the steps of a plan that would run."""
    return {step["step"]: step["reason"] for step in plan["steps"] if not step["cached"]}


def cost(plan: dict[str, Any]) -> float:
    """Operations of the steps that would run."""
    return sum(step["flops"] for step in plan["steps"] if not step["cached"])


NEW = {f"{step} llama random/seed=0" for step in ("select", "evaluate.perplexity", "evaluate.pairs")}
AGAIN = {
    f"{step}.{benchmark} llama {condition}"
    for benchmark in ("perplexity", "pairs")
    for step, condition in (("evaluate", "baseline"), ("evaluate", "top"), ("noise_floor", "baseline"))
}


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_study_goes_on_after_an_upgrade(tmp_path: Path) -> None:
    oracles.make_model(tmp_path / "llama", "llama")
    made_up.write_text_and_pairs(tmp_path, made_up.phrases(), num_pairs=30)
    file, workdir, now = write_study(tmp_path, "study.yaml", STUDY), tmp_path / "work", engine_versions()["torch"]
    assert run(file, workdir).returncode == 0
    recorded = Study.open(file, workdir=workdir).record().latest("upgraded")["llama", "top", "evaluate.pairs"]
    versions = dict(recorded_key("evaluate.pairs", recorded.tags).versions)
    assert versions == engine_versions(), "as foreseen without importing either package"
    age(workdir)
    assert torches(file, workdir) == {"baseline": OLD, "top": OLD}
    assert to_run(answer(file, workdir, "plan")) == {}, "nothing is to run, so nothing is evaluated again"

    write_study(tmp_path, "study.yaml", MORE)
    foreseen, kept = (answer(file, workdir, "plan", *options) for options in ((), ("--keep-versions",)))
    assert to_run(foreseen).keys() == NEW | AGAIN and to_run(kept).keys() == NEW
    reason = f"cached under torch {OLD}; evaluated again with torch {now} because evaluate.pairs random/seed=0 is"
    assert to_run(foreseen)["evaluate.pairs llama top"] == reason
    assert cost(foreseen) > cost(kept) and foreseen["forecast"]["makespan"] > kept["forecast"]["makespan"]

    versions_are_kept(file, workdir, now)
    assert to_run(answer(file, workdir, "plan")).keys() == AGAIN, "the new condition is cached by now"
    done = run(file, workdir)
    assert done.returncode == 0, done.stderr
    assert f"{len(AGAIN)} steps computed" in done.stdout and "not compared" not in done.stdout
    assert torches(file, workdir) == {"baseline": now, "top": now, "random/seed=0": now}
    assert answer(file, workdir, "report")["models"][0]["not_compared"] == []

    age(workdir)
    write_study(tmp_path, "study.yaml", YET_MORE)
    done = run(file, workdir)
    assert done.returncode == 0, done.stderr
    assert f"recorded under torch {OLD}; evaluated again with torch {now}, as evaluate.pairs half was" in done.stdout
    assert torches(file, workdir) == {"baseline": now, "top": now, "random/seed=0": now, "half": now}
    assert "0 steps computed" in run(file, workdir).stdout


def versions_are_kept(file: Path, workdir: Path, now: str) -> None:
    """Run the new condition alone, and find in the report what it was not compared with."""
    done = run(file, workdir, "--keep-versions")
    assert done.returncode == 0, done.stderr
    assert f"{len(NEW)} steps computed" in done.stdout
    assert torches(file, workdir) == {"baseline": OLD, "top": OLD, "random/seed=0": now}
    printed = subprocess.run(command(file, workdir, "report"), capture_output=True, text=True, check=True)
    named = f"not compared with baseline (torch {OLD}): random/seed=0 on pairs, perplexity (torch {now})"
    assert named in " ".join(done.stdout.split()) and named in " ".join(printed.stdout.split())
    entries = answer(file, workdir, "report")["models"][0]["not_compared"]
    left_out = [(entry["condition"], entry["against"], entry["benchmark"]) for entry in entries]
    assert left_out == [("random/seed=0", "baseline", "pairs"), ("random/seed=0", "baseline", "perplexity")]


FAST = """\
study: upgraded
models: [{path: ./model}]
profile: {corpus: embedded, tokens: 2048, window: 64}
conditions:
  top: {select: top, fraction: 0.1, clamp: negative}
evaluate:
  - embedded_pairs: {per_construction: 8}
  - embedded_knowledge
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has all runs from now on computed in this process by an engine of this torch, which is also the installed one."""

    def install(torch: str) -> None:
        versions = {"torch": torch, "vllm": "0.32.0"}
        monkeypatch.setattr(fakes, "ENGINE", replace(ENGINE, versions=versions))
        monkeypatch.setattr("orchestrator.study.engine_versions", lambda: versions)

    monkeypatch.setattr(Study, "_compute", compute)
    return install


def test_an_upgrade_in_all_verbs(tmp_path: Path, installed: Callable[[str], None], in_process: Command) -> None:
    """The real store, plan, runner and review; only the actors are made up."""
    make_folder(tmp_path / "model")
    file = tmp_path / "study.yaml"
    file.write_text(FAST)
    installed("2.12.0")
    assert in_process("run", file).code == 0
    installed("2.13.0")
    assert "8 steps, 8 cached, 0 to run" in in_process("plan", file).out

    file.write_text(FAST.replace("evaluate:", "  half: {select: top, fraction: 0.5, clamp: negative}\nevaluate:"))
    planned = in_process("plan", file).out
    assert "11 steps, 2 cached, 9 to run" in planned
    assert (
        "6 of them are cached, and evaluated again to be compared with the others, by the versions installed" in planned
    )
    assert (
        "cached under torch 2.12.0; evaluated again with torch 2.13.0 because evaluate.embedded_pairs half is"
        in planned
    )
    assert "11 steps, 8 cached, 3 to run" in in_process("plan", file, "--keep-versions").out

    kept = in_process("run", file, "--keep-versions")
    named = (
        "not compared with baseline (torch 2.12.0): half on embedded_knowledge, embedded_pairs (torch 2.13.0); a run "
        "without --keep-versions evaluates again what is needed to compare them"
    )
    assert kept.code == 0 and "3 steps computed, 8 cached" in kept.out
    for printed in (kept, in_process("report", file)):
        assert printed.code == 0 and named in " ".join(printed.out.split())
    assert len(json.loads(in_process("report", file, "--json").out)["models"][0]["not_compared"]) == 2

    done = in_process("run", file)
    assert done.code == 0 and "6 steps computed, 5 cached" in done.out and "not compared" not in done.out
    assert torches(file, tmp_path / ".halfwave") == {"baseline": "2.13.0", "top": "2.13.0", "half": "2.13.0"}
    assert "not compared" not in in_process("report", file).out
    assert "0 steps computed, 11 cached" in in_process("run", file).out


@pytest.mark.long
def test_a_step_that_two_runs_share_is_replaced_on_both(
    tmp_path: Path, installed: Callable[[str], None], in_process: Command
) -> None:
    """Equal conditions share their steps, and other studies keep what they took over."""
    make_folder(tmp_path / "model")
    shared = FAST.replace("evaluate:", "  same: {select: top, fraction: 0.1, clamp: negative}\nevaluate:")
    file, other = tmp_path / "study.yaml", tmp_path / "other.yaml"
    file.write_text(shared)
    other.write_text(shared.replace("study: upgraded", "study: other"))
    installed("2.12.0")
    assert in_process("run", file).code == in_process("run", other).code == 0
    installed("2.13.0")
    file.write_text(shared.replace("evaluate:", "  half: {select: top, fraction: 0.5, clamp: negative}\nevaluate:"))
    assert in_process("run", file).code == 0
    workdir = tmp_path / ".halfwave"
    assert torches(file, workdir) == dict.fromkeys(("baseline", "top", "same", "half"), "2.13.0")
    assert torches(other, workdir, "other") == dict.fromkeys(("baseline", "top", "same"), "2.12.0")
    assert "0 steps computed" in in_process("run", other).out
    assert torches(other, workdir, "other") == dict.fromkeys(("baseline", "top", "same"), "2.12.0")
