"""evaluate: scores one benchmark under one condition.

Runs on an ablation actor; steps of one model and benchmark that are ready together go out as one request. The noise
floor, the baseline on another pack plan, is of this step kind too.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from actors.messages.ablation import EvaluateRequest, Intervention, Scored
from orchestrator.steps import comparability
from orchestrator.steps.artifacts import NEURON_SETS, items_table, receipt
from orchestrator.steps.kind import ActorStepKind, Request, StepContext
from orchestrator.steps.result import (
    StepResult,
    engine_document,
    receipt_document,
    special_tokens_document,
    warn_of_missing_bos,
)
from orchestrator.steps.step import BASELINE, Role, Step
from orchestrator.study_file.models import ModelSpec
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.texts import Continuations, Sentences, TextItems
from studies.errors import StudyError, did_you_mean
from studies.neurons import selection
from studies.neurons.clamps import MAGNITUDE_MATCHED, Clamp
from studies.neurons.selection import NeuronSet
from studies.reporting.text import left_out_phrase

log = logging.getLogger(__name__)

NOISE_FLOOR_STEP = "noise_floor"
"""First word of the names of noise-floor steps; those of evaluations begin with `evaluate`."""

SHOWN_LEFT_OUT = 10
"""Items that a receipt names, of those that the model cannot score."""

_NEUTRAL_ENGINE_OPTIONS = {
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
}
"""Engine options that change no result; every other option is a science parameter."""


def params(
    benchmark: Benchmark, *, digest: str, model: ModelSpec, clamp: Clamp | None, noise_floor: bool = False
) -> dict[str, Any]:
    """The science parameters of an evaluation; `digest` is the benchmark's, and `clamp` is None for the baseline."""
    params: dict[str, Any] = {
        "benchmark": benchmark.name,
        "digest": digest,
        "dtype": model.dtype,
        "clamp": clamp.payload if clamp else None,
        "engine": {name: value for name, value in model.engine.items() if name not in _NEUTRAL_ENGINE_OPTIONS},
        "route": model.route,
    }
    if clash := sorted(params.keys() & benchmark.identity_params):
        raise ValueError(f"{benchmark.name}: its identity parameters must not be called {', '.join(clash)}")
    params |= benchmark.identity_params
    if benchmark.scoring_version != 1:
        params["scoring_version"] = benchmark.scoring_version
    return params | {"pack_nodes": benchmark.noise_floor_nodes} if noise_floor else params


def intervention(clamp: Clamp, neurons: NeuronSet, table: pd.DataFrame | None) -> Intervention:
    """A condition's clamp on its neurons.

    table: the neuron table, needed by the clamps that take values from it; ValueError without it. Raises StudyError
    where it lacks the clamp's column, or where a neuron's value is nan.
    """
    if clamp.values_from is None:
        return Intervention(clamp=clamp, neurons=neurons.indices)
    if table is None:
        raise ValueError(f"{clamp.kind} takes its values from the neuron table; none was given")
    if clamp.values_from not in table:
        raise StudyError(
            f"{clamp.display} needs the column {clamp.values_from!r}, which the neuron table does not have"
            f"{did_you_mean(clamp.values_from, table.columns)}"
        )
    rows = selection.rows_of(table, neurons)
    if num_unknown := int(rows[clamp.values_from].isna().sum()):
        unknown = f"{num_unknown} of {len(rows)} neurons"
        raise StudyError(f"{clamp.display}: {clamp.values_from} is not a number for {unknown}")
    by_layer = rows.groupby("layer", sort=True)[clamp.values_from]
    values = {int(layer): tuple(of_layer) for layer, of_layer in by_layer}
    return Intervention(clamp=clamp, neurons=neurons.indices, values=values)


def magnitude_shortfall(table: pd.DataFrame, neurons: NeuronSet) -> float:
    """The share of the negative half's magnitude that ceilings at 0 or above cannot take from the positive half."""
    rows = selection.rows_of(table, neurons)
    negative = -(rows["negative_mean"] * rows["negative_fraction"]).sum()
    shortfall = (-rows["mean"]).clip(lower=0).sum()  # E[(-a)+] - E[a+] where c = 0 is not enough
    return float(shortfall / negative) if negative else 0.0


