"""What the steps of one run are made from: the plan's data, finished steps, and what is known of running ones.

Implements `StepContext` for the step kinds. An actor never looks anything up: whatever a request needs is looked up
here. Raises Unreachable while the store that holds an input does not answer.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from actors.messages.ablation import Part
from actors.messages.model import EngineFacts, ModelSource
from orchestrator.execution.in_flight import InFlight
from orchestrator.execution.pack_sizes import PackSizes
from orchestrator.planning.inputs import Inputs
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.steps.artifacts import NEURON_SET
from orchestrator.steps.step import Step
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.protocol import Benchmark
from studies.neurons.selection import NeuronSet


class RunContext:
    """The `StepContext` of one run."""

    def __init__(
        self,
        plan: Plan,
        inputs: Inputs,
        committed: Mapping[str, Committed],
        packs: PackSizes,
        in_flight: InFlight,
        sources: Mapping[str, ModelSource],
    ) -> None:
        """committed: the finished steps; sources: by model label. Both may grow meanwhile."""
        self._plan, self._inputs, self._committed = plan, inputs, committed
        self._packs, self._in_flight, self._sources = packs, in_flight, sources

    @property
    def corpus(self) -> Corpus:
        """The scoring text."""
        return self._plan.study.corpus

    @property
    def perplexity(self) -> Benchmark:
        """The study's perplexity benchmark."""
        perplexity = self._plan.study.perplexity
        assert perplexity is not None, "only a study with a perplexity has steps that ask for it"
        return perplexity

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark by its name."""
        return self._plan.benchmark(name)

    def neuron_table(self, step: str) -> pd.DataFrame:
        """The neuron table of a profile step."""
        return self._inputs.neuron_table(step)

    def neuron_set(self, step: str, path: str = NEURON_SET) -> NeuronSet:
        """The neuron set of a select or match step, recorded under this artifact path."""
        return self._inputs.neuron_set(step, path)

    def windows(self, step: str, benchmark: str) -> pd.DataFrame:
        """The windows of an evaluation of perplexity: one row each."""
        return self._inputs.windows(step, benchmark)

    def listed_neurons(self, step: Step) -> NeuronSet | None:
        """The neurons that the study file lists for the step's condition; None where it lists none."""
        conditions = self._plan.conditions[step.model]
        base = next(condition.base for condition in conditions if condition.name == step.condition)
        return self._plan.study.neuron_sets.get(base)

    def metrics(self, step: str) -> Mapping[str, float]:
        """The recorded metrics of a step."""
        return self._committed[step].metrics

    def previous_checkpoint(self, model: str) -> ModelSource:
        """The checkpoint before this one in its series."""
        previous = self._plan.study.previous_checkpoint(self._plan.model(model))
        assert previous is not None, f"{model} is the first of its series"
        return self._sources[previous.label]

    def pack_size(self, step: str) -> int | None:
        """Pack size (nodes) with which a step is scored; None = the actor's own."""
        return self._packs.size(self._plan.steps[step])

    def parts(self, steps: Iterable[str]) -> dict[str, Part]:
        """{step: its packs that have arrived}, of the steps of which any have."""
        return self._in_flight.parts(steps)

    def engine(self, step: str) -> EngineFacts:
        """The engine of the ablation actor that a running step was sent to."""
        return self._in_flight.engine(step)
