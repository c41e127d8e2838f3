"""Effects on a cohort of neurons over one training: how far a quantity rises, whether weights settle, what moves along.

Owns the estimands of the claims on a training. A cohort is compared with all other neurons of its layers, of which
random neurons are a sample: their mean is that of infinitely many random sets, so no sampling of sets adds noise. The
neurons of a layer read the same inputs and are trained together, so they are not independent: layers are the units,
each with the mean over its neurons, and intervals are Student's t over layers (of one layer alone there is none). The
spread over layers holds that of the neurons within them.

Callers rely on: neurons whose value is not finite are left out. Knows no claim.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.neurons.selection import NeuronSet
from studies.statistics.effects import Component, Effect, of_sample
from studies.statistics.intervals import Interval

KEY = ["layer", "neuron"]
LONGEST_RATIO = 1.1
"""Two stretches of training are comparable where the later one is at most so many times as long as the earlier one."""
STEEPEST = 2
"""A dissimilarity grows with a stretch's length to a power from 0 (noise) over 1 (diffusion) to 2 (steady drift)."""
TREND_DEGREE = 2
"""Of the polynomial in the checkpoint's number that is taken out of first differences."""


CERTAIN = 1 - 1e-12
"""The largest correlation: Fisher's z of 1 is infinite."""


class OverOthers(NamedTuple):
    """An effect on a cohort, and how much larger it is than that on the other neurons of its layers."""

    own: Effect
    lead: Effect


def rise(before: pd.DataFrame, after: pd.DataFrame, cohort: NeuronSet, quantity: str) -> OverOthers:
    """The mean rise of a quantity from one neuron table to another."""
    (own_before_L, others_before_L), (own_L, others_L) = (
        _layer_means(table, cohort, quantity) for table in (before, after)
    )
    return _over_layers(own_L - own_before_L, others_L - others_before_L)


