"""The review of runs against a record in memory: what the report holds, and what is made only once."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.messages.ablation import EvaluateRequest
from actors.messages.stream import Finished
from orchestrator.execution.runner import Runner
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.planning.power import powers
from orchestrator.review import doses
from orchestrator.review.model_report import ModelReport
from orchestrator.review.report import review
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import BASELINE, State
from studies.benchmarks.choices import ChoiceBenchmark
from studies.errors import printable
from studies.reporting import text
from studies.reporting.spreads import spreads_of_report
from tests.fakes import NODE, Answer, FakePool, FakeRecord, scored
from tests.hostile import HOSTILE
from tests.plans import BENCHMARKS, ITEM, RELU, STUDY, model, plan, step_id
from tests.unit.studies.reporting.test_markdown import rendered
from tests.world import make_cluster

QUESTIONS = ChoiceBenchmark(
    name="embedded_knowledge", label="embedded knowledge", items=tuple(ITEM._replace(id=str(i)) for i in range(120))
)
CLAIMS = STUDY + "claims: double_dissociation\n"
DOSES = """\
study: doses
models: [org/a]
profile: {tokens: 4096, window: 128}
conditions:
  dose: {select: top, fraction: [0.1, 0.2], clamp: negative}
  dose_random: {select: random, like: dose, clamp: negative}
  positive: {select: top, fraction: 0.1, clamp: positive}
evaluate: [perplexity, embedded_pairs, embedded_knowledge]
claims: double_dissociation
"""


def run(study: Plan, record: FakeRecord, answer: Answer | None = None) -> Outcome:
    """One whole run. answer: as of `FakePool`."""
    runner = Runner(study, record)
    runner.load_finished()
    return runner.run(FakePool(study, answer), make_cluster([NODE], dict.fromkeys("abc", Demand(2.0, 0.0))), {})


def verdicts(report: Any) -> dict[str, dict[str, Any]]:
    """{claim: its verdict}."""
    return {verdict["claim"]: verdict for verdict in report["models"][0]["verdicts"]}


def test_a_report_holds_every_condition_and_every_claim() -> None:
    study, record = plan(CLAIMS), FakeRecord()
    made = review(study, run(study, record), record)
    assert not made.cached and made.report["unfinished"] == []
    rows = made.report["models"][0]["rows"]
    conditions = [c.name for c in study.conditions["a"]]
    assert [row["condition"] for row in rows] == [BASELINE, *conditions, "matched/neighbour"]
    assert all(set(row["deltas"]) == (set() if row["condition"] == BASELINE else set(row["cells"])) for row in rows)
    assert all(set(row["cells"]) == {"perplexity", "embedded_pairs", "embedded_knowledge"} for row in rows)
    assert "double_dissociation" in verdicts(made.report) and record.last("report", "report.md")


def answers_of_its_own(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Every condition answers some questions otherwise."""
    if not isinstance(request, EvaluateRequest) or request.benchmark != "embedded_knowledge":
        return
    for step in request.interventions:
        usual = scored(step, request)
        yield replace(usual, sums=usual.sums - np.random.default_rng(int(step[:8], 16)).random(len(usual.sums)))
    yield Finished()


def test_a_report_shows_the_next_plan_how_comparisons_vary() -> None:
    study, record = plan(CLAIMS, benchmarks=(BENCHMARKS[0], BENCHMARKS[1], QUESTIONS)), FakeRecord()
    report = review(study, run(study, record, answers_of_its_own), record).report
    (part,) = report["models"]
    assert part["digest"] == "d1"
    compared = {entry["comparison"] for entry in part["spreads"] if entry["benchmark"] == "embedded_knowledge"}
    assert compared == {"treated/baseline", "matched/baseline", "treated/matched", "treated/random"}
    earlier = list(spreads_of_report(report, "2026-12-01"))
    by_default, by_report = ({p.claim: p for _, p in powers(study, known)} for known in ((), earlier))
    assert by_default["knowledge_loss"].basis == "defaults (discordance 0.06)"
    assert by_report["knowledge_loss"].basis == "this model's run of 2026-12-01"


