"""Which conditions become the evidence on depth and dose, and when their claims stand on a scorecard."""

import pytest

from orchestrator.planning.plan import Plan
from orchestrator.review.claims.curve_evidence import CURVE_CLAIMS, curve_drafts, depth_evidence, dose_evidence
from orchestrator.review.findings import Findings
from orchestrator.review.model_report import ModelReport
from studies.claims.scorecard import Draft, Status, verdicts
from tests.fakes import FakeRecord
from tests.plans import RELU, STUDY, model, plan
from tests.unit.orchestrator.review.test_review import run

CURVES = """\
study: curves
models: [org/a]
profile: {tokens: 4096, window: 128}
conditions:
  zero:       {select: top, fraction: 0.1, clamp: zero, layers: {groups: 2}}
  single:     {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2}}
  cumulative: {select: top, fraction: 0.1, clamp: negative, layers: {groups: 2, schedule: cumulative}}
  random:     {select: random, like: cumulative, seeds: [0, 1], clamp: negative}
  alone:      {select: top, fraction: [0.1, 0.3], clamp: negative}
  dose:       {select: top, fraction: [0.1, 0.2], clamp: negative}
  dose_random: {select: random, like: dose, seeds: [0, 1, 2], clamp: negative}
evaluate: [perplexity, embedded_pairs, embedded_knowledge]
claims: layers
margins: {perplexity: 0.05}
"""
LAYER_CLAIMS = [
    f"{claim}/{benchmark}"
    for claim in ("early_layers_matter_most", "cost_accumulates_with_depth")
    for benchmark in ("perplexity", "embedded_pairs", "embedded_knowledge")
]
DOSE_CLAIM = "treated_doubles_first"


def findings(study: Plan) -> Findings:
    record = FakeRecord()
    return Findings(study, run(study, record), record)


def drafts(text: str, **parts: object) -> list[Draft]:
    study = plan(text, **parts)
    return curve_drafts(findings(study), study.study.models[0])


def test_schedules_and_doses_with_random_controls_are_the_evidence() -> None:
    study = plan(CURVES)
    found, (one,) = findings(study), study.study.models
    depth, dose = depth_evidence(found, one), dose_evidence(found, one)
    assert depth.benchmarks == ("perplexity", "embedded_pairs", "embedded_knowledge")
    assert depth.single is not None and [group.name for group in depth.single] == ["0", "1"]
    assert depth.cumulative is not None and [group.name for group in depth.cumulative] == ["0", "0-1"]
    assert all(set(items) == set(depth.benchmarks) for items in (*depth.single.values(), depth.baseline))
    assert list(depth.first_randoms) == ["random/layers=0/seed=0", "random/layers=0/seed=1"], "of the same neurons"
    assert {name: len(groups) for name, groups in depth.cumulative_randoms.items()} == {
        "random/seed=0": 2, "random/seed=1": 2,
    }  # fmt: skip
    assert dose.treated is not None and list(dose.treated) == [0.1, 0.2], "of the condition that has controls"
    assert list(dose.randoms) == [f"dose_random/seed={seed}" for seed in (0, 1, 2)]
    assert depth.margins.log_perplexity == dose.margins.log_perplexity == 0.05


def test_a_set_of_random_neurons_counts_once() -> None:
    again = "  again: {select: random, like: dose, seeds: [0], clamp: negative}\nevaluate:"
    study = plan(CURVES.replace("evaluate:", again, 1))
    found = dose_evidence(findings(study), study.study.models[0])
    assert list(found.randoms) == [f"dose_random/seed={seed}" for seed in (0, 1, 2)]


def test_controls_of_other_neurons_are_none_of_the_first_group() -> None:
    text = CURVES.replace("single:     {select: top, fraction: 0.1", "single:     {select: top, fraction: 0.2")
    study = plan(text)
    assert depth_evidence(findings(study), study.study.models[0]).first_randoms == {}


@pytest.mark.parametrize("claims", ["layers", "dose_response", "paper", "double_dissociation"])
def test_any_study_that_names_claims_gets_those_of_its_curves(claims: str) -> None:
    made = drafts(CURVES.replace("claims: layers", f"claims: {claims}"))
    assert [draft.claim for draft in made] == [*LAYER_CLAIMS, DOSE_CLAIM]
    assert {verdict.claim for verdict in verdicts("a", CURVE_CLAIMS, made)} == {*LAYER_CLAIMS, DOSE_CLAIM}


def test_a_study_without_curves_gets_none_of_these_claims() -> None:
    assert drafts(STUDY + "claims: paper\n") == []


def test_a_set_that_is_asked_for_has_all_its_claims() -> None:
    """Conditions with another clamp are no evidence."""
    lines = [line for line in CURVES.splitlines() if not line.startswith(("  single", "  dose", "  alone"))]
    made = drafts("\n".join(lines))
    assert [draft.claim for draft in made] == LAYER_CLAIMS
    assert {draft.status for draft in made} == {Status.UNDECIDED}
    assert made[0].detail.startswith("no condition puts the negative clamp of top neurons on one group")


def test_the_claims_do_not_apply_to_a_relu_model() -> None:
    made = drafts(CURVES, models=[model(architecture=RELU)])
    assert [draft.claim for draft in made] == [*LAYER_CLAIMS, DOSE_CLAIM]
    assert {draft.status for draft in made} == {Status.NOT_APPLICABLE}


def test_a_group_that_failed_leaves_its_claims_undecided() -> None:
    study = plan(CURVES)
    record = FakeRecord()
    outcome = run(study, record)
    step = study.evaluations["a", "single/layers=1"]["perplexity"]
    committed = {key: value for key, value in outcome.committed.items() if key != step}
    states = {**outcome.states, step: type(outcome.states[step]).FAILED}
    partial = Findings(study, outcome._replace(states=states, committed=committed), record)
    by_claim = {draft.claim: draft for draft in curve_drafts(partial, study.study.models[0])}
    early = by_claim["early_layers_matter_most/perplexity"]
    assert (early.status, early.detail) == (Status.UNDECIDED, "no perplexity items of layers 1 (n = 4)")


@pytest.mark.parametrize("claims", ["layers", "double_dissociation"])
def test_one_scorecard_of_a_model_holds_all_of_its_claims(claims: str) -> None:
    whole = "  treated:    {select: top, fraction: 0.1, clamp: negative}\n  zero:"
    study = plan(CURVES.replace("claims: layers", f"claims: {claims}").replace("  zero:", whole))
    part = ModelReport(findings(study), study.study.models[0]).build()
    names = [verdict["claim"] for verdict in part["verdicts"]]
    assert names[-7:] == [*LAYER_CLAIMS, DOSE_CLAIM] and ("double_dissociation" in names) == (claims != "layers")
