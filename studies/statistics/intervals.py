"""Bootstrap intervals of a measure's mean, and of the change that a condition makes to it.

Which items are resampled together, the measure says. Invariants callers rely on: a difference of two conditions is
paired item by item, and ValueError is raised where the item sets differ or a value is not finite; equal input (and
seed) give equal intervals; all sums are float64.

A resample of n items is one multinomial draw of how often each DISTINCT value occurs, so the mean of 67,000 graded
items (three distinct values; five for paired differences) costs three numbers per resample, not 67,000, with
exactly the distribution of drawing items one by one. Items are resampled within their stratum, because the benchmark's
mix of paradigms is fixed; strata of fewer than `MIN_STRATUM` items are put into one, since resampling inside tiny
strata hides variance. Resampling clusters draws whole ones instead (are the paradigms a sample?).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is loaded on first use: that takes seconds, and a plan needs none of it

from studies.statistics.items import Items, paired_differences, require_columns

MIN_STRATUM = 10
"""Strata with fewer items than this are resampled together."""

CONFIDENCE = 0.95
"""Confidence level of every interval."""

RESAMPLES = 2000

_CHUNK = 2**22
"""Multinomial counts held in memory at once; chunking does not change the random stream."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; low and high are nan where there is no interval."""

    estimate: float
    low: float
    high: float


def estimate(items: Items, *, seed: int = 0, num_resamples: int = RESAMPLES) -> Interval:
    """The measure's summary over the items (accuracy, perplexity, nats a token), bootstrapped as the measure says.

    low = high = nan where there is only one item, or one cluster where clusters are resampled.
    """
    over_clusters = items.measure.resamples_clusters
    mean = _mean_interval(items.values, items, over_clusters=over_clusters, seed=seed, num_resamples=num_resamples)
    return Interval(*map(items.measure.summary, mean))


def difference(treated: Items, control: Items) -> Interval:
    """Treated minus control in the mean value (accuracy; nats of nll or surprisal), paired by item.

    Bootstrapped as `estimate`. Raises ValueError if the item sets differ, as all differences do.
    """
    differences = paired_differences(treated, control)
    return _mean_interval(differences, control, over_clusters=control.measure.resamples_clusters)


def clustered_difference(treated: Items, control: Items) -> Interval:
    """`difference`, bootstrapped over whole clusters; only where the measure has any."""
    return _mean_interval(paired_differences(treated, control), control, over_clusters=True)


def bootstrap_interval(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., Any], *, num_resamples: int, batch: int | None = None
) -> Interval:
    """Any statistic of samples that are resampled independently: percentile bootstrap of `scipy.stats.bootstrap`.

    statistic: takes the samples and `axis`. batch: resamples held in memory at once. low and high are nan where a
    sample is too small to resample, and the estimate too where one is empty.
    """
    fewest = min(map(len, samples))
    estimate = float(statistic(*samples)) if fewest else float("nan")
    if fewest < 2:
        return Interval(estimate, float("nan"), float("nan"))
    bootstrap = scipy.stats.bootstrap(
        samples, statistic, n_resamples=num_resamples, method="percentile", batch=batch, rng=0
    )
    low, high = bootstrap.confidence_interval
    return Interval(estimate, float(low), float(high))


def _mean_interval(
    values: np.ndarray,
    items: Items,
    *,
    over_clusters: bool,
    seed: int = 0,
    num_resamples: int = RESAMPLES,
) -> Interval:
    """The mean of `values` (rows of `items`), resampled as `_resampled_means` does."""
    means = _resampled_means(values, items, over_clusters, np.random.default_rng(seed), num_resamples)
    return _percentiles(values.mean(), means)


def _resampled_means(
    values: np.ndarray, items: Items, over_clusters: bool, rng: np.random.Generator, num_resamples: int
) -> np.ndarray:
    """[num_resamples] means of `values` (rows of `items`), of items or of clusters; nan where there is only one."""
    if over_clusters:
        return _means_over_clusters(values, items, rng, num_resamples)
    if len(values) < 2:
        return np.full(num_resamples, np.nan)
    distinct, which = np.unique(values, return_inverse=True)
    stratum = _strata(items)
    counts = np.bincount(stratum * len(distinct) + which, minlength=(stratum.max() + 1) * len(distinct))
    counts_SK = counts.reshape(-1, len(distinct))  # S strata, K distinct values
    sizes_S = counts_SK.sum(axis=1)
    sums = _multinomial_sums(sizes_S, counts_SK / sizes_S[:, None], distinct[:, None], rng, num_resamples)
    return sums[:, 0] / len(values)


def _means_over_clusters(values: np.ndarray, items: Items, rng: np.random.Generator, num_resamples: int) -> np.ndarray:
    """[num_resamples] means of resampled clusters, which weigh as many items as they hold."""
    cluster = items.measure.cluster
    if cluster is None:
        raise ValueError(f"the measure {items.measure.name} has no clusters")
    require_columns(items.table, (cluster,))
    codes = pd.factorize(items.table[cluster], use_na_sentinel=False)[0]
    sizes, sums = np.bincount(codes), np.bincount(codes, weights=values)
    if len(sizes) < 2:
        return np.full(num_resamples, np.nan)
    uniform = np.full((1, len(sizes)), 1 / len(sizes))
    weights = np.stack([sums, sizes], axis=1)
    resampled = _multinomial_sums(np.array([len(sizes)]), uniform, weights, rng, num_resamples)
    return resampled[:, 0] / resampled[:, 1]


def _multinomial_sums(
    sizes_S: np.ndarray, shares_SK: np.ndarray, weights_KW: np.ndarray, rng: np.random.Generator, num_resamples: int
) -> np.ndarray:
    """[num_resamples, W]: counts drawn in every stratum, summed over strata, times `weights_KW`."""
    step = max(1, _CHUNK // shares_SK.size)
    chunks = []
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        counts_RSK = rng.multinomial(sizes_S, shares_SK, size=(rows, len(sizes_S)))
        chunks.append(counts_RSK.sum(axis=1) @ weights_KW.astype(np.float64))
    return np.concatenate(chunks)


def _strata(items: Items) -> np.ndarray:
    """The stratum of each row, 0..S-1, small ones together; one stratum where the measure has none."""
    stratum = items.measure.stratum
    if stratum is None:
        return np.zeros(len(items), dtype=np.int64)
    require_columns(items.table, (stratum,))
    codes = pd.factorize(items.table[stratum], use_na_sentinel=False)[0]
    is_small = np.bincount(codes)[codes] < MIN_STRATUM
    return np.unique(np.where(is_small, -1, codes), return_inverse=True)[1]


def _percentiles(estimate: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(estimate), float(low), float(high))
