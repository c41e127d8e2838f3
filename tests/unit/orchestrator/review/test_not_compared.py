"""The report on results that were computed differently: they are not compared, and all that is left out is named."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors.messages.scoring import WeightsRequest
from actors.messages.stream import RequestFailed
from orchestrator.execution.alike import Alike
from orchestrator.execution.runner import Runner
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.review.findings import Findings
from orchestrator.review.report import Review, review
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import BASELINE, State
from studies.reporting import text
from studies.reporting.markdown import markdown
from tests import fakes
from tests.fakes import ENGINE, NODE, FakePool, FakeRecord
from tests.plans import STUDY, TRAINING, plan, step_id, training
from tests.world import make_cluster

BENCHMARKS = ["embedded_knowledge", "embedded_pairs", "perplexity"]
TABLE = "comparisons.parquet"
SPREAD = STUDY.replace(
    "  random:",
    "  deep: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2, schedule: cumulative}}\n"
    "  dose: {select: top, fraction: [0.2, 0.3], clamp: negative}\n  random:",
)


def upgraded(before: Plan, after: Plan, monkeypatch: pytest.MonkeyPatch, record: FakeRecord) -> Review:
    """The report after `run_twice`."""
    return review(after, run_twice(before, after, monkeypatch, record), record)


def run_twice(before: Plan, after: Plan, monkeypatch: pytest.MonkeyPatch, record: FakeRecord) -> Outcome:
    """Run one study, upgrade torch, and run another with --keep-versions."""
    demands = {model.label: Demand(2.0, 0.0) for model in after.study.models}
    for study, torch in ((before, "2.12.0"), (after, "2.13.0")):
        monkeypatch.setattr(fakes, "ENGINE", replace(ENGINE, versions={"torch": torch}))
        alike = Alike(study, {"torch": torch}, keep_versions=True)
        runner = Runner(study, record, alike=alike)
        runner.load_finished()
        pool = FakePool(study, without_weights)
        pool.sources = dict.fromkeys(demands)
        outcome = runner.run(pool, make_cluster([NODE], demands), {})
        failed = {study.steps[step].name for step, state in outcome.states.items() if state is State.FAILED}
        assert failed <= {"weights"}, outcome.reasons
    return outcome


def without_weights(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Fails the comparison of weights, of which these tests need none."""
    if isinstance(request, WeightsRequest):
        yield RequestFailed(error="no weights", traceback="")


def lines(report: Any) -> list[str]:
    return text.not_compared_lines(report["models"][0])


def test_what_differs_from_the_baseline_is_named_and_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = STUDY + "claims: double_dissociation\n"
    record, before = FakeRecord(), plan(claims.replace("seeds: [0, 1]", "seeds: [0]"))
    report = upgraded(before, plan(claims), monkeypatch, record).report
    (model,) = report["models"]
    assert model["not_compared"] == [
        {
            "condition": "random/seed=1",
            "against": BASELINE,
            "benchmark": benchmark,
            "computed_with": "torch 2.13.0",
            "other_with": "torch 2.12.0",
        }
        for benchmark in BENCHMARKS
    ]
    assert lines(report) == [
        "not compared with baseline (torch 2.12.0): random/seed=1 on embedded_knowledge, embedded_pairs, perplexity "
        "(torch 2.13.0); a run without --keep-versions evaluates again what is needed to compare them"
    ]
    assert lines(report)[0] in markdown(report)
    (row,) = [row for row in model["rows"] if row["condition"] == "random/seed=1"]
    assert set(row["cells"]) == set(BENCHMARKS), "its own numbers are shown"
    compared = record.frame(record.steps[next(s for s, c in record.steps.items() if c.step_name == "report")], TABLE)
    assert set(compared["condition"]) == {"treated", "random/seed=0", "matched"}


def test_every_kind_of_review_leaves_out_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = STUDY + "claims: paper\n"
    record, before = FakeRecord(), plan(whole)
    report = upgraded(before, plan(SPREAD + "claims: paper\n"), monkeypatch, record).report
    (model,) = report["models"]
    named = {entry["condition"].split("/")[0] for entry in model["not_compared"]}
    assert named == {"deep", "dose"} and model["schedules"] == [] == model["doubling"]


