"""Mapping difficulty against the formula, computed pair by pair.

T tokens, F neurons, D inputs, P pairs.
"""

import math
import pickle

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from actors.scoring.histograms import Ranges
from actors.scoring.mapping_difficulty import MappingDifficultySketch
from tests.unit.actors.scoring.neurons import ORDINARY, OUTLIERS, calibrated, tokens

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""(x_TD, y_TF, i_P, j_P); a pair's half is the parity of i + j."""


def make_pairs(num_pairs: int = 50_000) -> Batch:
    rng = np.random.default_rng(6)
    names = ("gaussian", "skewed", "negative_bump", "student_t3", "tiny_variance_large_mean")
    y_TF = tokens({name: ORDINARY[name] for name in names} | OUTLIERS)[:8000]
    x_TD = torch.tensor(rng.normal(size=(len(y_TF), 12)) * rng.gamma(1, size=12))
    x_TD[100:110] = x_TD[0]  # repeated inputs
    i_P, j_P = torch.tensor(rng.integers(0, len(y_TF), (2, num_pairs)))
    i_P[:50], j_P[:50] = torch.arange(50) % 5 + 100, torch.arange(50) % 5 + 105
    return x_TD, y_TF, i_P, j_P


def exact_difficulty(*batch: Tensor) -> tuple[np.ndarray, int]:
    """(MD of every neuron by the definition, number of pairs with equal inputs) of an (x_TD, y_TF, i_P, j_P)."""
    x_TD, y_TF, i_P, j_P = (tensor.numpy() for tensor in batch)
    dx_P, dy_PF = np.linalg.norm(x_TD[i_P] - x_TD[j_P], axis=1), np.abs(y_TF[i_P] - y_TF[j_P])
    kept_P = dx_P > 0
    dx_P, dy_PF = dx_P[kept_P], dy_PF[kept_P]
    return ((dy_PF / np.median(dy_PF, axis=0)) / (dx_P / dx_P.max())[:, None]).mean(0), int((~kept_P).sum())


def sketched(ranges: Ranges, *batches: Batch) -> MappingDifficultySketch:
    sketch = MappingDifficultySketch(ranges, "cpu")
    for batch in batches:
        sketch.update(*batch, half_P=(batch[2] + batch[3]) % 2)
    return sketch


def test_it_equals_the_formula_and_drops_equal_inputs() -> None:
    batch = make_pairs()
    sketch = sketched(calibrated(batch[1][:1000]), batch)
    expected_F, num_dropped = exact_difficulty(*batch)
    np.testing.assert_allclose(sketch.mapping_difficulty(), expected_F, rtol=1e-3)
    assert num_dropped >= 50
    assert (sketch.num_dropped, sketch.num_pairs) == (num_dropped, 50_000 - num_dropped)


def test_it_is_exact_to_one_bin_for_bfloat16_vectors() -> None:
    x_TD, y_TF, i_P, j_P = make_pairs(20_000)
    y_TF, x_TD = y_TF[:, :2].bfloat16(), x_TD.bfloat16()
    sketch = sketched(calibrated(y_TF), (x_TD, y_TF, i_P, j_P))
    expected_F, _ = exact_difficulty(x_TD.double(), y_TF.double(), i_P, j_P)
    np.testing.assert_allclose(sketch.mapping_difficulty(), expected_F, rtol=0.014)  # a lattice: one bin at worst


def test_shards_equal_one_pass_in_any_order() -> None:
    x_TD, y_TF, i_P, j_P = make_pairs(5000)
    ranges = calibrated(y_TF)
    whole = sketched(ranges, (x_TD, y_TF, i_P, j_P))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        bounds = [0, 3, 2000, 2001, 5000]
        parts = [slice(bounds[k], bounds[k + 1]) for k in order]
        merged = sketched(ranges)
        for part in parts:
            shard = sketched(ranges, (x_TD, y_TF, i_P[part], j_P[part]))
            merged.merge(MappingDifficultySketch.from_state(pickle.loads(pickle.dumps(shard.state()))))
        a, b = merged.state(), whole.state()
        assert a.keys() == b.keys()
        assert torch.equal(a["counts_2FK2"], b["counts_2FK2"]) and torch.equal(a["num_pairs_2"], b["num_pairs_2"])
        for name in ("num_dropped", "max_input_distance"):
            assert a[name] == b[name], name
        np.testing.assert_allclose(a["ratio_2F"], b["ratio_2F"], rtol=1e-12, atol=0)
        assert merged.num_pairs == whole.num_pairs and merged.reliability() == whole.reliability()


