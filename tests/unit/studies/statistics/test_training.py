"""Trajectories, correlations and growth over made-up trainings; the scorecard can hold, fail and be undecidable."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from studies.claims.paper import Status
from studies.claims.training import TrainingEvidence, training_dynamics, wd_correlation
from studies.neurons.selection import NeuronSet
from studies.reporting import training_figures
from studies.reporting.text import series_lines
from studies.statistics import training as dynamics

STEPS = (0, 10, 100, 1000, 5000, 10000)
WIDTH = 200
COHORT = NeuronSet.of({0: list(range(10)), 1: list(range(10))})
RANDOM = NeuronSet.of({0: list(range(50, 60)), 1: list(range(50, 60))})
GROWN = {step: i / (len(STEPS) - 1) for i, step in enumerate(STEPS)}
"""How far training is, from 0 to 1."""


def neurons(grown: float, seed: int = 0) -> pd.DataFrame:
    """WD 0.05 everywhere at first; the cohort's rises to 0.25."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"layer": np.repeat([0, 1], WIDTH), "neuron": np.tile(np.arange(WIDTH), 2)})
    wd = 0.05 + 0.002 * rng.normal(size=len(table)) + 0.2 * grown * (table["neuron"] < 10)
    return table.assign(wasserstein_distance=wd, wasserstein_distance_negative=wd / 2)


