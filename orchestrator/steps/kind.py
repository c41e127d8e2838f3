"""What a step kind must say: where it runs, what is asked, what the answer becomes.

A new kind is one file in this package with a class derived from `ActorStepKind` (an actor computes it) or
`DriverStepKind` (the driver does), and one instance of it, `KIND`. Its parameters are what identifies a step; its
request is one method of an actor. Planning decides which steps a study has; the runner only calls what is declared
here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import pandas as pd

from actors.messages.ablation import Part
from actors.messages.model import EngineFacts, ModelSource
from orchestrator.record.keys import NOTHING
from orchestrator.steps.artifacts import NEURON_SET
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Role, Step, StepKind
from orchestrator.study_file.spec import StudySpec
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.protocol import Benchmark
from studies.neurons.selection import NeuronSet

Answer = TypeVar("Answer")
"""The message of `actors.messages` with which an actor answers; its field `step` is the id of the step."""


class Request(NamedTuple):
    """One call of an actor's method."""

    method: str
    message: Any
    """A request of `actors.messages`."""


class StepContext(Protocol):
    """What the steps of a running study are made from: the plan's data, and the results of finished steps.

    Steps are named by their ids. Raises Unreachable while the store that holds a result does not answer.
    """

    @property
    def corpus(self) -> Corpus:
        """The scoring text."""
        ...

    @property
    def perplexity(self) -> Benchmark:
        """The study's perplexity benchmark."""
        ...

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark by its name."""
        ...

    def neuron_table(self, step: str) -> pd.DataFrame:
        """The neuron table of a profile step."""
        ...

    def neuron_set(self, step: str, path: str = NEURON_SET) -> NeuronSet:
        """The neuron set of a select or match step, recorded under this artifact path."""
        ...

    def windows(self, step: str, benchmark: str) -> pd.DataFrame:
        """The windows of an evaluation of perplexity: one row each."""
        ...

    def listed_neurons(self, step: Step) -> NeuronSet | None:
        """The neurons that the study file lists for the step's condition; None where it lists none."""
        ...

    def metrics(self, step: str) -> Mapping[str, float]:
        """The recorded metrics of a step."""
        ...

    def previous_checkpoint(self, model: str) -> ModelSource:
        """The checkpoint before this one in its series; `model` is a label."""
        ...

    def pack_size(self, step: str) -> int | None:
        """Pack size (nodes) with which a step is scored; None = the actor's own."""
        ...

    def parts(self, steps: Iterable[str]) -> dict[str, Part]:
        """{step: its packs that have arrived}, of the steps of which any have."""
        ...

    def engine(self, step: str) -> EngineFacts:
        """The engine of the ablation actor that a running step was sent to."""
        ...


class ActorStepKind(StepKind, ABC, Generic[Answer]):
    """A kind that an actor computes."""

    @abstractmethod
    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The request for steps of one model and group that go out together.

        Raises StudyError where an input cannot give what a step asks for.
        """

    @abstractmethod
    def result(self, step: Step, answer: Answer, context: StepContext) -> StepResult:
        """What the actor's answer becomes in the record. Raises StudyError if the answer must not be recorded.

        Looks up nothing of the record that `request` did not: an answer cannot wait for the store.
        """

    def packs_of(self, step: Step) -> str | None:  # noqa: ARG002 - for the kinds with packs
        """Id of the step in whose packs this one is scored, its own where it is no other's; None without packs."""
        return None

    def pack_size(self, step: Step, context: StepContext) -> int | None:
        """Pack size (nodes) that the request asks for; None = the actor's own, or no packs."""
        source = self.packs_of(step)
        return None if source is None else context.pack_size(source)


class DriverStepKind(StepKind, ABC):
    """A kind that the driver computes itself."""

    role = Role.DRIVER

    @abstractmethod
    def compute(self, step: Step, context: StepContext) -> StepResult:
        """The result. Raises StudyError where an input cannot give what the step asks for."""


class PlannedModel(NamedTuple):
    """A model as the kinds that run once a model see it in planning."""

    spec: StudySpec
    corpus: str
    """Digest of the scoring text."""
    dtype: str
    tokens: float
    """Estimated tokens of its profile."""
    before: str | None
    """Digest of the previous checkpoint of its series; None where there is none."""
    profile: str
    """Id of its profile step."""


class Draft(NamedTuple):
    """A step before it has an id."""

    params: Mapping[str, Any]
    inputs: Mapping[str, str] = NOTHING
    """{role: step id}."""
    work: float = 0.0
    """Estimated tokens through the model."""


class ModelStepKind(ActorStepKind[Answer]):
    """A kind that runs once a model, beside its profile, and is recorded on the profile's run."""

    @abstractmethod
    def draft(self, model: PlannedModel) -> Draft | None:
        """The step for this model; None where the study or the model has none."""
