"""Checkpoints of one architecture: what must agree before one takes another's place, and what it then must answer.

Owns the comparison of sources and of their config.json, and the log-probabilities of plain Transformers, which share
nothing with the engine that they are held against. Knows nothing of vLLM.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from actors.hf_model import load_model, trusted_alone
from actors.messages import ModelSource
from studies.errors import InterventionError

OWN = ("label", "path", "revision", "pickled")
"""Fields in which checkpoints of one architecture differ."""

IDLE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
"""Keys of config.json that change no number here; the dtype is the source's own."""


class Reload(NamedTuple):
    """One reload in place of an engine."""

    read: Mapping[str, tuple[list[int], float]]
    """{tensor of the checkpoint: (shape, sum)}."""
    probe: np.ndarray
    """The probe's log-probabilities after it, token by token."""

    def check_against(self, last: "Reload") -> None:
        """Raises InterventionError where this cannot be what the last reload, which was proven, was."""
        shapes, last_shapes = ({name: shape for name, (shape, _) in one.read.items()} for one in (self, last))
        if different := _first_difference(last_shapes, shapes):
            raise InterventionError(f"the checkpoints do not have the same tensors: {different}")
        if np.array_equal(self.probe, last.probe) and self.read != last.read:
            raise InterventionError("other weights left the probe's numbers as they were")


def differing_field(one: ModelSource, other: ModelSource) -> str:
    """The first field, with both values, in which two sources are not of one architecture; '' where they are."""
    names = [field.name for field in dataclasses.fields(ModelSource) if field.name not in OWN]
    return _first_difference(*({name: getattr(source, name) for name in names} for source in (one, other)))


def differing_config(one: ModelSource, other: ModelSource) -> str:
    """The same of what config.json says beyond the sources' fields: positions, norms, the number of heads."""
    return _first_difference(_config(one), _config(other))


def _config(model: ModelSource) -> dict[str, Any]:
    from transformers import AutoConfig

    trust = model.trust_remote_code
    with trusted_alone(model):
        config = AutoConfig.from_pretrained(model.path, revision=model.revision, trust_remote_code=trust).to_dict()
    return {name: value for name, value in config.items() if name not in IDLE}


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            return f"{name} is {other.get(name)!r}, not {one.get(name)!r}"
    return ""


def plain_log_probabilities(model: ModelSource, sequences: list[np.ndarray]) -> np.ndarray:
    """float32 log p of every token after a sequence's first, under Transformers on the CPU, one sequence at a time."""
    import torch

    plain, found = load_model(model), []
    with torch.inference_mode():
        for ids in map(torch.as_tensor, sequences):
            log_softmax_TV = plain(ids[None], use_cache=False).logits[0, :-1].float().log_softmax(-1)
            found.append(log_softmax_TV.gather(-1, ids[1:, None])[:, 0].numpy())
    return np.concatenate(found)
