"""A recorded step, explained from the record alone: no study file, no model, no data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.explanation.choice import chosen
from orchestrator.explanation.explanation import Explanation, Related, Standing
from orchestrator.explanation.recording import recording_of
from orchestrator.record.keys import Committed, RecordedRun
from orchestrator.record.reader import Reader
from orchestrator.steps.artifacts import ENGINE_PROBE, identity_document


class _Recorded(NamedTuple):
    """A step on one of the study's current runs."""

    committed: Committed
    model: str
    condition: str

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.committed.step_name, self.model, self.condition)))


def explain_recorded(reader: Reader, study: str, wanted: str) -> Explanation:
    """The recorded step of a study that is meant. wanted: an id, a title, or a part. StudyError as `chosen`;
    RecordError where there is no such study, DamagedArtifact where what the step was made of cannot be read."""
    steps = _steps(reader.recorded_runs(study))
    found = steps[chosen(wanted, {step: one.title for step, one in steps.items()})]
    payload = _payload(reader, found.committed)
    return Explanation(
        id=found.committed.step_id,
        title=found.title,
        name=found.committed.step_name,
        kind=str(payload["kind"]),
        version=int(payload["version"]),
        model=found.model,
        condition=found.condition,
        standing=Standing.CACHED,
        reason="",
        causes=(),
        failure="",
        params=payload["params"],
        inputs=tuple(_inputs(reader, payload["inputs"], steps)),
        needed_by=tuple(_needed_by(reader, found.committed.step_id, steps)),
        recording=recording_of(found.committed, reader),
    )


def _steps(runs: list[RecordedRun]) -> dict[str, _Recorded]:
    """{step id: step} of those that a plan has: neither review steps nor the comparisons of engines."""
    steps: dict[str, _Recorded] = {}
    for run in runs:
        for committed in run.steps.values():
            has_identity = identity_document(committed.step_name) in committed.artifacts
            if has_identity and committed.step_name != ENGINE_PROBE:
                steps.setdefault(committed.step_id, _Recorded(committed, run.slot.model, run.slot.condition))
    return steps


def _payload(reader: Reader, committed: Committed) -> Mapping[str, Any]:
    payload: Mapping[str, Any] = reader.document(committed, identity_document(committed.step_name))
    return payload


def _inputs(reader: Reader, inputs: Mapping[str, str], steps: Mapping[str, _Recorded]) -> list[Related]:
    known = reader.known(list(inputs.values()))
    return [
        Related(role, source, steps[source].title if source in steps else "", source in known)
        for role, source in inputs.items()
    ]


def _needed_by(reader: Reader, step: str, steps: Mapping[str, _Recorded]) -> list[Related]:
    """Reads what every recorded step of the study was made of."""
    return [
        Related(role, other, one.title, True)
        for other, one in steps.items()
        for role, source in _payload(reader, one.committed)["inputs"].items()
        if source == step
    ]
