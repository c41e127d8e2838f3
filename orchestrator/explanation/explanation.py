"""What is said of one step: plain values, and what `explain --json` prints.

Refuses to know where they come from: `planned` fills them from a plan and its record, `recorded` from a record alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from orchestrator.steps.identity import Change


class Standing(StrEnum):
    """Whether a run would take the step from the record."""

    CACHED = "cached"
    NOT_CACHED = "not cached"
    AGAIN = "evaluated again"
    """It is recorded under other versions than are installed here, and will be compared with a step to run."""
    NOT_APPLICABLE = "not applicable"


class Cause(NamedTuple):
    """A parameter that changed since the step was recorded last."""

    parameter: str
    """As the study file has it: `wasserstein.fraction`."""
    change: Change
    through: tuple[str, ...]
    """Titles of the inputs that lead to it, from the step's own upwards; empty where it is the step's own."""

    @property
    def text(self) -> str:
        """`wasserstein.fraction 0.01 -> 0.02`."""
        return f"{self.parameter} {self.change.values}"


class Related(NamedTuple):
    """An input of a step, or a step that takes it as one."""

    role: str
    """What it is to the step that takes it: `neurons`, `profile`."""
    id: str
    title: str
    """Empty where the record does not know it."""
    is_cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where and how a step was recorded."""

    study: str
    at: datetime | None
    """None while it waits in the outbox."""
    run_id: str
    """Empty while it waits there."""
    link: str
    """The page of its run in MLflow; empty while it has none."""
    versions: Mapping[str, str]
    """{package: version} under which it was computed; empty where that is not recorded."""
    receipt: str
    """How it was computed and what was proven, on one line; empty where its kind leaves none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is said of one step."""

    id: str
    title: str
    name: str
    kind: str
    version: int
    model: str
    condition: str
    """Empty for a profile."""
    standing: Standing
    reason: str
    """Why it is not cached, where no cause says it; empty where it is."""
    causes: tuple[Cause, ...]
    failure: str
    """Why it failed in the last run; empty where it did not."""
    params: Mapping[str, Any]
    inputs: tuple[Related, ...]
    needed_by: tuple[Related, ...]
    """The steps that take it as an input."""
    recording: Recording | None
    """None where it is not recorded."""

    @property
    def why(self) -> str:
        """Why it is not cached, on one line; empty where it is."""
        return "; ".join(dict.fromkeys(cause.text for cause in self.causes)) or self.reason


def explanation_json(explained: Explanation) -> dict[str, Any]:
    """What `explain --json` prints: every key is described in docs/schemas/explain.json."""
    recording = explained.recording
    return {
        "id": explained.id,
        "step": explained.title,
        "name": explained.name,
        "kind": explained.kind,
        "version": explained.version,
        "model": explained.model,
        "condition": explained.condition,
        "standing": str(explained.standing),
        "why": explained.why,
        "causes": [_cause_json(cause) for cause in explained.causes],
        "last_failure": explained.failure or None,
        "params": dict(explained.params),
        "inputs": [_related_json(related) for related in explained.inputs],
        "needed_by": [_related_json(related) for related in explained.needed_by],
        "recorded": None if recording is None else _recording_json(recording),
    }


def _cause_json(cause: Cause) -> dict[str, Any]:
    change = cause.change
    return {
        "parameter": cause.parameter,
        "how": change.how,
        "before": change.before,
        "after": change.after,
        "through": list(cause.through),
    }


def _related_json(related: Related) -> dict[str, Any]:
    return {"role": related.role, "id": related.id, "step": related.title, "cached": related.is_cached}


def _recording_json(recording: Recording) -> dict[str, Any]:
    return {
        "study": recording.study,
        "at": recording.at.isoformat(timespec="seconds") if recording.at else None,
        "run_id": recording.run_id or None,
        "link": recording.link or None,
        "versions": dict(recording.versions),
        "receipt": recording.receipt or None,
    }
