"""The words of the record: which run a result belongs to, and where a finished step lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which MLflow run a result belongs to."""

    kind: str
    """`profile` (one run a model), `condition` and `schedule` (one a model and condition) or `study` (the parent)."""
    model: str = ""
    """Label of the model."""
    name: str
    """What the run is called in MLflow, such as "SmolLM2-135M-Instruct · wasserstein"."""
    condition: str = ""
    """Name of the condition; empty for a profile."""
    identity: str = ""
    """Hash of the definition (hex). Another identity in the same place is a new run that supersedes the old one."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A finished step and where its results lie."""

    step_id: str
    step_name: str
    experiment: str
    """Name of the MLflow experiment, which is the name of a study."""
    run_id: str
    """Empty while the step has not reached MLflow and lies in the spool."""
    artifacts: Mapping[str, str]
    """Path to sha256 (hex)."""
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    """The tags this step put on its run."""