def test_a_report_on_two_models_says_how_many_support_a_claim() -> None:
    models = [model("a", digest="a"), model("b", digest="b")]
    study, record = plan(CLAIMS, models=models), FakeRecord()
    report = review(study, run(study, record), record).report
    assert report["unfinished"] == []
    claims = {entry["claim"]: entry for entry in report["across_models"]}
    assert set(claims) == set(verdicts(report)) and all(entry["num_models"] == 2 for entry in claims.values())
    assert any(line.startswith("double_dissociation: supported in ") for line in text.across_models_lines(report))
    alone, record = plan(CLAIMS), FakeRecord()
    assert review(alone, run(alone, record), record).report["across_models"] == []


def test_margins_that_were_changed_after_a_report_stay_known() -> None:
    """Also after they are changed back, and after a report without claims."""
    record = FakeRecord()

    def used(text: str) -> tuple[list[float], bool]:
        study = plan(text)
        made = review(study, run(study, record), record)
        return [margins["accuracy"] for margins in made.report["margins"]], made.cached

    wider = CLAIMS + "margins: {accuracy: 0.05}\n"
    assert used(CLAIMS) == ([0.02], False) and used(CLAIMS) == ([0.02], True)
    assert used(wider) == ([0.02, 0.05], False)
    assert used(STUDY) == ([0.02, 0.05], False)
    assert used(CLAIMS) == ([0.02, 0.05, 0.02], False) and used(CLAIMS) == ([0.02, 0.05, 0.02], True)


def test_a_second_review_of_the_same_results_reads_the_report_back() -> None:
    study, record = plan(CLAIMS), FakeRecord()
    outcome = run(study, record)
    first, steps = review(study, outcome, record), dict(record.steps)
    second = review(study, outcome, record)
    assert second.cached and second.report == first.report and record.steps == steps


def test_a_last_report_with_a_damaged_artifact_is_made_again() -> None:
    study, record = plan(CLAIMS), FakeRecord()
    outcome = run(study, record)
    first = review(study, outcome, record)
    record.damaged |= {step for step, committed in record.steps.items() if committed.step_name == "report"}
    second = review(study, outcome, record)
    assert not second.cached and second.report == first.report


def moved_by_packs(actor: str, start: Start, request: Any) -> Iterator[Any]:
    """Another pack plan decides the only pair otherwise, and so do conditions with clamped neurons."""
    if not isinstance(request, EvaluateRequest) or request.benchmark != "embedded_pairs":
        return
    for step, intervention in request.interventions.items():
        is_moved = bool(request.max_nodes or intervention.neurons)
        usual = scored(step, request)
        yield replace(usual, sums=usual.sums - [float(is_moved), 0.0])
    yield Finished()


def test_an_effect_that_packs_alone_could_make_is_named() -> None:
    study, record = plan(), FakeRecord()
    (calm,) = review(study, run(study, record), record).report["models"]
    assert calm["within_noise"] == []
    study, record = plan(), FakeRecord()
    (part,) = review(study, run(study, record, moved_by_packs), record).report["models"]
    assert part["noise_floor"]["embedded_pairs"]["num_changed_decisions"] == 1
    assert part["within_noise"] == [
        {"condition": name, "benchmark": "embedded_pairs", "effect": -0.5, "floor": 1.0}
        for name in ("treated", "random/seed=0", "random/seed=1", "matched")
    ]
    assert "effects on embedded_pairs that another pack plan alone could make" in "\n".join(text.finding_lines(part))


def test_what_did_not_finish_is_named_with_its_reason() -> None:
    study, record = plan(), FakeRecord()
    outcome = run(study, record)
    failed = step_id(study, "evaluate.embedded_pairs", "treated")
    states = {**outcome.states, failed: State.FAILED}
    report = review(study, outcome._replace(states=states, reasons={failed: "out of luck"}), record).report
    assert report["unfinished"] == ["evaluate.embedded_pairs a treated: failed (out of luck)"]
    (row,) = [row for row in report["models"][0]["rows"] if row["condition"] == "treated"]
    assert set(row["cells"]) == {"perplexity", "embedded_knowledge"}


