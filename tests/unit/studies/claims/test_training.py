"""The claims on a training: each can hold, fail and be undecidable."""

import dataclasses
from typing import Any

import pytest

from studies.claims.scorecard import Status
from studies.claims.training import TrainingEvidence, training_dynamics, wd_correlation
from tests.unit.studies.claims.trainings import COHORT, GROWN, STEPS, evidence, neurons, pairs, weights

NAMES = ["wd_rises", "weights_settle", "wd_tracks_syntax/tse", "ablation_grows/perplexity", "ablation_grows/tse"]


def statuses(given: TrainingEvidence) -> dict[str, Status]:
    """{claim: status}."""
    return {verdict.claim: verdict.status for verdict in training_dynamics(given)}


def test_a_training_as_in_the_paper_holds_throughout() -> None:
    verdicts = training_dynamics(evidence())
    assert [verdict.claim for verdict in verdicts] == NAMES
    assert {verdict.status for verdict in verdicts} == {Status.HOLDS}
    by_name = {verdict.claim: verdict for verdict in verdicts}
    assert by_name["wd_rises"].effect.estimate == pytest.approx(0.2, abs=0.005)
    assert "half of it by step 1,000" in by_name["wd_rises"].detail
    assert by_name["ablation_grows/tse"].effect.estimate == pytest.approx(0.2)
    assert by_name["ablation_grows/perplexity"].effect.estimate == pytest.approx(0.5)
    assert by_name["wd_tracks_syntax/tse"].num_items == len(STEPS)
    assert all("\n" not in verdict.detail for verdict in verdicts)


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("wd_rises", {"neurons": {s: neurons(1 - g, seed=s) for s, g in GROWN.items()}}),
        ("wd_rises", {"randoms": {"random/seed=0": COHORT}}),
        ("weights_settle", {"weights": {s: weights(1e-6 * (1 + s), 10, seed=s) for s in STEPS[1:]}}),
        ("wd_tracks_syntax/tse", {"baseline": {s: {"tse": pairs(0.8 - 0.3 * g)} for s, g in GROWN.items()}}),
        ("ablation_grows/tse", {"treated": {s: {"tse": pairs(0.5 + 0.3 * g)} for s, g in GROWN.items()}}),
        ("ablation_grows/tse", {"random_items": {"r": evidence().treated}}),
    ],
)
def test_each_claim_can_fail(claim: str, changes: dict[str, Any]) -> None:
    assert statuses(evidence(**changes))[claim] is Status.DOES_NOT_HOLD


@pytest.mark.parametrize(
    ("claim", "changes", "reason"),
    [
        ("wd_rises", {"cohort": None}, "no condition that applies to the model selects top neurons"),
        ("wd_rises", {"randoms": {}}, "no random control"),
        ("wd_rises", {"neurons": {0: neurons(0)}}, "fewer than two checkpoints"),
        ("weights_settle", {"weights": {}}, "no weights compared at step 10"),
        ("wd_tracks_syntax", {"syntactic": ()}, "no syntactic benchmark"),
        (
            "wd_tracks_syntax/tse",
            {"neurons": {s: neurons(g) for s, g in list(GROWN.items())[:4]}},
            "too few checkpoints",
        ),
        ("ablation_grows/tse", {"treated": {}}, "no tse items at two checkpoints"),
        ("ablation_grows/tse", {"random_items": {}}, "no random control"),
        ("ablation_grows/tse", {"random_items": {"r": {0: {"tse": pairs(0.5)}}}}, "no tse items of r at step 10,000"),
    ],
)
def test_each_claim_says_why_it_cannot_be_decided(claim: str, changes: dict[str, Any], reason: str) -> None:
    (verdict,) = [v for v in training_dynamics(evidence(**changes)) if v.claim == claim]
    assert verdict.status is Status.NOT_DECIDABLE and reason in verdict.detail


def test_the_ablation_of_a_relu_model_is_not_applicable() -> None:
    by_claim = statuses(evidence(relu=True))
    assert by_claim["ablation_grows/tse"] is Status.NOT_APPLICABLE and by_claim["wd_rises"] is Status.HOLDS


def test_other_items_at_another_checkpoint_are_refused() -> None:
    given = evidence()
    given.treated[10000]["tse"] = pairs(0.6, num=399)
    with pytest.raises(ValueError) as error:
        training_dynamics(given)
    assert str(error.value) == (
        "the item sets differ: 1 of 400 items only in the second condition, such as uid u7, pair 399; "
        "evaluate both conditions on the same items"
    )


def test_a_profile_that_failed_does_not_change_how_far_apart_two_checkpoints_are() -> None:
    given = evidence()
    kept = {step: table for step, table in given.neurons.items() if step not in (10, 5000)}
    both = [training_dynamics(evidence(neurons=neurons)) for neurons in (given.neurons, kept)]
    of_all, of_kept = ([v for v in verdicts if v.claim == "weights_settle"] for verdicts in both)
    assert of_all == of_kept


def test_wd_and_accuracy_rise_together() -> None:
    assert wd_correlation(evidence(), "tse", COHORT).pearson.estimate > 0.9


def test_evidence_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence().series = "other"