def settling(early: pd.DataFrame, late: pd.DataFrame, cohort: NeuronSet, quantity: str) -> OverOthers:
    """How much less weights turn in a late stretch of training than in an early one: log(early / late).

    early, late: tables of cosine dissimilarities between the ends of each stretch; `quantity` is averaged over the
    neurons of a layer before the logarithm. Not finite where the weights of a layer did not move.
    """
    (own_early_L, others_early_L), (own_late_L, others_late_L) = (
        _layer_means(table, cohort, quantity) for table in (early, late)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return _over_layers(np.log(own_early_L / own_late_L), np.log(others_early_L / others_late_L))


def medians(table: pd.DataFrame, cohort: NeuronSet, quantity: str) -> tuple[float, float]:
    """The median of a quantity over the cohort, and over the other neurons of its layers."""
    values, is_in = table[quantity].to_numpy(np.float64), is_member(table, cohort)
    is_other = table["layer"].isin(list(cohort.indices)).to_numpy() & ~is_in

    def median(which: np.ndarray) -> float:
        kept = values[which & np.isfinite(values)]
        return float(np.median(kept)) if len(kept) else float("nan")

    return median(is_in), median(is_other)


def is_member(table: pd.DataFrame, neurons: NeuronSet) -> np.ndarray:
    """[rows of `table`] whether the neuron is one of these."""
    layer, neuron = (table[column].to_numpy(np.int64) for column in KEY)
    width = max(neuron.max(initial=0), *(max(chosen) for chosen in neurons.indices.values()), 0) + 1
    members = [number * width + index for number, chosen in neurons.indices.items() for index in chosen]
    return np.isin(layer * width + neuron, members)


def _layer_means(table: pd.DataFrame, cohort: NeuronSet, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """[L] means over the cohort and over all other neurons, in each of the cohort's layers."""
    layer, values = table["layer"].to_numpy(np.int64), table[quantity].to_numpy(np.float64)
    is_in, is_finite = is_member(table, cohort), np.isfinite(values)
    num_layers, layers_L = max(cohort.indices) + 1, list(cohort.indices)

    def means(which: np.ndarray) -> np.ndarray:
        kept = which & is_finite
        counts = np.bincount(layer[kept], minlength=num_layers)[layers_L]
        sums = np.bincount(layer[kept], weights=values[kept], minlength=num_layers)[layers_L]
        return np.divide(sums, counts, out=np.full(len(layers_L), np.nan), where=counts > 0)

    return means(is_in), means(~is_in)


def _over_layers(own_L: np.ndarray, others_L: np.ndarray) -> OverOthers:
    own, lead = (of_sample(values_L, "layers") for values_L in (own_L, own_L - others_L))
    return OverOthers(_fixed(own), _fixed(lead))


def _fixed(effect: Effect) -> Effect:
    """The effect of units of which a model has no more."""
    return replace(effect, components=tuple(component._replace(can_grow=False) for component in effect.components))


class Stretch(NamedTuple):
    """The training between two neighbouring checkpoints."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """In training steps."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"steps {self.start:,} and {self.end:,}"


class Comparable(NamedTuple):
    """Two stretches whose dissimilarities may be compared as they are."""

    early: Stretch
    late: Stretch
    """As long as the early one, or a little longer."""

    @property
    def slack(self) -> float:
        """The most that the difference in length alone can change the logarithm of a dissimilarity."""
        return STEEPEST * float(np.log(self.late.length / self.early.length))


def comparable_stretches(before: Mapping[int, int], measured: Collection[int]) -> Comparable | None:
    """A stretch of the second half of training and one of the first half that is as long, at least 1 / 1.1 of it.

    Of several the latest, then the earliest. before: {step of every checkpoint but the first: the step of the one
    before}; measured: the later ends of the stretches that can be used.
    """
    middle = (min(before.values()) + max(before)) / 2
    stretches = [Stretch(start, end) for end, start in before.items() if end in measured]
    pairs = [
        Comparable(early, late)
        for early in stretches
        for late in stretches
        if early.end <= middle <= late.start and early.length <= late.length <= LONGEST_RATIO * early.length
    ]
    return max(pairs, key=lambda pair: (pair.late.end, -pair.early.start), default=None)


def tracking(first: Sequence[float], second: Sequence[float]) -> Effect:
    """Whether two quantities change together from checkpoint to checkpoint: Fisher's z of a partial correlation.

    Of the first differences, given a polynomial of degree `TREND_DEGREE` in the checkpoint's number, so that two
    quantities that merely rise fast at first and slowly later are not correlated. The variance is 1 / (n' - 3), with
    n' = n (1 - ab) / (1 + ab) differences that are worth being independent (Bartlett, JRSS 1935, for two first-order
    processes): n counts the differences less the polynomial's degree, a and b are the autocorrelations of the two at
    lag 1, and ab is at least 0. The differences of noise have a = b = -1/2, and without this correction 5 % of
    unrelated series would pass a 2.5 % test. nan where one of the two does not vary beside its trend, and the variance
    where n' is at most 3.
    """
    nan, num_checkpoints = float("nan"), len(first)
    unknown = Component(nan, np.inf, num_checkpoints, "checkpoints")
    residuals = [_beside_trend(np.asarray(values, np.float64)) for values in (first, second)]
    x, y = residuals
    if x is None or y is None:
        return Effect(nan, (unknown,))
    correlation = float(np.clip(x @ y, -CERTAIN, CERTAIN))
    shared = max(0.0, float(x[1:] @ x[:-1]) * float(y[1:] @ y[:-1]))
    worth = (num_checkpoints - 1 - TREND_DEGREE) * (1 - shared) / (1 + shared)
    component = unknown._replace(variance=1 / (worth - 3) if worth > 3 else nan)
    note = f"worth {max(worth, 0):.0f} independent differences"
    return Effect(float(np.arctanh(correlation)), (component,), (note,))


def _beside_trend(values: np.ndarray) -> np.ndarray | None:
    """First differences without their trend, of length 1; None where nothing is left."""
    changes = np.diff(values)
    if len(changes) <= TREND_DEGREE + 1 or not np.isfinite(changes).all():
        return None
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, len(changes)), TREND_DEGREE + 1))[0]
    rest = changes - basis @ (basis.T @ changes)
    size = float(np.linalg.norm(rest))
    return rest / size if size > 1e-9 * float(np.abs(values).max()) else None


def as_correlation(interval: Interval) -> Interval:
    """An interval of Fisher's z as that of the correlation."""
    return Interval(*map(float, np.tanh(interval)))
