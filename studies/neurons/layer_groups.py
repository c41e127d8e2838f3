"""Layer schedules: where in depth an ablation acts, and what it costs there.

Owns the groups (one at a time, or all up to and including one) and the statistics over them: error increase over the
baseline with paired bootstrap intervals, and Page's test for a trend over cumulative depth. Layers count from 0; a
group's `depth` is the number of layers up to its end.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.errors import StudyError
from studies.statistics.intervals import Interval, accuracy_difference, log_perplexity_difference, surprisal_difference

ALL = "all"
"""The phenomenon that is all items together."""

MIN_BLOCKS = 3
"""Fewer blocks than this decide no trend."""


class Group(NamedTuple):
    """The layers of one condition of a schedule."""

    layers: tuple[int, ...]
    number: int
    """From 1."""
    schedule: str
    """`single` or `cumulative`."""

    @property
    def depth(self) -> int:
        return max(self.layers) + 1

    @property
    def step(self) -> int:
        """Where it stands on a chart: layers covered so far, or its end. No two groups of a schedule stand together."""
        return len(self.layers) if self.schedule == "cumulative" else self.depth

    @property
    def name(self) -> str:
        """`0-3`, or `0-3,8`."""
        return layer_ranges(self.layers)


def layer_groups(groups: int | Sequence[Sequence[int]], schedule: str, num_layers: int) -> tuple[Group, ...]:
    """The groups of a schedule on a model of `num_layers` layers.

    groups: how many contiguous groups, as even as possible with the larger ones first, or the groups themselves.
    Raises StudyError for more groups than layers, and for a layer that is not there.
    """
    if isinstance(groups, int):
        if groups > num_layers:
            raise StudyError(f"{groups} groups of {num_layers} layers; at most one a layer")
        parts = [tuple(map(int, part)) for part in np.array_split(np.arange(num_layers), groups)]
    else:
        parts = [tuple(sorted(part)) for part in groups]
    beyond = [layer for part in parts for layer in part if layer >= num_layers]
    if beyond:
        raise StudyError(f"there is no layer {beyond[0]}; layers are 0 to {num_layers - 1}")
    found, before = [], ()
    for number, part in enumerate(parts, 1):
        before = tuple(sorted({*before, *part}))
        found.append(Group(before if schedule == "cumulative" else part, number, schedule))
    return tuple(found)


def layer_ranges(layers: Sequence[int]) -> str:
    """`0-3,8` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


EFFECT_COLUMNS = ("group", "layers", "depth", "phenomenon", "estimate", "low", "high", "num_items")


def effects(baseline: pd.DataFrame, by_group: Mapping[Group, pd.DataFrame]) -> pd.DataFrame:
    """What each group costs on one benchmark: columns `EFFECT_COLUMNS`, one row a group and phenomenon, and `ALL`.

    Items graded `correct` give the increase of the error (baseline minus treated accuracy); perplexity windows the rise
    of log-perplexity in nats, tokens that of surprisal. Paired by item, 95 % bootstrap intervals.
    """
    rows = []
    for group, items in by_group.items():
        for phenomenon, chosen, reference in _by_phenomenon(items, baseline):
            value = increase(chosen, reference)
            rows.append((group.number, group.name, group.step, phenomenon, *value, len(chosen)))
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def _by_phenomenon(items: pd.DataFrame, baseline: pd.DataFrame):
    yield ALL, items, baseline
    if "phenomenon" in items:
        for phenomenon in sorted(items["phenomenon"].unique()):
            yield (
                phenomenon,
                items[items["phenomenon"] == phenomenon],
                baseline[baseline["phenomenon"] == phenomenon],
            )


def increase(treated: pd.DataFrame, baseline: pd.DataFrame) -> Interval:
    """What a condition costs: rise of log-perplexity or surprisal in nats, or of the error; paired, 95 % bootstrap
    interval."""
    if "nll" in treated:
        return log_perplexity_difference(treated, baseline)
    if "surprisal" in treated:
        return surprisal_difference(treated, baseline)
    lost = accuracy_difference(treated, baseline)
    return Interval(0.0 - lost.estimate, 0.0 - lost.high, 0.0 - lost.low)


class Trend(NamedTuple):
    """Page's test that the cost rises with depth (Page 1963, `scipy.stats.page_trend_test`)."""

    p_value: float
    """One-sided; nan where there are too few blocks or groups."""
    num_blocks: int
    """Paradigms, templates or windows, each ranked over the groups."""
    num_groups: int


def trend(in_order: Mapping[Any, pd.DataFrame]) -> Trend:
    """Whether cost rises from one condition's items to the next (cumulative groups, shallow to deep; checkpoints).

    Blocks are the uids of pairs (their error rate), the windows of perplexity (their nll), documents (their surprisal),
    or choices (their error).
    Ties within a block get mean ranks, which makes the test conservative.
    """
    table = pd.concat(dict(enumerate(map(_costs, in_order.values()))), axis=1)
    if table.isna().any().any():
        raise ValueError("the groups were scored on different items")
    num_blocks, num_groups = table.shape
    if num_blocks < MIN_BLOCKS or num_groups < 3:
        return Trend(float("nan"), num_blocks, num_groups)
    return Trend(float(scipy.stats.page_trend_test(table.to_numpy()).pvalue), num_blocks, num_groups)


def _costs(items: pd.DataFrame) -> pd.Series:
    if "nll" in items:
        return items.set_index("window")["nll"]
    if "surprisal" in items:
        return items.groupby("document")["surprisal"].mean()
    block = "uid" if "uid" in items else "id"
    return 1.0 - items.groupby(block)["correct"].mean()
