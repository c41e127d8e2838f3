"""Metrics in MLflow that are not what was recorded: somebody logged another value on a run, or deleted one.

The tag that commits a step holds its metrics, and these are what every report and table uses; MLflow's own page shows
whatever was logged last. Owns the comparison and its line. Writes nothing.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from orchestrator.record.keys import Committed

NUM_SHOWN = 3
"""Edits that the line names; the others are counted."""


class Edit(NamedTuple):
    """A metric of a run that differs from the committed one."""

    run_id: str
    run_name: str
    metric: str
    recorded: float
    found: float | None
    """In MLflow; None where the run has no such metric."""


def edits(run: Any, steps: Iterable[Committed]) -> list[Edit]:
    """The edited metrics of one of MLflow's runs, given the steps committed on it."""
    recorded: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.metrics.items():
            if isinstance(value, int | float):  # a tag may hold anything
                recorded.setdefault(name, []).append(value)
    metrics = run.data.metrics
    return [
        Edit(run.info.run_id, run.info.run_name, name, values[-1], metrics.get(name))
        for name, values in sorted(recorded.items())
        if not any(_equal(value, metrics.get(name)) for value in values)
    ]


def warning(found: list[Edit], safe_uri: str, remedy: str) -> str:
    """One line that says which metrics differ, and what is done about it."""
    shown = [
        f"{edit.metric} of run {edit.run_name} ({edit.run_id}) is {_shown(edit.found)} there and {edit.recorded:.10g} "
        "in the record"
        for edit in found[:NUM_SHOWN]
    ]
    more = f", and {len(found) - NUM_SHOWN} more" if len(found) > NUM_SHOWN else ""
    return f"metrics were changed in MLflow at {safe_uri}: {'; '.join(shown)}{more}; {remedy}"


def _equal(recorded: float, found: float | None) -> bool:
    """Databases keep 64 bits, but not all of them print and read all of these."""
    return found is not None and math.isclose(recorded, found, rel_tol=1e-12, abs_tol=0.0)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.10g}"
