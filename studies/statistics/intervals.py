"""Item statistics: how sure are we that a condition changed accuracy or perplexity?

Works on item frames, one per (condition, benchmark): pairs (uid, phenomenon, pair, correct, ...), choices (id,
correct, ...), perplexity windows (window, nll, num_tokens) and tokens of documents (document, start, end, surprisal).
Knows nothing of models, conditions or claims.

Invariants callers rely on: a comparison of two conditions is paired item by item, whatever the row order, and raises
ValueError when the item sets differ; a value that is not finite raises; equal input and seed give equal intervals;
all sums are float64. `correct` is 0, 0.5 (a tie) or 1.

Bootstrap. A resample of n items is one multinomial draw of how often each DISTINCT value occurs, so the mean of
67,000 graded items (three distinct values; five for paired differences) costs three numbers a resample instead of
67,000, with exactly the distribution of drawing items one by one. Items are resampled within their uid, because the
benchmark's mix of paradigms is fixed; uids of fewer than `MIN_STRATUM` items are put into one stratum, since
resampling inside tiny strata hides variance. `cluster="uid"` draws whole uids instead (are the paradigms a sample?).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy  # loads `scipy.stats` when it is first used: that takes seconds, and a plan needs none of it

MIN_STRATUM = 10
"""Uids with fewer items than this are resampled together."""

_CHUNK = 2**22
"""Multinomial counts held in memory at once; chunking does not change the random stream."""

_KEYS = (("uid", "pair"), ("id",), ("window", "num_tokens"))
"""What names an item: of pairs, of choices, of perplexity windows (a window of another length is another window)."""


class Interval(NamedTuple):
    """An estimate with its confidence interval; low and high are nan where no interval can be had."""

    estimate: float
    low: float
    high: float


class McNemar(NamedTuple):
    """Exact McNemar test on items graded under two conditions."""

    num_lost: int
    """Right under the control, wrong under the treatment."""
    num_gained: int
    """Wrong under the control, right under the treatment."""
    num_dropped_ties: int
    """Items tied (0.5) under either condition, left out of the test."""
    p_value: float
    """Two-sided."""


class NoiseFloor(NamedTuple):
    """How far the baseline moves when only the pack plan changes; a field is None where the items lack it."""

    num_items: int
    max_logprob_difference: float | None
    """Largest |difference| of a sequence's log-probability, nats."""
    num_changed_decisions: int | None
    """Pairs whose `correct`, or choices whose `predicted`, differs."""
    relative_perplexity_difference: float | None
    """|other / baseline - 1|."""


