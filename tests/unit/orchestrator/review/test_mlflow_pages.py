"""What MLflow's pages show of a report, against a record in memory."""

from typing import Any, NamedTuple

import pytest

from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.review.mlflow_pages import RUN_NOTE, show_pages
from orchestrator.review.report import review
from orchestrator.steps.step import State
from studies.reporting.notes import condition_note
from tests.fakes import FakePages, FakeRecord
from tests.hostile import HOSTILE
from tests.plans import BENCHMARKS, plan, step_id
from tests.unit.orchestrator.review.test_review import CLAIMS, QUESTIONS, answers_of_its_own, run
from tests.unit.studies.reporting.test_markdown import rendered

STUDIED = (BENCHMARKS[0], BENCHMARKS[1], QUESTIONS)


class Judged(NamedTuple):
    """A study with claims, run and reviewed once for all tests."""

    study: Plan
    outcome: Outcome
    report: Any

    def pages(self, outcome: Outcome | None = None, report: Any = None) -> FakePages:
        """What is shown of it, after another outcome or report."""
        record = FakeRecord()
        show_pages(self.study, outcome or self.outcome, record, report or self.report)  # type: ignore[arg-type]
        return record.pages


@pytest.fixture(scope="module")
def judged() -> Judged:
    study, record = plan(CLAIMS, benchmarks=STUDIED), FakeRecord()
    outcome = run(study, record, answers_of_its_own)
    return Judged(study, outcome, review(study, outcome, record).report)


def test_verdicts_are_tags_and_metrics_of_the_profile(judged: Judged) -> None:
    report, pages = judged.report, judged.pages().shown
    page, verdicts = pages["neuron profile · a"], report["models"][0]["verdicts"]
    assert page.tags == {f"claim.{verdict['claim']}": verdict["status"] for verdict in verdicts} and len(verdicts) > 4
    assert page.owned == ("claim.",)
    for verdict in verdicts:
        for part, suffix in (("estimate", ""), ("low", "_low"), ("high", "_high")):
            value = None if verdict["effect"] is None else verdict["effect"][part]
            found = page.metrics.get(f"claim/{verdict['claim']}{suffix}")
            assert (found is None) == (value is None), verdict["claim"]
            assert found is None or found == pytest.approx(value, rel=1e-3)


def test_the_parent_counts_verdicts_of_every_kind(judged: Judged) -> None:
    report, pages = judged.report, judged.pages().shown
    statuses = [verdict["status"] for verdict in report["models"][0]["verdicts"]]
    assert pages["by-hand"].metrics == {
        f"claims/{status.replace(' ', '_')}": statuses.count(status)
        for status in ("supported", "contradicted", "absent", "undecided", "not applicable")
    }


def test_a_condition_shows_what_it_costs_as_the_report_says_it(judged: Judged) -> None:
    report, pages = judged.report, judged.pages().shown
    rows = {row["condition"]: row for row in report["models"][0]["rows"]}
    for condition in ("treated", "matched", "random/seed=1", "matched/neighbour"):
        page, row = pages[f"{condition} · a"], rows[condition]
        expected = {"num_neurons": row["num_neurons"], "fraction": row["fraction"]}
        for benchmark, changes in row.get("flipped", {}).items():
            expected |= {f"flipped/{benchmark}_{change}": number for change, number in changes.items()}
        for benchmark, delta in row["deltas"].items():
            bounds = {"": "estimate", "_low": "low", "_high": "high"}
            expected |= {f"delta/{benchmark}{suffix}": delta[part] for suffix, part in bounds.items()}
        known = {name: value for name, value in expected.items() if value is not None}
        assert page.metrics == {name: pytest.approx(value, rel=1e-3) for name, value in known.items()}
        assert all(float(f"{value:.4g}") == value for value in page.metrics.values())
        assert page.note is not None and "against the baseline" in page.note and "questions" not in page.note
    assert rows["matched"]["fraction"] not in (None, rows["treated"]["fraction"])  # the realised one
    baseline = pages["baseline · a"]
    assert baseline.metrics == {"num_neurons": 0.0} and "as it is" in (baseline.note or "")


def test_models_and_data_are_inputs(judged: Judged) -> None:
    study, pages = judged.study, judged.pages().shown
    given = {one.name: one for one in pages["treated · a"].inputs}
    assert list(given) == ["a", *(benchmark.label for benchmark in STUDIED)]
    assert given["a"].context == "model" and given[QUESTIONS.label].digest == QUESTIONS.digest
    profiled = {one.name: one.context for one in pages["neuron profile · a"].inputs}
    assert profiled == {"a": "model", study.study.corpus.label: "scoring text"}


