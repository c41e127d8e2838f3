"""What a condition costs on one benchmark: its paired difference to the baseline, as claims estimate it.

The one source of the differences that a report, MLflow's metrics and figures show, so that they agree with the
verdicts: over units as in `effects`; where the items of a document are not independent (`Measure.resamples_clusters`),
bootstrapped over documents as in `intervals`. Knows no claim.
"""

from typing import NamedTuple

from studies.statistics.effects import effect
from studies.statistics.intervals import Interval, difference
from studies.statistics.items import Items


class Delta(NamedTuple):
    """A paired difference."""

    interval: Interval
    """Condition minus baseline: of accuracy, else in nats (the logarithm of a ratio of perplexities). At 95 %; bounds
    are nan where nothing says how the difference varies."""
    num_items: int
    basis: str
    """What varies: `67 paradigms`."""


def delta(condition: Items, baseline: Items) -> Delta:
    """The difference between a condition and the baseline. Raises ValueError where their item sets differ."""
    measure = baseline.measure
    if measure.resamples_clusters and measure.cluster is not None:
        clusters = baseline.table[measure.cluster].nunique()
        noun = measure.cluster if clusters == 1 else f"{measure.cluster}s"
        return Delta(difference(condition, baseline), len(baseline), f"{clusters:,} {noun}")
    found = effect(condition, baseline)
    return Delta(found.interval(), len(baseline), found.basis)
