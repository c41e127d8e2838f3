"""Power: how likely items that are not scored yet are to show an effect, or to show that there is none.

Owns the arithmetic. The layout of a benchmark (how many items in which units and strata) and the assumed spreads of its
differences give the variance that `effects.mean_difference` would estimate; the power to show an effect is that of the
two-sided t test at 5 %, from the noncentral t distribution (Cohen, Statistical Power Analysis, 1988, ch. 2), the power
to show its absence a lower bound of that of two one-sided tests (Schuirmann 1987). Loads `scipy.special` alone, on
first use: a plan must stay fast. With strata of two or three units Satterthwaite's approximation makes the power too
high, by up to 0.06 in simulations.

Callers rely on: a variance that nobody can estimate (a single random set, a single item) gives power 0, because no
verdict can come of it. Knows no claim, no benchmark and no earlier run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.measures import Measure
from studies.statistics.effects import (
    EQUIVALENCE_CONFIDENCE,
    POWER,
    RANDOM_SETS,
    Component,
    Effect,
    strata_of,
    units_of,
)
from studies.statistics.intervals import CONFIDENCE
from studies.statistics.items import Items

DISCORDANCE = 0.06
"""Default share of graded items whose result differs between two conditions."""
UNIT_SPREADS = {"paradigms": 0.02, "templates": 0.05}
"""{what units are called: default standard deviation of their true differences}, in accuracy."""

_MOST = 1024
"""Times as many items (or units, or sets) as planned: more are not suggested."""
_LARGE_DF = 1e6
"""From so many degrees of freedom on t is normal."""


class Spread(NamedTuple):
    """How the paired differences of two conditions vary on a benchmark, in its measure's unit."""

    items: float
    """Standard deviation of an item's difference, within its unit. Of graded items its square is about the share of
    items whose result differs."""
    units: float = 0.0
    """Standard deviation of the units' true mean differences within a stratum, without the noise of their items."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the items of a benchmark lie in units and strata; what they are called."""

    strata: tuple[tuple[int, ...], ...]
    """Numbers of items: of every unit of every stratum. Where the items are the units: (number of items,)."""
    measure: Measure

    @property
    def num_items(self) -> int:
        """All items."""
        return sum(map(sum, self.strata))

    @property
    def num_units(self) -> int:
        """All units."""
        return self.num_items if self.measure.unit is None else sum(map(len, self.strata))

    def more_items(self, factor: int) -> "Layout":
        """With so many times as many items, in the same units."""
        return replace(self, strata=tuple(tuple(factor * size for size in sizes) for sizes in self.strata))

    def more_units(self, factor: int) -> "Layout":
        """With so many times as many units, of as many items each."""
        return replace(self, strata=tuple(factor * sizes for sizes in self.strata))

    def __str__(self) -> str:
        """`67 paradigms of 50 items`, `2,000 items`; a mean where sizes differ."""
        if self.measure.unit is None:
            return f"{self.num_items:,} {self.measure.noun}"
        each = self.num_items / self.num_units
        return f"{self.num_units:,} {self.measure.units} of {each:,.0f} {self.measure.noun}"


def layout_of(table: pd.DataFrame, measure: Measure) -> Layout:
    """The layout of items; the columns of `table` as in results of the benchmark."""
    items = Items(table, measure)
    frame = pd.DataFrame({"stratum": strata_of(items), "unit": units_of(items) if measure.unit else 0})
    sizes = frame.groupby(["stratum", "unit"], sort=False).size()
    by_stratum = sizes.groupby(level="stratum", sort=False)
    return Layout(tuple(tuple(map(int, of_stratum)) for _, of_stratum in by_stratum), measure)


def default_spread(measure: Measure) -> Spread | None:
    """The stated defaults; None where there are none: of values that are not graded, of units of the user's own."""
    if not measure.is_graded:
        return None
    if measure.unit is None:
        return Spread(DISCORDANCE**0.5)
    units = UNIT_SPREADS.get(measure.units)
    return None if units is None else Spread(DISCORDANCE**0.5, units)


def default_words(measure: Measure) -> tuple[str, ...]:
    """`discordance 0.06`, `SD over paradigms 0.02`: what `default_spread` assumes."""
    units = UNIT_SPREADS.get(measure.units) if measure.unit else None
    return (f"discordance {DISCORDANCE:g}", *([f"SD over {measure.units} {units:g}"] if units else []))


