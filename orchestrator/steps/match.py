"""match: searches the fraction of low-scored neurons whose clamp costs as much perplexity as the treated condition.

Runs on an ablation actor; the result is a neuron set, like that of a selection.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from actors.messages.ablation import Matched, MatchRequest
from orchestrator.steps.artifacts import MATCHING, MATCHING_CURVE, NEURON_SET
from orchestrator.steps.kind import ActorStepKind, Request, StepContext
from orchestrator.steps.result import StepResult, receipt_document
from orchestrator.steps.step import Role, Step
from orchestrator.study_file.spec import ConditionSpec, MatchSpec
from studies.benchmarks.texts import Windows
from studies.errors import StudyError
from studies.neurons import selection
from studies.neurons.clamps import Clamp
from studies.neurons.selection import NeuronSet

EXPECTED_EVALUATIONS = 6
"""Perplexities that a search is expected to compute; only estimates depend on it."""


def params(condition: ConditionSpec, search: MatchSpec) -> dict[str, Any]:
    """The science parameters; `search` is the condition's `match` block."""
    return {
        "score": condition.score,
        "clamp": condition.clamp.payload,
        "within": search.within,
        "within_rise": search.within_rise,
        "evaluations": search.evaluations,
    }


class Match(ActorStepKind[Matched]):
    """A neuron set, searched by its perplexity."""

    name, version, role = "match", 3, Role.ABLATION

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The ranking of the neurons, and the perplexities between which the search moves."""
        (step,) = steps
        params, inputs, benchmark = step.params, step.inputs, context.perplexity
        texts = benchmark.request
        if not isinstance(texts, Windows):
            raise StudyError(f"{benchmark.name} is not scored on windows of a text, so nothing can be matched to it")
        neurons, treated = context.neuron_table(inputs["profile"]), context.neuron_set(inputs["treated"])
        num_neurons = int(neurons["layer"].isin(list(treated.indices)).sum())
        metric = benchmark.headlines[0]
        message = MatchRequest(
            step=step.id,
            benchmark=benchmark.name,
            texts=texts,
            ranking=selection.ascending(neurons, score=params["score"], without=treated),
            clamp=Clamp.from_payload(params["clamp"]),
            baseline_perplexity=context.metrics(inputs["baseline_perplexity"])[metric],
            treated_perplexity=context.metrics(inputs["treated_perplexity"])[metric],
            treated_fraction=treated.count / num_neurons,
            within=params["within"],
            within_rise=params["within_rise"],
            max_evaluations=params["evaluations"],
            max_nodes=self.pack_size(step, context),
        )
        return Request("match", message)

    def packs_of(self, step: Step) -> str:
        """Those of the two perplexities."""
        return step.inputs["baseline_perplexity"]

    def result(self, step: Step, answer: Matched, context: StepContext) -> StepResult:  # noqa: ARG002
        """The neuron set, the outcome of the search, and its curve."""
        neurons = NeuronSet.of(answer.neurons)
        curve = pd.DataFrame(answer.curve, columns=["fraction", "perplexity"])
        metrics = {"matching/evaluations": float(len(curve))}
        if answer.matched:
            metrics["matching/fraction"] = answer.fraction
        outcome = {
            "matched": answer.matched,
            "reason": answer.reason,
            "fraction": answer.fraction if answer.matched else None,
            "curve": [list(point) for point in answer.curve],
            "neuron_set": neurons.digest,
            "receipt": receipt_document(answer.receipt) if answer.receipt else None,
            "seconds": answer.seconds,
        }
        frames = {NEURON_SET: neurons.to_frame(), MATCHING_CURVE: curve}
        series = {
            f"matching/search_{name}": dict(enumerate(curve[name].tolist(), 1)) for name in ("fraction", "perplexity")
        }
        why = why_unmatched(outcome)
        return StepResult(metrics, frames, {MATCHING: outcome}, {"matching.outcome": why} if why else {}, series)

    def why_barren(self, document: Callable[[str], Any]) -> str:
        """A search that found no match leaves no neurons to evaluate."""
        return why_unmatched(document(MATCHING))


KIND = Match()


def why_unmatched(outcome: Mapping[str, Any]) -> str:
    """Why a recorded search, the content of `match.json`, found no control; empty where it found one."""
    return "" if outcome["matched"] else f"the control cannot be matched: {outcome['reason']}"
