"""What a step asks of an actor: plans, specs and tables -> the messages that cross Ray.

Pure translation. Everything that an actor needs is in the message; actors never look anything up.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from actors.messages import ExamplesRequest, Intervention, MatchRequest, ModelSource, Part, ProfileRequest
from orchestrator.planning.plan import PAIR_BLOCK_WINDOWS
from orchestrator.planning.resolve import Benchmark, ResolvedModel
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import Step
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.benchmarks.texts import Continuations, Documents, Sentences, TextRequest, Windows
from studies.neurons import selection
from studies.neurons.selection import NeuronSet

EXAMPLE_PAIRS, EXAMPLE_CANDIDATES, EXAMPLE_CONTEXT, EXAMPLE_BINS = 10, 3000, 24, 120
"""Of an examples step, whose version they belong to: token pairs a neuron, tokens to find them in, tokens of text in
front of each, bins of a density."""

BATCH_TOKENS = 2048
"""Tokens that a score actor forwards at once."""

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


def model_source(model: ResolvedModel, demand: Demand, ranks: int) -> ModelSource:
    """What an actor with these resources loads: exactly what was resolved; ranks: its engine is cut over so many."""
    spec = model.spec
    return ModelSource(
        label=model.label,
        path=model.path,
        revision=model.revision,
        family=model.architecture.family,
        num_layers=model.architecture.num_layers,
        d_mlp=model.architecture.d_mlp,
        d_model=model.architecture.d_model,
        context=model.architecture.context,
        dtype=spec.dtype,
        tensor_parallel=ranks,
        threads=None if demand.gpus else int(demand.cpus),
        gpu_share=min(demand.gpus or 1.0, 1.0),
        trust_remote_code=spec.trust_remote_code,
        pickled=model.pickled,
        route=spec.route,
        engine=spec.engine,
    )


def profile_request(step: Step, corpus: Corpus) -> ProfileRequest:
    """What a profile step asks of a score actor."""
    params = step.payload["params"]
    texts = _windows(params, corpus)
    num_windows = 1 + max(0, params["tokens"] - texts.window) // texts.stride
    return ProfileRequest(
        step=step.id,
        texts=texts,
        skip_first=params["skip_first"],
        num_bins=params["bins"],
        calibration_windows=params["calibration_windows"],
        pairs_per_block=params["pairs"],
        block_windows=PAIR_BLOCK_WINDOWS if params["pair_scope"] == "block" else num_windows,
        seed=params["seed"],
        batch_windows=_batch_windows(texts),
    )


def _windows(params: Mapping[str, Any], corpus: Corpus) -> Windows:
    """The scoring text as a step's parameters cut it; at least one window."""
    window = params["window"]
    num_tokens = max(params["tokens"], window)
    return Windows(text=corpus.text, window=window, stride=params["stride"], num_tokens=num_tokens)


def _batch_windows(texts: Windows) -> int:
    return max(1, BATCH_TOKENS // texts.window)


def examples_request(step: Step, corpus: Corpus, neurons: pd.DataFrame) -> ExamplesRequest:
    """What an examples step asks of a score actor: the neurons with the highest Wasserstein distance of all."""
    params = step.payload["params"]
    entangled = neurons.nlargest(params["neurons"], "wasserstein_distance")
    texts = _windows(params, corpus)
    return ExamplesRequest(
        step=step.id,
        texts=texts,
        skip_first=params["skip_first"],
        neurons={int(i): tuple(sorted(map(int, one["neuron"]))) for i, one in entangled.groupby("layer")},
        pairs_per_neuron=EXAMPLE_PAIRS,
        candidates=EXAMPLE_CANDIDATES,
        context_tokens=EXAMPLE_CONTEXT,
        num_bins=EXAMPLE_BINS,
        seed=params["seed"],
        batch_windows=_batch_windows(texts),
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


def join_parts(before: Part | None, after: Part) -> Part:
    """One part from pack 0, of what was there and what came; a gap or another plan keeps the new one alone."""
    if before is None or before.pack_plan != after.pack_plan or before.end_pack != after.first_pack:
        return after
    return replace(after, first_pack=before.first_pack, edges=np.concatenate([before.edges, after.edges], axis=-1))


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