def test_tables_of_flipped_items_are_named_on_their_run(judged: Judged) -> None:
    pages = judged.pages().shown
    flipped = {row["condition"]: row.get("flipped") for row in judged.report["models"][0]["rows"]}
    assert set(flipped["treated"]) == {"embedded_pairs", "embedded_knowledge"} and flipped["random/seed=0"] is None
    assert "flipped/embedded_knowledge.json" in pages["treated · a"].tags["mlflow.loggedArtifacts"]
    assert "mlflow.loggedArtifacts" not in pages["random/seed=0 · a"].tags


def test_the_experiment_begins_with_the_finding_and_leads_to_everything(judged: Judged) -> None:
    pages = judged.pages()
    note = pages.note
    assert note.splitlines()[0].startswith("Clamping") and "| claim | a |" in note
    for address in ("#/runs/by-hand/report.html", "#/view/halfwave)", "#/view/halfwave-members"):
        assert address in note
    assert pages.shown["by-hand"].note == note  # short enough


def test_a_step_that_failed_says_why_on_its_run(judged: Judged) -> None:
    failed = step_id(judged.study, "evaluate.embedded_pairs", "treated")
    states = {**judged.outcome.states, failed: State.FAILED}
    shown = judged.pages(judged.outcome._replace(states=states, reasons={failed: "the GPU <b>burns</b> | more"})).shown
    note = "**evaluate.embedded_pairs did not finish:** the GPU &lt;b>burns&lt;/b> \\| more"
    assert (shown["treated · a"].note or "").endswith(note)
    evaluated = [one.name for one in shown["treated · a"].inputs if one.context == "benchmark"]
    assert evaluated == [STUDIED[0].label, STUDIED[2].label]
    assert "did not finish" not in (shown["matched · a"].note or "")


def test_notes_fit_however_much_went_wrong(judged: Judged) -> None:
    reasons = dict.fromkeys(judged.outcome.states, "x" * 9000)
    states = dict.fromkeys(judged.outcome.states, State.FAILED)
    report = {**judged.report, "models": [], "unfinished": ["y" * 9000] * 99}
    pages = judged.pages(judged.outcome._replace(states=states, reasons=reasons), report)
    assert all(len(page.note or "") <= RUN_NOTE for page in pages.shown.values())
    assert 5000 < len(pages.note) <= 19_000 and "cut here" in pages.note
    profile = pages.shown["neuron profile · a"]
    assert profile.owned == () and "did not finish" in (profile.note or "")  # verdicts of before stay


def test_names_and_notes_of_models_are_shown_as_text(judged: Judged) -> None:
    (part,) = judged.report["models"]
    tags = []
    for name in ("word", " ".join(HOSTILE)):
        benchmarks = [{**benchmark, "label": name} for benchmark in part["benchmarks"]]
        rows = [{**row, "neurons": name} for row in part["rows"]]
        model = {**part, "display": name, "label": name, "benchmarks": benchmarks, "rows": rows}
        pages = judged.pages(report={**judged.report, "models": [model, part], "unfinished": [name]})
        texts = [pages.note, *(page.note or "" for page in pages.shown.values())]
        texts += [condition_note(model, row) for row in rows]
        tags.append(rendered("\n\n".join(texts)).tags)
    assert tags[0] == tags[1] and "script" not in tags[1]


def test_a_study_without_claims_has_pages_all_the_same(judged: Judged) -> None:
    (part,) = judged.report["models"]
    pages = judged.pages(report={**judged.report, "models": [{**part, "verdicts": []}]})
    assert pages.shown["neuron profile · a"].tags == {} and pages.shown["neuron profile · a"].note == ""
    assert set(pages.shown["by-hand"].metrics.values()) == {0.0} and "Scorecard" not in pages.note


def test_a_report_of_an_earlier_version_has_pages_too(judged: Judged) -> None:
    """Its rows have no differences, and no number of neurons."""
    (part,) = judged.report["models"]
    rows = [
        {name: row[name] for name in ("condition", "role", "neurons", "spread", "remark", "cells")}
        for row in part["rows"]
    ]
    old = {name: value for name, value in part.items() if name not in ("rows", "benchmarks")}
    benchmarks = [{"name": benchmark["name"], "label": benchmark["label"]} for benchmark in part["benchmarks"]]
    pages = judged.pages(report={**judged.report, "models": [{**old, "rows": rows, "benchmarks": benchmarks}]})
    assert pages.shown["treated · a"].metrics == {} and pages.shown["treated · a"].note == ""
    assert pages.shown["neuron profile · a"].metrics
