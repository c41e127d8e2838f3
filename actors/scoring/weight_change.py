"""How far a neuron's weights have moved between two checkpoints: cosine dissimilarity, in float64. Pure torch.

Knows where a neuron's weights are in each family: its row of the gate (or plain up) projection, its row of a GLU's
other half, its column of the down projection. F d_mlp, D d_model.
"""

from typing import Any

import numpy as np
import torch

from actors.sites import Site


def cosine_dissimilarity(model: Any, before: Any, site: Site) -> dict[str, np.ndarray]:
    """`layer`, `neuron` and 1 - cos of every neuron's weights in two Transformers models of one architecture.

    One layer at a time in float64: neighbouring checkpoints differ by less than float32 resolves. nan where a vector
    is 0.
    """
    columns: dict[str, list[np.ndarray]] = {}
    paths = {"pre_activation": site.projection, "up": site.up, "down": site.down}
    layers = zip(model.get_submodule(site.layers), before.get_submodule(site.layers), strict=True)
    for number, pair in enumerate(layers):
        for name, path in paths.items():
            if path:
                now_FD, then_FD = (_neurons(layer.get_submodule(path), down=name == "down") for layer in pair)
                columns.setdefault(name, []).append(_dissimilarity(now_FD, then_FD).numpy())
        num_neurons = len(columns["down"][-1])
        columns.setdefault("layer", []).append(np.full(num_neurons, number, dtype=np.int32))
        columns.setdefault("neuron", []).append(np.arange(num_neurons, dtype=np.int32))
    order = ["layer", "neuron", *(name for name in paths if name in columns)]
    return {name: np.concatenate(columns[name]) for name in order}


def _neurons(projection: torch.nn.Module, *, down: bool) -> torch.Tensor:
    """[F, D] one row a neuron; GPT-2's Conv1D holds [inputs, outputs], a Linear [outputs, inputs]."""
    weight = projection.weight.detach().cpu().double()
    transposed = not isinstance(projection, torch.nn.Linear)
    return weight.T if down != transposed else weight


def _dissimilarity(one_FD: torch.Tensor, other_FD: torch.Tensor) -> torch.Tensor:
    norms_F = one_FD.norm(dim=1) * other_FD.norm(dim=1)
    return 1.0 - (one_FD * other_FD).sum(dim=1) / norms_F
