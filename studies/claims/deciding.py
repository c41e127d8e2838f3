"""What an undecided claim would need: the smallest effect that its data would have shown, and how much more data.

Owns the words; `studies.statistics.effects` has the arithmetic.
"""

import math
from collections.abc import Sequence

from studies.statistics.effects import EQUIVALENCE_CONFIDENCE, POWER, RANDOM_SETS, Component, Effect, t_quantile
from studies.statistics.random_controls import RANKED_SETS

MOST_TIMES = 1000
"""Times as many items as there are; more are not suggested."""


def what_would_decide(effect: Effect) -> str:
    """`0.021 would be shown with 80 % power; about 130 windows would decide 0.013`; empty where nothing is known.

    The number of units is the one at which the estimated effect has that power; other sources of variance stay.
    """
    smallest = effect.detectable()
    if math.isnan(smallest):
        return ""
    shown = f"{smallest:.2g} would be shown with {100 * POWER:.0f} % power"
    if not effect.value:
        return shown
    more = _more(effect, effect.variance * (effect.value / smallest) ** 2)
    value = f"{abs(effect.value):.2g}"
    if more:
        return f"{shown}; {more} would decide {value}"
    if _largest(effect)[0].noun == RANDOM_SETS:
        return f"{shown}; with more random sets a smaller one would be, and from {RANKED_SETS} on their ranks decide"
    return f"{shown}; {value} cannot be decided with these {_units(effect)}"


def what_would_spare(effect: Effect, margin: float) -> str:
    """What would bring the 90 % interval inside the margin with 80 % power, if the effect is as large as it looks."""
    if math.isnan(effect.variance):
        return ""
    room = margin - abs(effect.value)
    if room <= 0:
        return f"an effect of {abs(effect.value):.2g} is not inside it, however certain"
    quantiles = effect.quantile((1 - EQUIVALENCE_CONFIDENCE) / 2) + t_quantile((1 - POWER) / 2, effect.df)
    more = _more(effect, (room / quantiles) ** 2)
    return f"{more} would decide it" if more else f"it cannot be decided with these {_units(effect)}"


def _largest(effect: Effect) -> list[Component]:
    """The sources of one name that have the largest variance together: the items of all benchmarks, the windows."""
    by_noun: dict[str, list[Component]] = {}
    for component in effect.components:
        by_noun.setdefault(component.noun, []).append(component)
    return max(by_noun.values(), key=_variance)


def _variance(components: Sequence[Component]) -> float:
    return sum(component.variance for component in components)


def _units(effect: Effect) -> str:
    """`67 paradigms`, of the largest source of variance."""
    largest = _largest(effect)
    return f"{sum(component.num_units for component in largest):,} {largest[0].noun}"


def _more(effect: Effect, needed: float) -> str:
    """How much more of the largest source of variance gives the variance that is needed; empty where none does."""
    largest = _largest(effect)
    if largest[0].noun == RANDOM_SETS:
        return ""
    variance, num_units = _variance(largest), sum(component.num_units for component in largest)
    rest = effect.variance - variance
    enough = math.ceil(num_units * variance / (needed - rest)) if needed > rest else math.inf
    if all(c.can_grow for c in largest) and enough <= sum(c.most for c in largest) and not math.isinf(enough):
        return f"about {enough:,} {largest[0].noun}"
    from_items = sum(component.item_share * component.variance for component in largest)
    spare = needed - (effect.variance - from_items)
    if 0 < from_items < MOST_TIMES * spare:
        return f"about {math.ceil(from_items / spare)} times as many items in these {_units(effect)}"
    return ""
