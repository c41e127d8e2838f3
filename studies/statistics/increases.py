"""What an ablation costs: the increase over the baseline, where in depth it arises, and whether it grows.

Owns the increase (of the error, of log-perplexity, of surprisal) with its paired bootstrap interval, its table by layer
group and phenomenon, and Page's test for a trend over ordered conditions (cumulative depth, training), which ranks the
groups within a block and so shows an order and no size. And what claims estimate of costs over depth: one group of
layers against another, and growth from group to group. Knows nothing of models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.neurons.layer_groups import LayerGroup
from studies.statistics.effects import Effect, mean_difference
from studies.statistics.intervals import Interval, difference
from studies.statistics.items import Items, item_changes, paired_values
from studies.statistics.random_controls import OverRandoms, over_randoms

ALL = "all"
"""The phenomenon that stands for all items together."""

MIN_BLOCKS = 3
"""A trend over fewer blocks is not tested."""
MIN_CONDITIONS = 3
"""A trend over fewer ordered conditions is not tested."""

EFFECT_COLUMNS = ("group", "layers", "depth", "phenomenon", "estimate", "low", "high", "num_items")


def increase(treated: Items, baseline: Items) -> Interval:
    """By how much the value is worse than the baseline's, in its unit; paired by item, 95 % bootstrap interval.

    The rise of log-perplexity or surprisal in nats, or of the error. Raises ValueError if the item sets differ.
    """
    rise = difference(treated, baseline)
    if not baseline.measure.higher_is_better:
        return rise
    return Interval(0.0 - rise.estimate, 0.0 - rise.high, 0.0 - rise.low)  # 0.0 - x: no negative zero


def layer_effects(baseline: Items, by_group: Mapping[LayerGroup, Items]) -> pd.DataFrame:
    """What each layer group costs on one benchmark: columns `EFFECT_COLUMNS`, one row per group and phenomenon.

    The phenomenon `ALL` holds all items. estimate, low, high: as `increase`; depth: the group's step on a chart.
    """
    rows = []
    for group, items in by_group.items():
        parts = [(ALL, items, baseline)]
        parts += [(name, items.of_phenomenon(name), baseline.of_phenomenon(name)) for name in items.phenomena]
        for phenomenon, treated_part, baseline_part in parts:
            interval = increase(treated_part, baseline_part)
            rows.append((group.number, group.name, group.step, phenomenon, *interval, len(treated_part)))
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


class Trend(NamedTuple):
    """Page's test that the cost rises from condition to condition (Page 1963, `scipy.stats.page_trend_test`)."""

    p_value: float
    """One-sided; nan where there are too few blocks or conditions."""
    num_blocks: int
    """Paradigms, templates, windows, documents or items (`Measure.block`), each ranked over the conditions."""
    num_groups: int
    """Ordered conditions."""


def trend(in_order: Mapping[Any, Items]) -> Trend:
    """Whether cost rises from one condition's items to the next (cumulative groups, shallow to deep; checkpoints).

    A block counts as the mean of its items. Ties within a block get mean ranks, which makes the test conservative.
    Raises ValueError where the conditions have different blocks.
    """
    table = pd.concat(dict(enumerate(map(_block_costs, in_order.values()))), axis=1)
    if table.isna().any().any():
        raise ValueError("the conditions were scored on different items; evaluate all of them on the same items")
    num_blocks, num_conditions = table.shape
    if num_blocks < MIN_BLOCKS or num_conditions < MIN_CONDITIONS:
        return Trend(float("nan"), num_blocks, num_conditions)
    return Trend(float(scipy.stats.page_trend_test(table.to_numpy()).pvalue), num_blocks, num_conditions)


def _block_costs(items: Items) -> pd.Series:
    """Mean value of each block, negated where a lower one is worse."""
    means = items.table.groupby(items.measure.block)[items.measure.value].mean()
    return -means if items.measure.higher_is_better else means


# ---- costs item by item, as effects for claims: means over the units of `effects`


def costs(treated: Items, baseline: Items) -> Items:
    """The items with, in place of their value, by how much it is worse than the baseline's: of a right answer 0 to 1.

    Raises ValueError if the item sets differ.
    """
    better = baseline.measure.higher_is_better
    return item_changes(baseline, treated) if better else item_changes(treated, baseline)


def mean_cost(of_items: Items) -> Effect:
    """The mean of `costs`."""
    return mean_difference(of_items.values, of_items)


def cost_over(first: Items, other: Items, share: float = 1.0) -> Effect:
    """The mean of one group's `costs` minus `share` times those of another."""
    values, others = paired_values(first, other)
    return mean_difference(values - share * others, other)


def slope(in_order: Sequence[Items], num_layers: Sequence[int]) -> Effect:
    """By how much the `costs` grow per layer: least squares over the groups, item by item.

    in_order: of cumulative groups, shallow to deep; num_layers: how many layers each of them covers.
    """
    score_G = np.asarray(num_layers, dtype=np.float64) - np.mean(num_layers)
    values_GN = np.stack([paired_values(of_group, in_order[0])[0] for of_group in in_order])
    return mean_difference(score_G @ values_GN / (score_G @ score_G), in_order[0])


def growth_over_randoms(ends: tuple[Items, Items], randoms: Mapping[str, tuple[Items, Items]]) -> OverRandoms:
    """How much more the costs grow between two conditions than under random controls; (first, last) `costs` of each."""
    return over_randoms(_growth(ends), {name: _growth(of_random) for name, of_random in randoms.items()})


def _growth(ends: tuple[Items, Items]) -> Items:
    first, last = ends
    return item_changes(last, first)
