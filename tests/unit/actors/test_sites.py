"""What is read from config.json."""

from typing import Any

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
    assert architecture({**BLOOM, "intermediate_size": 256}).d_mlp == 4096, "no BLOOM reads this field"


REFUSED = {
    "missing field": (
        {name: value for name, value in BLOOM.items() if name != "n_embed"},
        "config.json has no 'hidden_size' or 'n_embed', which family 'bloom' needs",
    ),
    "unknown family": (
        {"model_type": "bloon"},
        "config.json: model family 'bloon' is not in the site table; did you mean 'bloom'?",
    ),
    "misspelt family": (
        {"model_type": "lama", "architectures": ["LlamaForCausalLM"]},
        "config.json: model family 'lama' is not in the site table; did you mean 'llama'?",
    ),
    "another family with a similar name": (
        {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"]},
        "config.json: model family 'phi3' is not in the site table; allowed: bloom, gemma3_text, gpt2, gpt_neox, "
        "llama, mistral, olmo2, opt, phi, qwen2, qwen3",
    ),
    "multimodal": (
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": {"hidden_size": 8}},
        "multimodal models are not supported (config.json has text_config and vision_config); take a text-only "
        "checkpoint",
    ),
    "multimodal by its name": (
        {"model_type": "gemma3"},
        "multimodal models are not supported (config.json: model_type 'gemma3'); take a text-only checkpoint",
    ),
    **{
        f"model_type {value!r}": (
            {**BLOOM, "model_type": value},
            f"config.json: model_type is {words}; it names the model's family: {', '.join(sorted(SITES))}",
        )
        for value, words in ((None, "null"), (3, "3"), (["bloom"], '["bloom"]'))
    },
    "no model_type": (
        {name: value for name, value in BLOOM.items() if name != "model_type"},
        f"config.json: model_type is missing; it names the model's family: {', '.join(sorted(SITES))}",
    ),
    **{
        f"{words} layers": (
            {**BLOOM, "n_layer": value},
            f"config.json: n_layer must be a whole number from 1 to 10000; found {words}",
        )
        for value, words in (
            (0, "0"),
            (-2, "-2"),
            (2.0, "2.0"),
            (True, "true"),
            ("2", '"2"'),
            ([2], "[2]"),
            (10**9, "1000000000"),
        )
    },
    "mixture of experts": (
        {**BLOOM, "num_local_experts": 8},
        "mixture-of-experts MLPs are not supported (config.json has num_local_experts)",
    ),
}


@pytest.mark.parametrize(("config", "message"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_cannot_be_clamped_is_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        architecture(config)
    assert str(caught.value) == message


def test_every_family_has_an_oracle() -> None:
    assert set(SITES) == set(oracles.FAMILIES)
