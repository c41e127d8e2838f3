"""Dose-response: what an ablation costs against the fraction of neurons it acts on.

Owns the fraction at which perplexity doubles, with interpolation between the doses and an interval, and the table of
increases over the baseline. Doses are fractions of every layer's neurons. Shape suffixes: B resamples (or none), W
windows, K doses, X doses and 0.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from studies.statistics.increases import increase
from studies.statistics.intervals import Interval
from studies.statistics.items import Items, paired_differences

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
    rises_WK = np.column_stack([paired_differences(by_fraction[fraction], baseline) for fraction in fractions])

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
