"""A step of a study file, explained: from its plan and what the record holds of it."""

from collections.abc import Iterable

from orchestrator.explanation.causes import root_causes
from orchestrator.explanation.choice import chosen
from orchestrator.explanation.explanation import Cause, Explanation, Related, Standing
from orchestrator.explanation.recording import recording_of
from orchestrator.planned_steps import DAMAGED, Survey
from orchestrator.planning.plan import Plan
from orchestrator.progress.snapshot import decode
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.driver.progress_tag import TAG as PROGRESS
from orchestrator.record.reader import Reader
from orchestrator.redaction import redacted
from orchestrator.steps.step import Step

NEW = "new: the study has recorded nothing under this name"


def explain_planned(plan: Plan, found: Survey, reader: Reader, wanted: str) -> Explanation:
    """The step of a plan that is meant, explained. wanted: an id, a title, or a part. StudyError as `chosen`."""
    step = plan.steps[chosen(wanted, {step.id: step.title for step in plan.steps.values()})]
    standing, reason, causes = _standing(plan, found, reader, step)
    committed = found.known.get(step.id)
    return Explanation(
        id=step.id,
        title=step.title,
        name=step.name,
        kind=step.kind.name,
        version=step.kind.version,
        model=step.model,
        condition=step.condition,
        standing=standing,
        reason=reason,
        causes=tuple(causes),
        failure="" if standing is Standing.CACHED else _last_failure(plan, reader, step),
        params=step.params,
        inputs=tuple(_related(role, plan.steps[source], found) for role, source in step.inputs.items()),
        needed_by=tuple(_needed_by(step, plan.steps.values(), found)),
        recording=recording_of(committed, reader) if committed is not None else None,
    )


def _standing(plan: Plan, found: Survey, reader: Reader, step: Step) -> tuple[Standing, str, list[Cause]]:
    """How a step stands, why, and what changed."""
    if found.is_cached(step.id):
        return Standing.CACHED, "", []
    if step.id in found.again:
        return Standing.AGAIN, found.again[step.id], []
    if step.id in found.idle:
        return Standing.NOT_APPLICABLE, found.idle[step.id].removeprefix("not applicable: "), []
    last = found.last(step)
    if last is None:
        return Standing.NOT_CACHED, NEW, []
    try:
        return Standing.NOT_CACHED, "", root_causes(plan, reader, step, last)
    except DamagedArtifact:
        return Standing.NOT_CACHED, DAMAGED, []


def _last_failure(plan: Plan, reader: Reader, step: Step) -> str:
    """Why the step failed in the last run of the study; empty where it did not."""
    progress = decode(reader.own_tags(plan.study.spec.study).get(PROGRESS, ""))
    failures = progress.failures if progress else ()
    return next((redacted(failure.reason) for failure in failures if failure.title == step.title), "")


def _related(role: str, step: Step, found: Survey) -> Related:
    return Related(role, step.id, step.title, found.is_cached(step.id))


def _needed_by(step: Step, steps: Iterable[Step], found: Survey) -> list[Related]:
    return [_related(role, one, found) for one in steps for role, source in one.inputs.items() if source == step.id]
