"""What is read from config.json."""

import pytest

from actors.sites import SITES, architecture
from studies.errors import StudyError
from tests import oracles

BLOOM = {"model_type": "bloom", "n_layer": 24, "n_embed": 1024, "seq_length": 2048, "vocab_size": 250880}


def test_bloom_has_field_names_of_its_own() -> None:
    bloom = architecture(BLOOM)
    assert (bloom.num_layers, bloom.d_model, bloom.d_mlp, bloom.context) == (24, 1024, 4096, 2048)
    assert bloom.activation == "gelu_pytorch_tanh" and not bloom.is_relu
    newer = {**BLOOM, "hidden_size": 2048}
    newer.pop("n_embed")
    assert architecture(newer).d_model == 2048


def test_a_missing_field_is_named_with_its_alternative() -> None:
    broken = {name: value for name, value in BLOOM.items() if name != "n_embed"}
    with pytest.raises(StudyError, match=r"config.json has no 'hidden_size' or 'n_embed', which family 'bloom' needs"):
        architecture(broken)


def test_an_unknown_family_is_one_line_with_the_nearest_known_one() -> None:
    with pytest.raises(StudyError, match=r"model family 'bloon' is not in the site table; did you mean 'bloom'"):
        architecture({"model_type": "bloon"})


def test_mixtures_of_experts_are_refused() -> None:
    with pytest.raises(StudyError, match=r"not supported \(config.json has num_local_experts\)"):
        architecture({**BLOOM, "num_local_experts": 8})


def test_every_family_has_an_oracle() -> None:
    assert set(SITES) == set(oracles.FAMILIES)
