"""What an ablation costs: the increase over the baseline, where in depth it arises, and whether it grows.

Owns the increase (of the error, of log-perplexity, of surprisal) with its paired bootstrap interval, its table by layer
group and phenomenon, and Page's test for a trend over ordered conditions (cumulative depth, training). Knows nothing of
models.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import scipy

from studies.neurons.layer_groups import LayerGroup
from studies.statistics.intervals import Interval, difference
from studies.statistics.items import Items

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
