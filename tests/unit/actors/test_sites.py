"""Facts read from config.json."""

import pytest

from actors.sites import SITES, architecture
from studies.errors import StudyError
from tests import oracles

BLOOM = {"model_type": "bloom", "n_layer": 24, "n_embed": 1024, "seq_length": 2048, "vocab_size": 250880}


def test_bloom_has_names_of_its_own():
    facts = architecture(BLOOM)
    assert (facts.num_layers, facts.d_model, facts.d_mlp, facts.context) == (24, 1024, 4096, 2048)
    assert facts.activation == "gelu_pytorch_tanh" and not facts.is_relu
    newer = {**BLOOM, "hidden_size": 2048}
    newer.pop("n_embed")
    assert architecture(newer).d_model == 2048


def test_a_missing_field_is_named_with_its_other_name():
    broken = {name: value for name, value in BLOOM.items() if name != "n_embed"}
    with pytest.raises(StudyError, match=r"config.json has no 'hidden_size' or 'n_embed', which family 'bloom' needs"):
        architecture(broken)


def test_an_unknown_family_is_one_line_with_the_nearest():
    with pytest.raises(StudyError, match=r"model family 'bloon' is not in the site table; did you mean 'bloom'"):
        architecture({"model_type": "bloon"})


def test_every_family_has_an_oracle():
    assert set(SITES) == set(oracles.FAMILIES)
