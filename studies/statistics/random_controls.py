"""A condition over its random controls: their mean, how such sets of neurons vary, and its rank among many of them.

Owns what random sets add to an effect's variance; `effects` has the rest. Knows no claim.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from studies.statistics.effects import RANDOM_SETS, Component, Direction, Effect, known, mean_difference
from studies.statistics.items import Items, paired_values

RANKED_SETS = 39
"""From so many random sets on a treated condition is ranked among them: the lowest p value is then 1/40."""


class OverRandoms(NamedTuple):
    """A condition over its random controls."""

    effect: Effect
    """Its difference from their mean, as uncertain as that of one more random set."""
    by_set: Mapping[str, float]
    """{control: its difference from this one alone}."""

    def rank_p_value(self, direction: Direction) -> float | None:
        """The condition's rank among its random controls, doubled; None with fewer than `RANKED_SETS` of them."""
        if len(self.by_set) < RANKED_SETS:
            return None
        not_beyond = sum(direction * value <= 0 for value in self.by_set.values())
        return min(1.0, 2 * (1 + not_beyond) / (1 + len(self.by_set)))


def over_randoms(treated: Items, randoms: Mapping[str, Items]) -> OverRandoms:
    """The mean difference of a condition from the mean of its random controls.

    Two sources of variance: the units, of the differences from the mean control, and the sets of neurons. The claim is
    that the condition is no random set, so it is held against how far one more random set would lie from the mean of k
    of them: s^2 (1 + 1/k) (the prediction interval; Hahn and Meeker, Statistical Intervals, 1991). A single set says
    nothing of s, so that the variance is then unknown.
    """
    control = next(iter(randoms.values()))
    value = paired_values(treated, control)[0]
    by_set = {name: value - paired_values(other, control)[0] for name, other in randoms.items()}
    over_units = mean_difference(np.mean(list(by_set.values()), axis=0), control)
    values = {name: mean_difference(differences, control).value for name, differences in by_set.items()}
    return OverRandoms(_with_sets(over_units, list(values.values())), values)


def over_random_effects(by_set: Mapping[str, Effect], over_units: Effect) -> OverRandoms:
    """As `over_randoms`, from effects that were estimated elsewhere.

    by_set: a condition over each random control; over_units: over their mean, as if that were one fixed set.
    """
    values = {name: effect.value for name, effect in by_set.items()}
    return OverRandoms(_with_sets(over_units, list(values.values())), values)


def _with_sets(over_units: Effect, values: Sequence[float]) -> Effect:
    num = len(values)
    spread = float(np.var(values, ddof=1)) if num > 1 else math.nan
    variance = known(spread * (1 + 1 / num), np.array(values))
    sets = Component(variance, max(num - 1, 1), num, RANDOM_SETS)
    notes = over_units.notes
    if math.isnan(variance):
        which = "one random set does" if num == 1 else "random sets that all do the same do"
        notes = (*notes, f"{which} not show how such sets vary")
    return Effect(over_units.value, (*over_units.components, sets), notes)
