"""Cosine dissimilarity of neurons' weights against the definition, for plain, gated and Conv1D projections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actors.scoring.weight_change import cosine_dissimilarity
from actors.sites import SITES
from tests import oracles

DOWN = {"gpt_neox": "mlp.dense_4h_to_h", "llama": "mlp.down_proj", "gpt2": "mlp.c_proj", "opt": "fc2"}


@pytest.mark.parametrize("family", DOWN)
def test_it_is_one_minus_the_cosine_of_each_neurons_own_vectors(family: str, tmp_path: Path) -> None:
    models = [oracles.load(oracles.make_model(tmp_path / str(seed), family, seed=seed)) for seed in (0, 1)]
    columns = cosine_dissimilarity(*models, SITES[family])
    _, _, layers, projection = oracles.FAMILIES[family]
    num_layers = len(models[0].get_submodule(layers))
    width = models[0].config.ffn_dim if family == "opt" else 256
    assert columns["layer"].tolist() == np.repeat(np.arange(num_layers), width).tolist()
    assert ("up" in columns) == (family == "llama")
    for layer, neuron in ((0, 0), (1, 7), (2, width - 1)):
        row = layer * width + neuron
        for column, path in (("pre_activation", projection), ("down", DOWN[family])):
            weights = [model.get_submodule(layers)[layer].get_submodule(path).weight for model in models]
            if (column == "down") == (family != "gpt2"):
                weights = [weight.T for weight in weights]
            now, before = (weight[neuron].double().detach().numpy() for weight in weights)
            expected = 1 - now @ before / np.sqrt((now @ now) * (before @ before))
            assert columns[column][row] == pytest.approx(expected, abs=1e-12), (column, layer, neuron)


def test_it_is_zero_for_equal_weights_and_resolves_tiny_changes(tmp_path: Path) -> None:
    folder = oracles.make_model(tmp_path / "m", "gpt_neox")
    original, changed = oracles.load(folder), oracles.load(folder)
    assert np.abs(cosine_dissimilarity(original, changed, SITES["gpt_neox"])["pre_activation"]).max() < 1e-15
    with torch.no_grad():
        weight = changed.gpt_neox.layers[0].mlp.dense_h_to_4h.weight
        weight[3, 0] += 1e-3 * weight[3].norm()
        weight[5] = 0
    dissimilarity = cosine_dissimilarity(changed, original, SITES["gpt_neox"])["pre_activation"]
    assert 1e-8 < dissimilarity[3] < 1e-5 and np.isnan(dissimilarity[5])
