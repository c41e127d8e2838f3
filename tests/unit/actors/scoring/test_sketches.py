"""Sketches of pre-activations against exact sorted oracles that share no code with them.

T tokens, F neurons.
"""

import io
import itertools
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.stats import norm
from torch import Tensor

from actors.scoring.histograms import RangeCalibration, Ranges
from actors.scoring.mapping_difficulty import MappingDifficultySketch
from actors.scoring.sketches import NeuronStatistics, PreActivationSketch
from tests.unit.actors.scoring.neurons import NUM_BINS, NUM_TOKENS, ORDINARY, OUTLIERS, calibrated, tokens

EXACT = ("num_tokens", "counts_FK2", "far_negative_F", "max_F")
SUMS = ("mean_F", "m2_F", "m3_F", "m4_F", "negative_excess_F", "excess_below_F", "excess_above_F")


def exact_wasserstein(y: ArrayLike) -> tuple[float, float]:
    """WD and its part over y < 0: the exact integral of |step CDF - Phi|, interval by interval."""
    y = np.sort(np.asarray(y, dtype=np.float64))
    z, zero = (y - y.mean()) / y.std(), -y.mean() / y.std()
    num_negative = np.searchsorted(y, 0.0)
    knots = np.concatenate([[-40.0], z[:num_negative], [zero], z[num_negative:], [40.0]])
    steps = np.concatenate([np.arange(num_negative + 1), np.arange(num_negative, len(y) + 1)]) / len(y)
    left, right = np.minimum(knots[:-1], knots[1:]), knots[1:]  # massive outliers lie beyond +-40
    crossing = norm.ppf(steps).clip(left, right)

    def phi_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (b * norm.cdf(b) + norm.pdf(b)) - (a * norm.cdf(a) + norm.pdf(a))

    area = np.abs(steps * (crossing - left) - phi_area(left, crossing))
    area += np.abs(steps * (right - crossing) - phi_area(crossing, right))
    return area.sum(), area[right <= zero].sum()


def sketched(ranges: Ranges, *batches: Tensor) -> PreActivationSketch:
    sketch = PreActivationSketch(ranges, "cpu")
    for batch_TF in batches:
        sketch.update(batch_TF)
    return sketch


def scored(y_TF: Tensor) -> NeuronStatistics:
    """Calibrate on the first eighth, as a study does; one update with everything."""
    return sketched(calibrated(y_TF[: len(y_TF) // 8]), y_TF).statistics()


def assert_same(sketch: PreActivationSketch, expected: PreActivationSketch) -> None:
    a, b = sketch.state(), expected.state()
    assert a.keys() == b.keys()
    for name in EXACT:
        assert torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])), name
    for name in SUMS:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-12, atol=0, err_msg=name)


@pytest.fixture(scope="module")
def ordinary_scores() -> NeuronStatistics:
    return scored(tokens(ORDINARY))


@pytest.fixture(scope="module")
def outlier_scores() -> NeuronStatistics:
    return scored(tokens(OUTLIERS))


@pytest.mark.parametrize("name", ORDINARY)
def test_wasserstein_of_ordinary_neurons_is_exact_to_2e4(name: str, ordinary_scores: NeuronStatistics) -> None:
    whole, negative = exact_wasserstein(ORDINARY[name])
    neuron = list(ORDINARY).index(name)
    assert ordinary_scores.wasserstein_distance[neuron] == pytest.approx(whole, abs=2e-4)
    assert ordinary_scores.wasserstein_distance_negative[neuron] == pytest.approx(negative, abs=2e-4)


