"""What an undecided claim would need: the smallest effect that its data would have shown, and how much more data.

Owns the words; `studies.statistics.effects` has the arithmetic.
"""

import math

from studies.statistics.effects import EQUIVALENCE_CONFIDENCE, POWER, RANDOM_SETS, RANKED_SETS, Effect, t_quantile

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
    largest = max(effect.components, key=lambda component: component.variance)
    if largest.noun == RANDOM_SETS:
        return f"{shown}; with more random sets a smaller one would be, and from {RANKED_SETS} on their ranks decide"
    return f"{shown}; {value} cannot be decided with these {largest}"


def what_would_spare(effect: Effect, margin: float) -> str:
    """What would bring the 90 % interval inside the margin with 80 % power, if the effect is as large as it looks."""
    if math.isnan(effect.variance):
        return ""
    room = margin - abs(effect.value)
    if room <= 0:
        return f"an effect of {abs(effect.value):.2g} is not inside it, however certain"
    quantiles = effect.quantile((1 - EQUIVALENCE_CONFIDENCE) / 2) + t_quantile((1 - POWER) / 2, effect.df)
    more = _more(effect, (room / quantiles) ** 2)
    largest = max(effect.components, key=lambda component: component.variance)
    return f"{more} would decide it" if more else f"it cannot be decided with these {largest}"


def _more(effect: Effect, needed: float) -> str:
    """How much more of the largest source of variance gives the variance that is needed; empty where none does."""
    largest = max(effect.components, key=lambda component: component.variance)
    if largest.noun == RANDOM_SETS:
        return ""
    rest = effect.variance - largest.variance
    enough = math.ceil(largest.num_units * largest.variance / (needed - rest)) if needed > rest else math.inf
    if largest.can_grow and enough <= largest.most and not math.isinf(enough):
        return f"about {enough:,} {largest.noun}"
    from_items = largest.item_share * largest.variance
    spare = needed - (effect.variance - from_items)
    if 0 < from_items < MOST_TIMES * spare:
        return f"about {math.ceil(from_items / spare)} times as many items in these {largest}"
    return ""
