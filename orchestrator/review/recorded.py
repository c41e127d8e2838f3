"""Review steps: looked up, adopted or made, and their runs closed, in one place for all of them.

A review step is made from finished steps and is in no plan. Its id is the hash of its kind, its parameters and those
steps, so that it is made again exactly when one of them changes. Knows nothing of what a step holds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.keys import Committed, RunKey
from orchestrator.review.findings import Findings
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BROKEN


class ReviewStep(NamedTuple):
    """One step of the review."""

    id: str
    name: str
    """Unique within its runs: `layers`, `excess.surprisal`."""
    runs: tuple[RunKey, ...]
    """The runs that record it."""


def adopt_or_make(
    findings: Findings,
    steps: Sequence[ReviewStep],
    make: Callable[[ReviewStep], StepResult | None],
    *,
    summary: str,
    broken: frozenset[str] = frozenset(),
) -> dict[str, dict[str, Any]]:
    """Put every step on its runs, from the record where it is known, else as `make` makes it.

    make: returns None if there is nothing to record. summary: the path of the document that is returned of each step.
    broken: names of the runs that end as FAILED. Returns {step id: its summary}; a step that is given twice is recorded
    once, and one that fails is left out and named in `findings.failures`. What was just made is not read back, so that
    a store that is away meanwhile costs nothing.
    """
    record, unique = findings.record, {step.id: step for step in steps}
    known = record.intact(list(unique)) if unique else {}
    summaries: dict[str, dict[str, Any]] = {}
    for step in unique.values():
        found = _adopted(findings, step, known[step.id], summary) if step.id in known else None
        if found is not None:
            summaries[step.id] = found
        else:
            with findings.unless_failed(f"{step.name} of {step.runs[0].name}"):
                result = make(step)
                if result is None:
                    continue
                for key in step.runs:
                    record.commit(key, step.id, step.name, **result._asdict())
                summaries[step.id] = result.documents[summary]
        for key in step.runs:
            failed = key.name in broken or step.id not in summaries
            record.finish(key, "FAILED" if failed else "FINISHED")
    return summaries


def _adopted(findings: Findings, step: ReviewStep, known: Committed, summary: str) -> dict[str, Any] | None:
    """The summary of a recorded step, once it is on all of its runs; None where it is damaged, so that it is made
    again."""
    try:
        for key in step.runs:
            findings.record.adopt(key, known)
        return findings.document(known, summary)
    except DamagedArtifact:
        return None


def broken_runs(plan: Plan, outcome: Outcome) -> frozenset[str]:
    """Names of the runs on which a step failed or was skipped. A review step added later does not repair them."""
    return frozenset(key.name for step, state in outcome.states.items() if state in BROKEN for key in plan.runs[step])
