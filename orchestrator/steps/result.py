"""What an actor's answer becomes in the record: the metrics, tables, documents and tags of one step.

Owns the stored form of receipts, of engines' properties and of the probe. Each is written key by key: renaming a field
of a message must never change what a store holds.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from actors.messages.ablation import Receipt
from actors.messages.model import EngineFacts
from actors.messages.probe import Reference
from orchestrator.record.keys import NOTHING
from studies.benchmarks.special_tokens import SpecialTokens
from studies.reporting.text import special_tokens_phrase

log = logging.getLogger(__name__)


class StepResult(NamedTuple):
    """The result of one step, as `Record.commit` takes it."""

    metrics: Mapping[str, float]
    frames: Mapping[str, pd.DataFrame]
    """{artifact path: table}."""
    documents: Mapping[str, Any]
    """{artifact path: plain JSON, or a text}."""
    tags: Mapping[str, str] = NOTHING
    series: Mapping[str, Mapping[int, float]] = NOTHING
    """{metric: {MLflow's step: value}}."""
    files: Mapping[str, bytes] = NOTHING
    """{artifact path: content}, of figures."""


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """A receipt as plain JSON."""
    return {
        "layers_matched": receipt.layers_matched,
        "neurons_per_layer": list(receipt.neurons_per_layer),
        "digest": receipt.digest,
        "probe_tokens": receipt.probe_tokens,
        "clipped_fraction": receipt.clipped_fraction,
    }


def special_tokens_document(added: SpecialTokens) -> dict[str, Any]:
    """What one kind of text gets from the tokenizer, as plain JSON."""
    return {
        "kind": added.kind,
        "first": [token.text for token in added.first],
        "later": [token.text for token in added.later],
        "last": [token.text for token in added.last],
        "missing_bos": added.missing_bos,
    }


def warn_of_missing_bos(model: str, added: SpecialTokens) -> None:
    """Log a warning where a model trained with BOS gets none; the report says it too."""
    if added.missing_bos:
        log.warning("%s: %s: %s", model, added.kind, special_tokens_phrase(special_tokens_document(added)))


def engine_document(engine: EngineFacts) -> dict[str, Any]:
    """The properties of an engine as plain JSON; a difference that was not measured, and a tolerance that there is not,
    are null."""
    return {
        "route": str(engine.route),
        "route_reason": engine.route_reason,
        "attention": engine.attention,
        "device": engine.device,
        "dtype": engine.dtype,
        "versions": dict(engine.versions),
        "probe_difference": _finite(engine.probe_difference),
        "probe_tolerance": _finite(engine.probe_tolerance),
        "probe_mean": _finite(engine.probe_mean),
        "probe_mean_tolerance": engine.probe_mean_tolerance,
        "probe_accepted": engine.probe_accepted,
        "max_nodes": engine.max_nodes,
        "reload_refused": engine.reload_refused,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def reference_document(reference: Reference) -> dict[str, Any]:
    """The probe under plain Transformers as plain JSON; a log-probability that is not finite is null."""
    return {
        "version": reference.version,
        "transformers": reference.transformers,
        "ids": [list(of_text) for of_text in reference.ids],
        "log_probabilities": _finite_or_null(reference.log_probabilities),
        "log_probabilities_rounded": _finite_or_null(reference.rounded),
    }


def reference_from(document: Mapping[str, Any], *, model: str) -> Reference:
    """The inverse of `reference_document`, for the model with this label."""
    return Reference(
        model=model,
        ids=tuple(tuple(of_text) for of_text in document["ids"]),
        log_probabilities=np.array(document["log_probabilities"], dtype=np.float32),
        rounded=np.array(document["log_probabilities_rounded"], dtype=np.float32),
        transformers=document["transformers"],
        version=document["version"],
    )


def _finite_or_null(numbers: np.ndarray) -> list[float | None]:
    return [number if math.isfinite(number) else None for number in numbers.astype(float).tolist()]
