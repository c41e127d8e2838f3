"""The claims on a training: each can be supported, contradicted and undecided, and absent where it has a margin."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from studies.claims.scorecard import Margins, Status, Verdict
from studies.claims.training import TrainingEvidence, training_dynamics, wd_correlation
from tests.unit.studies.claims.trainings import COHORT, GROWN, STEPS, clamped, evidence, neurons, pairs, weights

NAMES = ["wd_rises", "weights_settle", "wd_tracks_syntax/tse", "ablation_grows/perplexity", "ablation_grows/tse"]
SPARSE = (0, 1000, 2000, 4000, 8000, 10000)
"""Steps whose gaps all differ in the second half of training."""


def verdict(claim: str, given: TrainingEvidence) -> Verdict:
    (one,) = [verdict for verdict in training_dynamics(given) if verdict.claim == claim]
    return one


def test_a_training_as_in_the_paper_supports_every_claim() -> None:
    verdicts = training_dynamics(evidence())
    assert [verdict.claim for verdict in verdicts] == NAMES
    assert {verdict.status for verdict in verdicts} == {Status.SUPPORTED}
    by_name = {verdict.claim: verdict for verdict in verdicts}
    assert by_name["wd_rises"].effect.estimate == pytest.approx(0.2, abs=0.005)
    assert "top at step 10,500" in by_name["wd_rises"].detail and "top at step 500" in by_name["wd_rises"].detail
    assert "half of it by step 5,500" in by_name["wd_rises"].detail
    assert by_name["weights_settle"].effect.estimate == pytest.approx(np.log(20), abs=0.1)
    assert "steps 0 and 500 against steps 10,000 and 10,500" in by_name["weights_settle"].detail
    assert by_name["wd_tracks_syntax/tse"].num_items == len(STEPS)
    assert 0.9 < by_name["wd_tracks_syntax/tse"].contrast.estimate < 1, "a correlation, not Fisher's z"
    assert by_name["ablation_grows/tse"].effect.estimate == pytest.approx(0.2)
    assert by_name["ablation_grows/perplexity"].effect.estimate == pytest.approx(2, abs=0.01)
    assert by_name["ablation_grows/tse"].contrast.estimate == pytest.approx(0.2 - 0.3 * 0.02, abs=0.002)
    assert all("\n" not in verdict.detail and verdict.survives_holm for verdict in verdicts)
    assert [verdict.margin for verdict in verdicts] == [None, None, None, 0.02, 0.02]


FALLING = {
    "wd_rises": {"neurons": {s: neurons(1 - g, seed=s, others=1) for s, g in GROWN.items()}},
    "weights_settle": {"weights": {s: weights(1e-2 * (0.05 + g), seed=s) for s, g in GROWN.items()}},
    "wd_tracks_syntax/tse": {"baseline": {s: {"tse": pairs(0.8 - 0.3 * g)} for s, g in GROWN.items()}},
    "ablation_grows/perplexity": {"treated": clamped(4 / 3)},
    "ablation_grows/tse": {"treated": clamped(4 / 3)},
}


@pytest.mark.parametrize("claim", NAMES)
def test_each_claim_is_contradicted_by_the_opposite(claim: str) -> None:
    assert verdict(claim, evidence(**FALLING[claim])).status is Status.CONTRADICTED


@pytest.mark.parametrize("claim", ["ablation_grows/perplexity", "ablation_grows/tse"])
def test_a_cost_that_does_not_grow_is_absent(claim: str) -> None:
    flat = {step: items | {"perplexity": clamped(0.999)[step]["perplexity"]} for step, items in clamped(1).items()}
    given = evidence(treated=flat)
    assert verdict(claim, given).status is Status.ABSENT
    strict = dataclasses.replace(given, margins=Margins(accuracy=1e-3, log_perplexity=1e-3))
    assert verdict(claim, strict).status is not Status.ABSENT


ALIKE = {
    "wd_rises": {"neurons": {s: neurons(g, seed=s, others=1) for s, g in GROWN.items()}},
    "weights_settle": {
        "weights": {s: weights(1e-2 * (1.05 - g), others=2e-2 * (1.05 - g), seed=s) for s, g in GROWN.items()}
    },
    "wd_tracks_syntax/tse": {"neurons": {s: neurons(g, seed=s, others=1) for s, g in GROWN.items()}},
    "ablation_grows/perplexity": {"random_items": {f"r{i}": clamped(1 / 3 + i / 50) for i in (-1, 0, 1)}},
    "ablation_grows/tse": {"random_items": {f"r{i}": clamped(1 / 3 + i / 50) for i in (-1, 0, 1)}},
}


@pytest.mark.parametrize("claim", NAMES)
def test_no_claim_is_decided_where_other_neurons_do_the_same(claim: str) -> None:
    assert verdict(claim, evidence(**ALIKE[claim])).status is Status.UNDECIDED


def test_noise_around_a_fixed_level_neither_supports_nor_contradicts_a_rise() -> None:
    given = evidence(neurons={step: neurons(0, seed=step) for step in STEPS})
    found = verdict("wd_rises", given)
    assert found.status is Status.UNDECIDED and found.effect.low > 0, "those chosen at the end have risen"
    assert "the early cohort falls back, as any selection of extremes does" in found.detail


def test_the_early_cohort_is_chosen_at_the_first_checkpoint_after_the_untrained_one() -> None:
    tables = evidence().neurons
    assert "top at step 500:" in verdict("wd_rises", evidence()).detail
    later = {step: table for step, table in tables.items() if step >= 2000}
    assert "top at step 2,000:" in verdict("wd_rises", evidence(neurons=later)).detail


def test_the_early_cohort_is_chosen_by_the_score_of_the_study() -> None:
    by_index = {step: table.assign(by_index=table["neuron"]) for step, table in evidence().neurons.items()}
    found = verdict("wd_rises", evidence(neurons=by_index, score="by_index"))
    assert found.effect.estimate == pytest.approx(0, abs=0.002), "the last neurons do not rise"


@pytest.mark.parametrize(
    ("claim", "changes", "reason"),
    [
        ("wd_rises", {"cohort": None}, "no condition that applies to the model selects top neurons"),
        ("wd_rises", {"neurons": {0: neurons(0)}}, "fewer than two checkpoints"),
        ("wd_rises", {"neurons": {0: neurons(0), 500: neurons(1)}}, "no trained checkpoint before the last"),
        ("wd_rises", {"cohort": COHORT.of({0: [1, 2]})}, "at least two layers are needed"),
        ("weights_settle", {"weights": {}}, "no weights compared"),
        ("weights_settle", {"before": {500: 0}}, "at least three checkpoints are needed"),
        ("weights_settle", {"cohort": COHORT.of({0: [1, 2]})}, "at least two layers are needed"),
        ("wd_tracks_syntax", {"syntactic": ()}, "no syntactic benchmark"),
        ("wd_tracks_syntax/tse", {"baseline": {s: {"tse": pairs(0.5)} for s in STEPS}}, "does not vary"),
        ("ablation_grows/tse", {"treated": {}}, "no tse items at two checkpoints"),
        ("ablation_grows/tse", {"random_items": {}}, "no random control"),
        ("ablation_grows/tse", {"random_items": {"r": {0: {"tse": pairs(0.5)}}}}, "no tse items of r at step 10,500"),
        ("ablation_grows/tse", {"random_items": {"r": clamped(1)}}, "one random set does not show how such sets vary"),
    ],
)
def test_each_claim_says_why_it_cannot_be_decided(claim: str, changes: dict[str, Any], reason: str) -> None:
    found = verdict(claim, evidence(**changes))
    assert found.status is Status.UNDECIDED and reason in found.detail


def test_a_score_that_is_not_finite_chooses_no_early_cohort() -> None:
    tables = dict(evidence().neurons)
    tables[500] = tables[500].assign(mapping_difficulty=np.nan)
    given = evidence(neurons=tables | {10500: tables[10500].assign(mapping_difficulty=1.0)}, score="mapping_difficulty")
    assert "mapping_difficulty is not finite for every neuron at step 500" in verdict("wd_rises", given).detail


def test_a_correlation_over_few_checkpoints_is_a_scatter() -> None:
    few = {step: neurons(grown, seed=step) for step, grown in list(GROWN.items())[:19]}
    found = verdict("wd_tracks_syntax/tse", evidence(neurons=few))
    assert found.status is Status.UNDECIDED and found.effect is None and found.p_value is None
    assert "fewer than 20 checkpoints; their scatter: Pearson +1.00, Spearman" in found.detail
    flat = verdict("wd_tracks_syntax/tse", evidence(neurons={0: neurons(0)}))
    assert flat.detail == "fewer than 20 checkpoints (n = 1)"


def sparse(moved: float, last: int = SPARSE[-1]) -> dict[str, Any]:
    """Weights that move as much between any two checkpoints, the last of which is `last`."""
    steps = (*SPARSE[:-1], last)
    return {"before": dict(zip(steps[1:], steps, strict=False)), "weights": {s: weights(moved, moved) for s in steps}}


def test_stretches_of_other_lengths_are_not_compared() -> None:
    found = verdict("weights_settle", evidence(**sparse(1e-2, last=11500)))
    assert found.status is Status.UNDECIDED and "add a checkpoint at step 9,500" in found.detail
    missing = sparse(1e-2)
    del missing["weights"][10000]
    assert "no weights compared at step 10,000" in verdict("weights_settle", evidence(**missing)).detail


def test_a_late_stretch_that_is_a_little_longer_may_turn_more() -> None:
    """2,000 and 2,100 steps: diffusion makes the late dissimilarity 5 % larger, and a steady drift 10 %."""
    given = sparse(1e-2, last=10100)
    for more, status in ((1.08, Status.UNDECIDED), (1.3, Status.CONTRADICTED)):
        given["weights"][10100] = weights(more * 1e-2, more * 1e-2, seed=1)
        found = verdict("weights_settle", evidence(**given))
        assert found.status is status and "0.10 taken off as the late stretch is longer" in found.detail
        assert ("which alone could make that" in found.detail) is (status is Status.UNDECIDED)


def test_weights_that_did_not_move_have_no_logarithm() -> None:
    frozen = evidence().weights | {10500: weights(0.0)}
    assert "a layer's weights did not move" in verdict("weights_settle", evidence(weights=frozen)).detail


def test_the_ablation_of_a_relu_model_is_not_applicable() -> None:
    given = evidence(relu=True)
    assert verdict("ablation_grows/tse", given).status is Status.NOT_APPLICABLE
    assert verdict("wd_rises", given).status is Status.SUPPORTED


def test_a_cohort_that_was_chosen_at_the_end_is_favoured_there() -> None:
    assert "which alone favours a higher cost there" in verdict("ablation_grows/tse", evidence()).detail
    early = verdict("ablation_grows/tse", evidence(selected_at=500)).detail
    assert early.endswith("selected at step 500")


def test_other_items_at_another_checkpoint_are_refused() -> None:
    given = evidence()
    given.treated[10500]["tse"] = pairs(0.6, num=399)
    with pytest.raises(ValueError) as error:
        training_dynamics(given)
    assert str(error.value) == (
        "the item sets differ: 1 of 400 items only in the second condition, such as uid u7, pair 399; "
        "evaluate both conditions on the same items"
    )


def test_a_profile_that_failed_does_not_change_which_stretches_are_compared() -> None:
    given = evidence()
    kept = {step: table for step, table in given.neurons.items() if step not in (500, 5000)}
    assert verdict("weights_settle", given) == verdict("weights_settle", evidence(neurons=kept))


def test_wd_and_accuracy_rise_together() -> None:
    assert wd_correlation(evidence(), "tse", COHORT).pearson.estimate > 0.9


def test_evidence_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence().series = "other"