@pytest.mark.parametrize("name", OUTLIERS)
def test_wasserstein_with_massive_outliers_is_exact_to_1e3(name: str, outlier_scores: NeuronStatistics) -> None:
    whole, negative = exact_wasserstein(OUTLIERS[name])
    neuron = list(OUTLIERS).index(name)
    assert outlier_scores.wasserstein_distance[neuron] == pytest.approx(whole, abs=1e-3)
    assert outlier_scores.wasserstein_distance_negative[neuron] == pytest.approx(negative, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_wasserstein_of_low_precision_inputs(dtype: torch.dtype) -> None:
    names = ["gaussian", "shifted", "skewed", "bimodal", "negative_bump", "positive_far_from_zero"]
    y_TF = tokens({name: ORDINARY[name] for name in names}).to(dtype)
    scores = scored(y_TF)
    for neuron in range(len(names)):
        whole, negative = exact_wasserstein(y_TF[:, neuron].double())
        assert scores.wasserstein_distance[neuron] == pytest.approx(whole, abs=1e-3), names[neuron]
        assert scores.wasserstein_distance_negative[neuron] == pytest.approx(negative, abs=1e-3), names[neuron]


def test_wasserstein_agrees_with_scipy_on_a_random_reference(ordinary_scores: NeuronStatistics) -> None:
    reference = np.random.default_rng(2).normal(size=200_000)
    for neuron, y in enumerate(ORDINARY.values()):
        expected = scipy.stats.wasserstein_distance((y - y.mean()) / y.std(), reference)
        assert ordinary_scores.wasserstein_distance[neuron] == pytest.approx(expected, abs=0.006)


def test_the_error_falls_with_the_number_of_bins() -> None:
    y_TF, errors = tokens({"skewed": ORDINARY["skewed"]}), []
    for num_bins in (16, 64, 256):
        scores = sketched(calibrated(y_TF, num_bins), y_TF).statistics()
        errors.append(abs(scores.wasserstein_distance.item() - exact_wasserstein(ORDINARY["skewed"])[0]))
    assert errors[0] > errors[1] > errors[2]


def test_moments_equal_scipy(ordinary_scores: NeuronStatistics, outlier_scores: NeuronStatistics) -> None:
    for neurons, scores in ((ORDINARY, ordinary_scores), (OUTLIERS, outlier_scores)):
        y_TF = np.stack(list(neurons.values()), axis=1)
        close = {"rtol": 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(scores.mean, y_TF.mean(0), **close)
        np.testing.assert_allclose(scores.std, y_TF.std(0), rtol=1e-8)
        centred_TF = y_TF - y_TF.mean(0)
        np.testing.assert_allclose(scores.skewness, scipy.stats.skew(centred_TF), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(scores.kurtosis, scipy.stats.kurtosis(centred_TF), rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(scores.negative_fraction, (y_TF < 0).mean(0))
        assert all(column.dtype == torch.float64 and column.device.type == "cpu" for column in scores)


def exact_ceiling(y: ArrayLike) -> float:
    """The smallest c >= 0 with E[(y - c)+] <= E[(-y)+], from sorted values."""
    y = np.asarray(y, dtype=np.float64)
    negative, descending = -y[y < 0].sum(), np.sort(y[y > 0])[::-1]
    above = descending.cumsum() - np.arange(1, len(descending) + 1) * descending  # sum of (y - c)+ at each c = y
    k = int((above <= negative + 1e-11).sum())  # the ceiling lies among or below the k highest values
    if k == 0:
        return 0.0
    return max(0.0, (descending[:k].sum() - negative) / k)


def make_lopsided() -> dict[str, np.ndarray]:
    """Neurons with a negative half that is nearly or wholly absent, or all there is."""
    rng, n = np.random.default_rng(8), NUM_TOKENS
    positive = rng.gamma(4, 0.5, n) + 0.01
    rarely, once, hugely = positive.copy(), positive.copy(), positive.copy()
    rarely[rng.choice(n, n // 10_000 + 1, replace=False)] = -rng.uniform(1e-3, 0.1, n // 10_000 + 1)
    once[-1] = -1e-9
    hugely[[n // 2, n - 1]] = -3.0, 800.0
    return {
        "rarely_negative": rarely,
        "negative_once_by_a_hair": once,
        "rarely_negative_with_an_outlier": hugely,
        "rarely_negative_and_far": np.where(np.arange(n) % 5000 == 4999, -0.01, rng.normal(50, 1, n)),
        "never_negative": positive,
        "never_negative_with_an_outlier": np.where(np.arange(n) == n - 9, 1e4, positive),
        "always_negative": -positive,
        "rarely_positive": -rarely,
        "both_sides_alike": rng.permutation(np.concatenate([positive[: n // 2], -positive[: n // 2]])),
        "always_zero": np.zeros(n),
        "always_the_same": np.full(n, 0.3),
    }


LOPSIDED = make_lopsided()


def test_moments_and_the_negative_half_of_lopsided_neurons_are_exact() -> None:
    y_TF = np.stack(list(LOPSIDED.values()), axis=1)
    scores, negative_TF = scored(torch.tensor(y_TF)), y_TF < 0
    num_negative_F = negative_TF.sum(0)
    np.testing.assert_array_equal(scores.negative_fraction, num_negative_F / NUM_TOKENS)
    expected_F = np.where(num_negative_F, (y_TF * negative_TF).sum(0) / num_negative_F.clip(1), 0.0)
    np.testing.assert_allclose(scores.negative_mean, expected_F, rtol=1e-12)
    np.testing.assert_allclose(scores.mean, y_TF.mean(0), rtol=1e-12, atol=1e-15)
    varies = np.ptp(y_TF, axis=0) > 0
    np.testing.assert_allclose(scores.skewness[varies], scipy.stats.skew(y_TF[:, varies]), rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(scores.kurtosis[varies], scipy.stats.kurtosis(y_TF[:, varies]), rtol=1e-8)


@pytest.mark.parametrize("name", [name for name, y in LOPSIDED.items() if np.ptp(y)])
def test_the_negative_part_of_the_distance_of_lopsided_neurons(name: str) -> None:
    scores = scored(tokens({name: LOPSIDED[name]}))
    whole, negative = exact_wasserstein(LOPSIDED[name])
    assert scores.wasserstein_distance.item() == pytest.approx(whole, abs=1e-3)
    assert scores.wasserstein_distance_negative.item() == pytest.approx(negative, abs=1e-3)


@pytest.mark.parametrize(("name", "y"), [*ORDINARY.items(), *OUTLIERS.items(), *LOPSIDED.items()])
def test_the_matched_ceiling_is_finite_and_exact_to_one_bin(name: str, y: np.ndarray) -> None:
    y_TF = torch.tensor(y)[:, None]
    ranges = calibrated(y_TF[: NUM_TOKENS // 8])
    ceiling = sketched(ranges, y_TF).statistics().matched_ceiling.item()
    expected, negative = exact_ceiling(y), np.maximum(-y, 0).mean()
    assert 0 <= ceiling <= max(y.max(), 0)
    if ceiling <= ranges.high_F.item():
        assert ceiling == pytest.approx(expected, abs=ranges.width_F.item()), name
    if y.mean() >= 0:
        assert np.maximum(y - ceiling, 0).mean() == pytest.approx(negative, abs=1e-3 * max(y.std(), 1e-12)), name
    else:
        assert ceiling == 0, f"{name}: the positive side is too small"


def test_the_matched_ceiling_above_the_bins() -> None:
    y = np.abs(np.random.default_rng(9).normal(size=NUM_TOKENS)).clip(max=4)
    ranges = calibrated(torch.tensor(y)[:, None])
    evenly_spread = ranges.high_F.item() + np.arange(1, 202, 2)
    for far, tolerance in ((np.array([300.0]), 1e-9), (evenly_spread, 1e-2)):
        for negative in (-1e-6, -50.0, -150.0):
            tail = np.concatenate((y, far, [negative]))
            ceiling = sketched(ranges, torch.tensor(tail)[:, None]).statistics().matched_ceiling.item()
            assert ceiling == pytest.approx(exact_ceiling(tail), rel=tolerance) and ceiling < far.max()


def test_a_ceiling_below_all_bins_is_unknown() -> None:
    y = np.concatenate([np.random.default_rng(10).normal(10, 0.01, 2000), np.full(2000, -3.0), np.full(4000, 2.0)])
    scores = sketched(calibrated(torch.tensor(y[:2000])[:, None]), torch.tensor(y)[:, None]).statistics()
    assert scores.matched_ceiling.isnan().all()
    assert scores.negative_mean.item() == -3.0 and scores.negative_fraction.item() == 0.25


def test_values_beyond_the_bins_are_not_lost() -> None:
    y_TF = tokens({"gaussian": ORDINARY["gaussian"]})
    ranges = calibrated(y_TF)
    outliers_TF = torch.tensor([[300.0], [70.0], [-90.0]], dtype=torch.float64)
    sketch = sketched(ranges, y_TF, outliers_TF)
    state = sketch.state()
    assert state["counts_FK2"].sum() == NUM_TOKENS + 3
    assert state["counts_FK2"][0, [0, -1]].tolist() == [1, 2]
    assert state["excess_above_F"] == pytest.approx((370 - 2 * ranges.high_F).numpy())
    assert state["excess_below_F"] == pytest.approx((ranges.low_F + 90).numpy())
    whole, negative = exact_wasserstein(torch.cat([y_TF, outliers_TF])[:, 0])
    assert sketch.statistics().wasserstein_distance.item() == pytest.approx(whole, abs=1e-3)
    assert sketch.statistics().wasserstein_distance_negative.item() == pytest.approx(negative, abs=1e-3)
    clipped = sketched(ranges, y_TF, outliers_TF.clamp(-6, 6)).statistics()
    assert abs(clipped.wasserstein_distance.item() - whole) > 0.1


def test_a_corpus_wider_than_its_calibration() -> None:
    """Half the Gaussian lies in the tails, where only count and mean excess are known."""
    y = np.random.default_rng(3).normal(0.5, 2.5, NUM_TOKENS)
    ranges = Ranges(zero_bin_F=torch.tensor([512]), width_F=torch.tensor([2 * 1.7 / 1024]).double(), num_bins=1024)
    scores = sketched(ranges, torch.tensor(y)[:, None]).statistics()
    whole, _ = exact_wasserstein(y)
    assert (np.abs(y) > 1.7).mean() > 0.4
    assert scores.wasserstein_distance.item() == pytest.approx(whole, abs=0.06)


def test_bins_left_of_zero_hold_the_negative_values_and_no_others() -> None:
    y_TF = tokens({"skewed": ORDINARY["skewed"]})
    ranges = calibrated(y_TF)
    tiny_TF = torch.tensor([[0.0], [-0.0], [5e-324], [1e-300], [-1e-300], [-1e-30], [-1e-9]], dtype=torch.float64)
    state = sketched(ranges, y_TF, tiny_TF).state()
    num_negative = (torch.cat([y_TF, tiny_TF]) < 0).sum()
    assert state["counts_FK2"][0, : 1 + int(ranges.zero_bin_F)].sum() == num_negative


def test_neurons_that_never_vary_have_distance_zero() -> None:
    y_TF = torch.tensor([[0.0, 0.1, -7.3, 1e30]], dtype=torch.float64).repeat(3001, 1)  # inexact sums and means
    scores = sketched(calibrated(y_TF[:7]), *y_TF.split(101)).statistics()
    assert scores.std.tolist() == scores.wasserstein_distance.tolist() == [0.0] * 4
    assert scores.wasserstein_distance_negative.tolist() == [0.0] * 4
    assert scores.negative_fraction.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert scores.skewness.isnan().all() and scores.kurtosis.isnan().all()


def test_a_neuron_that_is_constant_during_calibration_only() -> None:
    y = np.concatenate([np.full(2000, 0.5), np.random.default_rng(4).normal(size=6000)])
    scores = scored(torch.tensor(y)[:, None])
    assert scores.wasserstein_distance.item() == pytest.approx(exact_wasserstein(y)[0], abs=1e-2)


@pytest.mark.parametrize("num_orders", [1, pytest.param(5, marks=pytest.mark.long)])
def test_shards_merged_in_any_order_and_grouping_equal_one_pass(num_orders: int) -> None:
    y_TF = tokens({name: ORDINARY[name] for name in ("skewed", "all_negative")} | OUTLIERS)
    ranges = calibrated(y_TF[:2000])
    whole = sketched(ranges, y_TF)
    bounds = [0, 1, 700, 701, 5000, 12000, NUM_TOKENS]
    shards_TF = [y_TF[a:b] for a, b in itertools.pairwise(bounds)]
    rng = np.random.default_rng(5)
    for _ in range(num_orders):
        sketches = [sketched(ranges, shard_TF) for shard_TF in shards_TF] + [sketched(ranges)]
        while len(sketches) > 1:
            first, second = rng.choice(len(sketches), 2, replace=False)
            sketches[first].merge(sketches[second])
            del sketches[second]
        assert_same(sketches[0], whole)
        merged, expected = sketches[0].statistics(), whole.statistics()
        np.testing.assert_allclose(merged.wasserstein_distance, expected.wasserstein_distance, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("batch", "num_tokens"), [(1, 600), (7, 3000), (999, 3000), pytest.param(1, 3000, marks=pytest.mark.long)]
)
def test_batches_do_not_change_the_counts(batch: int, num_tokens: int) -> None:
    y_TF = tokens(OUTLIERS)[:num_tokens].float()
    ranges = calibrated(y_TF[:500])
    assert_same(sketched(ranges, *y_TF.split(batch)), sketched(ranges, y_TF))


shards = st.lists(st.floats(-1e3, 1e3, width=32), min_size=0, max_size=6)


@settings(max_examples=60, deadline=None)
@given(shards, shards, shards, st.floats(1e-3, 1e3), st.integers(-20, 40))
def test_merge_is_associative(a: list[float], b: list[float], c: list[float], width: float, zero_bin: int) -> None:
    ranges = Ranges(zero_bin_F=torch.tensor([zero_bin]), width_F=torch.tensor([width]).double(), num_bins=16)
    left = [sketched(ranges, torch.tensor(values).reshape(-1, 1)) for values in (a, b, c)]
    right = [PreActivationSketch.from_state(sketch.state()) for sketch in left]
    left[0].merge(left[1])
    left[0].merge(left[2])
    right[1].merge(right[2])
    right[0].merge(right[1])
    first, second = left[0].state(), right[0].state()
    for name in EXACT:
        assert torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])), name
    scale, n = 1 + max(map(abs, a + b + c), default=0), 1 + len(a + b + c)
    for name, power in (("mean_F", 1), ("m2_F", 2), ("m3_F", 3), ("m4_F", 4), ("excess_below_F", 1)):
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-12 * n * scale**power)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_that_are_not_finite_raise_before_anything_is_counted(bad: float, dtype: torch.dtype) -> None:
    y_TF = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    sketch, difficulty = sketched(calibrated(y_TF), y_TF), MappingDifficultySketch(calibrated(y_TF), "cpu")
    broken_TF = y_TF.clone()
    broken_TF[17, 1] = broken_TF[49, 2] = bad
    pairs = torch.arange(10), torch.arange(10, 20), torch.zeros(10)
    updates: list[Callable[[Tensor], None]] = [
        sketch.update,
        RangeCalibration(3, "cpu").update,
        lambda values: difficulty.update(y_TF, values, *pairs),
        lambda values: difficulty.update(values, y_TF, *pairs),
    ]
    for update in updates:
        with pytest.raises(ValueError, match="NaN"):
            update(broken_TF)
    assert sketch.num_tokens == 50 and difficulty.num_pairs == 0


def update_with_bad_values() -> None:
    broken_TF = torch.randn(50, 3)
    broken_TF[17, 1] = broken_TF[49, 2] = math.nan
    RangeCalibration(3, "cpu").update(broken_TF)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "not finite": (update_with_bad_values, "pre-activations hold 2 NaN or infinite values of 150"),
    "wrong shape": (
        lambda: sketched(calibrated(torch.randn(50, 3)), torch.randn(50, 1)),
        "pre-activations have shape (50, 1), need [tokens, 3]",
    ),
    "statistics of nothing": (
        lambda: sketched(calibrated(torch.randn(50, 3)), torch.empty(0, 3)).statistics(),
        "no statistics of a sketch without tokens",
    ),
    "ranges of nothing": (
        lambda: RangeCalibration(3, "cpu").ranges(NUM_BINS),
        f"ranges need tokens and 2 bins or more, got 0 and {NUM_BINS}",
    ),
}


@pytest.mark.parametrize(("act", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_be_counted_are_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        act()
    assert str(caught.value) == message


def test_a_sketch_continues_after_a_pickle_round_trip_of_its_state() -> None:
    y_TF = tokens(OUTLIERS)
    ranges = pickle.loads(pickle.dumps(calibrated(y_TF)))
    sketch = sketched(ranges, y_TF[:9000])
    copy = PreActivationSketch.from_state(pickle.loads(pickle.dumps(sketch.state())))
    assert_same(copy, sketch)
    state = sketch.state()
    assert all(isinstance(value, int | torch.Tensor) for value in state.values())
    copy.update(y_TF[9000:])
    sketch.update(y_TF[9000:])
    assert_same(copy, sketched(ranges, y_TF[:9000], y_TF[9000:]))
    assert state["counts_FK2"].sum() == 9000 * len(OUTLIERS)  # a copy, not a view of the counts


def test_the_state_does_not_grow_with_tokens() -> None:
    def size(num_tokens: int) -> int:
        y_TF = tokens(OUTLIERS)[:num_tokens]
        sketch, difficulty = sketched(ranges, y_TF), MappingDifficultySketch(ranges, "cpu")
        rows = torch.arange(num_tokens)
        difficulty.update(y_TF, y_TF, rows, rows.flip(0), rows % 2)
        buffer = io.BytesIO()
        torch.save((sketch.state(), difficulty.state()), buffer)
        return buffer.tell()

    ranges = calibrated(tokens(OUTLIERS))
    assert size(NUM_TOKENS) <= size(10) + 128  # digits of the counters


def test_sketches_made_in_inference_mode_continue_outside_it() -> None:
    y_TF = tokens(OUTLIERS)[:100]
    with torch.inference_mode():
        sketch = sketched(calibrated(y_TF), y_TF)
    y_TF.requires_grad_()
    assert not calibrated(y_TF).width_F.requires_grad
    sketch.update(y_TF)
    sketch.merge(sketched(sketch.ranges, y_TF))
    sketch.update(y_TF)
    assert_same(PreActivationSketch.from_state(sketch.state()), sketch)
    assert sketch.num_tokens == 400 and not sketch.statistics().mean.requires_grad
