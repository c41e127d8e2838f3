"""Exchanges the checkpoint in a running engine, and proves that it then answers as a fresh engine would.

Owns the comparison of two checkpoints' sources and config.json, and the proof: an engine's first reload is compared
with plain Transformers, which shares nothing with the engine; later ones take the same path with the same tensors.
Every failure raises, and the caller then starts a fresh engine.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from actors.ablation.receipts import apply
from actors.ablation.routes import RoutedModel
from actors.hf_model import load_model, refusing_untrusted
from actors.messages.ablation import Intervention
from actors.messages.model import ModelSource
from actors.probe import log_probabilities
from actors.tokens import load_tokenizer
from studies.errors import InterventionError

RELOAD_TOLERANCE = {"float32": 0.001, "float16": 0.03, "bfloat16": 0.15}
"""Largest accepted mean over the probe's tokens of |reloaded - Transformers| log-probability, in nats. Measured on
SmolLM2-135M: 7e-6, 0.006 and 0.06; single tokens differ by 0.4 in bfloat16."""

CHECKPOINT_FIELDS = ("label", "path", "revision", "files", "pickled", "gpu_bytes")
"""Fields of ModelSource in which checkpoints of one architecture may differ; the memory follows from the files, which
hold more or fewer buffers beside the parameters."""

IRRELEVANT_KEYS = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Keys of config.json that change no number here; the dtype is given by the source."""


class Reload(NamedTuple):
    """What was observed of one reload of an engine."""

    read: Mapping[str, tuple[list[int], float]]
    """{tensor of the checkpoint: (shape, sum)}."""
    probe: np.ndarray
    """[tokens] the probe's unclamped log-probabilities after the reload, in nats."""

    def check_against(self, last: "Reload") -> None:
        """Raises InterventionError if this reload cannot be as good as the last one, which was proven."""
        shapes, last_shapes = ({name: shape for name, (shape, _) in each.read.items()} for each in (self, last))
        if difference := _first_difference(last_shapes, shapes):
            raise InterventionError(f"the checkpoints do not have the same tensors: {difference}")
        if np.array_equal(self.probe, last.probe) and self.read != last.read:
            raise InterventionError("other weights left the probe's numbers as they were")


def reload_in_place(model: RoutedModel, source: ModelSource, last: Reload | None) -> tuple[RoutedModel, Reload]:
    """Load another checkpoint into the model's engine; `model` must not be used again.

    last: the engine's previous reload, None if this is its first. Raises if the engine is not proven to answer as a
    fresh one with this checkpoint would: InterventionError, or whatever vLLM raises while it loads.
    """
    if difference := differing_config(model.source, source):
        raise InterventionError(f"config.json: {difference}")
    before = _unclamped_probe(model) if last is None else np.empty(0)
    read = model.engine.reload(source)
    reloaded = RoutedModel(model.engine, source, load_tokenizer(source), model.hooks)
    reload = Reload(read, _unclamped_probe(reloaded))
    if last is None:
        _check_against_transformers(reloaded, reload.probe, before)
    else:
        reload.check_against(last)
    return reloaded, reload


def _unclamped_probe(model: RoutedModel) -> np.ndarray:
    """[tokens] the probe's log-probabilities, after a check that every layer's hook is called as it should be."""
    apply(model, Intervention())
    return model.probe.token_log_probabilities(model.log_probabilities(model.probe))


def _check_against_transformers(model: RoutedModel, probe: np.ndarray, before: np.ndarray) -> None:
    """Raises InterventionError unless the probe agrees with Transformers, and better than before the reload."""
    with model.engine.vllm_configured():
        reference = log_probabilities(load_model(model.source), model.probe.sequences())
    difference = float(np.abs(probe - reference).mean())
    difference_before = float(np.abs(before - reference).mean()) if len(before) == len(reference) else math.inf
    tolerance = min(RELOAD_TOLERANCE[model.source.dtype], difference_before / 2)
    if not difference <= tolerance:
        raise InterventionError(
            f"the reloaded engine and Transformers differ by {difference:.3g} nats a token on the probe "
            f"(tolerance {tolerance:.3g}; the weights before differed by {difference_before:.3g})"
        )


def differing_field(first: ModelSource, second: ModelSource) -> str:
    """The first field, with both values, in which two sources are not of one architecture; '' if they are."""
    names = [field.name for field in dataclasses.fields(ModelSource) if field.name not in CHECKPOINT_FIELDS]
    return _first_difference(*({name: getattr(source, name) for name in names} for source in (first, second)))


def differing_config(first: ModelSource, second: ModelSource) -> str:
    """As `differing_field`, for config.json, which holds more than a source does: positions, norms, number of heads."""
    return _first_difference(_config(first), _config(second))


def _config(source: ModelSource) -> dict[str, Any]:
    from transformers import AutoConfig

    trust = source.trust_remote_code
    with refusing_untrusted(source):
        config = AutoConfig.from_pretrained(source.path, revision=source.revision, trust_remote_code=trust).to_dict()
    return {name: value for name, value in config.items() if name not in IRRELEVANT_KEYS}


def _first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    for name in dict.fromkeys([*first, *second]):
        if first.get(name) != second.get(name):
            return f"{name} is {second.get(name)!r}, not {first.get(name)!r}"
    return ""
