"""What a reviewer asks of every condition: paired differences by phenomenon, corrected tests, effect sizes, seeds.

Two conditions are compared item by item; intervals are bootstrapped over items and again over whole paradigms or
templates (are they a sample of all possible ones?), McNemar's p values are Holm-corrected over the phenomena of a
benchmark. A `Delta` is the one difference that report, figures and MLflow show, estimated as claims estimate an effect.
Tests and corrections are statsmodels' and scipy's. Knows nothing of models, nor of how results came about.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy  # `scipy.stats` is loaded on first use: that takes seconds, and a plan needs none of it

from studies.statistics.effects import effect
from studies.statistics.increases import ALL
from studies.statistics.intervals import Interval, clustered_difference, difference, estimate
from studies.statistics.items import (
    BenchmarkItems,
    Items,
    common_items,
    paired_differences,
    paired_values,
    same_items,
)

COLUMNS = (
    "condition",
    "against",
    "benchmark",
    "phenomenon",
    "num_items",
    "difference",
    "low",
    "high",
    "low_clustered",
    "high_clustered",
    "num_lost",
    "num_gained",
    "num_dropped_ties",
    "p_value",
    "p_holm",
    "effect_size",
)
"""Columns of `compare`'s table.

difference: of accuracy, or of log-perplexity or surprisal in nats; effect_size: Cohen's h, or d of the paired
differences where items are not graded; *_clustered: the interval over paradigms, templates or documents; p_value:
McNemar's.
"""

MIN_CLUSTERS = 5
"""With fewer paradigms or templates a further interval over them is meaningless."""


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


def mcnemar(treated: Items, control: Items) -> McNemar:
    """Exact binomial test on the items decided differently; p = 1 when there are none.

    Raises ValueError if the item sets differ.
    """
    after, before = paired_values(treated, control)
    is_decided = (after != 0.5) & (before != 0.5)
    num_lost = int((is_decided & (after < before)).sum())
    num_gained = int((is_decided & (after > before)).sum())
    num_changed = num_lost + num_gained
    p_value = float(scipy.stats.binomtest(num_lost, num_changed).pvalue) if num_changed else 1.0
    return McNemar(num_lost, num_gained, int((~is_decided).sum()), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-corrected p values of one family of tests, in the order given."""
    if not len(p_values):
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def compare(treated: BenchmarkItems, control: BenchmarkItems, *, condition: str, against: str) -> pd.DataFrame:
    """Treated minus control on every benchmark and phenomenon that both have: columns `COLUMNS`.

    The phenomenon `all` holds a whole benchmark; p values are corrected over the others of their benchmark together.
    Raises ValueError when a benchmark's items differ between the two.
    """
    rows = []
    for benchmark in treated:
        if benchmark not in control:
            continue
        benchmark_rows = [
            {"phenomenon": phenomenon, **_comparison(treated_part, control_part)}
            for phenomenon, treated_part, control_part in _parts(treated[benchmark], control[benchmark])
        ]
        tested = [row for row in benchmark_rows[1:] if "p_value" in row]
        corrected = holm([row["p_value"] for row in tested])
        for row, p_holm in zip(tested, corrected, strict=True):
            row["p_holm"] = p_holm
        rows += [{"condition": condition, "against": against, "benchmark": benchmark, **row} for row in benchmark_rows]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _parts(treated: Items, control: Items) -> Iterator[tuple[str, Items, Items]]:
    """(phenomenon, treated items, control items): first all of them, then by phenomenon if there are several."""
    yield ALL, treated, control
    phenomena = treated.phenomena
    if len(phenomena) > 1:
        for phenomenon in phenomena:
            yield phenomenon, treated.of_phenomenon(phenomenon), control.of_phenomenon(phenomenon)


def _comparison(treated: Items, control: Items) -> dict[str, Any]:
    """The columns of one row, without those that name it."""
    measure = control.measure
    interval = difference(treated, control)
    row: dict[str, Any] = {"num_items": len(control), "difference": interval.estimate}
    if measure.resamples_clusters:
        row |= {"low_clustered": interval.low, "high_clustered": interval.high}
    else:
        row |= {"low": interval.low, "high": interval.high}
        if measure.cluster is not None and control.table[measure.cluster].nunique() >= MIN_CLUSTERS:
            clustered = clustered_difference(treated, control)
            row |= {"low_clustered": clustered.low, "high_clustered": clustered.high}
    if measure.is_graded:
        return row | _graded(treated, control)
    spread = float(pd.Series(paired_differences(treated, control)).std())  # nan with one item
    return row | {"effect_size": interval.estimate / spread if spread else float("nan")}


