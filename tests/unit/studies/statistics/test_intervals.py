"""Item statistics on synthetic frames whose effects are known."""

import numpy as np
import pandas as pd
import pytest

from studies.statistics.intervals import (
    accuracy_difference,
    accuracy_interval,
    by_group,
    contrast_of_differences,
    holm,
    log_perplexity_difference,
    mcnemar,
    noise_floor,
    perplexity_interval,
    pool,
    require_same,
)


def pairs(correct, num_uids=1):
    correct = np.asarray(correct, dtype=float)
    item = np.arange(len(correct))
    uid = np.char.add("paradigm_", (item % num_uids).astype(str))
    return pd.DataFrame(
        {
            "uid": uid,
            "phenomenon": "island_effects",
            "pair": item,
            "logprob_good": -10.0,
            "logprob_bad": -12.0,
            "correct": correct,
        }
    )


def windows(nll):
    return pd.DataFrame({"window": range(len(nll)), "nll": np.asarray(nll, dtype=float), "num_tokens": 2047})


def bernoulli(seed, probability, size):
    return (np.random.default_rng(seed).random(size) < probability).astype(float)


def test_a_tie_counts_half():
    assert accuracy_interval(pairs([1, 0.5, 0, 0.5])).estimate == 0.5


def test_accuracy_interval_matches_the_normal_approximation():
    interval = accuracy_interval(pairs(bernoulli(0, 0.8, 10_000)), num_resamples=4000)
    half_width = 1.96 * np.sqrt(interval.estimate * (1 - interval.estimate) / 10_000)
    assert interval.low == pytest.approx(interval.estimate - half_width, abs=0.0006)
    assert interval.high == pytest.approx(interval.estimate + half_width, abs=0.0006)


def test_bootstrap_equals_drawing_items_one_by_one():
    correct = np.array([1.0] * 30 + [0.5] * 10 + [0.0] * 20)
    drawn = np.random.default_rng(5).choice(correct, size=(20_000, 60)).mean(axis=1)
    interval = accuracy_interval(pairs(correct), num_resamples=20_000, seed=1)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.009)


@pytest.mark.parametrize("num_uids", [1, 10, 200])
def test_intervals_cover_the_truth_as_often_as_they_say(num_uids):
    """200 uids of two items each: resampling inside them alone would cover far less."""
    covered = 0
    for seed in range(200):
        interval = accuracy_interval(pairs(bernoulli(seed, 0.8, 400), num_uids), num_resamples=400, seed=seed)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.90 <= covered / 200 <= 0.99


def test_window_intervals_cover_the_truth():
    covered = 0
    for seed in range(200):
        nll = np.random.default_rng(seed).normal(3.0, 0.3, 60)
        interval = perplexity_interval(windows(nll), num_resamples=400, seed=seed)
        covered += interval.low <= np.exp(3.0) <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_items_are_resampled_within_their_uid():
    """One uid always right, one always wrong: the mix is fixed, so nothing varies."""
    items = pairs([1.0, 0.0] * 50, num_uids=2)
    assert accuracy_interval(items)[1:] == (0.5, 0.5)
    clustered = accuracy_interval(items, cluster="uid")
    assert clustered.estimate == 0.5
    assert clustered[1:] == (0.0, 1.0)


def test_clusters_of_one_uid_have_no_interval():
    assert np.isnan(accuracy_interval(pairs([1, 0, 1]), cluster="uid")[1:]).all()


def test_clusters_of_unequal_size_are_weighed_by_their_items():
    """Everything is right, so every resample is: dividing by the fixed number of items would not give 1."""
    items = pairs(np.ones(7), num_uids=3)
    assert accuracy_interval(items, cluster="uid") == (1.0, 1.0, 1.0)


def test_same_seed_same_interval_other_seed_another():
    items = pairs(bernoulli(3, 0.7, 500))
    assert accuracy_interval(items, seed=1) == accuracy_interval(items, seed=1)
    assert accuracy_interval(items, seed=1) != accuracy_interval(items, seed=2)


def test_chunks_do_not_change_the_numbers(monkeypatch):
    items = windows(np.random.default_rng(0).normal(3, 0.2, 50))
    whole = perplexity_interval(items)
    monkeypatch.setattr("studies.statistics.intervals._CHUNK", 700)
    assert perplexity_interval(items) == whole


def test_perplexity_is_exp_of_the_mean_window_loss():
    interval = perplexity_interval(windows([2.0, 4.0, 2.5, 3.5]))
    assert interval.estimate == pytest.approx(np.exp(3.0))
    assert interval.low < interval.estimate < interval.high


def test_one_window_has_no_interval():
    interval = perplexity_interval(windows([3.0]))
    assert interval.estimate == pytest.approx(np.exp(3.0))
    assert np.isnan(interval[1:]).all()


def test_known_drop_is_found_and_flips_sign():
    control, treated = pairs(bernoulli(0, 0.9, 2000)), pairs(bernoulli(1, 0.7, 2000))
    drop, rise = accuracy_difference(treated, control), accuracy_difference(control, treated)
    assert drop.high < 0 < rise.low
    assert drop.low < -0.2 < drop.high
    assert rise.estimate == -drop.estimate


