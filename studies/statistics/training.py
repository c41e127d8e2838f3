"""Training dynamics: how a cohort of neurons and the cost of its ablation change over the checkpoints of one run.

The cohort is fixed at one checkpoint and followed in both directions. Owns what a series shows in figures and tables:
the trajectories (scores and weights of the cohort, of random neurons, of all), the correlation of the cohort's scores
with accuracy, and how the ablation's cost grows. What its claims are decided on is in `studies.statistics.cohorts`.
Pure numpy, pandas and scipy; a checkpoint is named by its training step.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.neurons.selection import NeuronSet, rows_of
from studies.statistics.increases import Trend, increase, trend
from studies.statistics.intervals import Interval
from studies.statistics.items import Items, item_changes

ALL_NEURONS = "all"
SCORES = (
    "wasserstein_distance",
    "wasserstein_distance_negative",
    "mapping_difficulty",
    "mapping_difficulty_reliability",
)
TRAJECTORY_COLUMNS = ("step", "group", "quantity", "median", "low", "high", "mean", "num_neurons")
"""group: a cohort's name or `ALL_NEURONS`; low, high: the range of a cohort, the middle 90 % of all neurons."""


def trajectories(
    tables: Mapping[int, pd.DataFrame], cohorts: Mapping[str, NeuronSet], quantities: Sequence[str]
) -> pd.DataFrame:
    """Columns `TRAJECTORY_COLUMNS`: each quantity at every step, for every cohort and for all neurons.

    tables: {training step: neuron table, or table of weights}; cohorts: {name: neurons}, the same at every step.
    """
    rows = []
    for step, table in sorted(tables.items()):
        followed = {name: rows_of(table, neurons) for name, neurons in cohorts.items()} | {ALL_NEURONS: table}
        for quantity in quantities:
            if quantity not in table:
                continue
            for name, neurons in followed.items():
                values = neurons[quantity].dropna().to_numpy(np.float64)
                if len(values):
                    ends = [0.05, 0.95] if name == ALL_NEURONS else [0.0, 1.0]
                    low, high = np.quantile(values, ends)
                    rows.append((step, name, quantity, np.median(values), low, high, values.mean(), len(values)))
    return pd.DataFrame(rows, columns=list(TRAJECTORY_COLUMNS))


class Correlation(NamedTuple):
    """Correlation of two quantities over checkpoints, which follow each other in time: a description, and no evidence.

    Any two quantities that rise over a training are correlated, and the checkpoints are no independent sample.
    """

    pearson: Interval
    """With Fisher's 95 % interval (`scipy.stats.pearsonr`); nan bounds with fewer than four checkpoints."""
    spearman: float
    num_checkpoints: int


def correlation(first: Sequence[float], second: Sequence[float]) -> Correlation:
    """Correlate two quantities over checkpoints; nan with fewer than three, or where one of the two does not vary."""
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    nan = float("nan")
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(Interval(nan, nan, nan), nan, len(x))
    pearson = scipy.stats.pearsonr(x, y)
    low, high = pearson.confidence_interval() if len(x) > 3 else (nan, nan)
    spearman = float(scipy.stats.spearmanr(x, y).statistic)
    return Correlation(Interval(float(pearson.statistic), float(low), float(high)), spearman, len(x))


class Growth(NamedTuple):
    """How the cost of an ablation changes over training."""

    difference: Interval
    """Cost (`increases.increase`) at the last checkpoint minus cost at the first, paired by item, 95 % bootstrap."""
    trend: Trend
    """Whether the cost rises from checkpoint to checkpoint."""
    num_items: int


def growth(baseline: Mapping[int, Items], treated: Mapping[int, Items]) -> Growth:
    """How the ablation's cost on one benchmark changes over the checkpoints that both have.

    baseline, treated: {training step: items}. Raises ValueError where the checkpoints were scored on different items.
    """
    costs = {step: item_changes(treated[step], baseline[step]) for step in sorted(set(baseline) & set(treated))}
    first, last = costs[min(costs)], costs[max(costs)]
    return Growth(increase(last, first), trend(costs), len(first))
