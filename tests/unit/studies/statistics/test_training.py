"""Trajectories, correlations and growth over made-up trainings."""

import numpy as np
import pytest

from studies.statistics import training
from tests.unit.studies.claims.trainings import COHORT, STEPS, evidence, neurons


def test_trajectories_have_the_cohorts_range_and_the_middle_of_all() -> None:
    tables = {100: neurons(0.5), 0: neurons(0)}
    table = training.trajectories(tables, {"cohort": COHORT}, training.SCORES)
    assert list(dict.fromkeys(table["step"])) == [0, 100]
    assert set(table["quantity"]) == {"wasserstein_distance", "wasserstein_distance_negative"}, "MD was not scored"
    row = table[(table["step"] == 100) & (table["group"] == "cohort")].iloc[0]
    cohort = tables[100][tables[100]["neuron"] < 10]["wasserstein_distance"]
    expected = (cohort.median(), cohort.min(), cohort.max(), cohort.mean(), COHORT.count)
    assert tuple(row[["median", "low", "high", "mean", "num_neurons"]]) == pytest.approx(expected)
    whole = table[(table["step"] == 0) & (table["group"] == "all")].iloc[0]
    assert (whole["low"], whole["high"]) == pytest.approx(tables[0]["wasserstein_distance"].quantile([0.05, 0.95]))


def test_correlation_is_scipys_and_nothing_where_nothing_varies() -> None:
    rising = training.correlation([1, 2, 3, 4, 5], [1, 2, 2, 4, 5])
    assert rising.pearson.estimate == pytest.approx(np.corrcoef([1, 2, 3, 4, 5], [1, 2, 2, 4, 5])[0, 1])
    assert rising.pearson.low < rising.pearson.estimate < rising.pearson.high and rising.num_checkpoints == 5
    flat = training.correlation([1, 2, 3], [2, 2, 2])
    assert np.isnan(flat.pearson.estimate) and np.isnan(flat.spearman)
    assert np.isnan(training.correlation([1, 2, 3], [1, 3, 2]).pearson.low)


def test_growth_is_paired_and_has_a_trend() -> None:
    given = evidence()
    baseline, treated = (
        {step: by_benchmark["perplexity"] for step, by_benchmark in items.items()}
        for items in (given.baseline, given.treated)
    )
    growth = training.growth(baseline, treated)
    assert growth.difference.estimate == pytest.approx(2, abs=0.01) and growth.num_items == 12
    assert growth.trend.p_value < 1e-6 and growth.trend.num_groups == len(STEPS)