class Evaluate(ActorStepKind[Scored]):
    """Per-item results and metrics of one benchmark under one condition."""

    name, version, role = "evaluate", 3, Role.ABLATION

    def request(self, steps: Sequence[Step], context: StepContext) -> Request:
        """The benchmark's texts, and the intervention of each step."""
        benchmark = context.benchmark(steps[0].params["benchmark"])
        message = EvaluateRequest(
            benchmark=benchmark.name,
            texts=benchmark.request,
            interventions={
                step.id: intervention(
                    Clamp.from_payload(step.params["clamp"]), _neurons(step, context), _table(step, context)
                )
                for step in steps
            },
            max_nodes=self.pack_size(steps[0], context),
            parts=context.parts(step.id for step in steps),
        )
        return Request("evaluate", message)

    def packs_of(self, step: Step) -> str:
        """Its own, which are of one size for all conditions of a model and benchmark."""
        return step.id

    def result(self, step: Step, answer: Scored, context: StepContext) -> StepResult:
        """Per-item results, metrics and the receipt."""
        benchmark, engine = context.benchmark(step.params["benchmark"]), context.engine(step.id)
        key = comparability.key_of(engine, answer)
        neurons, noise_floor = _neurons(step, context), is_noise_floor(step)
        text_items = _text_items(benchmark)
        items, left_out = _scored_items(benchmark, text_items, answer), left_out_document(text_items, answer)
        if step.condition == BASELINE and not noise_floor:
            _warn(step.model, benchmark.label, answer, left_out)
        document = {
            "benchmark": benchmark.label,
            "neuron_set": neurons.digest,
            "num_neurons": neurons.count,
            "receipt": receipt_document(answer.receipt),
            "engine": engine_document(engine),
            "route": str(answer.route),
            "route_reason": answer.route_reason,
            "pack_plan": answer.pack_plan,
            "nodes": answer.num_nodes,
            "tokens": answer.num_tokens,
            "contexts_cut": answer.num_cut,
            "left_out": left_out,
            "special_tokens": special_tokens_document(answer.special_tokens),
            "seconds": answer.seconds,
            "conditions_together": answer.num_conditions,
            "layer_passes": answer.layer_passes,
            "ideal_layer_passes": answer.ideal_layer_passes,
        }
        return StepResult(
            _metrics(step, answer, benchmark.metrics(items), neurons, _table(step, context)),
            {items_table(benchmark.name, noise_floor=noise_floor): items},
            {receipt(step.name): document},
            {comparability.TAG + step.name: key.text, f"route.{step.name}": str(answer.route)},
        )


KIND = Evaluate()


def _scored_items(benchmark: Benchmark, of_request: TextItems | None, answer: Scored) -> pd.DataFrame:
    """The benchmark's results without the items that the model cannot score."""
    items = benchmark.results(answer.sums, answer.counts, margins=answer.margins, tokens=answer.tokens)
    if of_request is None or not answer.left_out:  # documents that are left out have no tokens, and so no rows
        return items
    if len(items) != len(of_request.places):
        raise StudyError(f"{benchmark.label}: {len(items)} results for {len(of_request.places)} items")
    return items.drop(index=items.index[list(answer.left_out)]).reset_index(drop=True)


def _text_items(benchmark: Benchmark) -> TextItems | None:
    request = benchmark.request
    return request.items if isinstance(request, Sentences | Continuations) else None


def left_out_document(items: TextItems | None, answer: Scored) -> dict[str, Any]:
    """How many items the model cannot score, of how many, and the first few with the reason; as plain JSON."""
    places = items.places if items is not None else None
    first = sorted(answer.left_out)[:SHOWN_LEFT_OUT]
    return {
        "items": len(answer.left_out),
        "of": len(places) if places is not None else None,
        "first": [f"{places[i] if places else f'document {i}'} {answer.left_out[i]}" for i in first],
    }


def _warn(model: str, benchmark: str, answer: Scored, left_out: Mapping[str, Any]) -> None:
    """Log what the report says too: contexts that were cut, items that were left out, a missing BOS."""
    if answer.num_cut:
        cut = f"{answer.num_cut} contexts of {benchmark}"
        log.warning("%s: %s are longer than the model's positions and were cut", model, cut)
    if answer.left_out:
        log.warning("%s: %s", model, left_out_phrase(benchmark, left_out))
    warn_of_missing_bos(model, answer.special_tokens)


def _neurons(step: Step, context: StepContext) -> NeuronSet:
    """The neurons that an evaluation acts on; empty for the baseline."""
    sets = [context.neuron_set(step.inputs[role], path) for role, path in NEURON_SETS.items() if role in step.inputs]
    return sets[0] if sets else selection.EMPTY


def _table(step: Step, context: StepContext) -> pd.DataFrame | None:
    """The neuron table, where the clamp takes values from it."""
    return context.neuron_table(step.inputs["profile"]) if "profile" in step.inputs else None


def _metrics(
    step: Step, answer: Scored, metrics: Mapping[str, float], neurons: NeuronSet, table: pd.DataFrame | None
) -> dict[str, float]:
    """The benchmark's metrics under the step's names, and what the intervention did."""
    if is_noise_floor(step):
        return {f"noise_floor/{name}": value for name, value in metrics.items()}
    if step.condition == BASELINE:
        return dict(metrics)
    applied = {"clipped_fraction": answer.receipt.clipped_fraction}
    if table is not None and Clamp.from_payload(step.params["clamp"]) == MAGNITUDE_MATCHED:
        applied["magnitude_shortfall"] = magnitude_shortfall(table, neurons)
    return {**metrics, **applied}


def is_noise_floor(step: Step) -> bool:
    """Whether a step is the baseline on another pack plan."""
    return step.name.startswith(f"{NOISE_FLOOR_STEP}.")
