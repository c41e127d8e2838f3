"""The units in which people read effects: percentage points, %, nats.

Owns which unit belongs to the effect of a claim and to what a benchmark measures, and the way from a recorded number to
the one that is read. Knows no figure and no page.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Unit(NamedTuple):
    """How a recorded effect is read."""

    name: str
    """`percentage points`."""
    quantity: str
    """`accuracy`."""
    factor: float = 1.0
    is_ratio: bool = False
    """Whether the effect is the logarithm of a ratio, which is read as a change in %."""

    def read(self, value: float | None) -> float:
        """The recorded number in this unit; nan for None."""
        if value is None:
            return math.nan
        return 100 * math.expm1(min(value, 600.0)) if self.is_ratio else self.factor * value

    @property
    def label(self) -> str:
        """`accuracy, percentage points`."""
        return f"{self.quantity}, {self.name}" if self.name else self.quantity


POINTS = Unit("percentage points", "accuracy", 100.0)
PERCENT = Unit("%", "perplexity", is_ratio=True)
SURPRISAL = Unit("nats a token", "surprisal")
FRACTION = Unit("percentage points of all neurons", "neurons clamped", 100.0)

OF_CLAIMS: Mapping[str, Unit] = {
    "perplexity_cost": PERCENT,
    "difficulty_agrees": PERCENT,
    "treated_doubles_first": PERCENT,
    "matched_cost": FRACTION,
    "syntax_loss": POINTS,
    "syntax_spared": POINTS,
    "knowledge_loss": POINTS,
    "knowledge_spared": POINTS,
    "double_dissociation": POINTS,
    "sign_not_magnitude": POINTS,
    "scaffolding": SURPRISAL,
    "content_spared": SURPRISAL,
}
"""Of the claims on one model; those on depth have the unit of their benchmark."""


def measured(measure: Mapping[str, Any]) -> Unit:
    """The unit of a change in what a benchmark measures; measure: as `records.measure_record`."""
    if measure["name"] == "accuracy":
        return POINTS
    if measure["logarithmic"]:
        return PERCENT
    return Unit("nats a token" if measure["name"] == "surprisal" else "", measure["name"])


def of_claim(claim: str, benchmarks: Mapping[str, Mapping[str, Any]]) -> Unit:
    """The unit of a claim's effect. benchmarks: {name: measure}, for claims on one of them; others are bare numbers."""
    name, _, benchmark = claim.partition("/")
    if name in OF_CLAIMS:
        return OF_CLAIMS[name]
    if benchmark in benchmarks:
        of_benchmark = measured(benchmarks[benchmark])
        return of_benchmark._replace(quantity=f"cost in {of_benchmark.quantity}")
    return Unit("", "effect")
