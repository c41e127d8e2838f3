"""Both sides of every limit in `actors/engine_limits.py`, on real vLLM against plain Transformers.

A config that passes must give Transformers' log-probabilities by both routes; one that is refused must not start, or
give other numbers: a limit that a newer vLLM has lifted fails here.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.engine_limits import refuse_unsupported
from actors.messages.model import ModelSource
from actors.sites import SITES, architecture
from studies.benchmarks.texts import Sentences
from studies.errors import StudyError
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

Call = Callable[..., Any]
TOLERANCE = 1e-4
"""Largest difference of a sentence's log-probability, in nats."""
MIXED = ["sliding_attention", "full_attention", "full_attention"]
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all engines of this module."""
    with one_process(timeout=300) as call:
        yield call


def texts() -> tuple[str, ...]:
    """Texts that share prefixes, most of them longer than the windows and than half the positions."""
    rng = np.random.default_rng(0)
    stems = ["".join(rng.choice(list("abcdef "), rng.integers(3, 50))) for _ in range(4)]
    return tuple(
        stems[rng.integers(4)] + "".join(rng.choice(list("abcdefgh "), rng.integers(1, 45))) for _ in range(16)
    )


def by_both_routes(source: ModelSource) -> tuple[np.ndarray, np.ndarray]:
    """In the engine's process: sums of every text by the token tree and by flat requests."""
    from actors.ablation.engine import Engine
    from actors.ablation.routes import flat_log_probabilities, tree_log_probabilities
    from actors.ablation.token_tree import plan_packs
    from actors.tokens import load_tokenizer, tokenise

    engine = Engine(source)
    try:
        engine.install_hooks(SITES[source.family], source.num_layers, source.d_mlp)
        sequences = tokenise(Sentences(texts=texts()), load_tokenizer(source), source.context, source.vocabulary)
        plan = plan_packs(sequences.ids, sequences.score_from, 200)
        tree, flat = (plan.sums(route(engine, plan)) for route in (tree_log_probabilities, flat_log_probabilities))
        return tree, flat
    finally:
        engine.close()


def by_transformers(folder: Path) -> np.ndarray:
    """Sums of every text by plain Transformers."""
    from transformers import AutoTokenizer

    model, tokenizer = oracles.load(folder), AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in texts()]
    return np.array([float(oracles.token_log_probabilities(model, sequence).sum()) for sequence in ids])


def refused(folder: Path) -> str:
    """Why the table refuses the model in a folder; '' where it does not."""
    config = json.loads((folder / "config.json").read_text())
    try:
        refuse_unsupported(config, architecture(config), "config.json")
    except StudyError as error:
        return str(error)
    return ""


HONOURED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2 untied, d_mlp by default": ("gpt2", {"tie_word_embeddings": False, "n_inner": None}),
    "gpt2 silu": ("gpt2", {"activation_function": "silu"}),
    "opt-350m": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 64}),
    "opt without biases": ("opt", {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    "bloom residual after the norm": (
        "bloom",
        {"apply_residual_connection_post_layernorm": True, "pretraining_tp": 2},
    ),
    "bloom six heads": ("bloom", {"num_attention_heads": 6, "hidden_size": 192}),
    "gpt_neox serial": ("gpt_neox", {"use_parallel_residual": False, "rotary_pct": 0.5, "hidden_act": "mish"}),
    "gpt_neox linear, whole number": ("gpt_neox", {"rope_scaling": {"type": "linear", "factor": 2}}),
    "phi": ("phi", {"qk_layernorm": True, "partial_rotary_factor": 0.25, "num_key_value_heads": 2}),
    "olmo2 biases": ("olmo2", {"attention_bias": True, "tie_word_embeddings": True}),
    "llama without the name of its head": ("llama", {"architectures": ["LlamaModel"]}),
    "llama biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 64}),
    "llama linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    "llama dynamic": ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "llama wide window": ("llama", {"sliding_window": 128}),
    "mistral yarn": ("mistral", {"rope_parameters": YARN}),
    "mistral windows in some layers": ("mistral", {"layer_types": MIXED}),
    "mistral without windows": ("mistral", {"sliding_window": None}),
    "qwen2 windows in all layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
    ),
    "qwen3 windows in all layers": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["sliding_attention"] * 3},
    ),
    "qwen3 windows in no layer": ("qwen3", {"sliding_window": 8, "max_window_layers": 1}),
    "gemma3 capped logits": ("gemma3_text", {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}),
    "gemma3 linear": ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "gemma3 silu": ("gemma3_text", {"hidden_activation": "silu", "attention_bias": True}),
}

