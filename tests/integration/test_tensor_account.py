"""Every tensor of a checkpoint is accounted for: on real vLLM, every family, with what real checkpoints hold besides.

vLLM loads each broken checkpoint here without a word; the engine must not start with it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from actors.messages.model import ModelSource
from actors.sites import SITES
from tests import oracles
from tests.processes import one_process
from tests.sources import source_of
from tests.tiers import first_tier

Call = Callable[..., Any]
"""call(function, *arguments) in another process."""
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def engines() -> Iterator[Call]:
    """One process for all engines of this module: importing vLLM takes longer than starting an engine."""
    with one_process(timeout=500) as call:
        yield call


def start(source: ModelSource) -> str:
    """In the engine's process: why the engine does not start; '' if it does."""
    from actors.ablation.engine import Engine
    from studies.errors import StudyError

    try:
        Engine(source).close()
    except StudyError as error:
        return str(error)
    return ""


def model(folder: Path, family: str, change: Callable[[Weights], Weights] = dict, **fields: Any) -> ModelSource:
    """A tiny model whose checkpoint was changed."""
    oracles.make_model(folder, family, **fields)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    return dataclasses.replace(source_of(folder), label=family)


GATE = "model.layers.1.mlp.gate_up_proj.weight (32,768 of 65,536 elements)"
BROKEN = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "olmo2"),
        ("model.embed_tokens", "model.layers.1.mlp.gate_proj", GATE),
    ),
    "phi": ("model.embed_tokens", "model.layers.1.mlp.fc1", "model.layers.1.mlp.fc1.weight"),
    "gpt_neox": (
        "gpt_neox.embed_in",
        "gpt_neox.layers.1.mlp.dense_h_to_4h",
        "model.layers.1.mlp.dense_h_to_4h.weight",
    ),
    "opt": ("model.decoder.embed_tokens", "model.decoder.layers.1.fc1", "model.decoder.layers.1.fc1.weight"),
    "gpt2": ("transformer.wte", "transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_fc.weight"),
    "bloom": (
        "transformer.word_embeddings",
        "transformer.h.1.mlp.dense_h_to_4h",
        "transformer.h.1.mlp.dense_h_to_4h.weight",
    ),
}
"""{family: (module that gets a bias, projection whose weights are taken away, parameter that stays unfilled)}."""
REMEDY = "config.json and the weights must belong to the same model"


def test_every_family_is_broken() -> None:
    assert set(BROKEN) == set(SITES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", first_tier(sorted(SITES), ["llama", "gpt_neox", "gpt2"]))
def test_a_tensor_that_vllm_drops_or_misses_is_named(family: str, dtype: str, tmp_path: Path, engines: Call) -> None:
    biased, taken, unfilled = BROKEN[family]

    def change(weights: Weights) -> Weights:
        del weights[f"{taken}.weight"]
        return weights | {f"{biased}.bias": torch.zeros(8)}

    source = dataclasses.replace(model(tmp_path / family, family, change), dtype=dtype)
    assert engines(start, source) == (
        f"{family}: vLLM left 1 tensor of the checkpoint out: {biased}.bias; "
        f"the checkpoint leaves 1 parameter unfilled: {unfilled}; {REMEDY}"
    )


@pytest.mark.long
@pytest.mark.parametrize("family", sorted(SITES))
def test_whole_checkpoints_start_in_bfloat16(family: str, tmp_path: Path, engines: Call) -> None:
    assert engines(start, dataclasses.replace(model(tmp_path / family, family), dtype="bfloat16")) == ""


# ---- what real checkpoints hold besides


def with_buffers_of_gpt_neox(weights: Weights) -> Weights:
    """As Pythia's: the causal mask, what it puts in, and the rotary frequencies, in every layer."""
    mask = torch.ones(128, 128, dtype=torch.bool).tril()[None, None]
    for layer in range(3):
        attention = f"gpt_neox.layers.{layer}.attention"
        weights[f"{attention}.bias"] = mask.clone()
        weights[f"{attention}.masked_bias"] = torch.tensor(-1e9)
        weights[f"{attention}.rotary_emb.inv_freq"] = torch.rand(16)
    return weights


def as_gpt2_on_the_hub(weights: Weights) -> Weights:
    """Without the prefix, and with the causal mask in every layer."""
    mask = torch.ones(128, 128).tril()[None, None]
    plain = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    return plain | {f"h.{layer}.attn.bias": mask.clone() for layer in range(3)}


def with_rotary_caches(weights: Weights) -> Weights:
    """As Llama's first releases."""
    for layer in range(3):
        rotary = f"model.layers.{layer}.self_attn.rotary_emb"
        weights[f"{rotary}.inv_freq"] = torch.rand(16)
        weights[f"{rotary}.cos_cached"] = torch.rand(1, 1, 128, 32)
        weights[f"{rotary}.sin_cached"] = torch.rand(1, 1, 128, 32)
    return weights


def as_opt_on_the_hub(weights: Weights) -> Weights:
    """Without the first prefix, and with a copy of the word embeddings as head."""
    plain = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    return plain | {"lm_head.weight": plain["decoder.embed_tokens.weight"].clone()}


def as_bloom_on_the_hub(weights: Weights) -> Weights:
    return {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}


def with_a_copy_as_head(weights: Weights) -> Weights:
    return weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}


