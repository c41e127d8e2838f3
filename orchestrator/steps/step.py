"""The step, one unit of work that is recorded once; and the table of step kinds.

A step's id is the hash of its payload: kind, the kind's version, science parameters, the model's digest, and the ids
of its inputs. Raise the version of a kind when its numbers move, and list it in CHANGELOG.md; a golden-number test per
kind fails otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.steps.identity import identify

BASELINE = "baseline"
"""The condition that leaves every neuron alone, on the same path as all others."""


class Role(StrEnum):
    """Where a step runs."""

    SCORE = "score"
    """On a score actor."""
    ABLATION = "ablation"
    """On an ablation actor."""
    DRIVER = "driver"


class Kind(NamedTuple):
    """A row of the table of step kinds."""

    version: int
    """Part of every step's id. Raising it recomputes all steps of the kind and whatever depends on them."""
    role: Role


KINDS: dict[str, Kind] = {
    "profile": Kind(2, Role.SCORE),
    "examples": Kind(1, Role.SCORE),
    "weights": Kind(1, Role.SCORE),
    "select": Kind(1, Role.DRIVER),
    "evaluate": Kind(2, Role.ABLATION),
    "match": Kind(1, Role.ABLATION),
    # Review steps: made from finished steps, part of no plan.
    "layers": Kind(1, Role.DRIVER),  # the effects of a layer schedule
    "doses": Kind(1, Role.DRIVER),  # a dose-response
    "summary": Kind(1, Role.DRIVER),  # the mean accuracy of a condition's multiple-choice benchmarks
    "dynamics": Kind(1, Role.DRIVER),  # a series of checkpoints over training
    "excess": Kind(1, Role.DRIVER),  # excess surprisal by part of speech
    "report": Kind(5, Role.DRIVER),
}


def review_id(kind: str, params: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """The id of a review step (a report, a summary, a curve): made from finished steps, part of no plan."""
    return identify({"kind": kind, "version": KINDS[kind].version, "params": params, "inputs": list(inputs)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of work that is recorded once."""

    id: str
    kind: str
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
        return KINDS[self.kind].role

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


FINISHED = {State.CACHED, State.DONE}
BROKEN = {State.FAILED, State.SKIPPED}
TERMINAL = FINISHED | BROKEN
