"""What an ablation costs: the increase over the baseline, where in depth it arises, and whether it grows.

Owns the increase (of the error, of log-perplexity, of surprisal) with its paired bootstrap interval, its table by layer
group and phenomenon, and Page's test for a trend over ordered conditions (cumulative depth, training). Knows nothing of
models; works on the item frames of `items`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd
import scipy

from studies.neurons.layer_groups import LayerGroup
from studies.statistics.intervals import Interval, accuracy_difference, log_perplexity_difference, surprisal_difference

ALL = "all"
"""The phenomenon that stands for all items together."""

MIN_BLOCKS = 3
"""A trend over fewer blocks is not tested."""
MIN_CONDITIONS = 3
"""A trend over fewer ordered conditions is not tested."""

EFFECT_COLUMNS = ("group", "layers", "depth", "phenomenon", "estimate", "low", "high", "num_items")


def increase(treated: pd.DataFrame, baseline: pd.DataFrame) -> Interval:
    """The rise of log-perplexity or surprisal in nats, or of the error; paired by item, 95 % bootstrap interval.

    Raises ValueError if the item sets differ.
    """
    if "nll" in treated:
        return log_perplexity_difference(treated, baseline)
    if "surprisal" in treated:
        return surprisal_difference(treated, baseline)
    gained = accuracy_difference(treated, baseline)
    return Interval(0.0 - gained.estimate, 0.0 - gained.high, 0.0 - gained.low)  # 0.0 - x: no negative zero


def layer_effects(baseline: pd.DataFrame, by_group: Mapping[LayerGroup, pd.DataFrame]) -> pd.DataFrame:
    """What each layer group costs on one benchmark: columns `EFFECT_COLUMNS`, one row per group and phenomenon.

    The phenomenon `ALL` holds all items. estimate, low, high: as `increase`; depth: the group's step on a chart.
    """
    rows = []
    for group, items in by_group.items():
        for phenomenon, treated_part, baseline_part in _by_phenomenon(items, baseline):
            interval = increase(treated_part, baseline_part)
            rows.append((group.number, group.name, group.step, phenomenon, *interval, len(treated_part)))
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _by_phenomenon(items: pd.DataFrame, baseline: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    yield ALL, items, baseline
    if "phenomenon" in items:
        for phenomenon in sorted(items["phenomenon"].unique()):
            yield (
                phenomenon,
                items[items["phenomenon"] == phenomenon],
                baseline[baseline["phenomenon"] == phenomenon],
            )


class Trend(NamedTuple):
    """Page's test that the cost rises from condition to condition (Page 1963, `scipy.stats.page_trend_test`)."""

    p_value: float
    """One-sided; nan where there are too few blocks or conditions."""
    num_blocks: int
    """Paradigms, templates, windows, documents or choices, each ranked over the conditions."""
    num_groups: int
    """Ordered conditions."""


def trend(in_order: Mapping[Any, pd.DataFrame]) -> Trend:
    """Whether cost rises from one condition's items to the next (cumulative groups, shallow to deep; checkpoints).

    Blocks are the uids of pairs (their error rate), the windows of perplexity (their nll), documents (their surprisal),
    or choices (their error). Ties within a block get mean ranks, which makes the test conservative. Raises ValueError
    where the conditions have different blocks.
    """
    table = pd.concat(dict(enumerate(map(_block_costs, in_order.values()))), axis=1)
    if table.isna().any().any():
        raise ValueError("the groups were scored on different items")
    num_blocks, num_conditions = table.shape
    if num_blocks < MIN_BLOCKS or num_conditions < MIN_CONDITIONS:
        return Trend(float("nan"), num_blocks, num_conditions)
    return Trend(float(scipy.stats.page_trend_test(table.to_numpy()).pvalue), num_blocks, num_conditions)


def _block_costs(items: pd.DataFrame) -> pd.Series:
    if "nll" in items:
        return items.set_index("window")["nll"]
    if "surprisal" in items:
        return items.groupby("document")["surprisal"].mean()
    block = "uid" if "uid" in items else "id"
    return 1.0 - items.groupby(block)["correct"].mean()