NOT_HONOURED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2 unscaled attention": ("gpt2", {"scale_attn_weights": False}),
    "gpt2 scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "gpt2 reordered": ("gpt2", {"reorder_and_upcast_attn": True}),
    "gpt2 cross-attention": ("gpt2", {"add_cross_attention": True}),
    "gpt2 activation": ("gpt2", {"activation_function": "mish"}),
    "gpt2 window": ("gpt2", {"sliding_window": 8}),
    "gpt_neox logit scale": ("gpt_neox", {"logit_scale": 0.5}),
    "gpt_neox capped logits": ("gpt_neox", {"final_logit_softcapping": 2.0}),
    "gpt_neox capped attention": ("gpt_neox", {"attn_logit_softcapping": 1.0}),
    "olmo2 activation": ("olmo2", {"hidden_act": "relu"}),
    "llama activation": ("llama", {"hidden_act": "gelu"}),
    "llama window": ("llama", {"sliding_window": 8}),
    "llama rotary share": ("llama", {"partial_rotary_factor": 0.5}),
    "llama logit scale": ("llama", {"logit_scale": 0.5}),
    "llama dynamic with alpha": ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0, "alpha": 100.0}}),
    "llama yarn with too few positions": ("llama", {"rope_parameters": {**YARN, "factor": 2.0}}),
    "llama both ways": ("llama", {"is_causal": False}),
    "llama linear, whole number": ("llama", {"rope_scaling": {"type": "linear", "factor": 2}}),
    "gpt2 without the name of its head": ("gpt2", {"architectures": ["GPT2Model"]}),
    "phi without the name of its head": ("phi", {"architectures": ["PhiModel"]}),
    "bloom slow but exact": ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}),
    "bloom untied": ("bloom", {"tie_word_embeddings": False}),
    "mistral biases": ("mistral", {"attention_bias": True}),
    "qwen2 head size": ("qwen2", {"head_dim": 64}),
    "qwen2 windows in some layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
    ),
    "qwen3 windows in listed layers": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": MIXED, "max_window_layers": 3},
    ),
    "qwen3 output bias": ("qwen3", {"attention_bias": True}),
    "gemma3 both ways": ("gemma3_text", {"use_bidirectional_attention": True}),
    "gemma3 activation": ("gemma3_text", {"hidden_activation": "relu"}),
}


def make_model(folder: Path, family: str, fields: dict[str, Any]) -> Path:
    """A tiny random model with these config fields. Transformers writes `architectures` itself, so it is edited."""
    oracles.make_model(folder, family, **{name: value for name, value in fields.items() if name != "architectures"})
    if "architectures" in fields:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": fields["architectures"]}))
    return folder


@pytest.mark.parametrize("name", first_tier(HONOURED, ["mistral yarn"]))
def test_what_passes_gives_the_models_own_numbers(name: str, tmp_path: Path, engines: Call) -> None:
    family, fields = HONOURED[name]
    folder = make_model(tmp_path / family, family, fields)
    assert refused(folder) == ""
    expected = by_transformers(folder)
    for sums in engines(by_both_routes, source_of(folder)):
        np.testing.assert_allclose(sums, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", first_tier(NOT_HONOURED, ["gpt2 unscaled attention", "gpt2 scaled by layer"]))
def test_what_is_refused_does_not_start_or_gives_other_numbers(name: str, tmp_path: Path, engines: Call) -> None:
    family, fields = NOT_HONOURED[name]
    folder = make_model(tmp_path / family, family, fields)
    assert refused(folder)
    try:
        tree, _ = engines(by_both_routes, source_of(folder))
    except (BrokenExecutor, TimeoutError):
        raise
    except Exception:
        return  # the engine refuses it too, in words of its own
    assert np.abs(tree - by_transformers(folder)).max() > 10 * TOLERANCE
