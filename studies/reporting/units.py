"""The units in which people read effects: percentage points, %, nats.

Owns the way from a recorded number to the one that is read: of the units that verdicts name, and of what a benchmark
measures. Knows no figure and no page.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from studies.benchmarks.measures import Measure
from studies.statistics.intervals import Interval

LARGE_RISE = 200.0
"""A rise of perplexity, in %, beyond which it is told as a multiple."""
FULL_STRENGTH = 200
"""Items from which on a cell of a table or heat map has the whole colour; below, its strength is the square root of
their share."""


class Unit(NamedTuple):
    """How a recorded effect is read."""

    name: str
    """`percentage points`."""
    quantity: str
    """`accuracy`."""
    factor: float = 1.0
    is_ratio: bool = False
    """Whether the effect is the logarithm of a ratio, which is read as a change in %."""
    suffix: str = ""
    """What stands behind a number in a text: ` pp`."""
    digits: int = 3
    """Decimal places in a text."""

    def read(self, value: float | None) -> float:
        """The recorded number in this unit; nan for None."""
        if value is None:
            return math.nan
        return 100 * math.expm1(min(value, 600.0)) if self.is_ratio else self.factor * value

    def interval(self, recorded: Mapping[str, Any] | None) -> Interval:
        """A recorded interval in this unit; nan for what is not known, and for all of it where there is none."""
        found = recorded or {}
        return Interval(*(self.read(found.get(side)) for side in ("estimate", "low", "high")))

    @property
    def label(self) -> str:
        """`accuracy, percentage points`."""
        return f"{self.quantity}, {self.name}" if self.name else self.quantity


POINTS = Unit("percentage points", "accuracy", 100.0, suffix=" pp", digits=1)
PERCENT = Unit("%", "perplexity", is_ratio=True, suffix=" %", digits=1)
SURPRISAL = Unit("nats a token", "surprisal", suffix=" nats")
FRACTION = Unit("percentage points of a layer's neurons", "neurons clamped", 100.0, suffix=" pp", digits=1)

NUMBER = Unit("", "effect")

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
    return SURPRISAL if measure["name"] == "surprisal" else Unit("", measure["name"])


def increased(measure: Measure) -> Unit:
    """The unit of an increase over the baseline (`increases.increase`), in which harm is positive."""
    if measure.is_graded:
        return POINTS._replace(quantity="error")
    if measure.is_log:
        return PERCENT._replace(quantity=measure.name)
    return Unit("", measure.increase_label)


def of_verdict(verdict: Mapping[str, Any], benchmarks: Mapping[str, Mapping[str, Any]]) -> Unit:
    """The unit of a verdict's effect, contrast and margin; a plain number where a report before version 9 does not say
    it. benchmarks: {name: measure}."""
    _, _, benchmark = verdict["claim"].partition("/")
    unit = verdict.get("unit", "")
    if unit == "of_benchmark" and benchmark in benchmarks:
        of_benchmark = measured(benchmarks[benchmark])
        return of_benchmark._replace(quantity=f"cost in {of_benchmark.quantity}")
    return OF_EFFECTS.get(unit, NUMBER)
