"""How comparisons varied on a model, as plain JSON: what a report says of it, and what a later plan reads of that.

Owns the keys, which are the persisted ones. Callers rely on: a report of an earlier version, or one that somebody has
damaged, has no spreads, and is no error.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from studies.statistics.power import Spread


class EarlierSpread(NamedTuple):
    """What an earlier run showed of one comparison."""

    model: str
    """Label of its model."""
    digest: str
    """Of its model."""
    day: str
    """When the run began: 2026-12-01."""
    benchmark: str
    comparison: str
    """`treated/baseline`."""
    spread: Spread
    random_sets: float | None
    """Standard deviation of the means over random sets of neurons; None where it was not measured."""


def spread_record(
    benchmark: str, comparison: str, spread: Spread, *, discordance: float | None, random_sets: float | None
) -> dict[str, Any]:
    """How one comparison varied, as plain JSON.

    discordance: the share of graded items whose result differs. random_sets: as in `EarlierSpread`.
    """
    return {
        "benchmark": benchmark,
        "comparison": comparison,
        "sd_items": spread.items,
        "sd_units": spread.units,
        "discordance": discordance,
        "sd_random_sets": random_sets,
    }


def spreads_of_report(report: Any, day: str) -> Iterator[EarlierSpread]:
    """The spreads that a recorded report holds; day: 2026-12-01."""
    for model in _list(report, "models"):
        for entry in _list(model, "spreads"):
            try:
                label, digest, benchmark, comparison = (
                    _text(part[key])
                    for part, key in ((model, "label"), (model, "digest"), (entry, "benchmark"), (entry, "comparison"))
                )
                spread = Spread(_size(entry["sd_items"]), _size(entry["sd_units"]))
                sets = entry["sd_random_sets"]
                random_sets = None if sets is None else _size(sets)
            except (KeyError, TypeError, ValueError):
                continue
            yield EarlierSpread(label, digest, day, benchmark, comparison, spread, random_sets)


def _list(holder: Any, key: str) -> list[Any]:
    found = holder.get(key) if isinstance(holder, Mapping) else None
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _size(value: Any) -> float:
    """A standard deviation. Raises ValueError or TypeError for anything else."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("not a standard deviation")
    return float(value)
