"""The closed table of step kinds, and the frozen step.

A step's id is the hash of its payload: kind, the kind's version, science parameters, model and data digests, and the
ids of its inputs. Raise a kind's version when its numbers move; a golden-number test per kind fails otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.steps.identity import identify


class Role(StrEnum):
    """Who runs a step."""

    SCORE = "score"
    ABLATION = "ablation"
    DRIVER = "driver"


class Kind(NamedTuple):
    version: int
    role: Role


KINDS: dict[str, Kind] = {
    "profile": Kind(2, Role.SCORE),
    "examples": Kind(1, Role.SCORE),
    "weights": Kind(1, Role.SCORE),
    "select": Kind(1, Role.DRIVER),
    "evaluate": Kind(2, Role.ABLATION),
    "match": Kind(1, Role.ABLATION),
    "layers": Kind(1, Role.DRIVER),  # like the report: made from the evaluations of a layer schedule
    "doses": Kind(1, Role.DRIVER),  # likewise, of a dose-response
    "summary": Kind(1, Role.DRIVER),  # likewise: the mean accuracy of a condition's multiple-choice benchmarks
    "dynamics": Kind(1, Role.DRIVER),  # likewise: a series of checkpoints over training
    "excess": Kind(1, Role.DRIVER),  # likewise: what a condition adds to surprisal, by part of speech
    "report": Kind(5, Role.DRIVER),  # not in the DAG: made from whatever finished, after the rest has ended
}


def review_id(kind: str, params: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Id of a step that is made from finished steps and stands in no plan: a report, a summary, a curve."""
    return identify({"kind": kind, "version": KINDS[kind].version, "params": params, "inputs": list(inputs)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of work that is recorded once."""

    id: str
    kind: str
    name: str
    """Unique within its run: `profile`, `select`, `evaluate.blimp`, `noise_floor.blimp`, `match`."""
    model: str
    """Label."""
    condition: str
    """`wasserstein`, `random/seed=0`, `baseline`; empty for the profile."""
    payload: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    """{role in this step: step id}."""
    group: str = ""
    """Ready steps of one model and group go to the actor as one request."""
    work: float = 0.0
    """Estimated tokens through the model, for the plan and for the critical path."""

    @property
    def role(self) -> Role:
        return KINDS[self.kind].role

    @property
    def title(self) -> str:
        """`evaluate.blimp smollm2-135m wasserstein`."""
        return " ".join(part for part in (self.name, self.model, self.condition) if part)


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    CACHED = "cached"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


FINISHED = {State.CACHED, State.DONE}


BROKEN = {State.FAILED, State.SKIPPED}


TERMINAL = FINISHED | BROKEN


BASELINE = "baseline"