def _graded(treated: Items, control: Items) -> dict[str, Any]:
    """McNemar's test and Cohen's h."""
    from statsmodels.stats.proportion import proportion_effectsize

    accuracies = (items.values.mean() for items in (treated, control))
    return {**mcnemar(treated, control)._asdict(), "effect_size": float(proportion_effectsize(*accuracies))}


class Delta(NamedTuple):
    """A paired difference."""

    interval: Interval
    """Condition minus baseline: of accuracy, else in nats (the logarithm of a ratio of perplexities). At 95 %; bounds
    are nan where nothing says how the difference varies."""
    num_items: int
    basis: str
    """What varies: `67 paradigms`; by Student's t unless it says `bootstrapped`."""


def delta(condition: Items, baseline: Items) -> Delta:
    """The difference between a condition and the baseline. Raises ValueError where their item sets differ."""
    measure = baseline.measure
    if measure.resamples_clusters and measure.cluster is not None:  # items of a document are not independent
        clusters = baseline.table[measure.cluster].nunique()
        noun = measure.cluster if clusters == 1 else f"{measure.cluster}s"
        return Delta(difference(condition, baseline), len(baseline), f"{clusters:,} {noun}, bootstrapped")
    found = effect(condition, baseline)
    return Delta(found.interval(), len(baseline), found.basis)


class Paired(NamedTuple):
    """Two results on one benchmark, on the items that both hold; intervals are bootstrapped over items."""

    one: Interval
    other: Interval
    difference: Interval
    """The other minus the one, paired by item: of accuracy, else in nats (the logarithm of a ratio of perplexities)."""
    num_items: int


def paired(one: Items, other: Items) -> Paired:
    """Two results on the items that both hold. Raises ValueError as `common_items`."""
    one, other = common_items(one, other)
    return Paired(estimate(one), estimate(other), difference(other, one), len(one))


def seed_summary(by_seed: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{metric: mean, lowest and highest over the seeds of a random control}, of {seed: {metric: value}}."""
    table = pd.DataFrame(by_seed).T
    return {
        metric: {"mean": float(values.mean()), "lowest": float(values.min()), "highest": float(values.max())}
        for metric, values in table.dropna(axis=1).items()
    }


class NoiseFloor(NamedTuple):
    """How far the baseline moves when only the pack plan changes; a field is None where the measure lacks it."""

    num_items: int
    max_logprob_difference: float | None
    """Largest |difference| of a log-probability, nats."""
    num_changed_decisions: int | None
    """Items on which the model decided otherwise."""
    relative_perplexity_difference: float | None
    """|other / baseline - 1| of what people read, where the value is its logarithm."""


def noise_floor(baseline: Items, other_plan: Items) -> NoiseFloor:
    """The baseline on two pack plans: effects of this size are arithmetic, not science.

    Raises ValueError if the item sets differ or a difference is not finite.
    """
    measure = baseline.measure
    if measure.is_log:
        shift = paired_differences(other_plan, baseline).mean()
        return NoiseFloor(len(baseline), None, None, float(abs(np.expm1(shift))))
    before, after = baseline.table, same_items(other_plan, baseline).table
    differences = np.concatenate([_flat(after[name]) - _flat(before[name]) for name in measure.log_probabilities])
    if not np.isfinite(differences).all():
        broken = (~np.isfinite(differences)).sum()
        raise ValueError(f"{broken} of {len(differences)} differences of log-probabilities are not finite")
    decision = measure.decision
    num_changed = None if decision is None else int((after[decision].to_numpy() != before[decision].to_numpy()).sum())
    return NoiseFloor(len(baseline), float(np.abs(differences).max()), num_changed, None)


class WithinNoise(NamedTuple):
    """An effect that another pack plan alone could make."""

    effect: float
    """Of a condition over the baseline: relative for a perplexity, otherwise a difference of accuracies."""
    floor: float
    """How far another pack plan moves the baseline, in the same unit; of an accuracy, how far it could: the share of
    items decided otherwise, though lost and gained ones cancel."""


def within_noise(condition: Items, baseline: Items, floor: NoiseFloor) -> WithinNoise | None:
    """The effect of a condition where arithmetic alone could make it; None where it is larger, or cannot be judged."""
    shift = float(paired_differences(condition, baseline).mean())
    if baseline.measure.is_log:
        found = WithinNoise(float(np.expm1(shift)), floor.relative_perplexity_difference or 0.0)
    elif baseline.measure.is_graded:
        found = WithinNoise(shift, (floor.num_changed_decisions or 0) / floor.num_items)
    else:
        return None
    return found if found.floor > 0 and abs(found.effect) <= found.floor else None


def _flat(column: pd.Series) -> np.ndarray:
    """A column of numbers, or of lists of them, as float64."""
    return np.concatenate(column.to_list()) if column.dtype == object else column.to_numpy(np.float64)
