"""What an undecided claim would need: the smallest effect that its data would have shown, and how much more data.

Owns the words; `studies.statistics.effects` has the arithmetic.
"""

import math

from studies.statistics.effects import POWER, RANDOM_SETS, RANKED_SETS, Effect


def what_would_decide(label: str, effect: Effect) -> str:
    """`an effect of 0.021 would be shown with 80 % power; about 130 windows would decide this one`.

    The number of units is the one at which the estimated effect has that power; other sources of variance stay.
    """
    smallest = effect.detectable()
    if math.isnan(smallest):
        return ""
    shown = f"{label} of {smallest:.2g} would be shown with {100 * POWER:.0f} % power"
    if not effect.value:
        return shown
    largest = max(effect.components, key=lambda component: component.variance)
    if largest.noun == RANDOM_SETS:
        return f"{shown}; with more random sets a smaller one would be, and from {RANKED_SETS} on their ranks decide"
    needed = effect.variance * (smallest / effect.value) ** -2  # variance at which this effect has that power
    rest = effect.variance - largest.variance
    enough = math.ceil(largest.num_units * largest.variance / (needed - rest)) if needed > rest else math.inf
    if not largest.can_grow or enough > largest.most or math.isinf(enough):
        return f"{shown}; {abs(effect.value):.2g} cannot be decided with these {largest}"
    return f"{shown}; about {enough:,} {largest.noun} would decide {abs(effect.value):.2g}"