def spread_of(differences: np.ndarray, items: Items) -> Spread | None:
    """The spreads that measured differences show ([num_items], rows of `items`); None where they show none.

    By the method of moments: the pooled variance within units; that of the unit means, less what their items' noise
    adds to it, at least 0 (Searle, Casella and McCulloch, Variance Components, 1992, sec. 3.6). Differences that are
    all equal within their units show none: items of another study would differ.
    """
    table = pd.DataFrame({"difference": differences, "stratum": strata_of(items)})
    if items.measure.unit is None:
        within = _pooled(table.groupby("stratum")["difference"])
        return Spread(within**0.5) if within else None
    table["unit"] = units_of(items)
    by_unit = table.groupby(["stratum", "unit"])["difference"]
    within = _pooled(by_unit)
    if not within:
        return None
    units = pd.DataFrame({"mean": by_unit.mean(), "noise": within / by_unit.size()}).reset_index()
    together = units[units.groupby("stratum")["unit"].transform("size") > 1]
    between = _pooled(together.groupby("stratum")["mean"])
    true = 0.0 if between is None else max(0.0, between - float(together["noise"].mean()))
    return Spread(within**0.5, true**0.5)


def _pooled(groups: "pd.core.groupby.SeriesGroupBy") -> float | None:
    """The variance within groups, pooled by degrees of freedom; None without any."""
    df = groups.size() - 1
    if df.sum() <= 0:
        return None
    return float((groups.var(ddof=1).fillna(0.0) * df).sum() / df.sum())


def planned_effect(value: float, layout: Layout, spread: Spread) -> Effect:
    """A true effect with the variance that its estimate would have, as `effects.mean_difference` estimates it.

    Of graded items at least as large a share differs as the effect is large. Where a stratum has a single unit its
    items stand for units, as there.
    """
    measure, item_variance = layout.measure, spread.items**2
    if measure.is_graded:
        item_variance = max(item_variance, abs(value) * (1 - abs(value)))
    variance = squares = 0.0
    for sizes in layout.strata:
        if measure.unit is not None and len(sizes) > 1:
            number = len(sizes)
            of_one = spread.units**2 + item_variance * float(np.mean(1 / np.array(sizes)))
        else:
            number, of_one = sum(sizes), item_variance
        if number < 2:
            variance = math.nan
            break
        share = of_one / number / len(layout.strata) ** 2
        variance, squares = variance + share, squares + share**2 / (number - 1)
    df = variance**2 / squares if squares > 0 else 1.0
    return Effect(value, (Component(variance, df, layout.num_units, measure.units),))


def over_sets(effect: Effect, spread: float, num_sets: int) -> Effect:
    """An effect over the mean of `num_sets` random sets of neurons, as `effects.over_randoms` estimates it.

    spread: the standard deviation of their means.
    """
    variance = spread**2 * (1 + 1 / num_sets) if num_sets > 1 else math.nan
    sets = Component(variance, max(num_sets - 1, 1), num_sets, RANDOM_SETS)
    return replace(effect, components=(*effect.components, sets))


def power_to_show(effect: Effect) -> float:
    """The probability that the 95 % interval of an estimate lies beyond 0 on the true effect's side; in [0, 1]."""
    return _exceeds(abs(effect.value), effect, (1 + CONFIDENCE) / 2)


def power_to_spare(effect: Effect, margin: float) -> float:
    """The probability that the 90 % interval lies inside (-margin, margin) where the true effect is 0; in [0, 1].

    A lower bound, by Bonferroni: each of the two one-sided tests misses with the same probability. It is close where
    the power is of any use.
    """
    missed = 1 - _exceeds(margin, effect, (1 + EQUIVALENCE_CONFIDENCE) / 2)
    return max(0.0, 1 - 2 * missed)


def _exceeds(distance: float, effect: Effect, quantile: float) -> float:
    """P(T > t_quantile), T noncentral t with `distance` in standard errors; 0 where the variance is unknown."""
    from scipy.special import nctdtr, ndtr

    if math.isnan(effect.variance):
        return 0.0
    if effect.variance == 0:
        return 1.0 if distance > 0 else 0.0
    shift, df, bound = distance / effect.variance**0.5, effect.df, effect.quantile(1 - quantile)
    if df > _LARGE_DF:
        return float(ndtr(shift - bound))
    below = float(nctdtr(df, shift, bound))
    return 1 - (float(shift < bound) if math.isnan(below) else below)  # nan so far out that nothing is left


def smallest_factor(power: Callable[[int], float], wanted: float = POWER) -> int | None:
    """The smallest factor from 2 on by which `power`, which rises with it, reaches what is wanted; None up to 1,024."""
    high = 2
    while power(high) < wanted:
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= wanted else (middle, high)
    return high


def joint(powers: Sequence[float]) -> float:
    """The probability that all parts are shown, as if they were independent.

    They mostly depend on each other positively, being made from the same items, so that this is rather too low.
    """
    return math.prod(powers)
