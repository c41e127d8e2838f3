"""Claims are told once all that they rest on has ended, and say then what the report will say."""

from typing import Any

import pytest

from orchestrator.execution.runner import Runner
from orchestrator.progress.watcher import Watcher, Watchers
from orchestrator.review.claims.early import EarlyVerdicts
from orchestrator.review.report import review
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import TERMINAL, State, Step
from studies.claims.scorecard import Verdict
from tests.fakes import NODE, FakePool, FakeRecord
from tests.plans import STUDY, plan
from tests.world import make_cluster

CLAIMS = STUDY + "claims: double_dissociation\n"


class Listener(Watcher):
    """Notes the verdicts, each with the evaluations that were still to come."""

    def __init__(self) -> None:
        self.ended: set[tuple[str, str]] = set()
        self.told: dict[str, Verdict] = {}
        self.ended_before: dict[str, set[tuple[str, str]]] = {}

    def transition(self, step: Step, state: State, remark: str) -> None:
        if state in TERMINAL:
            self.ended.add((step.name, step.condition))

    def decided(self, verdict: Verdict) -> None:
        assert verdict.claim not in self.told, "told once"
        self.told[verdict.claim] = verdict
        self.ended_before[verdict.claim] = set(self.ended)


def run(record: FakeRecord, answer: Any = None) -> tuple[Listener, Any]:
    """A whole run, and its report."""
    study, listener = plan(CLAIMS), Listener()
    early = EarlyVerdicts(study, record, lambda: runner.outcome(), tell=listener)
    runner = Runner(study, record, watcher=Watchers([listener, early]))
    runner.load_finished()
    outcome = runner.run(FakePool(study, answer), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    return listener, review(study, outcome, record).report


def test_a_claim_is_told_with_the_verdict_of_the_report() -> None:
    listener, report = run(FakeRecord())
    final = {verdict["claim"]: verdict for verdict in report["models"][0]["verdicts"]}
    assert set(listener.told) >= {"perplexity_cost", "syntax_loss/embedded_pairs", "double_dissociation"}
    for claim, verdict in listener.told.items():
        assert (verdict.status, verdict.detail) == (final[claim]["status"], final[claim]["detail"])


def test_a_claim_waits_for_all_that_it_rests_on_and_for_nothing_else() -> None:
    listener, _ = run(FakeRecord())
    before = listener.ended_before["perplexity_cost"]
    assert {("evaluate.perplexity", c) for c in ("baseline", "treated", "random/seed=0", "random/seed=1")} <= before
    assert ("evaluate.perplexity", "matched") not in before
    syntax = listener.ended_before["syntax_loss/embedded_pairs"]
    assert {("evaluate.embedded_pairs", c) for c in ("treated", "matched", "matched/neighbour")} <= syntax
    assert {("evaluate.perplexity", c) for c in ("treated", "matched", "matched/neighbour")} <= syntax


def test_nothing_is_judged_early_where_everything_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    record = FakeRecord()
    run(record)
    monkeypatch.setattr("orchestrator.review.claims.early.model_verdicts", lambda *_: pytest.fail("judged"))
    listener, _ = run(record)
    assert listener.told == {}


def test_an_error_in_a_claim_costs_the_run_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*_: object) -> list[Verdict]:
        raise ZeroDivisionError

    monkeypatch.setattr("orchestrator.review.claims.early.model_verdicts", odd)
    listener, report = run(FakeRecord())
    assert listener.told == {} and report["unfinished"] == []


def test_a_claim_waits_for_a_result_that_is_computed_again() -> None:
    study, listener = plan(CLAIMS), Listener()
    judged: list[set[str]] = []
    early = EarlyVerdicts(study, FakeRecord(), lambda: pytest.fail("not asked"), tell=listener)
    early._judge = lambda _, claims: judged.append(claims)  # type: ignore[method-assign]
    needed = [
        study.steps[study.evaluations["a", condition]["perplexity"]]
        for condition in ("baseline", "treated", "random/seed=0", "random/seed=1")
    ]
    for step in needed[:3]:
        early.transition(step, State.CACHED, "")
    early.transition(needed[0], State.PENDING, "evaluated again")
    early.transition(needed[3], State.DONE, "")
    assert judged == []
    early.transition(needed[0], State.DONE, "")
    assert judged == [{"perplexity_cost"}]
