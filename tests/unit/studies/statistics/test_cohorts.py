"""Effects on a cohort over made-up trainings, against formulas written out."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from studies.neurons.selection import NeuronSet
from studies.statistics import cohorts
from studies.statistics.cohorts import Comparable, Stretch
from tests.unit.studies.claims.trainings import COHORT, LAYERS, neurons, weights

WD = "wasserstein_distance"


def by_layer(table: pd.DataFrame, *, cohort: bool) -> np.ndarray:
    return table[(table["neuron"] < 10) == cohort].groupby("layer")[table.columns[2]].mean().to_numpy()


def test_a_rise_is_a_t_interval_over_layers() -> None:
    before, after = neurons(0, seed=1), neurons(0.5, seed=2)
    found = cohorts.rise(before, after.sample(frac=1, random_state=0), COHORT, WD)
    own = by_layer(after, cohort=True) - by_layer(before, cohort=True)
    lead = own - by_layer(after, cohort=False) + by_layer(before, cohort=False)
    for effect, values in ((found.own, own), (found.lead, lead)):
        expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert tuple(effect.interval()) == pytest.approx((values.mean(), expected.low, expected.high))
        assert effect.basis == f"{LAYERS} layers" and not effect.components[0].can_grow


def test_the_others_are_those_of_the_cohorts_layers() -> None:
    before, after = neurons(0), neurons(0)
    after.loc[after["layer"] == 3, WD] += 1
    found = cohorts.rise(before, after, NeuronSet.of({0: [1], 1: [5, 6], 2: [7]}), WD)
    assert found.own.value == found.lead.value == 0


def test_one_layer_gives_no_interval() -> None:
    assert np.isnan(cohorts.rise(neurons(0), neurons(1), NeuronSet.of({1: [3, 4]}), WD).own.interval().low)


def test_settling_is_a_ratio_of_layer_means_and_leaves_undefined_neurons_out() -> None:
    early, late = weights(2e-2, seed=1), weights(1e-3, seed=2)
    early["pre_activation"] = early["pre_activation"].where(early["neuron"] != 3)
    found = cohorts.settling(early, late, COHORT, "pre_activation")
    own = np.log(by_layer(early, cohort=True) / by_layer(late, cohort=True))
    lead = own - np.log(by_layer(early, cohort=False) / by_layer(late, cohort=False))
    assert (found.own.value, found.lead.value) == pytest.approx((own.mean(), lead.mean()))
    assert found.own.variance == pytest.approx(own.var(ddof=1) / LAYERS)


def test_medians_of_the_cohort_and_of_the_others_of_its_layers() -> None:
    table = pd.DataFrame({"layer": [0, 0, 0, 0, 1, 1], "neuron": [0, 1, 2, 3, 0, 1], WD: [5.0, 1, 2, np.nan, 70, 80]})
    assert cohorts.medians(table, NeuronSet.of({0: [0, 3]}), WD) == (5, 1.5)
    assert np.isnan(cohorts.medians(table, NeuronSet.of({0: [3]}), WD)[0])


def test_a_neuron_of_a_set_is_known_by_layer_and_index() -> None:
    table = pd.DataFrame({"layer": [0, 0, 1, 1, 2], "neuron": [0, 1, 0, 1, 0]})
    assert cohorts.is_member(table, NeuronSet.of({0: [1], 2: [0], 5: [2]})).tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((0, 10, 20), ((0, 10), (10, 20))),
        ((0, 10, 20, 30, 40), ((0, 10), (30, 40))),
        ((0, 10, 25, 100, 115), ((10, 25), (100, 115))),
        ((0, 10, 100, 112), None),  # more than a tenth longer
        ((0, 10, 100, 111), ((0, 10), (100, 111))),
        ((0, 11, 100, 110), None),  # shorter
        ((0, 512, 1000, 2000, 4000, 8000, 16000, 25000, 50000, 100000, 143000), None),
        ((0, 512, 1000, 2000, 4000, 8000, 16000, 25000, 50000, 142000, 143000), ((1000, 2000), (142000, 143000))),
    ],
)
def test_the_latest_stretch_is_compared_with_the_earliest_of_its_length(
    steps: tuple[int, ...], expected: tuple[tuple[int, int], ...] | None
) -> None:
    before = dict(zip(steps[1:], steps, strict=False))
    pair = cohorts.comparable_stretches(before, before)
    assert pair == (expected and Comparable(*(Stretch(*stretch) for stretch in expected)))


def test_a_stretch_that_was_not_measured_is_passed_over() -> None:
    before = {10: 0, 20: 10, 30: 20, 40: 30}
    assert cohorts.comparable_stretches(before, {20, 30}) == Comparable(Stretch(10, 20), Stretch(20, 30))
    assert cohorts.comparable_stretches(before, {30, 40}) is None


def test_a_longer_stretch_has_the_slack_of_a_steady_drift() -> None:
    pair = Comparable(Stretch(0, 1000), Stretch(5000, 6050))
    assert pair.slack == pytest.approx(2 * np.log(1.05)) and str(pair.late) == "steps 5,000 and 6,050"


def test_tracking_is_the_partial_correlation_of_first_differences() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 30)).cumsum(axis=1)
    number = np.arange(29)
    rest_x, rest_y = (d - np.polyval(np.polyfit(number, d, 2), number) for d in (np.diff(x), np.diff(y)))
    expected = scipy.stats.pearsonr(rest_x, rest_y).statistic
    product = np.prod([np.sum(d[1:] * d[:-1]) / np.sum(d**2) for d in (rest_x, rest_y)])
    worth = 27 * (1 - max(0, product)) / (1 + max(0, product))
    found = cohorts.tracking(x, y)
    assert np.tanh(found.value) == pytest.approx(expected) and found.variance == pytest.approx(1 / (worth - 3))
    interval = cohorts.as_correlation(found.interval())
    half = scipy.stats.norm.isf(0.025) / np.sqrt(worth - 3)
    assert tuple(interval) == pytest.approx(tuple(np.tanh(np.arctanh(expected) + np.array([0, -half, half]))))


def test_differences_of_noise_count_less_than_those_of_a_random_walk() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 4000))
    of_noise, of_walks = cohorts.tracking(*noise), cohorts.tracking(*noise.cumsum(axis=1))
    assert 1 / of_noise.variance == pytest.approx(4000 * 0.6, rel=0.05)  # (1 - 1/4) / (1 + 1/4)
    assert 1 / of_walks.variance == pytest.approx(4000, rel=0.01)


def test_tracking_knows_nothing_of_what_does_not_vary_beside_its_trend() -> None:
    rising, noise = np.linspace(0, 1, 30) ** 2, np.random.default_rng(0).normal(size=30)
    for pair in ((rising, noise), (noise, rising), (np.zeros(30), noise), (noise[:4], noise[:4])):
        assert np.isnan(cohorts.tracking(*pair).value)
    assert np.isnan(cohorts.tracking(noise[:6], noise[:6]).variance), "3 differences are left"
    assert np.isfinite(cohorts.tracking(noise, noise).value)