def test_a_part_of_the_review_that_cannot_be_made_costs_that_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's part, and a number that JSON does not have."""
    models = [model(name, digest=name) for name in ("a", "b", "c")]
    study, record = plan(CLAIMS, models=models), FakeRecord()
    outcome, build = run(study, record), ModelReport.build

    def odd(self: ModelReport) -> dict[str, Any]:
        if self.label == "a":
            raise KeyError("uid")
        return build(self) | ({"noise": math.inf} if self.label == "b" else {})

    monkeypatch.setattr(ModelReport, "build", odd)
    report = review(study, outcome, record).report
    assert [part["label"] for part in report["models"]] == ["c"]
    why = [
        "report of a: failed (KeyError: 'uid')",
        "report of b: failed (ValueError: Out of range float values are not JSON compliant: inf)",
    ]
    assert report["unfinished"] == why
    monkeypatch.undo()
    again = review(study, outcome, record)
    assert not again.cached and again.report["unfinished"] == [], "what failed is tried again"
    assert review(study, outcome, record).cached


def test_a_review_step_that_cannot_be_made_costs_that_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    study, record = plan(DOSES), FakeRecord()
    monkeypatch.setattr(doses, "dose_response", lambda *_: 1 / 0)
    report = review(study, run(study, record), record).report
    assert report["unfinished"] == ["doses of dose-response · a: failed (ZeroDivisionError: division by zero)"]
    assert record.finished["dose-response · a"] == "FAILED"
    assert report["models"][0]["verdicts"] and report["models"][0]["doubling"] == []


def test_a_repeated_search_may_fail_although_the_control_is_evaluated() -> None:
    """The evaluations of the control are recorded from an earlier search; now there is no fraction to speak of."""
    study, record = plan(CLAIMS), FakeRecord()
    outcome = run(study, record)
    search = step_id(study, "match", "matched")
    record.replace_document(search, "match.json", matched=False, fraction=None)
    report = review(study, replace_state(outcome, search, State.FAILED), record).report
    assert verdicts(report)["matched_cost"]["status"] == "undecided"


def test_doses_that_do_not_apply_to_a_relu_model_leave_a_report() -> None:
    study, record = plan(DOSES, models=[model(architecture=RELU)]), FakeRecord()
    report = review(study, run(study, record), record).report
    remarks = {row["condition"]: row["remark"] for row in report["models"][0]["rows"]}
    assert remarks["dose"].startswith("not applicable") and not remarks["positive"]
    assert {verdict["status"] for verdict in report["models"][0]["verdicts"]} == {"not applicable"}


def test_a_layer_schedule_and_doses_have_runs_of_their_own() -> None:
    text = STUDY.replace(
        "  random:", "  deep: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2}}\n  random:"
    )
    text = text.replace("  random:", "  dose: {select: top, fraction: [0.1, 0.2], clamp: negative}\n  random:")
    study, record = plan(text), FakeRecord()
    model_report = review(study, run(study, record), record).report["models"][0]
    assert [schedule["condition"] for schedule in model_report["schedules"]] == ["deep"]
    assert [entry["condition"] for entry in model_report["doubling"]] == ["dose"]
    assert {"layers", "doses", "report"} <= {committed.step_name for committed in record.steps.values()}
    assert {record.finished["deep by layers · a"], record.finished["dose-response · a"]} == {"FINISHED"}


def replace_state(outcome: Outcome, step: str, state: State) -> Outcome:
    """The outcome with one step in another state."""
    return outcome._replace(states={**outcome.states, step: state})


@pytest.mark.draws
def test_a_hostile_note_of_a_model_is_text_in_report_and_in_the_description_of_the_run() -> None:
    """And its figures, whose titles hold it, are drawn."""
    pages = []
    for note in ("word", " ".join(HOSTILE)):
        study, record = plan(CLAIMS, models=[model(note=note)]), FakeRecord()
        made = review(study, run(study, record), record)
        assert made.report["unfinished"] == []
        pages.append(rendered(record.last("report", "report.md")))
        assert " ".join(printable(note).split()) in " ".join(pages[-1].text.split())
    assert pages[0].tags == pages[1].tags and "script" not in pages[1].tags
