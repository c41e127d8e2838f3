"""Neurons with known distributions, as columns of tokens, for the tests of this folder.

T tokens, F neurons.
"""

import numpy as np
import torch

from actors.scoring.histograms import RangeCalibration, Ranges

NUM_TOKENS = 16384
NUM_BINS = 1024


def make_ordinary() -> dict[str, np.ndarray]:
    """Neurons without outliers."""
    rng, n = np.random.default_rng(0), NUM_TOKENS
    return {
        "gaussian": rng.normal(size=n),
        "shifted": rng.normal(-3, 0.5, n),
        "skewed": rng.exponential(size=n) - 0.3,
        "bimodal": np.where(rng.random(n) < 0.3, rng.normal(-2, 0.3, n), rng.normal(1, 0.6, n)),
        "laplace": rng.laplace(size=n),
        "student_t3": rng.standard_t(3, n),
        "uniform": rng.random(n) - 0.2,
        "negative_bump": np.where(rng.random(n) < 0.05, rng.normal(-1, 0.8, n), rng.normal(0, 0.15, n)),
        "all_positive": np.abs(rng.normal(size=n)) + 0.5,
        "all_negative": -rng.gamma(2, size=n) - 0.01,
        "positive_far_from_zero": rng.gamma(3, size=n) + 40,
        "negative_far_from_zero": -rng.gamma(3, size=n) - 40,
        "tiny_variance_large_mean": rng.normal(1e4, 1e-4, n),
    }


def make_outliers() -> dict[str, np.ndarray]:
    """Neurons with massive outliers on a few tokens."""
    rng, n = np.random.default_rng(1), NUM_TOKENS
    neurons = {}
    for name, where, values in (
        ("few_before_and_after", rng.integers(0, n, 8), rng.uniform(50, 500, 8)),
        ("only_in_the_calibration", rng.integers(0, n // 8, 2), [-400.0, -50.0]),
        ("only_after_the_calibration", rng.integers(n // 8, n, 5), rng.uniform(50, 500, 5)),
        ("negative_after_the_calibration", rng.integers(n // 8, n, 5), -rng.uniform(50, 500, 5)),
        ("one_percent_both_signs", rng.integers(0, n, 160), rng.uniform(-500, 500, 160)),
    ):
        neurons[name] = rng.normal(size=n)
        neurons[name][where] = values
    for name, sign in (("positive_neuron_negative_outliers", 1), ("negative_neuron_positive_outliers", -1)):
        neurons[name] = sign * rng.normal(30, 1, n)  # zero lies outside the range
        neurons[name][rng.integers(n // 8, n, 30)] = -200 * sign
    return neurons


ORDINARY, OUTLIERS = make_ordinary(), make_outliers()


def tokens(neurons: dict[str, np.ndarray]) -> torch.Tensor:
    """[T, F] float64."""
    return torch.tensor(np.stack(list(neurons.values()), axis=1))


def calibrated(y_TF: torch.Tensor, num_bins: int = NUM_BINS) -> Ranges:
    """The bins for these tokens."""
    calibration = RangeCalibration(y_TF.shape[1], "cpu")
    calibration.update(y_TF)
    return calibration.ranges(num_bins)
