"""What an actor's answer becomes in the record: metrics, tables, documents and tags of a step.

Pure translation, the other way than `requests`. Names of metrics and artifacts are those that others rely on.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from actors.messages import EngineFacts, Examples, Matched, Profiled, Scored, Weights
from orchestrator.planning.plan import BASELINE
from orchestrator.planning.resolve import Benchmark
from orchestrator.record.outbox import NOTHING
from orchestrator.steps.evaluate import magnitude_shortfall
from orchestrator.steps.step import Step
from studies.neurons.selection import NeuronSet

NEURON_SET = "neuron_set.parquet"
NEURONS = "neurons.parquet"
WEIGHTS = "weights.parquet"
DENSITIES, TOKEN_PAIRS = "entangled_densities.parquet", "token_pairs.parquet"


class StepResult(NamedTuple):
    """Of one step, as `Record.commit` takes them."""

    metrics: Mapping[str, float]
    frames: Mapping[str, pd.DataFrame]
    documents: Mapping[str, dict]
    tags: Mapping[str, str] = NOTHING
    series: Mapping[str, Mapping[int, float]] = NOTHING


def of_profile(result: Profiled, corpus: str) -> StepResult:
    """corpus: its label."""
    frame = pd.DataFrame(result.columns)
    if not result.num_pairs:
        frame = frame.drop(columns="mapping_difficulty")
    wd = frame["wasserstein_distance"]
    negative = frame["wasserstein_distance_negative"]
    metrics = {
        "wasserstein_distance/median": float(wd.median()),
        "wasserstein_distance/p99": float(wd.quantile(0.99)),
        "wasserstein_distance/max": float(wd.max()),
        "negative_share/mean": float((negative / wd.where(wd > 0)).mean()),
        "scored_tokens": float(result.num_tokens),
        "seconds": result.seconds,
    }
    facts = {
        "corpus": corpus,
        "windows": result.num_windows,
        "tokens": result.num_tokens,
        "pairs": result.num_pairs,
        "pairs_dropped": result.num_pairs_dropped,
    }
    return StepResult(metrics, {NEURONS: frame}, {"profile.json": facts})


def of_examples(result: Examples) -> StepResult:
    frames = {DENSITIES: pd.DataFrame(result.densities), TOKEN_PAIRS: pd.DataFrame(result.pairs)}
    return StepResult({}, frames, {"examples.json": {"tokens": result.num_tokens, "seconds": result.seconds}})


def of_weights(result: Weights, before: str) -> StepResult:
    """before: label of the earlier checkpoint. All metrics are 0 where the weights are the same."""
    table = pd.DataFrame(result.columns)
    means = table.drop(columns=["layer", "neuron"]).mean().dropna()
    metrics = {f"cosine_dissimilarity/{name}": float(mean) for name, mean in means.items()}
    return StepResult(metrics, {WEIGHTS: table}, {"weights.json": {"before": before, "seconds": result.seconds}})


def of_selection(neurons: NeuronSet) -> StepResult:
    facts = {"neuron_set": neurons.digest, "num_neurons": neurons.count}
    return StepResult({}, {NEURON_SET: neurons.to_frame()}, {"selection.json": facts})


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


def comparability_key(facts: EngineFacts, result: Scored) -> str:
    """Results are compared in pairs only where these are equal."""
    versions = " ".join(f"{name}-{version}" for name, version in sorted(facts.versions.items()))
    return f"{result.route} {result.pack_plan[:16]} {facts.dtype} {facts.device} {versions}"


def plain(value: Any) -> Any:
    """Dataclasses and mappings as plain JSON types."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value
