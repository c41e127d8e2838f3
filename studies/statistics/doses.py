"""Dose-response: what an ablation costs against the fraction of neurons it acts on.

Owns the fraction at which perplexity doubles, with interpolation between the doses and an interval, which of two curves
doubles it first, and the table of increases over the baseline. Doses are fractions of every layer's neurons. Shape
suffixes: B resamples (or none), W windows, K doses, X doses and 0, S random sets.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.statistics.effects import mean_difference
from studies.statistics.increases import increase
from studies.statistics.intervals import Interval
from studies.statistics.items import Items, paired_differences
from studies.statistics.random_controls import OverRandoms, over_random_effects

RESAMPLES = 2000

DOSE_COLUMNS = ("fraction", "estimate", "low", "high", "num_items")


def dose_response(baseline: Items, by_fraction: Mapping[float, Items]) -> pd.DataFrame:
    """The increase over the baseline at every dose: columns `DOSE_COLUMNS`."""
    rows = [(fraction, *increase(items, baseline), len(items)) for fraction, items in sorted(by_fraction.items())]
    return pd.DataFrame(rows, columns=list(DOSE_COLUMNS))


def doubling_fraction(baseline: Items, by_fraction: Mapping[float, Items]) -> Interval:
    """The smallest fraction at which perplexity is twice the baseline's, linear in log-perplexity between the doses.

    Only for measures whose value is a logarithm. The curve begins at (0, baseline). 95 % bootstrap percentile interval
    over items, paired. Infinite where perplexity does not double within the doses; nan bounds with a single window.
    Raises ValueError if a dose was scored on other windows than the baseline.
    """
    fractions = sorted(by_fraction)
    rises_WK = _rises(baseline, by_fraction)

    def crossing(windows: np.ndarray, axis: int = -1) -> np.ndarray:
        windows = np.moveaxis(np.asarray(windows), axis, -1)
        return _crossing(fractions, rises_WK[windows].mean(-2))

    estimate = float(crossing(np.arange(len(baseline))))
    if len(baseline) < 2:
        return Interval(estimate, math.nan, math.nan)
    windows = (np.arange(len(baseline)),)
    with np.errstate(invalid="ignore"):  # scipy also takes the standard error, where some are infinite
        bootstrap = scipy.stats.bootstrap(
            windows, crossing, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=0
        )
    resampled = bootstrap.bootstrap_distribution
    low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")  # no interpolation: some may be infinite
    return Interval(estimate, float(low), float(high))


class DoublingOrder(NamedTuple):
    """Which of two curves doubles perplexity at the smaller fraction."""

    treated: float
    """The fraction at which the treated curve doubles; infinite beyond the doses."""
    randoms: float
    """That of the mean of the random curves."""
    by_random: Mapping[str, float]
    """That of each of them."""
    gap: OverRandoms
    """Treated minus random log-perplexity at the smaller of the two fractions, in nats: positive where the treated
    curve is the first to double."""


def doubling_order(
    baseline: Items, treated: Mapping[float, Items], randoms: Mapping[str, Mapping[float, Items]]
) -> DoublingOrder | None:
    """Which doubles first, the treated curve or the mean of the random ones; None where neither does within the doses.

    All of them at the same doses. The comparison is made where the first of the two doubles: the other may never double
    within the doses, but its log-perplexity there is known, and below that of the first exactly where it doubles later.
    That the fraction itself is estimated is part of the variance, by the delta method: with f the zero of
    r(f) - log 2, df = -dr(f) / r'(f), on straight lines between the doses (van der Vaart, Asymptotic Statistics, 1998,
    theorem 3.1 with the implicit function theorem). Raises ValueError if a dose was scored on other windows.
    """
    fractions = sorted(treated)
    treated_WK = _rises(baseline, treated)
    random_SWK = np.stack([_rises(baseline, by_fraction) for by_fraction in randoms.values()])
    doubled_S = _crossing(fractions, random_SWK.mean(1))
    ends = (float(_crossing(fractions, treated_WK.mean(0))), float(_crossing(fractions, random_SWK.mean((0, 1)))))
    fraction = min(ends)
    if math.isinf(fraction):
        return None
    height_K, slope_K = _line(fractions, fraction)
    treated_W, random_SW = treated_WK @ height_K, random_SWK @ height_K
    random_W, treated_slope, random_slope = (
        random_SW.mean(0),
        treated_WK.mean(0) @ slope_K,
        random_SWK.mean((0, 1)) @ slope_K,
    )
    if fraction == ends[0]:
        scale, moves_W = 1.0, treated_W * random_slope / treated_slope - random_W
    else:
        scale = float(treated_slope / random_slope)
        moves_W = treated_W - scale * random_W
    gap = treated_W.mean() - random_W.mean()
    over_units = mean_difference(gap + moves_W - moves_W.mean(), baseline)
    gaps_S = gap + scale * (random_W.mean() - random_SW.mean(1))
    by_set = {name: replace(over_units, value=float(value)) for name, value in zip(randoms, gaps_S, strict=True)}
    by_random = dict(zip(randoms, map(float, doubled_S), strict=True))
    return DoublingOrder(*ends, by_random, over_random_effects(by_set, over_units))


def _rises(baseline: Items, by_fraction: Mapping[float, Items]) -> np.ndarray:
    """[W, K] the rise of every window's loss, in the order of the doses."""
    return np.column_stack([paired_differences(items, baseline) for _, items in sorted(by_fraction.items())])


def _line(fractions: list[float], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """[K] weights of the doses that give a curve's height, and its slope, at a fraction within them."""
    x = np.array([0.0, *fractions])
    after = int(np.searchsorted(x, fraction))
    width = x[after] - x[after - 1]
    height_X, slope_X = np.zeros(len(x)), np.zeros(len(x))
    height_X[[after - 1, after]] = (x[after] - fraction) / width, (fraction - x[after - 1]) / width
    slope_X[[after - 1, after]] = -1 / width, 1 / width
    return height_X[1:], slope_X[1:]  # a curve begins at 0


def _crossing(fractions: list[float], rises_BK: np.ndarray) -> np.ndarray:
    """[B] where each curve of mean rises over the doses first reaches log 2."""
    x = np.array([0.0, *fractions])
    y_BX = np.concatenate([np.zeros((*rises_BK.shape[:-1], 1)), rises_BK], axis=-1)
    above_BX = y_BX >= math.log(2)
    after_B = above_BX.argmax(-1)
    before_B = np.maximum(after_B - 1, 0)
    y0_B, y1_B = (np.take_along_axis(y_BX, dose_B[..., None], -1)[..., 0] for dose_B in (before_B, after_B))
    share_B = (math.log(2) - y0_B) / np.where(y1_B > y0_B, y1_B - y0_B, 1.0)
    return np.where(above_BX.any(-1), x[before_B] + share_B * (x[after_B] - x[before_B]), np.inf)
