"""Effects for claims: a mean of paired differences, and how far it would move with other units of the same kind.

Owns the estimands of the claims. The differences of a benchmark are averaged per unit (`Measure.unit`: paradigms,
templates; else the items themselves); units are a sample, what they belong to (`Measure.fixed`: phenomena, tasks) is
not and weighs the same. The variance of a stratified mean is the sum over strata of s_h^2 / n_h, over H^2 (Cochran,
Sampling Techniques, 1977, eq. 5.6, with equal weights); its degrees of freedom are Satterthwaite's (Biometrics Bulletin
1946), and intervals are Student's t. Items are not resampled inside their units: the spread over units holds their
noise already.

Callers rely on: conditions are paired item by item, and ValueError is raised where the item sets differ or a value is
not finite; an effect never has variance 0, so that differences that are all equal never pass for certainty. Knows no
claim.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from studies.statistics.intervals import CONFIDENCE, Interval
from studies.statistics.items import Items, paired_differences, require_columns

EQUIVALENCE_CONFIDENCE = 0.90
"""Of the interval that must lie inside a margin (two one-sided tests at 5 %; Schuirmann 1987)."""
RANDOM_SETS = "random sets"
POWER = 0.8
"""Of the smallest detectable effect."""

SMALLEST_TAIL = 1e-12
"""Smaller p values are given as this one."""
DUST = 1e-9
"""A spread that is a smaller share of the values is rounding."""

Direction = Literal[-1, 1]
"""The side of 0 on which a claim puts an effect."""


def t_quantile(tail: float, df: float) -> float:
    """The value that Student's t exceeds with this probability; df may be infinite."""
    from scipy.special import ndtri, stdtrit  # without `scipy.stats`, whose import takes a second

    return float(-ndtri(tail) if math.isinf(df) else -stdtrit(df, tail))


def _t_tail(value: float, df: float) -> float:
    """The probability that Student's t exceeds a value."""
    from scipy.special import ndtr, stdtr

    return float(ndtr(-value) if math.isinf(df) else stdtr(df, -value))


def known(variance: float, *values: np.ndarray) -> float:
    """The variance, or nan where it is nothing but rounding: values that are all equal say nothing of how they vary."""
    scale = max((float(np.abs(v).max()) for v in values if len(v)), default=0.0)
    return variance if variance > (DUST * scale) ** 2 else math.nan


class Component(NamedTuple):
    """One independent source of an estimate's variance."""

    variance: float
    df: float
    """Degrees of freedom of the variance's own estimate."""
    num_units: int
    """How many units it was estimated from."""
    noun: str
    """What they are called."""
    can_grow: bool = True
    """Whether a study can have more of them: windows, items, random sets, templates that it leaves out."""
    most: float = math.inf
    """How many of them there are, where it can grow."""
    item_share: float = 0.0
    """Share of the variance that comes from the items within units, and falls as there are more of them."""

    def __str__(self) -> str:
        noun = re.sub(r"s\b", "", self.noun, count=1) if self.num_units == 1 else self.noun
        return f"{self.num_units:,} {noun}"


