"""Why a step is not recorded although an earlier one of its name is: the parameters that changed, found upstream.

A step's id depends on the ids of its inputs. Where only these changed, the inputs are compared with what they were,
and so on, until a parameter of some step's own is reached. Reads the record alone, each step once.
"""

from orchestrator.explanation.explanation import Cause
from orchestrator.explanation.wording import Named, parameter
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.record.reader import Reader
from orchestrator.steps.artifacts import identity_document
from orchestrator.steps.identity import changes
from orchestrator.steps.step import Step

INPUTS = "inputs."


def root_causes(plan: Plan, reader: Reader, step: Step, last: Committed) -> list[Cause]:
    """What changed since the step was recorded as `last`, nearest first. DamagedArtifact where that cannot be read."""
    return _Search(plan, reader).causes(step, last, ())


class _Search:
    def __init__(self, plan: Plan, reader: Reader) -> None:
        self._plan, self._reader = plan, reader
        self._seen: set[tuple[str, str]] = set()
        """(step, what it was) that have been compared."""

    def causes(self, step: Step, last: Committed, through: tuple[str, ...]) -> list[Cause]:
        if (step.id, last.step_id) in self._seen:
            return []
        self._seen.add((step.id, last.step_id))
        own, upstream = [], []
        for change in changes(step.payload, self._reader.document(last, identity_document(last.step_name))):
            source = self._plan.steps.get(str(change.after)) if change.place.startswith(INPUTS) else None
            before = self._reader.known([change.before]) if source is not None and change.before else {}
            if source is not None and change.before in before:
                upstream += self.causes(source, before[change.before], (*through, source.title))
            else:
                own.append(Cause(self._named(change.place, step), change, through))
        return own + upstream

    def _named(self, place: str, step: Step) -> str:
        if place.startswith(INPUTS):
            return f"the input {place.removeprefix(INPUTS)!r} of {step.title}"
        spec = self._plan.study.spec.conditions.get(step.condition.partition("/")[0])
        reference = spec.match.perplexity_of if spec is not None and spec.match is not None else ""
        return parameter(place, Named(step.kind.name, step.name, step.model, step.condition, reference))
