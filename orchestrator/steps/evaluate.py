"""What a step asks of an actor: plans, specs and tables -> the messages that cross Ray.

Pure translation. Everything that an actor needs is in the message; actors never look anything up.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from actors.messages import EngineFacts, Intervention, Scored
from orchestrator.steps.result import StepResult, plain
from orchestrator.steps.step import BASELINE, Step
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextRequest, Windows
from studies.neurons import selection
from studies.neurons.selection import NeuronSet

PROFILE_VALUES = {
    "negative_mean": ("negative_mean", "negative_mean"),
    "magnitude_matched": ("ceilings", "matched_ceiling"),
}
"""{clamp in the study file: (kind of intervention, column of the neuron table)}."""


def text_request(benchmark: Benchmark) -> TextRequest:
    """What an actor needs of a benchmark."""
    match benchmark:
        case PairBenchmark():
            return Sentences(texts=benchmark.texts)
        case ChoiceBenchmark():
            return Continuations(contexts=benchmark.contexts, continuations=benchmark.continuations)
        case TaskBenchmark():
            return Continuations(
                contexts=benchmark.contexts, continuations=benchmark.continuations, margins=benchmark.margins
            )
        case SurprisalBenchmark():
            return Documents(texts=benchmark.documents, window=benchmark.window, stride=benchmark.stride)
    return Windows(
        text=benchmark.corpus.text, window=benchmark.window, stride=benchmark.window, num_tokens=benchmark.num_tokens
    )


def intervention(clamp: Mapping[str, Any], neurons: NeuronSet, table: pd.DataFrame | None) -> Intervention:
    """A condition's clamp parameters on its neurons; values of the neurons' own come from the neuron table."""
    kind = clamp.get("kind", "clamp")
    if kind not in PROFILE_VALUES:
        return Intervention(neurons=neurons.indices, **clamp)
    kind, column = PROFILE_VALUES[kind]
    rows = selection.rows_of(table, neurons).groupby("layer", sort=True)[column]
    return Intervention(neurons=neurons.indices, kind=kind, values={int(i): tuple(one) for i, one in rows})


def magnitude_shortfall(table: pd.DataFrame, neurons: NeuronSet) -> float:
    """The share of the negative half's magnitude that ceilings at 0 or above cannot take from the positive half."""
    rows = selection.rows_of(table, neurons)
    negative = -(rows["negative_mean"] * rows["negative_fraction"]).sum()
    short = (-rows["mean"]).clip(lower=0).sum()  # E[(-a)+] - E[a+] where c = 0 is not enough
    return float(short / negative) if negative else 0.0


def of_evaluation(
    step: Step,
    result: Scored,
    benchmark: Benchmark,
    facts: EngineFacts,
    neurons: NeuronSet,
    table: pd.DataFrame | None,
) -> StepResult:
    """table: the neuron table, where the condition's clamps take values from it."""
    asked = {"margins": result.margins, "tokens": result.tokens}
    told = {name: value for name, value in asked.items() if value is not None}
    items = benchmark.results(result.sums, result.counts, **told)
    noise = is_noise_floor(step)
    metrics = benchmark.metrics(items)
    if noise:
        metrics = {f"noise_floor/{name}": value for name, value in metrics.items()}
    elif step.condition != BASELINE:
        metrics["clipped_fraction"] = result.receipt.clipped_fraction
        if step.payload["params"]["clamp"].get("kind") == "magnitude_matched":
            metrics["magnitude_shortfall"] = magnitude_shortfall(table, neurons)
    receipt = {
        "benchmark": benchmark.label,
        "neuron_set": neurons.digest,
        "num_neurons": neurons.count,
        "receipt": plain(result.receipt),
        "engine": plain(facts),
        "route": str(result.route),
        "route_reason": result.route_reason,
        "pack_plan": result.pack_plan,
        "nodes": result.num_nodes,
        "tokens": result.num_tokens,
        "contexts_cut": result.num_cut,
        "seconds": result.seconds,
        "conditions_together": result.num_conditions,
        "layer_passes": result.layer_passes,
        "ideal_layer_passes": result.ideal_layer_passes,
    }
    folder = "noise_floor" if noise else "items"
    return StepResult(
        metrics,
        {f"{folder}/{benchmark.name}.parquet": items},
        {f"receipts/{step.name}.json": receipt},
        {f"comparability.{step.name}": comparability_key(facts, result), f"route.{step.name}": str(result.route)},
    )


def is_noise_floor(step: Step) -> bool:
    return step.name.startswith("noise_floor.")


def comparability_key(facts: EngineFacts, result: Scored) -> str:
    """Results are compared in pairs only where these are equal."""
    versions = " ".join(f"{name}-{version}" for name, version in sorted(facts.versions.items()))
    return f"{result.route} {result.pack_plan[:16]} {facts.dtype} {facts.device} {versions}"
