"""What an actor's answer becomes in the record: the metrics, tables, documents and tags of one step.

Owns the stored form of receipts and of engines' properties. Each is written key by key: renaming a field of a message
must never change what a store holds.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from actors.messages.ablation import Receipt
from actors.messages.model import EngineFacts
from orchestrator.record.keys import NOTHING


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


def engine_document(engine: EngineFacts) -> dict[str, Any]:
    """The properties of an engine as plain JSON; a difference that was not measured is null."""
    return {
        "route": str(engine.route),
        "route_reason": engine.route_reason,
        "attention": engine.attention,
        "device": engine.device,
        "dtype": engine.dtype,
        "versions": dict(engine.versions),
        "probe_difference": None if math.isnan(engine.probe_difference) else engine.probe_difference,
        "probe_tolerance": engine.probe_tolerance,
        "max_nodes": engine.max_nodes,
        "reload_refused": engine.reload_refused,
    }