REAL: dict[str, tuple[str, Callable[[Weights], Weights], dict[str, Any]]] = {
    "pythia": ("gpt_neox", with_buffers_of_gpt_neox, {}),
    "gpt2": ("gpt2", as_gpt2_on_the_hub, {}),
    "llama": ("llama", with_rotary_caches, {}),
    "opt": ("opt", as_opt_on_the_hub, {}),
    "bloom": ("bloom", as_bloom_on_the_hub, {}),
    "gemma, tied": ("gemma3_text", with_a_copy_as_head, {}),
    "llama, tied": ("llama", with_a_copy_as_head, {"tie_word_embeddings": True}),
    "llama, padded vocabulary": ("llama", dict, {"vocab_size": 323}),
}


@pytest.mark.parametrize(("family", "change", "fields"), REAL.values(), ids=REAL)
def test_what_real_checkpoints_hold_is_no_loss(
    family: str, change: Callable[[Weights], Weights], fields: dict[str, Any], tmp_path: Path, engines: Call
) -> None:
    assert engines(start, model(tmp_path / family, family, change, **fields)) == ""


def with_trained_biases(weights: Weights) -> Weights:
    """Under the names of the causal mask, but not of its shape."""
    return weights | {f"transformer.h.{layer}.attn.bias": torch.randn(128) for layer in range(3)}


def test_a_bias_with_the_name_of_a_mask_is_left_out(tmp_path: Path, engines: Call) -> None:
    names = ", ".join(f"transformer.h.{layer}.attn.bias" for layer in range(3))
    expected = f"gpt2: vLLM left 3 tensors of the checkpoint out: {names}; {REMEDY}"
    assert engines(start, model(tmp_path / "gpt2", "gpt2", with_trained_biases)) == expected


# ---- heads


def with_a_head_of_its_own(weights: Weights) -> Weights:
    return weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1e-6}


DIFFERS = (
    "llama: the checkpoint's lm_head.weight differs from model.embed_tokens.weight, to which config.json ties it; "
    "write tie_word_embeddings: false in config.json if the checkpoint's own head is meant"
)


def pickled(source: ModelSource) -> ModelSource:
    """The same checkpoint as a pickle, in which equal tensors share their memory."""
    file = Path(source.path) / "model.safetensors"
    weights = load_file(file)
    if torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"]):
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    torch.save(weights, file.with_name("pytorch_model.bin"))
    file.unlink()
    return dataclasses.replace(source, pickled=True)


@pytest.mark.parametrize("store", [lambda source: source, pickled], ids=["safetensors", "pickled"])
@pytest.mark.parametrize(("change", "expected"), [(with_a_copy_as_head, ""), (with_a_head_of_its_own, DIFFERS)])
def test_a_tied_head_must_equal_the_word_embeddings(
    change: Callable[[Weights], Weights],
    expected: str,
    store: Callable[[ModelSource], ModelSource],
    tmp_path: Path,
    engines: Call,
) -> None:
    source = store(model(tmp_path / "llama", "llama", change, tie_word_embeddings=True))
    assert engines(start, source) == expected


# ---- several ranks


def without_a_row_parallel_weight(weights: Weights) -> Weights:
    del weights["model.layers.1.mlp.down_proj.weight"]
    return weights | {"model.norm.bias": torch.zeros(128)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict, ""),
        (
            without_a_row_parallel_weight,
            "llama: vLLM left 1 tensor of the checkpoint out: model.norm.bias; the checkpoint leaves 1 parameter "
            f"unfilled: model.layers.1.mlp.down_proj.weight; {REMEDY}",
        ),
    ],
)
def test_the_ranks_accounts_are_judged_together(
    change: Callable[[Weights], Weights], expected: str, tmp_path: Path
) -> None:
    source = dataclasses.replace(model(tmp_path / "llama", "llama", change, vocab_size=323), tensor_parallel=2)
    with one_process(timeout=500) as call:
        assert call(start, source) == expected
