"""What a neuron table says by itself: where the non-Gaussian mass sits, how the scores agree, how sets overlap.

The negative share of a neuron is its negative part of WD over the whole. Pure pandas and scipy.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from studies.neurons.selection import NeuronSet
from studies.statistics.intervals import Interval, bootstrap_interval

TOP_SHARE = 0.01
"""The most entangled neurons of each layer, as in the paper's figures."""


class NegativeShare(NamedTuple):
    """How much of the distance to N(0, 1) lies below zero: means over neurons with 95 % bootstrap intervals."""

    top: Interval
    """The `TOP_SHARE` of every layer with the highest WD."""
    rest: Interval
    difference: Interval
    """Of top and rest."""
    num_top: int
    num_rest: int


def negative_share(neurons: pd.DataFrame) -> NegativeShare:
    """From a neuron table; neurons without any distance (constant ones) have no share and are left out."""
    table = neurons[neurons["wasserstein_distance"] > 0]
    share = table["wasserstein_distance_negative"] / table["wasserstein_distance"]
    rank = table.groupby("layer")["wasserstein_distance"].rank(ascending=False, method="first")
    width = neurons.groupby("layer").size()
    top = rank <= np.maximum(1, (TOP_SHARE * table["layer"].map(width)).round())
    parts = share[top].to_numpy(), share[~top].to_numpy()
    how = {"num_resamples": 1000, "batch": 20}
    difference = bootstrap_interval(parts, lambda one, other, axis=-1: one.mean(axis) - other.mean(axis), **how)
    sides = (bootstrap_interval((part,), np.mean, **how) for part in parts)
    return NegativeShare(*sides, difference, *map(len, parts))


class Structure(NamedTuple):
    """What is derived from one neuron table."""

    share: NegativeShare
    correlation: pd.DataFrame
    """As `score_correlation`."""

    @property
    def overall_correlation(self) -> float | None:
        """Over all neurons; None where MD was not scored."""
        return float(self.correlation["correlation"].iloc[0]) if len(self.correlation) else None


def structure(neurons: pd.DataFrame) -> Structure:
    """`negative_share` and `score_correlation` of a neuron table."""
    return Structure(negative_share(neurons), score_correlation(neurons))


CORRELATION_COLUMNS = ("layer", "num_neurons", "correlation")


def score_correlation(neurons: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of WD with MD, one row a layer; the row of layer -1 is over all neurons.

    Columns `CORRELATION_COLUMNS`; neurons whose MD is not finite are left out. Empty where MD was not scored.
    """
    if "mapping_difficulty" not in neurons:
        return pd.DataFrame(columns=list(CORRELATION_COLUMNS))
    table = neurons[np.isfinite(neurons["mapping_difficulty"])]
    rows = [
        (
            layer,
            len(part),
            float(scipy.stats.spearmanr(part["wasserstein_distance"], part["mapping_difficulty"]).statistic),
        )
        for layer, part in [(-1, table), *table.groupby("layer")]
    ]
    return pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))


OVERLAP_COLUMNS = ("one", "other", "num_one", "num_other", "num_both", "share", "share_by_chance")


def overlaps(sets: Mapping[str, NeuronSet], widths: Mapping[int, int]) -> pd.DataFrame:
    """How much every two neuron sets share: columns `OVERLAP_COLUMNS`; empty sets are left out.

    share: of the smaller set, what is in the other too; share_by_chance: what random sets of these sizes, layer by
    layer, would share. widths: {layer: neurons}.
    """
    rows = []
    some = {name: one for name, one in sets.items() if one.count}
    for (name, one), (other_name, other) in combinations(some.items(), 2):
        layers = set(one.indices) & set(other.indices)
        both = sum(len(set(one.indices[layer]) & set(other.indices[layer])) for layer in layers)
        chance = sum(len(one.indices[layer]) * len(other.indices[layer]) / widths[layer] for layer in layers)
        smaller = min(one.count, other.count)
        rows.append((name, other_name, one.count, other.count, both, both / smaller, chance / smaller))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))
