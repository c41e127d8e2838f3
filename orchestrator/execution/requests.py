"""Ready steps -> the request to an actor.

Owns which method of an actor serves a step kind and where the content of its request comes from: the plan, and the
tables and neuron sets of earlier steps. An actor never looks anything up. Raises StudyError where an input cannot give
what a step asks for, and Unreachable while the store that holds the inputs does not answer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from actors.messages import EvaluateRequest, ModelSource
from orchestrator.execution.in_flight import InFlight
from orchestrator.execution.pack_sizes import PackSizes
from orchestrator.planning.inputs import Inputs
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.steps import evaluate, examples, match, profile, select, weights
from orchestrator.steps.step import Step
from studies.benchmarks.texts import Windows
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet


class Request(NamedTuple):
    """One call of an actor's method."""

    method: str
    message: Any
    """A request of `actors.messages`."""
    max_nodes: int | None = None
    """The pack size that it asks for; None = the actor's own, or no packs."""


class Requests:
    """Builds the requests of one run; see the module."""

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
        self._by_kind: dict[str, Callable[[Sequence[Step]], Request]] = {
            "profile": self._profile,
            "examples": self._examples,
            "weights": self._weights,
            "match": self._match,
            "evaluate": self._evaluate,
        }

    def of(self, steps: Sequence[Step]) -> Request:
        """The request for steps that go out together."""
        kind = steps[0].kind
        if kind not in self._by_kind:
            raise StudyError(f"no actor runs steps of kind {kind!r}")
        return self._by_kind[kind](steps)

    def select(self, step: Step) -> NeuronSet:
        """The neurons of a select step, which the driver chooses itself."""
        explicit = None
        if step.params["select"] == "explicit":
            name = next(c.base for c in self._plan.conditions[step.model] if c.name == step.condition)
            explicit = self._plan.study.neuron_sets[name]
        table = self._inputs.neuron_table(step.inputs["profile"])
        like = self._inputs.neuron_set(step.inputs["like"]) if "like" in step.inputs else None
        return select.choose(step.params, table, like=like, explicit=explicit)

    def _profile(self, steps: Sequence[Step]) -> Request:
        return Request("profile", profile.request(steps[0], self._plan.study.corpus))

    def _examples(self, steps: Sequence[Step]) -> Request:
        table = self._inputs.neuron_table(steps[0].inputs["profile"])
        return Request("examples", examples.request(steps[0], self._plan.study.corpus, table))

    def _weights(self, steps: Sequence[Step]) -> Request:
        before = self._plan.previous_checkpoint(steps[0].model)
        return Request("weights", weights.request(steps[0], self._sources[before.label]))

    def _match(self, steps: Sequence[Step]) -> Request:
        step = steps[0]
        texts = self._plan.benchmark("perplexity").request
        assert isinstance(texts, Windows)
        perplexities = {
            role: self._committed[step.inputs[role]].metrics["perplexity"]
            for role in ("baseline_perplexity", "treated_perplexity")
        }
        max_nodes = self._packs.size(self._plan.steps[step.inputs["baseline_perplexity"]])
        treated = self._inputs.neuron_set(step.inputs["treated"])
        target = match.Target(treated=treated, max_nodes=max_nodes, **perplexities)
        table = self._inputs.neuron_table(step.inputs["profile"])
        return Request("match", match.request(step, texts, table, target), max_nodes)

    def _evaluate(self, steps: Sequence[Step]) -> Request:
        benchmark = self._plan.benchmark(steps[0].params["benchmark"])
        treatments = {step.id: self._inputs.treatment(step) for step in steps}
        max_nodes = self._packs.size(steps[0])
        message = EvaluateRequest(
            benchmark=benchmark.name,
            texts=benchmark.request,
            interventions={
                step.id: evaluate.intervention(step.params["clamp"] or {}, *treatments[step.id]) for step in steps
            },
            max_nodes=max_nodes,
            parts=self._in_flight.parts(step.id for step in steps),
        )
        return Request("evaluate", message, max_nodes)