@dataclass(frozen=True, slots=True)
class Effect:
    """An estimated mean difference; its variance is the sum of its components."""

    value: float
    components: tuple[Component, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know of how the variance was estimated."""

    @property
    def variance(self) -> float:
        """Squared standard error."""
        return sum(component.variance for component in self.components)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom, of all sources together."""
        inverse = sum(component.variance**2 / component.df for component in self.components)
        return self.variance**2 / inverse if inverse else math.inf

    @property
    def _sets(self) -> Component | None:
        """The spread over random sets, which few sets show; None where the effect is over none."""
        return next((component for component in self.components if component.noun == RANDOM_SETS), None)

    @property
    def _sources(self) -> tuple[float, float] | None:
        """Degrees of freedom of the random sets, and of all else; None where only one of these varies."""
        sets = self._sets
        if sets is None or len(self.components) == 1:
            return None
        others = tuple(component for component in self.components if component is not sets)
        return sets.df, Effect(self.value, others).df

    def quantile(self, tail: float) -> float:
        """The t beyond which a share `tail` lies. Over random sets Cochran's: the t of each source, by its variance.

        Satterthwaite's is too small where a variance of two degrees of freedom dominates; Cochran's never is (Cochran,
        Biometrics 1964).
        """
        sets, sources = self._sets, self._sources
        if sets is None or sources is None:
            return t_quantile(tail, self.df)
        weight = sets.variance / self.variance
        of_sets, of_others = (t_quantile(tail, df) for df in sources)
        return weight * of_sets + (1 - weight) * of_others

    @property
    def basis(self) -> str:
        """What varies, in words: `67 paradigms and 3 random sets`, `8 times 50 items`."""
        named = Counter(map(str, self.components))
        *others, last = (name if number == 1 else f"{number} times {name}" for name, number in named.items())
        return f"{', '.join(others)} and {last}" if others else last

    @property
    def degrees(self) -> str:
        """The degrees of freedom in words: `11`; over random sets of both sources, `19 and 2`."""
        if self._sources is None:
            return f"{self.df:.0f}"
        of_sets, of_others = self._sources
        return f"{of_others:.0f} and {of_sets:.0f}"

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The two-sided t interval; nan bounds where the variance is unknown."""
        half = self.quantile((1 - confidence) / 2) * self.variance**0.5
        return Interval(self.value, self.value - half, self.value + half)

    def is_beyond(self, direction: Direction, bound: float = 0.0) -> bool:
        """Whether the 95 % interval lies wholly on this side of a bound; False where there is none."""
        _, low, high = self.interval()
        return low > bound if direction > 0 else high < bound

    def is_within(self, margin: float) -> bool:
        """Whether the 90 % interval lies inside (-margin, margin); False where there is none."""
        _, low, high = self.interval(EQUIVALENCE_CONFIDENCE)
        return -margin < low and high < margin

    def p_value(self, direction: Direction) -> float:
        """Of the hypothesis that the effect is not on this side of 0, doubled: at most 0.05 where `is_beyond` holds."""
        p_value = 2 * self._tail(direction * self.value)  # nan where the variance is unknown
        return 1.0 if p_value > 1 else SMALLEST_TAIL if p_value < SMALLEST_TAIL else p_value

    def p_value_within(self, margin: float) -> float:
        """Of the hypothesis that the effect is not inside the margin (two one-sided tests)."""
        return max(SMALLEST_TAIL, self._tail(margin - abs(self.value)))

    def _tail(self, distance: float) -> float:
        scaled = distance / self.variance**0.5
        if self._sets is None or math.isnan(scaled):
            return _t_tail(scaled, self.df)
        if scaled <= 0:
            return 1 - self._tail(-distance) if scaled < 0 else 0.5
        if self.quantile(SMALLEST_TAIL) < scaled:
            return SMALLEST_TAIL
        from scipy.optimize import brentq

        bounds = math.log(SMALLEST_TAIL), math.log(0.5)
        found = brentq(lambda log_tail: self.quantile(math.exp(log_tail)) - scaled, *bounds)
        return math.exp(found)

    def detectable(self, power: float = POWER) -> float:
        """The smallest true effect whose 95 % interval would exclude 0 with this probability."""
        return (self.quantile((1 - CONFIDENCE) / 2) + t_quantile(1 - power, self.df)) * self.variance**0.5

    def plus(self, amount: float) -> "Effect":
        """The effect and a number that is known."""
        return Effect(self.value + amount, self.components, self.notes)

    def times(self, factor: float) -> "Effect":
        """The effect in another unit, or its share of a mean."""
        components = tuple(c._replace(variance=factor**2 * c.variance) for c in self.components)
        return Effect(factor * self.value, components, self.notes)


def effect(treated: Items, control: Items) -> Effect:
    """The mean difference of two conditions on one benchmark."""
    return mean_difference(paired_differences(treated, control), control)


class Moments(NamedTuple):
    """A stratified mean: one number each, or [replicates] of them."""

    value: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    """nan where the variance is 0."""


def stratified_mean(strata: Sequence[np.ndarray]) -> Moments:
    """The mean over strata of their means, of the values of a sample of each: [..., units] a stratum."""
    means = [values.mean(axis=-1) for values in strata]
    shares = [values.var(axis=-1, ddof=1) / values.shape[-1] / len(strata) ** 2 for values in strata]
    variance = np.sum(shares, axis=0)
    inverse = np.sum([share**2 / (values.shape[-1] - 1) for share, values in zip(shares, strata, strict=True)], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Moments(np.mean(means, axis=0), variance, variance**2 / inverse)


def mean_difference(differences: np.ndarray, items: Items) -> Effect:
    """The mean over fixed strata of the mean over their units of `differences` ([num_items], rows of `items`).

    Within a stratum of a single unit its items stand for units, and a note says so.
    """
    measure = items.measure
    stratum = strata_of(items)
    if math.isnan(known(float(np.ptp(differences)) ** 2, differences)):
        units = len(items) if measure.unit is None else units_of(items).nunique()
        return _constant(float(differences.mean()), units, items)
    if measure.unit is None:
        strata = [differences[stratum == h] for h in range(stratum.max() + 1)]
        return _of_strata(strata, len(items), items)
    names = units_of(items) + pd.Series(stratum).astype(str).radd("\0")  # units are told apart by stratum
    unit = pd.factorize(names)[0]
    means = np.bincount(unit, weights=differences) / np.bincount(unit)
    stratum_of_unit = np.empty(len(means), dtype=np.int64)
    stratum_of_unit[unit] = stratum
    strata = [means[stratum_of_unit == h] for h in range(stratum.max() + 1)]
    alone = [h for h, values in enumerate(strata) if len(values) == 1]
    if len(alone) == len(strata):
        return _over_items(differences, items, "because each phenomenon has one unit")
    if math.isnan(known(float(stratified_mean([v for v in strata if len(v) > 1]).variance), means)):
        return _over_items(differences, items, f"because all {measure.units} of a phenomenon agree")
    for h in alone:
        strata[h] = differences[stratum == h]
    note = f"over {measure.noun} in {len(alone)} of {len(strata)} phenomena, which have one unit each"
    found = _of_strata(strata, len(means), items, *([note] if alone else []))
    (of_units,) = found.components
    noise = _item_variance(differences, unit, means, stratum_of_unit)
    share = min(noise / found.variance, 1.0) if noise < math.inf and found.variance > 0 else 0.0
    return replace(found, components=(of_units._replace(item_share=share),))


def _over_items(differences: np.ndarray, items: Items, why: str) -> Effect:
    """`mean_difference` with the items as units."""
    found = mean_difference(differences, replace(items, measure=replace(items.measure, unit=None, unit_noun="")))
    return replace(found, notes=(f"over {items.measure.noun}, {why}", *found.notes))


def _item_variance(differences: np.ndarray, unit: np.ndarray, means: np.ndarray, stratum_of_unit: np.ndarray) -> float:
    """What the items within units add to the variance of a stratified mean; infinite where a unit has one item."""
    sizes = np.bincount(unit)
    if sizes.min() < 2:
        return math.inf
    squared = np.bincount(unit, weights=(differences - means[unit]) ** 2) / (sizes - 1) / sizes
    num_strata = stratum_of_unit.max() + 1
    units_of_stratum = np.bincount(stratum_of_unit)
    return float((squared / units_of_stratum[stratum_of_unit] ** 2).sum() / num_strata**2)


def _of_strata(strata: Sequence[np.ndarray], num_units: int, items: Items, *notes: str) -> Effect:
    if min(map(len, strata)) < 2:  # one item says nothing of how its stratum varies
        value, variance, df = float(np.mean([values.mean() for values in strata])), math.nan, 1.0
    else:
        value, variance, df = map(float, stratified_mean(strata))
    variance = known(variance, *strata)
    return Effect(value, (_of_units(variance, df, num_units, items),), notes)


def _of_units(variance: float, df: float, num_units: int, items: Items) -> Component:
    measure = items.measure
    most = measure.most_units or math.inf
    return Component(variance, df, num_units, measure.units, can_grow=measure.can_grow, most=most)


def _constant(value: float, num_units: int, items: Items) -> Effect:
    """The effect of differences that are all equal: no item of n showed another one.

    An exact bound exists for graded items: with 97.5 % confidence at most 1 - 0.025^(1/n) of them would (Clopper and
    Pearson 1934), each by at most 1 + |value|. The variance is the one whose 95 % interval is that bound. Other values
    have no bound, so their variance is unknown.
    """
    measure, num_items = items.measure, len(items)
    if not measure.is_graded:
        note = f"all {num_items} {measure.noun} differ by the same amount, which gives no interval"
        return Effect(value, (_of_units(float("nan"), 1.0, num_units, items),), (note,))
    tail = (1 - CONFIDENCE) / 2
    bound = (1 - tail ** (1 / num_items)) * (1 + abs(value))
    note = f"exact bound: 0 of {num_items} {measure.noun} differ" + (" otherwise" if value else "")
    variance = (bound / t_quantile(tail, math.inf)) ** 2
    return Effect(value, (_of_units(variance, np.inf, num_units, items),), (note,))


def strata_of(items: Items) -> np.ndarray:
    """[num_items] the stratum of each item, 0..H-1."""
    column = items.measure.fixed
    if column is None:
        return np.zeros(len(items), dtype=np.int64)
    require_columns(items.table, (column,))
    return pd.factorize(items.table[column], use_na_sentinel=False)[0]


def units_of(items: Items) -> pd.Series:
    """[num_items] the name of each item's unit, which its measure must have."""
    measure = items.measure
    assert measure.unit is not None
    require_columns(items.table, (measure.unit,))
    names = items.table[measure.unit].reset_index(drop=True).astype(str)
    return names if measure.unit_before is None else names.str.partition(measure.unit_before)[0]


def mean_effect(effects: Sequence[Effect]) -> Effect:
    """The mean over benchmarks, which are fixed and weigh the same. Their items differ, so they are independent."""
    return _summed([effect.times(1 / len(effects)) for effect in effects])


def contrast(first: Effect, second: Effect) -> Effect:
    """The first effect minus the second, on other items."""
    return _summed([first, second.times(-1)])


def _summed(effects: Sequence[Effect]) -> Effect:
    return Effect(
        sum(effect.value for effect in effects),
        tuple(component for effect in effects for component in effect.components),
        tuple(dict.fromkeys(note for effect in effects for note in effect.notes)),
    )


def of_sample(values: np.ndarray, noun: str) -> Effect:
    """The mean of a sample: of neurons, of documents. nan variance with fewer than two values, or equal ones."""
    num = len(values)
    variance = known(float(np.var(values, ddof=1)) / num, values) if num > 1 else math.nan
    value = float(np.mean(values)) if num else math.nan
    return Effect(value, (Component(variance, max(num - 1, 1), num, noun),))