def test_differences_are_paired_whatever_the_row_order():
    """The same answers in another order: unpaired, the interval would not be empty."""
    control = pairs(bernoulli(0, 0.6, 500), num_uids=5)
    shuffled = control.sample(frac=1, random_state=0)
    assert accuracy_difference(shuffled, control) == (0.0, 0.0, 0.0)
    losses = windows(np.linspace(2, 4, 40))
    shifted = losses.assign(nll=losses["nll"] + 0.125).sample(frac=1, random_state=0)
    assert log_perplexity_difference(shifted, losses) == pytest.approx((0.125, 0.125, 0.125))


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.iloc[1:],
        lambda items: items.assign(pair=items["pair"] + 1),
        lambda items: items.assign(uid="other"),
        lambda items: pd.concat([items, items.iloc[:1]]),
        lambda items: items.drop(columns="pair"),
        lambda items: items.assign(correct=np.nan),
    ],
    ids=["fewer", "other pairs", "other uid", "twice", "no key", "not finite"],
)
def test_unequal_items_are_refused_both_ways(change):
    items = pairs([1, 0, 1, 0])
    for treated, control in ((change(items), items), (items, change(items))):
        with pytest.raises(ValueError):
            accuracy_difference(treated, control)
        with pytest.raises(ValueError):
            mcnemar(treated, control)


def test_the_refusal_names_an_item():
    with pytest.raises(ValueError, match=r"1 of 4 items only in control, such as uid paradigm_0, pair 0;"):
        accuracy_difference(pairs([1, 0, 1, 0]).iloc[1:], pairs([1, 0, 1, 0]))


def test_windows_of_another_length_are_other_windows():
    items = windows([3.0, 3.1])
    with pytest.raises(ValueError, match="item sets differ"):
        log_perplexity_difference(items.assign(num_tokens=1023), items)


def test_choices_are_paired_by_id():
    control = pd.DataFrame({"id": ["a", "b", "c"], "correct": [1, 0, 1]})
    treated = pd.DataFrame({"id": ["c", "b", "a"], "correct": [0, 0, 1]})
    assert accuracy_difference(treated, control).estimate == pytest.approx(-1 / 3)
    assert mcnemar(treated, control)[:3] == (1, 0, 0)


def test_interaction_subtracts_and_pools_the_noise():
    control_a, treated_a = pairs(bernoulli(0, 0.9, 3000)), pairs(bernoulli(1, 0.7, 3000))
    control_b, treated_b = pairs(bernoulli(2, 0.6, 3000)), pairs(bernoulli(3, 0.55, 3000))
    interaction = contrast_of_differences(treated_a, control_a, treated_b, control_b)
    on_a, on_b = accuracy_difference(treated_a, control_a), accuracy_difference(treated_b, control_b)
    assert interaction.estimate == pytest.approx(on_a.estimate - on_b.estimate)
    assert interaction.low < -0.15 < interaction.high < 0
    width = np.hypot(on_a.high - on_a.low, on_b.high - on_b.low)
    assert interaction.high - interaction.low == pytest.approx(width, rel=0.08)


def test_interaction_resamples_its_sides_independently():
    """With one stream for both, equal sides would cancel in every resample."""
    control, treated = pairs(bernoulli(0, 0.9, 500)), pairs(bernoulli(1, 0.7, 500))
    interaction = contrast_of_differences(treated, control, treated, control)
    assert interaction.low < -0.02 and interaction.high > 0.02


def test_mcnemar_is_the_exact_binomial_and_drops_ties():
    control = pairs([1] * 8 + [0] * 1 + [1, 0] * 5 + [0.5, 0.5, 1])
    treated = pairs([0] * 8 + [1] * 1 + [1, 0] * 5 + [0, 0.5, 0.5])
    result = mcnemar(treated, control)
    assert result[:3] == (8, 1, 3)
    assert result.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert mcnemar(control, treated)[:2] == (1, 8)


def test_mcnemar_without_changes():
    assert mcnemar(pairs([1, 0]), pairs([1, 0])) == (0, 0, 0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_by_group_counts_ties_half():
    items = pairs([1, 0.5, 1, 0, 1], num_uids=2)
    table = by_group(items, "uid")
    assert table.to_dict("list") == {"uid": ["paradigm_0", "paradigm_1"], "accuracy": [1.0, 0.25], "num_items": [3, 2]}
    with pytest.raises(ValueError, match="no column 'phenomenom'"):
        by_group(items, "phenomenom")


def test_pool_keeps_items_apart_and_weighs_them_equally():
    choices = pd.DataFrame({"id": [0, 1], "correct": [0, 0]})
    pooled = pool({"arc_easy": choices, "piqa": choices, "mine": pairs([1] * 6)})
    assert accuracy_interval(pooled).estimate == 0.6
    assert accuracy_difference(pooled, pooled).estimate == 0
    assert set(pooled["uid"]) == {"arc_easy", "piqa", "mine/paradigm_0"}


def test_require_same_names_the_two_that_differ():
    require_same({"baseline/blimp": "tree-a", "treated/blimp": "tree-a"})
    require_same({})
    with pytest.raises(ValueError, match=r"baseline/blimp with matched/blimp.*'tree-a' and 'flat-b'"):
        require_same({"baseline/blimp": "tree-a", "treated/blimp": "tree-a", "matched/blimp": "flat-b"})


def test_noise_floor_of_pairs_choices_and_perplexity():
    baseline = pairs([1, 1, 0])
    moved = baseline.assign(logprob_bad=[-12.0, -12.25, -12.0], correct=[1, 1, 1]).iloc[::-1]
    assert noise_floor(baseline, moved) == (3, 0.25, 1, None)

    choices = pd.DataFrame({"id": [0, 1], "logprobs": [[-1.0, -2.0], [-3.0]], "predicted": [0, 0], "correct": [1, 1]})
    others = choices.assign(logprobs=[[-1.5, -2.0], [-3.0]], predicted=[1, 0])
    assert noise_floor(choices, others) == (2, 0.5, 1, None)

    losses = windows([3.0, 4.0])
    assert noise_floor(losses, losses.assign(nll=losses["nll"] - 0.1))[3] == pytest.approx(1 - np.exp(-0.1))


def test_noise_floor_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="not finite"):
        noise_floor(pairs([1]), pairs([1]).assign(logprob_bad=-np.inf))
