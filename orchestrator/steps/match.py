"""match: searches the fraction of low-scored neurons whose clamp costs as much perplexity as the treated condition.

Runs on an ablation actor; the result is a neuron set, like that of a selection.
"""

import math
from typing import Any, NamedTuple

import pandas as pd

from actors.messages import Matched, MatchRequest
from orchestrator.steps.artifacts import MATCHING, MATCHING_CURVE, NEURON_SET
from orchestrator.steps.evaluate import clamp_params
from orchestrator.steps.result import StepResult, receipt_document
from orchestrator.steps.step import Step
from orchestrator.study_file.spec import ConditionSpec, MatchSpec
from studies.benchmarks.texts import Windows
from studies.neurons import selection
from studies.neurons.selection import NeuronSet


class Target(NamedTuple):
    """What the matched control is compared with."""

    treated: NeuronSet
    baseline_perplexity: float
    treated_perplexity: float
    max_nodes: int | None
    """Pack size of the two perplexities; None = the actor's own."""


def params(condition: ConditionSpec, search: MatchSpec) -> dict[str, Any]:
    """The science parameters; `search` is the condition's `match` block."""
    return {
        "score": condition.score,
        "clamp": clamp_params(condition.clamp),
        "within": search.within,
        "within_rise": search.within_rise,
        "evaluations": search.evaluations,
    }


def request(step: Step, texts: Windows, neurons: pd.DataFrame, target: Target) -> MatchRequest:
    """The request to the ablation actor; `neurons` is the neuron table of the profile."""
    params = step.params
    num_neurons = int(neurons["layer"].isin(list(target.treated.indices)).sum())
    return MatchRequest(
        step=step.id,
        texts=texts,
        ranking=selection.ascending(neurons, score=params["score"], without=target.treated),
        floor=params["clamp"].get("floor", -math.inf),
        ceiling=params["clamp"].get("ceiling", math.inf),
        baseline_perplexity=target.baseline_perplexity,
        treated_perplexity=target.treated_perplexity,
        treated_fraction=target.treated.count / num_neurons,
        within=params["within"],
        within_rise=params["within_rise"],
        max_evaluations=params["evaluations"],
        max_nodes=target.max_nodes,
    )


def result(answer: Matched) -> StepResult:
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
    return StepResult(metrics, frames, {MATCHING: outcome}, series=series)
