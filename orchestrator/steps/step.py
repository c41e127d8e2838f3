"""The step, one unit of work that is recorded once; its kind, its role, its state.

A step's id is the hash of its payload: kind, the kind's version, science parameters, the model's digest, and the ids
of its inputs. Raise the version of a kind when its numbers move, and list it in CHANGELOG.md; a golden-number test per
kind fails otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from orchestrator.record.keys import Committed
from orchestrator.steps.comparability import TAG
from orchestrator.steps.identity import identify

BASELINE = "baseline"
"""The condition that leaves every neuron alone, on the same path as all others."""


ANY_ROLE = ""
"""Stands for all input roles in `StepKind.why_barren`."""


class Role(StrEnum):
    """Where a step runs."""

    SCORE = "score"
    """On a score actor."""
    ABLATION = "ablation"
    """On an ablation actor."""
    DRIVER = "driver"


class StepKind:
    """A kind of step. Everything that is particular to it stands in one file: see `kind` for what it must say."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Part of every step's id. Raising it recomputes all steps of the kind and whatever depends on them."""
    role: ClassVar[Role]
    is_divided: ClassVar[bool] = False
    """Whether a model's actors divide the work of one step among them: the actor's method takes `others`."""

    def payload(self, model: str, params: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
        """The data that a step's id is the hash of. model: the model's digest; inputs: {role: step id}."""
        return {"kind": self.name, "version": self.version, "model": model, "params": params, "inputs": dict(inputs)}

    def why_barren(self, document: Callable[[str], Any]) -> Mapping[str, str]:  # noqa: ARG002 - for some kinds
        """{input role: why nothing can be computed by steps that take the recorded step in it}; these are findings.

        Under `ANY_ROLE` of all steps that take it; empty where all can be computed. document: reads a recorded document
        of the step by its artifact path.
        """
        return {}


REVIEW_VERSIONS = {
    "layers": 3,  # the effects of a layer schedule
    "doses": 3,  # a dose-response
    "summary": 2,  # the mean accuracy of a condition's multiple-choice benchmarks
    "dynamics": 4,  # a series of checkpoints over training
    "excess": 3,  # excess surprisal by part of speech
    "texts": 1,  # the texts of a benchmark's items
    "flipped": 1,  # the items that a condition answers otherwise than the baseline
    "report": 9,
    "page": 2,  # the report as HTML
}
"""{review step: version}. Review steps are made from finished steps and are part of no plan."""


def review_id(name: str, params: Mapping[str, Any], inputs: Sequence[str], committed: Mapping[str, Committed]) -> str:
    """The id of a review step (a report, a summary, a curve), which is made from the results of other steps.

    committed: {step id: its result}, of the inputs at least. Their comparability keys enter, because an evaluation that
    is repeated under other versions keeps its id.
    """
    tags = (committed[step].tags for step in inputs)
    keys = [next((value for tag, value in of_step.items() if tag.startswith(TAG)), "") for of_step in tags]
    payload = {"kind": name, "version": REVIEW_VERSIONS[name], "params": params, "inputs": list(inputs), "keys": keys}
    return identify(payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of work that is recorded once."""

    id: str
    kind: StepKind
    name: str
    """Unique within its run: `profile`, `select`, `evaluate.blimp`, `noise_floor.blimp`, `match`."""
    model: str
    """The model's label."""
    condition: str
    """`wasserstein`, `random/seed=0`, `baseline`; empty for the profile."""
    payload: Mapping[str, Any]
    """The data that the id is the hash of."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """{role in this step: step id}."""
    group: str = ""
    """Ready steps of one model and group go to the actor as one request; empty = alone."""
    work: float = 0.0
    """Estimated tokens through the model, for the plan and for the critical path."""

    @property
    def role(self) -> Role:
        """Where it runs."""
        return self.kind.role

    @property
    def params(self) -> Mapping[str, Any]:
        """The science parameters of the payload."""
        params: Mapping[str, Any] = self.payload["params"]
        return params

    @property
    def title(self) -> str:
        """`evaluate.blimp smollm2-135m wasserstein`."""
        return " ".join(part for part in (self.name, self.model, self.condition) if part)


class State(StrEnum):
    """Where a step of a plan stands."""

    PENDING = "pending"
    RUNNING = "running"
    CACHED = "cached"
    """Recorded by an earlier run."""
    DONE = "done"
    """Computed and recorded by this run."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """A step that it depends on failed or was skipped."""
    NOT_APPLICABLE = "not applicable"
    """A step that it depends on has found that there is nothing to compute; see `StepKind.why_barren`."""


FINISHED = {State.CACHED, State.DONE}
BROKEN = {State.FAILED, State.SKIPPED}
TERMINAL = FINISHED | BROKEN | {State.NOT_APPLICABLE}
