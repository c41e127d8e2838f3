"""What the review reads of a search for a matched control, and of its neighbour."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors.messages.stream import Finished
from orchestrator.execution.runner import Runner
from orchestrator.planning.conditions import Condition
from orchestrator.planning.plan import Plan
from orchestrator.review.findings import Findings
from orchestrator.review.report import review
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import BASELINE, State
from tests.fakes import NODE, FakePool, FakeRecord, matched
from tests.plans import BENCHMARKS, SILU, STUDY, plan, step_id, training
from tests.unit.orchestrator.review.test_review import run
from tests.world import make_cluster


def control_of(study: Plan, label: str = "a") -> Condition:
    return next(condition for condition in study.conditions[label] if condition.spec.match)


def findings_of(study: Plan, record: FakeRecord, **of_search: bool) -> Findings:
    """After a run whose search ends as `tests.fakes.matched` says."""

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if study.steps[start.steps[0]].kind.name == "match":
            yield matched(request, **of_search)
            yield Finished()

    return Findings(study, run(study, record, answer), record)


def test_a_search_says_what_it_saw_and_which_neighbour_it_left() -> None:
    study = plan()
    findings, control, (model,) = findings_of(study, FakeRecord()), control_of(study), study.study.models
    matching = findings.matching(control)
    assert (matching.searched, matching.is_disjoint, matching.held_out) == (range(2, 4), True, range(2))
    assert matching.fraction == 1 / SILU.d_mlp and matching.neighbour_fraction == 2 / SILU.d_mlp
    assert matching.why_no_neighbour == "" == matching.why_unmatched
    assert (matching.baseline, matching.treated) == pytest.approx((math.exp(0.9), math.exp(1.0)))
    neighbour = findings.neighbour(model, control)
    assert neighbour is not None and findings.has_neurons(neighbour)
    counts = [findings.neuron_set(one).count for one in (control, neighbour)]
    assert counts == [SILU.num_layers, 2 * SILU.num_layers]
    assert findings.items(model, neighbour.name).keys() == findings.items(model, control.name).keys()
    assert findings.comparable(model, neighbour.name).keys() == findings.items(model, neighbour.name).keys()


def test_the_losses_of_a_search_by_window() -> None:
    study = plan()
    findings, control = findings_of(study, FakeRecord()), control_of(study)
    losses = findings.matching_losses(control)
    assert losses is not None
    by_role = losses[losses["windows"] == "evidence"].groupby("role")["nll"].apply(list).to_dict()
    assert by_role["accepted"] == [1.01, 0.99] and by_role["neighbour"] == [1.0, 1.02]
    assert losses[losses["windows"] == "search"]["window"].tolist() == [2, 3] * 3
    assert findings.realised_difference(control) == pytest.approx(0.0)


def test_a_control_without_a_neighbour_says_why_and_has_no_items_of_one() -> None:
    study, record = plan(), FakeRecord()
    findings, control, (model,) = findings_of(study, record, neighbour=False), control_of(study), study.study.models
    assert findings.matching(control).neighbour_fraction is None
    assert findings.matching(control).why_no_neighbour == "not needed: near enough"
    assert findings.items(model, "matched/neighbour") == {}
    report = review(study, findings.outcome, record).report
    assert report["unfinished"] == []


def test_a_search_of_version_3_has_neither_windows_nor_losses_nor_a_neighbour() -> None:
    study, record = plan(), FakeRecord()
    findings, control = findings_of(study, record), control_of(study)
    search = step_id(study, "match", "matched")
    for key in ("search", "evidence", "neighbour"):
        del record._documents[search, "match.json"][key]
    del findings.committed[search].artifacts["matching_losses.parquet"]  # type: ignore[attr-defined]
    matching = findings.matching(control)
    assert (matching.searched, matching.is_disjoint, matching.baseline, matching.neighbour_fraction) == (None,) * 4
    assert matching.why_no_neighbour and matching.fraction == 1 / SILU.d_mlp
    assert findings.matching_losses(control) is None and findings.realised_difference(control) == 0.0
    assert review(study, findings.outcome, record).report["unfinished"] == []


def test_nothing_in_the_report_doubles_because_of_a_neighbour() -> None:
    study, record = plan(STUDY + "claims: double_dissociation\n"), FakeRecord()
    findings = findings_of(study, record)
    (part,) = review(study, findings.outcome, record).report["models"]
    table = record.frame(record.steps[next(s for s, c in record.steps.items() if c.step_name == "report")],
                         "comparisons.parquet")  # fmt: skip
    assert "matched/neighbour" not in {*table["condition"], *table["against"]}
    rows = {row["condition"]: row for row in part["rows"]}
    assert len(rows) == len(part["rows"]) == 6 and list(rows)[-2:] == ["matched", "matched/neighbour"]
    assert [rows[name]["part"] for name in ("treated", "random/seed=0", "matched")] == ["treated", "random", "matched"]
    neighbour = rows["matched/neighbour"]
    assert neighbour["part"] == "neighbour" and neighbour["neurons"].startswith("bottom ")
    assert "(neighbour)" in neighbour["neurons"]
    assert neighbour["fraction"] not in (None, rows["matched"]["fraction"])


@pytest.mark.parametrize(("at_the_search", "is_named"), [(24.0, True), (24.25, False), (24.5, True)])
def test_a_control_is_named_where_it_moved_since_its_search_not_where_other_windows_led_it(
    at_the_search: float, is_named: bool
) -> None:
    """Its perplexity on the evidence is 24.25 now; the treated condition's was 24, and is."""
    study, record = plan(), FakeRecord()
    outcome = findings_of(study, record).outcome
    committed = dict(outcome.committed)
    for condition, perplexity in ((BASELINE, 20.0), ("treated", 24.0), ("matched", 24.25)):
        step = step_id(study, "evaluate.perplexity", condition)
        committed[step] = replace(committed[step], metrics={**committed[step].metrics, "perplexity": perplexity})
    losses = record.frame(committed[step_id(study, "match", "matched")], "matching_losses.parquet")
    for role, level in (("treated", 24.0), ("accepted", at_the_search)):
        losses.loc[(losses["role"] == role) & (losses["windows"] == "evidence"), "nll"] = math.log(level)
    (part,) = review(study, outcome._replace(committed=committed), record).report["models"]
    assert bool(part["no_longer_matched"]) == is_named


def test_checkpoints_share_the_neighbour_of_their_cohort() -> None:
    study = training()
    labels = {model.label: Demand(2.0, 0.0) for model in study.study.models}
    runner = Runner(study, FakeRecord())
    runner.load_finished()
    outcome = runner.run(FakePool(study), make_cluster([NODE], labels), {})
    of_neighbours = {
        step: outcome.states[step]
        for (_, name), steps in study.evaluations.items()
        if name == "matched/neighbour"
        for step in steps.values()
    }
    assert len(of_neighbours) == 3 * len(BENCHMARKS) and set(of_neighbours.values()) == {State.DONE}
    assert len({study.steps[step].inputs["neighbour"] for step in of_neighbours}) == 1
