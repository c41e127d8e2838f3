"""The grammar of models in a study file: one by one, or as checkpoints of one training run.

Owns how a model is named and what its actors get. Names are only names here: `planning.models` looks them up.
Invariant: engine options that could drop an intervention silently, or load other code or weights, are refused; others
that can run code or reach files are for a trusted study alone (`trust`).
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from orchestrator.study_file.engine_options import EngineOptions
from orchestrator.study_file.fields import Count, Flag, Number, Strict
from orchestrator.study_file.located import quote
from studies.benchmarks.options import Text
from studies.errors import did_you_mean


def _dtype_by_rule(dtype: str | None, info: ValidationInfo) -> str | None:
    """The dtype of a model, by the fields above it where it has none; None = the checkpoint's own."""
    on_gpus = info.data.get("gpus") or info.data.get("tensor_parallel")
    return dtype or (None if on_gpus else "float32")


class _Loading(Strict):
    """How a model is loaded and which resources its actors get."""

    label: Text | None = None
    """The name in tables, runs and folders; without it, the last part of the model's name, with its revision."""
    route: Literal["auto", "tree", "flat"] = "auto"
    """How texts are scored: packed as token trees, or as ordinary vLLM requests (`flat`). `auto` takes the tree unless
    the model cannot."""
    tensor_parallel: Count | None = None
    """Ranks of the engine; without it, as many as `gpus`, else the fewest that hold the model."""
    cpus: Count | None = None
    """CPU cores of each actor."""
    gpus: Annotated[Number, Field(ge=0)] | None = None
    """A share of one GPU, or whole GPUs; without it, one per rank where the cluster has GPUs."""
    dtype: Annotated[Literal["float32", "bfloat16", "float16"] | None, AfterValidator(_dtype_by_rule)] = Field(
        default=None, validate_default=True
    )
    """Without it, the checkpoint's own where the file gives `gpus` or `tensor_parallel`, else float32; always float32
    under the preset `paper`. It follows the file, not the machine, because it is part of every step's identity."""
    labels: dict[Text, Text] = Field(default={})
    """Labels of the Ray nodes on which its actors may run."""
    shards: Count = 1
    """How many score actors divide the scoring corpus among them, each with the resources above."""
    trust_remote_code: Flag = False
    """Whether the Python in the model's repository runs; needs `--trust-study`."""
    pickled_weights: Flag = False
    """Whether `pytorch_model*.bin` is accepted where there are no safetensors."""
    engine: EngineOptions = Field(default={})
    """Options of vLLM's engine: sizes, memory and named backends in any study, others with `--trust-study`."""

    @model_validator(mode="after")
    def _gpus_match_ranks(self) -> "_Loading":
        gpus, ranks = self.gpus or 0, self.tensor_parallel
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus must be a share of one GPU or a whole number; found {gpus:g}")
        if gpus and ranks is not None and ranks != max(gpus, 1):
            raise ValueError(
                f"tensor_parallel: {ranks} needs gpus: {ranks}; found gpus: {gpus:g} (leave one of them out)"
            )
        return self


LOADING_KEYS = tuple(_Loading.model_fields)
"""The keys that a model and a series of checkpoints share."""


def _is_folder(name: str) -> bool:
    """Whether a bare name means a local folder; any other name is looked up."""
    return name.startswith((".", "/", "~"))


class ModelSpec(_Loading):
    """One model: a hub name (with revision) or a local folder."""

    name: Text | None = None
    """A name under `--model-root`, or else on the hub."""
    path: Text | None = None
    """A folder, in place of a name; a relative one starts at the study file."""
    revision: Text | None = None
    """A branch, tag or commit on the hub."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"path": value} if _is_folder(value) else {"name": value}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> "ModelSpec":
        if (self.name is None) == (self.path is None):
            raise ValueError("a model has either a name (hub) or a path (local folder)")
        if self.path is not None and self.revision is not None:
            raise ValueError("a local folder has no revision")
        return self

    @property
    def display(self) -> str:
        """The label, or the last part of the name with the revision."""
        label = self.label or Path(self.name or self.path or "").name
        return f"{label}@{self.revision}" if self.revision and not self.label else label


class Revision(NamedTuple):
    """One checkpoint of a series."""

    name: str
    """A revision on the hub, or a subfolder's name."""
    step: int
    """Training step."""


def _revision(value: Any) -> Revision:
    """From `step1000`, or `{main: 143000}` where the name does not contain the step."""
    if isinstance(value, Revision):
        return value
    written = value
    if isinstance(value, str):
        numbers = re.findall(r"step[-_]?(\d+)", value) or re.findall(r"(\d+)$", value)
        if not numbers:
            raise ValueError(f"{quote(value)} does not say its training step; write {{{quote(value)}: <step>}}")
        value = {value: int(numbers[0])}
    if isinstance(value, dict) and len(value) == 1:
        ((name, step),) = value.items()
        if isinstance(name, str) and isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**53:
            return Revision(name, step)
    raise ValueError(f"a revision is a word, or {{word: training step below 2**53}}; found {quote(written)}")


class CheckpointsSpec(_Loading):
    """One architecture at several points of its training run; every checkpoint becomes a model of the study."""

    of: Text
    """A name on the hub, whose revisions are the checkpoints, or a folder or a name under `--model-root` with one
    subfolder per checkpoint."""
    revisions: Annotated[tuple[Annotated[Revision, BeforeValidator(_revision)], ...], Field(min_length=2)]
    """The checkpoints in the order of training: `step1000`, or `{main: 143000}` where a name does not say its step."""
    cohort: Text | None = None
    """The checkpoint at which neurons are selected for all of them; without it, the last."""

    @model_validator(mode="after")
    def _ordered(self) -> "CheckpointsSpec":
        names = [revision.name for revision in self.revisions]
        steps = [revision.step for revision in self.revisions]
        if steps != sorted(set(steps)):
            raise ValueError(f"revisions must be in the order of training, each step once; found steps {steps}")
        if self.cohort is not None and self.cohort not in names:
            remedy = did_you_mean(self.cohort, names)
            raise ValueError(f"cohort: {quote(self.cohort)} is not one of the revisions{remedy}")
        return self

    @property
    def display(self) -> str:
        """The label, or the last part of the name."""
        return self.label or Path(self.of).name

    def label_of(self, revision: str) -> str:
        """The label of a checkpoint, as a model of the study."""
        return f"{self.display}@{revision}"

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """Each checkpoint as a model."""
        loading = self.model_dump(exclude={"of", "revisions", "cohort", "label"}, exclude_unset=True)
        return tuple(
            ModelSpec(
                **(
                    {"path": f"{self.of}/{revision.name}"}
                    if _is_folder(self.of)
                    else {"name": self.of, "revision": revision.name}
                ),
                label=self.label_of(revision.name),
                **loading,
            )
            for revision in self.revisions
        )
