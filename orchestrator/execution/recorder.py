"""Writes the results of steps into the record, and closes runs.

Owns what has been committed so far and when a run of MLflow is closed. Equal conditions share a step: its result is
committed on all of their runs, in place of an earlier one. Invariant: a step is in `committed` only once the record
holds it.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import DamagedArtifact
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.steps.artifacts import ENGINE_PROBE, identity_document
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import BROKEN, TERMINAL, State, Step


class Recorder:
    """The finished steps of one plan."""

    def __init__(self, plan: Plan, record: Record) -> None:
        self._plan, self._record = plan, record
        self.committed: dict[str, Committed] = {}
        self._members: dict[str, list[str]] = {}
        """{run: its steps}."""
        for step, keys in plan.runs.items():
            for key in keys:
                self._members.setdefault(key.name, []).append(step)

    def begin(self, step: Step) -> None:
        """Show the runs of a step that starts as running."""
        for key in self._plan.runs[step.id]:
            self._record.begin(key)

    def take_over(self, step: Step, known: Committed) -> bool:
        """Take over a step of the record, for all runs that it belongs to; False where it is damaged.

        Of a step on a server, only what is read here is known to be intact.
        """
        try:
            if not self._record.verify(known):
                return False
            adopted = [self._record.adopt(key, known) for key in self._plan.runs[step.id]]
            self.committed[step.id] = adopted[0]
            self.why_barren(step)
        except DamagedArtifact:
            self.committed.pop(step.id, None)
            return False
        return True

    def commit(self, step: Step, result: StepResult) -> None:
        """Record a result, with the payload that its id is the hash of. Raises UnrecordableError as `Record.commit`."""
        committed = [
            self._record.commit(
                key,
                step.id,
                step.name,
                metrics=result.metrics,
                frames=result.frames,
                documents={**result.documents, identity_document(step.name): dict(step.payload)},
                tags=result.tags,
                series=result.series,
            )
            for key in self._plan.runs[step.id]
        ]
        self.committed[step.id] = committed[0]

    def commit_probe(
        self,
        profile: str,
        probe: str,
        payload: Mapping[str, Any],
        metrics: Mapping[str, float],
        document: Mapping[str, Any],
    ) -> None:
        """Record the comparison of an engine with Transformers on the runs of its model's profile.

        profile: id of the profile step; probe: id of the comparison, the hash of its payload. The runs are closed as
        the profile has ended; a step of theirs that ends later opens them again.
        """
        for key in self._plan.runs[profile]:
            self._record.commit(
                key,
                probe,
                ENGINE_PROBE,
                metrics=metrics,
                frames={},
                documents={f"{ENGINE_PROBE}.json": dict(document), identity_document(ENGINE_PROBE): dict(payload)},
            )
            self._record.finish(key, "FINISHED" if profile in self.committed else "FAILED")

    def why_barren(self, step: Step, result: StepResult | None = None) -> Mapping[str, str]:
        """{input role: why nothing can be computed by the steps that take a recorded one in it}; see `StepKind`.

        result: what was just recorded, so that it need not be read back."""
        if result is not None:
            return step.kind.why_barren(result.documents.__getitem__)
        return step.kind.why_barren(lambda path: self._record.document(self.committed[step.id], path))

    def close_runs(self, step: Step, states: Mapping[str, State]) -> None:
        """Close the runs whose last step has ended, so that MLflow shows them as finished while the study goes on.

        There is no run of a condition of which nothing applies."""
        for key in self._plan.runs[step.id]:
            of_run = [states[member] for member in self._members[key.name]]
            if all(state is State.NOT_APPLICABLE for state in of_run):
                continue
            if all(state in TERMINAL for state in of_run) and not all(state is State.CACHED for state in of_run):
                broken = any(state in BROKEN for state in of_run)
                self._record.finish(key, "FAILED" if broken else "FINISHED")