def test_it_is_nan_without_a_median() -> None:
    rng = np.random.default_rng(7)
    mostly_constant = np.where(rng.random(1000) < 0.1, rng.normal(size=1000), 0.0)
    y_TF = torch.tensor(np.stack([np.zeros(1000), mostly_constant, rng.normal(size=1000)], axis=1))
    x_TD, pairs_2P = torch.tensor(rng.normal(size=(1000, 4))), torch.tensor(rng.integers(0, 1000, (2, 3000)))
    ranges = calibrated(y_TF)
    assert sketched(ranges, (x_TD, y_TF, *pairs_2P)).mapping_difficulty().isnan().tolist() == [1, 1, 0]
    far_TF = y_TF * 1e9  # medians beyond the bins: unknown, not wrong
    assert sketched(ranges, (x_TD, far_TF, *pairs_2P)).mapping_difficulty().isnan().all()
    same = sketched(ranges, (torch.ones(1000, 4), y_TF, *pairs_2P))
    assert same.mapping_difficulty().isnan().all() and same.num_dropped == 3000
    assert sketched(ranges).mapping_difficulty().isnan().all()
    for unknown in (sketched(ranges, (x_TD, y_TF, *pairs_2P)), same, sketched(ranges)):
        assert math.isnan(unknown.reliability())


def unlike_neurons(spread: float, seed: int) -> Batch:
    """300 neurons between following one input direction and following none; the seed draws the tokens and the pairs."""
    rng, num_tokens = np.random.default_rng(seed), 4000
    noise_F = 0.5 + spread * np.random.default_rng(0).uniform(-0.5, 0.5, 300)
    x_TD = rng.normal(size=(num_tokens, 8)) * rng.gamma(2, size=(num_tokens, 1))
    y_TF = (1 - noise_F) * x_TD[:, :1] / x_TD[:, :1].std() + noise_F * rng.normal(size=(num_tokens, 300))
    i_P, j_P = torch.tensor(rng.permutation(num_tokens)).reshape(2, -1)
    return torch.tensor(x_TD), torch.tensor(y_TF), i_P, j_P


@pytest.mark.parametrize(("spread", "low", "high"), [(1.0, 0.8, 1.0), (0.3, 0.4, 0.8), (0.0, 0.0, 0.25)])
def test_the_reliability_foretells_the_agreement_of_two_draws(spread: float, low: float, high: float) -> None:
    draws = [unlike_neurons(spread, seed) for seed in (1, 2)]
    first, second = (sketched(calibrated(batch[1]), batch) for batch in draws)
    between = scipy.stats.spearmanr(first.mapping_difficulty(), second.mapping_difficulty()).statistic
    foretold = (first.reliability() + second.reliability()) / 2
    assert low <= foretold <= high
    assert foretold == pytest.approx(between, abs=0.15)


def test_the_reliability_is_the_corrected_correlation_of_the_halves() -> None:
    x_TD, y_TF, i_P, j_P = make_pairs(5000)
    half_P = (i_P + j_P) % 2
    halves = [exact_difficulty(x_TD, y_TF, i_P[half_P == half], j_P[half_P == half])[0] for half in (0, 1)]
    r = scipy.stats.spearmanr(*halves).statistic
    assert 0 < r < 1
    assert sketched(calibrated(y_TF), (x_TD, y_TF, i_P, j_P)).reliability() == pytest.approx(2 * r / (1 + r))
