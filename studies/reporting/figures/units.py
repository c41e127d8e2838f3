"""The units in which people read effects: percentage points, %, nats.

Owns the way from a recorded number to the one that is read: of the units that verdicts name, and of what a benchmark
measures. Knows no figure and no page.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from studies.benchmarks.measures import Measure


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

OF_EFFECTS: Mapping[str, Unit] = {
    "accuracy": POINTS,
    "log_perplexity": PERCENT,
    "surprisal": SURPRISAL,
    "fraction": FRACTION,
}
"""{unit of a verdict (`scorecard.Unit`): how it is read}."""


def measured(measure: Mapping[str, Any]) -> Unit:
    """The unit of a change in what a benchmark measures; measure: as `records.measure_record`."""
    if measure["name"] == "accuracy":
        return POINTS
    if measure["logarithmic"]:
        return PERCENT._replace(quantity=measure["name"])
    return Unit("nats a token" if measure["name"] == "surprisal" else "", measure["name"])


def increased(measure: Measure) -> Unit:
    """The unit of an increase over the baseline (`increases.increase`), in which harm is positive."""
    if measure.is_graded:
        return POINTS._replace(quantity="error")
    if measure.is_log:
        return PERCENT._replace(quantity=measure.name)
    return Unit("", measure.increase_label)


def of_verdict(verdict: Mapping[str, Any], benchmarks: Mapping[str, Mapping[str, Any]]) -> Unit:
    """The unit of a verdict's effect, contrast and margin. benchmarks: {name: measure}."""
    _, _, benchmark = verdict["claim"].partition("/")
    if verdict["unit"] == "of_benchmark" and benchmark in benchmarks:
        of_benchmark = measured(benchmarks[benchmark])
        return of_benchmark._replace(quantity=f"cost in {of_benchmark.quantity}")
    return OF_EFFECTS.get(verdict["unit"], Unit("", "effect"))