def test_a_series_of_checkpoints_has_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    text_of_series = TRAINING.replace(
        "  matched: {select: bottom, match: {perplexity_of: treated}, clamp: negative}\n", ""
    )
    text_of_series += "claims: training_dynamics\n"
    record, before = FakeRecord(), training(text_of_series.replace("seeds: [0, 1]", "seeds: [0]"))
    report = upgraded(before, training(text_of_series), monkeypatch, record).report
    assert all({e["condition"] for e in model["not_compared"]} == {"random/seed=1"} for model in report["models"])
    (series,) = report["series"]
    assert {entry["condition"] for entry in series["growth"]} == {"treated", "random/seed=0"}
    details = {verdict["claim"]: verdict["detail"] for verdict in series["verdicts"]}
    assert details["ablation_grows/perplexity"] == "no perplexity items of random/seed=1 at step 0 (n = 3)"
    assert "top at step 50" in details["wd_rises"] and "top at step 10" in details["wd_rises"]
    page = record.pages.shown["training dynamics · m"]
    assert page.tags == {f"claim.{verdict['claim']}": verdict["status"] for verdict in series["verdicts"]}


def test_a_noise_floor_of_other_versions_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    record, study = FakeRecord(), plan()
    without = plan(STUDY + "noise_floor: false\n")
    (model,) = upgraded(without, study, monkeypatch, record).report["models"]
    assert model["noise_floor"] == {}
    assert {(e["condition"], e["against"]) for e in model["not_compared"]} == {("noise floor", BASELINE)}


def test_a_pair_that_shares_its_versions_is_compared_although_the_baseline_has_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, study = FakeRecord(), plan()
    shorter = STUDY.partition("  random:")[0].replace("treated", "first").replace("0.1", "0.2")
    before = plan(shorter + "evaluate: [perplexity, embedded_pairs, embedded_knowledge]\n")
    report = upgraded(before, study, monkeypatch, record).report
    table = record.frame(record.steps[next(s for s, c in record.steps.items() if c.step_name == "report")], TABLE)
    assert set(zip(table["condition"], table["against"], strict=True)) == {("treated", "matched")}
    named = {entry["condition"] for entry in report["models"][0]["not_compared"]}
    assert named == {"treated", "random/seed=0", "random/seed=1", "matched", "matched/neighbour"}


def test_without_a_baseline_the_first_condition_stands_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    record, study = FakeRecord(), plan()
    outcome = run_twice(plan(STUDY.replace("seeds: [0, 1]", "seeds: [0]")), study, monkeypatch, record)
    failed = step_id(study, "evaluate.embedded_pairs", BASELINE)
    states = {**outcome.states, failed: State.FAILED}
    findings = Findings(study, outcome._replace(states=states), record)
    (model,) = study.study.models
    assert "embedded_pairs" in findings.comparable(model, "treated")
    assert "embedded_pairs" not in findings.comparable(model, "random/seed=1")
    assert ("random/seed=1", "treated", "embedded_pairs") in [entry[:3] for entry in findings.not_compared(model)]


def test_a_report_is_made_anew_once_its_results_were_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    record, study = FakeRecord(), plan()
    first = upgraded(plan(STUDY.replace("seeds: [0, 1]", "seeds: [0]")), study, monkeypatch, record)
    runner = Runner(study, record, alike=Alike(study, {"torch": "2.13.0"}))
    assert not runner.load_finished()
    outcome = runner.run(FakePool(study), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    second = review(study, outcome, record)
    assert first.report["models"][0]["not_compared"] and not second.cached
    assert second.report["models"][0]["not_compared"] == [] and review(study, outcome, record).cached


def test_a_treated_perplexity_that_could_not_be_evaluated_again_costs_no_report() -> None:
    claims = STUDY + "claims: double_dissociation\n"
    record, study = FakeRecord(), plan(claims)
    runner = Runner(study, record)
    runner.load_finished()
    outcome = runner.run(FakePool(study), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    failed = step_id(study, "evaluate.perplexity", "treated")
    committed = {step: found for step, found in outcome.committed.items() if step != failed}
    states = {**outcome.states, failed: State.FAILED}
    report = review(study, outcome._replace(states=states, committed=committed), record).report
    assert len(report["models"]) == 1
    assert report["unfinished"] == ["evaluate.perplexity a treated: failed (no reason)"]


def test_a_control_that_no_longer_matches_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    record, study = FakeRecord(), plan()
    runner = Runner(study, record)
    runner.load_finished()
    outcome = runner.run(FakePool(study), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    committed = dict(outcome.committed)
    for condition, perplexity in ((BASELINE, 20.0), ("treated", 24.0), ("matched", 24.25)):
        step = step_id(study, "evaluate.perplexity", condition)
        metrics = {**committed[step].metrics, "perplexity": perplexity}
        committed[step] = replace(committed[step], metrics=metrics)
    (model,) = review(study, outcome._replace(committed=committed), record).report["models"]
    assert text.no_longer_matched_lines(model) == [
        "matched no longer matches treated: perplexity 24.25 against 24, accepted within 0.2; its neurons are those of "
        "a search under other versions, and another value of `within` searches anew"
    ]