def accuracy_interval(
    items: pd.DataFrame,
    *,
    cluster: str | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Mean of `correct` with its bootstrap percentile interval over items, or over the groups of column `cluster`."""
    return _mean_interval(_values(items, "correct"), items, cluster, seed, num_resamples, confidence)


def perplexity_interval(
    items: pd.DataFrame, *, seed: int = 0, num_resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """exp(mean nll over windows), bootstrapped over windows; with one window low = high = nan."""
    nll = _mean_interval(_values(items, "nll"), items, None, seed, num_resamples, confidence)
    return Interval(*(float(np.exp(x)) for x in nll))


def surprisal_interval(
    items: pd.DataFrame, *, seed: int = 0, num_resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Mean surprisal over tokens (nats), bootstrapped over documents; with one document low = high = nan."""
    return _mean_interval(_values(items, "surprisal"), items, "document", seed, num_resamples, confidence)


def accuracy_difference(
    treated: pd.DataFrame,
    control: pd.DataFrame,
    *,
    cluster: str | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Accuracy of treated minus control, paired by item; ValueError if the item sets differ."""
    differences = _differences(treated, control, "correct")
    return _mean_interval(differences, control, cluster, seed, num_resamples, confidence)


def log_perplexity_difference(
    treated: pd.DataFrame,
    control: pd.DataFrame,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Log-perplexity (mean nll, nats) of treated minus control, paired by window; with one window low = high = nan."""
    differences = _differences(treated, control, "nll")
    return _mean_interval(differences, control, None, seed, num_resamples, confidence)


def surprisal_difference(
    treated: pd.DataFrame,
    control: pd.DataFrame,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Mean surprisal (nats a token) of treated minus control, paired by token, bootstrapped over documents."""
    differences = _differences(treated, control, "surprisal")
    return _mean_interval(differences, control, "document", seed, num_resamples, confidence)


def changes(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """The control's items with, in place of their value, treated minus control: how one condition's effect is compared
    with another's on the same items. ValueError if the item sets differ."""
    column = next(name for name in ("surprisal", "nll", "correct") if name in control)
    return control.assign(**{column: _differences(treated, control, column)})


def contrast_of_differences(
    treated_a: pd.DataFrame,
    control_a: pd.DataFrame,
    treated_b: pd.DataFrame,
    control_b: pd.DataFrame,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """The interaction: (treated - control) in accuracy on items A minus the same on items B.

    Paired inside A and inside B; A and B hold different items, so they are resampled independently.
    """
    estimates, resamples = [], []
    pairs = ((treated_a, control_a), (treated_b, control_b))
    for rng, (treated, control) in zip(np.random.default_rng(seed).spawn(2), pairs, strict=True):
        differences = _differences(treated, control, "correct")
        estimates.append(differences.mean())
        resamples.append(_resampled_means(differences, control, None, rng, num_resamples))
    return _interval(estimates[0] - estimates[1], resamples[0] - resamples[1], confidence)


def mcnemar(treated: pd.DataFrame, control: pd.DataFrame) -> McNemar:
    """Exact binomial test on the items decided differently; p = 1 when there are none."""
    after, before = _aligned(treated, control, "correct")
    decided = (after != 0.5) & (before != 0.5)
    num_lost = int((decided & (after < before)).sum())
    num_gained = int((decided & (after > before)).sum())
    num_changed = num_lost + num_gained
    p_value = float(scipy.stats.binomtest(num_lost, num_changed).pvalue) if num_changed else 1.0
    return McNemar(num_lost, num_gained, int((~decided).sum()), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p values of one family of tests, in the order given."""
    if not len(p_values):
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def by_group(items: pd.DataFrame, column: str) -> pd.DataFrame:
    """Accuracy and num_items per value of `column` (uid, phenomenon), sorted by it."""
    _require_columns(items, (column, "correct"))
    graded = items.assign(correct=_values(items, "correct"))
    grouped = graded.groupby(column, dropna=False)["correct"]
    return grouped.agg(accuracy="mean", num_items="size").reset_index()


def pool(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Items of several pairs or choices benchmarks as one frame (uid, pair, correct); every item weighs the same.

    The benchmark's name becomes (part of) the uid, so that resampling keeps the mix of benchmarks.
    """
    parts = []
    for benchmark, items in frames.items():
        *group, item = _key_columns(items)
        uid = benchmark + "/" + items[group[0]].astype(str) if group else benchmark
        parts.append(pd.DataFrame({"pair": items[item], "correct": _values(items, "correct")}).assign(uid=uid))
    if not parts:
        raise ValueError("no benchmarks to pool")
    return pd.concat(parts, ignore_index=True)


def require_same(keys: Mapping[str, str]) -> None:
    """Refuse a paired test across comparability keys (route, pack plan, dtype, device, versions).

    `keys` maps what was evaluated ("wasserstein/blimp") to its key; ValueError names the first two that differ.
    """
    names = list(keys)
    for name in names[1:]:
        if keys[name] != keys[names[0]]:
            raise ValueError(
                f"cannot compare {names[0]} with {name}: their comparability keys differ "
                f"({keys[names[0]]!r} and {keys[name]!r}); evaluate both again on the same route, packs and software"
            )


def noise_floor(baseline: pd.DataFrame, other_plan: pd.DataFrame) -> NoiseFloor:
    """The baseline on two pack plans: effects of this size are arithmetic, not science."""
    if "nll" in baseline:
        shift = _differences(other_plan, baseline, "nll").mean()
        return NoiseFloor(len(baseline), None, None, float(abs(np.expm1(shift))))
    if "surprisal" in baseline:
        moves = _differences(other_plan, baseline, "surprisal")
        return NoiseFloor(len(baseline), float(np.abs(moves).max()), None, None)
    other = same_items(other_plan, baseline)
    if "logprobs" in baseline:
        moves = [np.subtract(b, a) for a, b in zip(baseline["logprobs"], other["logprobs"], strict=True)]
        difference, decision = np.concatenate(moves), "predicted"
    else:
        columns = ["logprob_good", "logprob_bad"]
        difference, decision = other[columns].to_numpy(float) - baseline[columns].to_numpy(float), "correct"
    if not np.isfinite(difference).all():
        raise ValueError(f"{(~np.isfinite(difference)).sum()} differences of log-probabilities are not finite")
    num_changed = int((other[decision].to_numpy() != baseline[decision].to_numpy()).sum())
    return NoiseFloor(len(baseline), float(np.abs(difference).max()), num_changed, None)


def _mean_interval(
    values: np.ndarray, items: pd.DataFrame, cluster: str | None, seed: int, num_resamples: int, confidence: float
) -> Interval:
    """The mean of `values` (rows of `items`), resampled as `_resampled_means` does."""
    means = _resampled_means(values, items, cluster, np.random.default_rng(seed), num_resamples)
    return _interval(values.mean(), means, confidence)


def bootstrap_interval(
    samples: tuple[np.ndarray, ...], statistic: Callable, *, num_resamples: int, batch: int | None = None
) -> Interval:
    """Any statistic of samples, resampled independently: 95 % percentile bootstrap (`scipy.stats.bootstrap`).

    statistic: takes the samples and `axis`. nan bounds where a sample is too small to resample, nan where one is empty.
    batch: resamples held in memory at once.
    """
    fewest = min(map(len, samples))
    estimate = float(statistic(*samples)) if fewest else float("nan")
    if fewest < 2:
        return Interval(estimate, float("nan"), float("nan"))
    found = scipy.stats.bootstrap(
        samples, statistic, n_resamples=num_resamples, method="percentile", batch=batch, rng=0
    )
    return Interval(estimate, *map(float, found.confidence_interval))


def _resampled_means(
    values: np.ndarray, items: pd.DataFrame, cluster: str | None, rng: np.random.Generator, num_resamples: int
) -> np.ndarray:
    """Means of `values` (rows of `items`) under resampling of items or of clusters; nan where there is only one."""
    if cluster is not None:
        _require_columns(items, (cluster,))
        group = pd.factorize(items[cluster], use_na_sentinel=False)[0]
        sizes, sums = np.bincount(group), np.bincount(group, weights=values)
        if len(sizes) < 2:
            return np.full(num_resamples, np.nan)
        uniform = np.full((1, len(sizes)), 1 / len(sizes))
        drawn = _multinomial(np.array([len(sizes)]), uniform, np.stack([sums, sizes], axis=1), rng, num_resamples)
        return drawn[:, 0] / drawn[:, 1]
    if len(values) < 2:
        return np.full(num_resamples, np.nan)
    distinct, which = np.unique(values, return_inverse=True)
    stratum = _strata(items)
    counts = np.bincount(stratum * len(distinct) + which, minlength=(stratum.max() + 1) * len(distinct))
    counts_SK = counts.reshape(-1, len(distinct))  # S strata, K distinct values
    sizes_S = counts_SK.sum(axis=1)
    drawn = _multinomial(sizes_S, counts_SK / sizes_S[:, None], distinct[:, None], rng, num_resamples)
    return drawn[:, 0] / len(values)


def _multinomial(
    sizes_S: np.ndarray, shares_SK: np.ndarray, weights_KW: np.ndarray, rng: np.random.Generator, num_resamples: int
) -> np.ndarray:
    """Per resample: counts drawn in every stratum, summed over strata, times `weights_KW`; (resamples, W)."""
    step = max(1, _CHUNK // shares_SK.size)
    chunks = []
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        counts_RSK = rng.multinomial(sizes_S, shares_SK, size=(rows, len(sizes_S)))
        chunks.append(counts_RSK.sum(axis=1) @ weights_KW.astype(np.float64))
    return np.concatenate(chunks)


def _strata(items: pd.DataFrame) -> np.ndarray:
    """The stratum of each row, 0..S-1: its uid, small uids together; one stratum where there is no uid."""
    if "uid" not in items:
        return np.zeros(len(items), dtype=np.int64)
    group = pd.factorize(items["uid"], use_na_sentinel=False)[0]
    small = np.bincount(group)[group] < MIN_STRATUM
    return np.unique(np.where(small, -1, group), return_inverse=True)[1]


def _interval(estimate: float, means: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(estimate), float(low), float(high))


def _differences(treated: pd.DataFrame, control: pd.DataFrame, column: str) -> np.ndarray:
    after, before = _aligned(treated, control, column)
    return after - before


def _aligned(treated: pd.DataFrame, control: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """`column` of both frames, in the row order of `control`."""
    return _values(same_items(treated, control), column), _values(control, column)


def same_items(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """`treated` in the row order of `control`; ValueError unless both hold the same items, once each.

    Tokens of documents have no name of their own (several may share one character): they must stand in the same order.
    """
    if "surprisal" in control:
        places = ["document", "start", "end"]
        if not np.array_equal(treated[places].to_numpy(), control[places].to_numpy()):
            found = f"{len(treated)} treated, {len(control)} in the control"
            raise ValueError(f"the conditions hold different tokens: {found}")
        return treated
    columns = list(_key_columns(control))
    _require_columns(treated, columns)
    left, right = pd.MultiIndex.from_frame(treated[columns]), pd.MultiIndex.from_frame(control[columns])
    for side, index in (("treated", left), ("control", right)):
        if not index.is_unique:
            raise ValueError(f"{side}: {_named(index[index.duplicated()])} occurs twice")
    if left.equals(right):
        return treated
    for side, index, other in (("treated", left, right), ("control", right, left)):
        alone = index[~index.isin(other)]
        if len(alone):
            raise ValueError(
                f"the item sets differ: {len(alone)} of {len(index)} items only in {side}, "
                f"such as {_named(alone)}; evaluate both conditions on the same items"
            )
    return treated.iloc[left.get_indexer(right)]


def _named(index: pd.MultiIndex) -> str:
    return ", ".join(f"{column} {value}" for column, value in zip(index.names, index[0], strict=True))


def _key_columns(items: pd.DataFrame) -> tuple[str, ...]:
    for columns in _KEYS:
        if set(columns) <= set(items.columns):
            return columns
    raise ValueError(f"no item key among the columns {list(items.columns)}; allowed: {', '.join(map(str, _KEYS))}")


def _values(items: pd.DataFrame, column: str) -> np.ndarray:
    _require_columns(items, (column,))
    values = items[column].to_numpy(np.float64)
    if not len(values):
        raise ValueError("no items")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} values of {column} are not finite")
    return values


def _require_columns(items: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in items.columns]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the items have {', '.join(map(str, items.columns))}")
