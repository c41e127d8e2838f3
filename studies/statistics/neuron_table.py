"""Descriptions of a neuron table: where the non-Gaussian mass sits, how the scores agree, how neuron sets overlap.

Needs no evaluation of the model. The negative share of a neuron is the negative part of its WD divided by the whole.
Pure pandas and scipy.
"""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.neurons.selection import NeuronSet
from studies.statistics.intervals import Interval, bootstrap_interval

TOP_SHARE = 0.01
"""Fraction of each layer's neurons, those with the highest WD, that count as the most entangled, as in the paper."""


class NegativeShare(NamedTuple):
    """How much of the distance to N(0, 1) lies below zero: means over neurons with 95 % bootstrap intervals."""

    top: Interval
    """The `TOP_SHARE` of every layer with the highest WD."""
    rest: Interval
    difference: Interval
    """Top minus rest."""
    num_top: int
    num_rest: int


def negative_share(neurons: pd.DataFrame) -> NegativeShare:
    """From a neuron table; neurons without any distance (constant ones) have no share and are left out."""
    table = neurons[neurons["wasserstein_distance"] > 0]
    share = table["wasserstein_distance_negative"] / table["wasserstein_distance"]
    rank = table.groupby("layer")["wasserstein_distance"].rank(ascending=False, method="first")
    width = neurons.groupby("layer").size()
    is_top = rank <= np.maximum(1, (TOP_SHARE * table["layer"].map(width)).round())
    top_share, rest_share = share[is_top].to_numpy(), share[~is_top].to_numpy()

    def interval(statistic: Callable[..., Any], *samples: np.ndarray) -> Interval:
        return bootstrap_interval(samples, statistic, num_resamples=1000, batch=20)

    return NegativeShare(
        top=interval(np.mean, top_share),
        rest=interval(np.mean, rest_share),
        difference=interval(lambda a, b, axis=-1: a.mean(axis) - b.mean(axis), top_share, rest_share),
        num_top=len(top_share),
        num_rest=len(rest_share),
    )


class Structure(NamedTuple):
    """The descriptions of one neuron table."""

    share: NegativeShare
    correlation: pd.DataFrame
    """The table that `score_correlation` returns."""

    @property
    def overall_correlation(self) -> float | None:
        """Over all neurons; None where MD was not scored, or is not finite for any two neurons."""
        overall = float(self.correlation["correlation"].iloc[0]) if len(self.correlation) else np.nan
        return None if np.isnan(overall) else overall

    @property
    def difficulty_reliability(self) -> float | None:
        """The median over layers of MD's reliability; None where MD was not scored, or without its reliability."""
        known = self.correlation["reliability"].iloc[1:].dropna()
        return float(known.median()) if len(known) else None


def structure(neurons: pd.DataFrame) -> Structure:
    """`negative_share` and `score_correlation` of a neuron table."""
    return Structure(negative_share(neurons), score_correlation(neurons))


CORRELATION_COLUMNS = ("layer", "num_neurons", "correlation", "reliability")


def score_correlation(neurons: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of WD with MD, one row per layer; the row of layer -1 is over all neurons.

    Columns `CORRELATION_COLUMNS`; neurons whose MD is not finite are left out. reliability: that of the layer's MD,
    whose square root bounds the correlation that can be expected; in the row of layer -1 the mean over neurons; NaN
    where the table has none. Empty where MD was not scored.
    """
    if "mapping_difficulty" not in neurons:
        return pd.DataFrame(columns=list(CORRELATION_COLUMNS))
    table = neurons[np.isfinite(neurons["mapping_difficulty"])]
    has_reliability = "mapping_difficulty_reliability" in table
    rows = []
    for layer, part in [(-1, table), *table.groupby("layer")]:
        spearman = scipy.stats.spearmanr(part["wasserstein_distance"], part["mapping_difficulty"])
        reliability = part["mapping_difficulty_reliability"].mean() if has_reliability else np.nan
        rows.append((layer, len(part), float(spearman.statistic), reliability))
    return pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))


OVERLAP_COLUMNS = ("one", "other", "num_one", "num_other", "num_both", "share", "share_by_chance")


def overlaps(sets: Mapping[str, NeuronSet], widths: Mapping[int, int]) -> pd.DataFrame:
    """How many neurons every two sets share: columns `OVERLAP_COLUMNS`; empty sets are left out.

    share: the part of the smaller set that is in the other too; share_by_chance: its expectation for random sets of
    these sizes, layer by layer. widths: {layer: neurons}.
    """
    rows = []
    nonempty = {name: neurons for name, neurons in sets.items() if neurons.count}
    for (name, neurons), (other_name, other) in combinations(nonempty.items(), 2):
        layers = set(neurons.indices) & set(other.indices)
        both = sum(len(set(neurons.indices[layer]) & set(other.indices[layer])) for layer in layers)
        chance = sum(len(neurons.indices[layer]) * len(other.indices[layer]) / widths[layer] for layer in layers)
        smaller = min(neurons.count, other.count)
        rows.append((name, other_name, neurons.count, other.count, both, both / smaller, chance / smaller))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))
