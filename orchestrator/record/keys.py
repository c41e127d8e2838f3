"""Which run a result belongs to (`RunKey`), where a finished step lies (`Committed`), and what a run has recorded.

Plain values, shared by everything that writes or reads the record. Refuses to know how MLflow stores them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Never

NOTHING: Mapping[str, Never] = MappingProxyType({})
"""The empty mapping, as a default argument."""


class Slot(NamedTuple):
    """What a study can have one current run of."""

    kind: str
    model: str
    condition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which MLflow run a result belongs to."""

    kind: str
    """`profile` (one run per model), `condition`, `schedule` (one per model and condition) or `study` (the parent)."""
    model: str = ""
    """Label of the model; empty for the parent."""
    name: str
    """What the run is called in MLflow, such as "SmolLM2-135M-Instruct · wasserstein"."""
    condition: str = ""
    """Name of the condition; empty for a profile and the parent."""
    identity: str = ""
    """Hash of the definition (hex); empty for the parent. A run of another identity in the same slot supersedes the
    old one."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def slot(self) -> Slot:
        return Slot(self.kind, self.model, self.condition)

    @property
    def slot_and_identity(self) -> tuple[Slot, str]:
        """Equal for keys of the same run."""
        return self.slot, self.identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A finished step and where its results lie."""

    step_id: str
    step_name: str
    experiment: str
    """Name of the MLflow experiment, which is the name of a study."""
    run_id: str
    """Empty while the step has not reached MLflow and waits in the outbox."""
    artifacts: Mapping[str, str]
    """Path to sha256 (hex)."""
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags this step put on its run."""


class RecordedRun(NamedTuple):
    """A current run of a study, and the steps recorded on it."""

    slot: Slot
    run_id: str
    """Empty while MLflow has no such run and its steps wait in the outbox."""
    name: str
    """What the run is called in MLflow."""
    status: str
    """In MLflow's words; empty while it has no such run."""
    params: Mapping[str, str]
    steps: Mapping[str, Committed]
    """{name of a step: the step}."""
    tags: Mapping[str, str] = NOTHING
    """Empty while MLflow has no such run."""


class EarlierRuns(NamedTuple):
    """What a study's runs held when an earlier invocation ended."""

    runs: list[RecordedRun]
    lost: Mapping[tuple[Slot, str], str]
    """{(slot, name of a step): why the record no longer tells its result}."""
