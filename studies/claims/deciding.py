"""What an undecided claim would need: the smallest effect that its data would have shown, and how much more data.

Owns the words; `studies.statistics.effects` has the arithmetic.
"""

import math

from studies.statistics.effects import POWER, RANDOM_SETS, RANKED_SETS, Effect

MOST_TIMES = 1000
"""Times as many items as there are; more are not suggested."""


def what_would_decide(effect: Effect) -> str:
    """`0.021 would be shown with 80 % power; about 130 windows would decide 0.013`.

    The number of units is the one at which the estimated effect has that power; other sources of variance stay.
    """
    smallest = effect.detectable()
    if math.isnan(smallest):
        return ""
    shown = f"{smallest:.2g} would be shown with {100 * POWER:.0f} % power"
    if not effect.value:
        return shown
    largest = max(effect.components, key=lambda component: component.variance)
    if largest.noun == RANDOM_SETS:
        return f"{shown}; with more random sets a smaller one would be, and from {RANKED_SETS} on their ranks decide"
    needed = effect.variance * (smallest / effect.value) ** -2  # variance at which this effect has that power
    rest = effect.variance - largest.variance
    enough = math.ceil(largest.num_units * largest.variance / (needed - rest)) if needed > rest else math.inf
    value = f"{abs(effect.value):.2g}"
    if largest.can_grow and enough <= largest.most and not math.isinf(enough):
        return f"{shown}; about {enough:,} {largest.noun} would decide {value}"
    from_items = largest.item_share * largest.variance
    spare = needed - (effect.variance - from_items)
    if 0 < from_items < MOST_TIMES * spare:
        times = math.ceil(from_items / spare)
        return f"{shown}; about {times} times as many items in these {largest} would decide {value}"
    return f"{shown}; {value} cannot be decided with these {largest}"
