"""The lines of `plan`: which steps a run would compute, and why; and what `plan --json` prints."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from orchestrator.planning.compared import evaluated_again
from orchestrator.planning.plan import Plan
from orchestrator.planning.power import PlannedPower, power_records
from orchestrator.record.client.failures import DamagedArtifact, RecordError
from orchestrator.record.keys import Committed
from orchestrator.record.reader import Reader
from orchestrator.scheduling.estimates import flops
from orchestrator.scheduling.forecast import Forecast
from orchestrator.steps.artifacts import identity_document
from orchestrator.steps.identity import difference
from orchestrator.steps.step import Step

DAMAGED = "changed; what it was is not known, because its recorded artifacts are damaged"


class PlannedStep(NamedTuple):
    """One line of `plan`."""

    step: Step
    cached: bool
    reason: str
    """Why it is not cached; empty if it is."""
    flops: float
    """Estimated floating-point operations."""
    again: bool = False
    """Whether it is recorded, and will be evaluated again under the versions installed here."""
    idle: bool = False
    """Whether there is nothing to compute, because of the finding of a recorded step."""


class Survey(NamedTuple):
    """What the record holds of a plan."""

    known: Mapping[str, Committed]
    """{step: where it is recorded}, of those that are."""
    before: Mapping[tuple[str, str, str], Committed]
    """{(model, condition, name): the step that the study recorded there last}; empty where every step is known."""
    idle: Mapping[str, str]
    """{step that is not recorded: the finding that leaves it nothing to compute}."""
    again: Mapping[str, str]
    """{recorded evaluation: why it will be evaluated again}."""

    def is_cached(self, step: str) -> bool:
        """Whether a run would take a step from the record."""
        return step in self.known and step not in self.again

    def last(self, step: Step) -> Committed | None:
        """What the study recorded last under a step's name."""
        return self.before.get((step.model, step.condition, step.name))


def survey(plan: Plan, record: Reader, installed: Mapping[str, str] | None) -> Survey:
    """What the record holds of a plan.

    installed: {package: version}; a recorded evaluation is not counted as cached where by these it will be evaluated
    again, to be compared with a step to run. None = whatever is recorded stays.
    """
    known = record.known(list(plan.steps))
    before = record.latest(plan.study.spec.study) if len(known) < len(plan.steps) else {}
    idle = _not_applicable(plan, record, known)
    again = {} if installed is None else evaluated_again(plan, known, installed, idle=idle)
    return Survey(known, before, idle, again)


def planned_steps(plan: Plan, record: Reader, installed: Mapping[str, str] | None) -> list[PlannedStep]:
    """Every step of a plan, whether it is recorded, why not, and its estimated work; `installed` as in `survey`."""
    found = survey(plan, record, installed)
    planned = []
    for step in plan.steps.values():
        cached, idle = found.is_cached(step.id), step.id in found.idle
        reason = found.again.get(step.id) or found.idle.get(step.id, "")
        if not cached and not reason:
            reason = _why_not_cached(step, found.last(step), record)
        work = 0.0 if idle else flops(plan.model(step.model), step.work)
        planned.append(PlannedStep(step, cached, reason, work, again=step.id in found.again, idle=idle))
    return planned


def _not_applicable(plan: Plan, record: Reader, known: Mapping[str, Committed]) -> dict[str, str]:
    """{step that is not recorded: the finding of a recorded step that leaves it nothing to compute}."""
    reasons: dict[str, str] = {}
    for step in (plan.steps[step] for step in known):
        with contextlib.suppress(RecordError):  # damaged: it is computed again
            findings = step.kind.why_barren(partial(record.document, known[step.id]))
            for later, finding in plan.without_work(step.id, findings).items():
                reasons[later] = f"not applicable: {finding}"
    return {step: reason for step, reason in reasons.items() if step not in known}


def _why_not_cached(step: Step, last: Committed | None, record: Reader) -> str:
    """`new`, or what changed since the step was last recorded under its name: three differences at most."""
    if last is None:
        return "new"
    try:
        changes = difference(step.payload, record.document(last, identity_document(step.name)))
    except DamagedArtifact:
        return DAMAGED
    return "; ".join(changes[:3])


def plan_json(
    study: str,
    planned: Iterable[PlannedStep],
    special_tokens: Mapping[str, Any],
    forecast: Forecast,
    power: Sequence[PlannedPower] = (),
) -> dict[str, Any]:
    """What `plan --json` prints. Every key is written out, so that renaming a field changes no output."""
    steps = [
        {
            "id": entry.step.id,
            "step": entry.step.title,
            "cached": entry.cached,
            "reason": entry.reason,
            "flops": entry.flops,
        }
        for entry in planned
    ]
    after = {"special_tokens": special_tokens, "power": power_records(power), "forecast": forecast.as_json()}
    return {"study": study, "steps": steps} | after
