"""match: the perplexity-matched control, the search for the fraction of low-scored neurons."""

import pandas as pd

from actors.messages import Matched, MatchRequest
from orchestrator.steps.artifacts import NEURON_SET
from orchestrator.steps.result import StepResult, plain
from orchestrator.steps.step import Step
from studies.benchmarks.texts import TextRequest
from studies.neurons import selection
from studies.neurons.selection import NeuronSet


def match_request(
    step: Step,
    texts: TextRequest,
    *,
    neurons: pd.DataFrame,
    treated: NeuronSet,
    baseline_perplexity: float,
    treated_perplexity: float,
    max_nodes: int | None,
) -> MatchRequest:
    """What a match step asks of an ablation actor, given its model's neuron table."""
    params = step.payload["params"]
    clamp = {"floor": float("-inf"), "ceiling": float("inf"), **params["clamp"]}
    num_neurons = int(neurons["layer"].isin(list(treated.indices)).sum())
    return MatchRequest(
        step=step.id,
        texts=texts,
        ranking=selection.ascending(neurons, score=params["score"], without=treated),
        floor=clamp["floor"],
        ceiling=clamp["ceiling"],
        baseline_perplexity=baseline_perplexity,
        treated_perplexity=treated_perplexity,
        treated_fraction=treated.count / num_neurons,
        within=params["within"],
        within_rise=params["within_rise"],
        max_evaluations=params["evaluations"],
        max_nodes=max_nodes,
    )


def of_match(result: Matched) -> StepResult:
    neurons = NeuronSet.of(result.neurons)
    curve = pd.DataFrame(result.curve, columns=["fraction", "perplexity"])
    metrics = {"matching/evaluations": float(len(curve))}
    if result.matched:
        metrics["matching/fraction"] = result.fraction
    facts = {
        "matched": result.matched,
        "reason": result.reason,
        "fraction": result.fraction if result.matched else None,
        "curve": [list(point) for point in result.curve],
        "neuron_set": neurons.digest,
        "receipt": plain(result.receipt) if result.receipt else None,
        "seconds": result.seconds,
    }
    frames = {NEURON_SET: neurons.to_frame(), "matching_curve.parquet": curve}
    series = {
        f"matching/search_{name}": dict(enumerate(curve[name].tolist(), 1)) for name in ("fraction", "perplexity")
    }
    return StepResult(metrics, frames, {"match.json": facts}, series=series)
