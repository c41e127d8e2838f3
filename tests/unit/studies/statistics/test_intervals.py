"""Bootstrap intervals of synthetic items: against the normal approximation, direct resampling and known coverage."""

from dataclasses import replace

import numpy as np
import pytest

from studies.statistics.intervals import difference, estimate
from studies.statistics.items import Items
from tests.unit.studies.statistics.frames import bernoulli, pairs, windows


def over_uids(items: Items) -> Items:
    """The items with an interval over whole uids."""
    return replace(items, measure=replace(items.measure, resamples_clusters=True))


def test_a_tie_counts_half() -> None:
    assert estimate(pairs([1, 0.5, 0, 0.5])).estimate == 0.5


def test_accuracy_interval_matches_the_normal_approximation() -> None:
    interval = estimate(pairs(bernoulli(0, 0.8, 10_000)), num_resamples=4000)
    half_width = 1.96 * np.sqrt(interval.estimate * (1 - interval.estimate) / 10_000)
    assert interval.low == pytest.approx(interval.estimate - half_width, abs=0.0006)
    assert interval.high == pytest.approx(interval.estimate + half_width, abs=0.0006)


def test_bootstrap_equals_drawing_items_one_by_one() -> None:
    correct = np.array([1.0] * 30 + [0.5] * 10 + [0.0] * 20)
    drawn = np.random.default_rng(5).choice(correct, size=(20_000, 60)).mean(axis=1)
    interval = estimate(pairs(correct), num_resamples=20_000, seed=1)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.009)


@pytest.mark.parametrize("num_uids", [1, 10, 200])
def test_intervals_cover_the_true_accuracy_as_often_as_they_say(num_uids: int) -> None:
    """200 uids of two items each: resampling inside them alone would cover far less."""
    covered = 0
    for seed in range(200):
        interval = estimate(pairs(bernoulli(seed, 0.8, 400), num_uids), num_resamples=400, seed=seed)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_window_intervals_cover_the_true_perplexity() -> None:
    covered = 0
    for seed in range(200):
        nll = np.random.default_rng(seed).normal(3.0, 0.3, 60)
        interval = estimate(windows(nll), num_resamples=400, seed=seed)
        covered += interval.low <= np.exp(3.0) <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_items_are_resampled_within_their_uid() -> None:
    """One uid always right, one always wrong: the mix is fixed, so nothing varies."""
    items = pairs([1.0, 0.0] * 50, num_uids=2)
    assert estimate(items)[1:] == (0.5, 0.5)
    clustered = estimate(over_uids(items))
    assert clustered.estimate == 0.5
    assert clustered[1:] == (0.0, 1.0)


def test_clusters_of_one_uid_have_no_interval() -> None:
    assert np.isnan(estimate(over_uids(pairs([1, 0, 1])))[1:]).all()


def test_clusters_of_unequal_size_are_weighed_by_their_items() -> None:
    """Everything is right, so every resample is: dividing by the fixed number of items would not give 1."""
    items = pairs(np.ones(7), num_uids=3)
    assert estimate(over_uids(items)) == (1.0, 1.0, 1.0)


def test_same_seed_same_interval_other_seed_another() -> None:
    items = pairs(bernoulli(3, 0.7, 500))
    assert estimate(items, seed=1) == estimate(items, seed=1)
    assert estimate(items, seed=1) != estimate(items, seed=2)


def test_chunks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    items = windows(np.random.default_rng(0).normal(3, 0.2, 50))
    whole = estimate(items)
    monkeypatch.setattr("studies.statistics.intervals._CHUNK", 700)
    assert estimate(items) == whole


def test_perplexity_is_exp_of_the_mean_window_loss() -> None:
    interval = estimate(windows([2.0, 4.0, 2.5, 3.5]))
    assert interval.estimate == pytest.approx(np.exp(3.0))
    assert interval.low < interval.estimate < interval.high


def test_one_window_has_no_interval() -> None:
    interval = estimate(windows([3.0]))
    assert interval.estimate == pytest.approx(np.exp(3.0))
    assert np.isnan(interval[1:]).all()


def test_known_drop_is_found_and_flips_sign() -> None:
    control, treated = pairs(bernoulli(0, 0.9, 2000)), pairs(bernoulli(1, 0.7, 2000))
    drop, rise = difference(treated, control), difference(control, treated)
    assert drop.high < 0 < rise.low
    assert drop.low < -0.2 < drop.high
    assert rise.estimate == -drop.estimate
