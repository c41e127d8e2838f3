"""Configs that the engine is known not to honour, each with the whole message; and configs that must pass."""

from typing import Any

import pytest

from actors.engine_limits import HEADS, refuse_unsupported
from actors.sites import SITES, architecture
from studies.errors import StudyError

SIZES = {"vocab_size": 320, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3}
SIZES |= {"num_attention_heads": 4, "max_position_embeddings": 128}
PLAIN: dict[str, dict[str, Any]] = {
    "llama": {**SIZES, "hidden_act": "silu"},
    "mistral": {**SIZES, "hidden_act": "silu", "sliding_window": 8},
    "qwen2": {**SIZES, "hidden_act": "silu"},
    "qwen3": {**SIZES, "hidden_act": "silu", "head_dim": 32},
    "gemma3_text": {**SIZES, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 8},
    "gpt_neox": {**SIZES, "hidden_act": "gelu"},
    "opt": {**SIZES, "activation_function": "relu", "ffn_dim": 256},
    "gpt2": {
        **{"vocab_size": 320, "n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 128},
        "activation_function": "gelu_new",
    },
    "phi": {**SIZES, "hidden_act": "gelu_new"},
    "olmo2": {**SIZES, "hidden_act": "silu"},
    "bloom": {"vocab_size": 320, "hidden_size": 64, "n_layer": 3, "n_head": 2, "seq_length": 128},
}
MIXED = ["sliding_attention", "full_attention", "full_attention"]
ELSE = "take another checkpoint"
IGNORED = "Transformers does not read it: a local copy of the model without it gives the model's numbers"
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def refusal(family: str, **fields: Any) -> str:
    """The message; '' where the config passes."""
    config = {"model_type": family, **PLAIN[family], **fields}
    try:
        refuse_unsupported(config, architecture(config), "m/config.json")
    except StudyError as error:
        return str(error)
    return ""


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unscaled attention": (
        "gpt2",
        {"scale_attn_weights": False},
        "scale_attn_weights is false; vLLM 0.32 divides attention scores by the square root of the head size all the "
        f"same; {ELSE}",
    ),
    "scaled by layer": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True},
        f"scale_attn_by_inverse_layer_idx is true; vLLM 0.32 does not load a model that asks for it; {ELSE}",
    ),
    "slow but exact": (
        "bloom",
        {"slow_but_exact": True, "pretraining_tp": 4},
        "slow_but_exact is true; vLLM 0.32 adds the biases that Transformers then leaves out where `pretraining_tp` is "
        "above 1; set it to false in a local copy, for the numbers that the model was trained to give",
    ),
    "quantised": (
        "llama",
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        'quantization_config is "gptq"; vLLM 0.32 rounds with kernels of its own: scores and ablations would be those '
        "of two different models; take the checkpoint that is not quantised",
    ),
    "activation": (
        "llama",
        {"hidden_act": "gelu"},
        f'hidden_act is "gelu"; vLLM 0.32 runs llama with silu; {ELSE}',
    ),
    "windows in some layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
        f"max_window_layers is 2; vLLM 0.32 has sliding windows in all layers of Qwen or in none; {ELSE}",
    ),
    "windows in listed layers": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": MIXED},
        'layer_types is ["sliding_attention", "full_attention", "full_attention"]; vLLM 0.32 has sliding windows in '
        f"all layers of Qwen or in none; {ELSE}",
    ),
    "a window that Transformers ignores": (
        "llama",
        {"sliding_window": 8},
        f"sliding_window is 8; vLLM 0.32 attends to so many tokens alone; {IGNORED}",
    ),
    "head size": (
        "qwen2",
        {"head_dim": 64},
        f"head_dim is 64; vLLM 0.32 takes hidden_size / num_attention_heads = 32; {ELSE}",
    ),
    "rotary share": (
        "llama",
        {"partial_rotary_factor": 0.5},
        f"partial_rotary_factor is 0.5; vLLM 0.32 rotates that share of each head alone; {IGNORED}",
    ),
    "untied head": (
        "bloom",
        {"tie_word_embeddings": False},
        f"tie_word_embeddings is false; vLLM 0.32 does not load a head of its own; {ELSE}",
    ),
    "without its head": (
        "gpt2",
        {"architectures": ["GPT2Model"]},
        'architectures is ["GPT2Model"]; vLLM 0.32 loads such a model without its language-model head; take a '
        "checkpoint that names GPT2LMHeadModel",
    ),
    "a classifier": (
        "llama",
        {"architectures": ["LlamaForSequenceClassification"]},
        'architectures is ["LlamaForSequenceClassification"]; vLLM 0.32 loads such a model without its language-model '
        "head; take a checkpoint that names LlamaForCausalLM",
    ),
    "whole factor": (
        "gemma3_text",
        {"rope_scaling": {"rope_type": "linear", "factor": 8}},
        'rope_scaling is {"rope_type": "linear", "factor": 8}; vLLM 0.32 starts with a decimal number alone; a local '
        "copy of the model with 8.0 is the same model",
    ),
    "too few positions": (
        "llama",
        {"rope_scaling": {**YARN, "factor": 2.0}},
        'rope_scaling is {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}; vLLM 0.32 has '
        f"positions for 64 tokens alone; {ELSE}",
    ),
}


@pytest.mark.parametrize(("family", "fields", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_engine_does_not_honour_is_one_line(family: str, fields: dict[str, Any], message: str) -> None:
    assert refusal(family, **fields) == f"m/config.json: {message}"


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        *((family, {}) for family in PLAIN),
        ("gpt2", {"scale_attn_weights": True, "add_cross_attention": False, "n_inner": None}),
        ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 64, "enable_bias": False}),
        ("bloom", {"apply_residual_connection_post_layernorm": True, "pretraining_tp": 2}),
        ("bloom", {"tie_word_embeddings": True}),
        ("gpt_neox", {"rotary_pct": 0.5, "use_parallel_residual": False, "hidden_act": "mish"}),
        ("phi", {"partial_rotary_factor": 0.25, "qk_layernorm": True}),
        ("mistral", {"rope_scaling": YARN}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}, "quantization_config": None}),
        ("gpt_neox", {"rope_scaling": {"type": "linear", "factor": 2}}),
        ("llama", {"sliding_window": 128}),
        ("llama", {"sliding_window": None, "attention_bias": True, "mlp_bias": True, "head_dim": 64}),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["sliding_attention"] * 3}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3}),
        ("gemma3_text", {"layer_types": MIXED, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}),
        ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "query_pre_attn_scalar": 7}),
        ("llama", {"architectures": ["LlamaModel"]}),
        ("mistral", {"architectures": None, "layer_types": MIXED}),
        ("gpt2", {"architectures": ["MyGPT2"]}),
    ],
    ids=str,
)
def test_what_the_engine_honours_passes(family: str, fields: dict[str, Any]) -> None:
    assert refusal(family, **fields) == ""


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {"sliding_window": "8"}),
        ("qwen3", {"layer_types": 5}),
        ("llama", {"architectures": 5}),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": "two"}}),
        ("qwen2", {"head_dim": "x", "num_attention_heads": [2]}),
    ],
    ids=str,
)
def test_a_field_of_an_odd_type_is_one_line(family: str, fields: dict[str, Any]) -> None:
    message = refusal(family, **fields)
    assert message.startswith("m/config.json: a field is of another type than Transformers writes: ")
    assert message.isprintable()


def test_every_family_has_a_head() -> None:
    assert set(HEADS) == set(SITES)