def weights(per_step: float, gap: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = neurons(0)[["layer", "neuron"]]
    moved = per_step * gap * rng.uniform(0.8, 1.2, size=len(table))
    return table.assign(pre_activation=moved, down=moved / 2)


def pairs(accuracy: float, seed: int = 0, num: int = 400) -> pd.DataFrame:
    right = np.random.default_rng(seed).permutation(num) < round(accuracy * num)
    frame = pd.DataFrame({"uid": [f"u{i % 8}" for i in range(num)], "phenomenon": "p", "pair": range(num)})
    return frame.assign(correct=right.astype(float))


def windows(nll: float, num: int = 12) -> pd.DataFrame:
    return pd.DataFrame({"window": range(num), "nll": nll + 0.1 * np.sin(np.arange(num)), "num_tokens": 127})


def evidence(**changes) -> TrainingEvidence:
    base = {s: {"tse": pairs(0.5 + 0.3 * g), "perplexity": windows(8 - 3 * g)} for s, g in GROWN.items()}
    treated = {s: {"tse": pairs(0.5 + 0.1 * g), "perplexity": windows(8 - 2.5 * g)} for s, g in GROWN.items()}
    gaps = zip(STEPS[1:], np.diff(STEPS), strict=True)
    fields = {
        "series": "m",
        "relu": False,
        "neurons": {s: neurons(g, seed=s) for s, g in GROWN.items()},
        "weights": {s: weights(1e-3 / (1 + s), int(gap), seed=s) for s, gap in gaps},
        "before": dict(zip(STEPS[1:], STEPS, strict=False)),
        "cohort": COHORT,
        "randoms": {"random/seed=0": RANDOM},
        "baseline": base,
        "treated": treated,
        "random_items": {"random/seed=0": base},
        "syntactic": ("tse",),
    }
    return TrainingEvidence(**fields | changes)


NAMES = ["wd_rises", "weights_settle", "wd_tracks_syntax/tse", "ablation_grows/perplexity", "ablation_grows/tse"]


def statuses(given: TrainingEvidence) -> dict[str, Status]:
    return {verdict.claim: verdict.status for verdict in training_dynamics(given)}


def test_a_training_as_in_the_paper_holds_throughout():
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
def test_each_claim_can_fail(claim, changes):
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
def test_each_claim_says_why_it_cannot_be_decided(claim, changes, reason):
    (verdict,) = [v for v in training_dynamics(evidence(**changes)) if v.claim == claim]
    assert verdict.status is Status.NOT_DECIDABLE and reason in verdict.detail


def test_the_ablation_of_a_relu_model_is_not_asked_about():
    found = statuses(evidence(relu=True))
    assert found["ablation_grows/tse"] is Status.NOT_APPLICABLE and found["wd_rises"] is Status.HOLDS


def test_other_items_at_another_checkpoint_are_refused():
    given = evidence()
    given.treated[10000]["tse"] = pairs(0.6, num=399)
    with pytest.raises(ValueError, match="item sets differ"):
        training_dynamics(given)


def test_trajectories_have_the_cohorts_range_and_the_middle_of_all():
    tables = {100: neurons(0.5), 0: neurons(0)}
    found = dynamics.trajectories(tables, {"cohort": COHORT}, dynamics.SCORES)
    assert list(dict.fromkeys(found["step"])) == [0, 100]
    assert set(found["quantity"]) == {"wasserstein_distance", "wasserstein_distance_negative"}, "MD was not scored"
    row = found[(found["step"] == 100) & (found["group"] == "cohort")].iloc[0]
    mine = tables[100][tables[100]["neuron"] < 10]["wasserstein_distance"]
    expected = (mine.median(), mine.min(), mine.max(), mine.mean(), 20)
    assert tuple(row[["median", "low", "high", "mean", "num_neurons"]]) == pytest.approx(expected)
    whole = found[(found["step"] == 0) & (found["group"] == "all")].iloc[0]
    assert (whole["low"], whole["high"]) == pytest.approx(tables[0]["wasserstein_distance"].quantile([0.05, 0.95]))


def test_correlation_is_scipys_and_nothing_where_nothing_varies():
    found = dynamics.correlation([1, 2, 3, 4, 5], [1, 2, 2, 4, 5])
    assert found.pearson.estimate == pytest.approx(np.corrcoef([1, 2, 3, 4, 5], [1, 2, 2, 4, 5])[0, 1])
    assert found.pearson.low < found.pearson.estimate < found.pearson.high and found.num_checkpoints == 5
    flat = dynamics.correlation([1, 2, 3], [2, 2, 2])
    assert np.isnan(flat.pearson.estimate) and np.isnan(flat.spearman)
    assert np.isnan(dynamics.correlation([1, 2, 3], [1, 3, 2]).pearson.low)


def test_settling_is_per_step_and_leaves_undefined_neurons_out():
    found = evidence()
    table = found.weights[10]
    found.weights[10] = table.assign(pre_activation=table["pre_activation"].where(table["neuron"] != 3))
    value = dynamics.settling(found.weights, found.before, COHORT, "pre_activation")
    first = found.weights[10].query("neuron < 10 and neuron != 3")["pre_activation"].mean() / 10
    last = found.weights[10000].query("neuron < 10 and neuron != 3")["pre_activation"].mean() / 5000
    assert value.estimate == pytest.approx(first - last)


def test_a_profile_that_failed_does_not_change_how_far_apart_two_checkpoints_are():
    given = evidence()
    kept = {step: table for step, table in given.neurons.items() if step not in (10, 5000)}
    both = [training_dynamics(evidence(neurons=neurons)) for neurons in (given.neurons, kept)]
    one, other = ([v for v in verdicts if v.claim == "weights_settle"] for verdicts in both)
    assert one == other


def test_growth_is_paired_and_has_a_trend():
    given = evidence()
    baseline, treated = (
        {s: frames["perplexity"] for s, frames in one.items()} for one in (given.baseline, given.treated)
    )
    found = dynamics.growth(baseline, treated)
    assert found.difference.estimate == pytest.approx(0.5) and found.num_items == 12
    assert found.trend.p_value < 1e-6 and found.trend.num_groups == len(STEPS)


def test_the_report_and_the_figures():
    given = evidence()
    correlation = wd_correlation(given, "tse", COHORT)
    assert correlation.pearson.estimate > 0.9
    found = {"estimate": 0.9, "low": 0.5, "high": 0.99, "checkpoints": 6}
    grown = {"estimate": 0.1, "low": 0.05, "high": 0.2, "first": 0, "last": 10, "trend": {"p_value": 0.01}}
    series = {
        "cohort": "m@step10",
        "correlations": {"tse": {"top": found, "none": found | {"estimate": None}}},
        "growth": [{"condition": "top", "benchmark": "tse"} | grown],
    }
    lines = series_lines(series)
    assert lines[0].endswith("over 6 checkpoints, cohort of m@step10: top 0.900 [0.500, 0.990]")
    assert lines[1] == "top, cost on tse: 0.100 [0.050, 0.200] more at step 10 than at step 0, Page's trend p = 0.01"
    table = dynamics.trajectories(given.neurons, {"top": COHORT, "random/seed=0": RANDOM}, dynamics.SCORES)
    moves = dynamics.trajectories(given.weights, {"top": COHORT}, ("pre_activation", "up", "down"))
    effects = pd.DataFrame(
        [(s, "top", "tse", g, g - 0.1, g + 0.1) for s, g in GROWN.items()],
        columns=["step", "condition", "benchmark", "estimate", "low", "high"],
    )
    drawn = [
        training_figures.trajectory_figure(table, treated="top", title="m"),
        training_figures.trajectory_figure(moves, treated="top", title="m", log=True),
        training_figures.condition_figure({"TSE": {"baseline": GROWN, "top": GROWN}}, treated="top", title="m"),
        training_figures.effect_figure(effects, treated="top", title="m"),
        training_figures.correlation_figure({"tse": [(s, g, g) for s, g in GROWN.items()]}, title="m", note="n"),
    ]
    assert all(png.startswith(b"\x89PNG") for png in drawn)


def test_evidence_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence().series = "other"
