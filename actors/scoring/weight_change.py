"""How far a neuron's weights have moved between two checkpoints: cosine dissimilarity, in float64. Pure torch.

The weights of a neuron are its row of the gate projection (in a plain MLP: of the up projection), its row
of a GLU's up projection, and its column of the down projection.

F d_mlp, D d_model.
"""

import numpy as np
from torch import Tensor, nn

from actors.sites import Site


def cosine_dissimilarity(model: nn.Module, before: nn.Module, site: Site) -> dict[str, np.ndarray]:
    """1 - cos of every neuron's weights in two Transformers models of one architecture, as columns of a table.

    Columns: `layer`, `neuron`, `pre_activation`, in GLUs `up`, and `down`. One layer at a time in float64: neighbouring
    checkpoints differ by less than float32 resolves. nan where a vector is 0.
    """
    columns: dict[str, list[np.ndarray]] = {}
    paths = {"pre_activation": site.projection, "up": site.up, "down": site.down}
    layers = zip(model.get_submodule(site.layers), before.get_submodule(site.layers), strict=True)
    for number, pair in enumerate(layers):
        for name, path in paths.items():
            if path:
                now_FD, before_FD = (_neurons(layer.get_submodule(path), down=name == "down") for layer in pair)
                columns.setdefault(name, []).append(_dissimilarity(now_FD, before_FD).numpy())
        num_neurons = len(columns["down"][-1])
        columns.setdefault("layer", []).append(np.full(num_neurons, number, dtype=np.int32))
        columns.setdefault("neuron", []).append(np.arange(num_neurons, dtype=np.int32))
    order = ["layer", "neuron", *(name for name in paths if name in columns)]
    return {name: np.concatenate(columns[name]) for name in order}


def _neurons(projection: nn.Module, *, down: bool) -> Tensor:
    """[F, D] one row per neuron; GPT-2's Conv1D holds [inputs, outputs], a Linear [outputs, inputs]."""
    weight = projection.weight.detach().cpu().double()
    transposed = not isinstance(projection, nn.Linear)
    return weight.T if down != transposed else weight


def _dissimilarity(now_FD: Tensor, before_FD: Tensor) -> Tensor:
    norms_F = now_FD.norm(dim=1) * before_FD.norm(dim=1)
    return 1.0 - (now_FD * before_FD).sum(dim=1) / norms_F
