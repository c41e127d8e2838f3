"""Review steps: looked up, adopted or made, and their runs closed; once for all of them.

A review step is made from finished steps and is part of no plan. Its id is the hash of its kind, its parameters and
those steps, so that it is made again exactly when one of them changes. Refuses to know what a step holds: its caller
makes it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.record import Record
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BROKEN


class ReviewStep(NamedTuple):
    """One step of the review."""

    id: str
    name: str
    """Unique within its runs: `layers`, `excess.surprisal`."""
    runs: tuple[RunKey, ...]
    """The runs that it is recorded on."""


def adopt_or_make(
    record: Record,
    steps: Sequence[ReviewStep],
    make: Callable[[ReviewStep], StepResult | None],
    *,
    broken: frozenset[str] = frozenset(),
) -> dict[str, Committed]:
    """Put every step on its runs, from the record where it is known, else as `make` makes it.

    make: None = there is nothing to record. broken: names of the runs that end as FAILED. Returns {step id: where its
    results lie}; a step that two entries share is made once.
    """
    committed = record.intact([step.id for step in steps]) if steps else {}
    for step in steps:
        if step.id in committed:
            for key in step.runs:
                record.adopt(key, committed[step.id])
        else:
            result = make(step)
            if result is None:
                continue
            committed[step.id] = _commit(record, step, result)
        for key in step.runs:
            record.finish(key, "FAILED" if key.name in broken else "FINISHED")
    return committed


def _commit(record: Record, step: ReviewStep, result: StepResult) -> Committed:
    first, *others = step.runs
    committed = record.commit(first, step.id, step.name, **result._asdict())
    for key in others:
        record.adopt(key, committed)
    return committed


def broken_runs(plan: Plan, outcome: Outcome) -> frozenset[str]:
    """Names of the runs on which a step failed or was skipped. A review step added later does not change that."""
    return frozenset(key.name for step, state in outcome.states.items() if state in BROKEN for key in plan.runs[step])
