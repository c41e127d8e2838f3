"""Costs over depth, as effects for claims: one group of layers against another, and growth from group to group.

Owns the estimands; `increases` has the report's tables over depth and Page's test, which ranks the groups within a
block and so shows an order and no size. All of them are means over the units of `effects` of a number that each item
has.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from studies.statistics.effects import Effect, mean_difference
from studies.statistics.items import Items, item_changes, paired_values
from studies.statistics.random_controls import OverRandoms, over_randoms


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
