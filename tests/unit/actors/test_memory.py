"""What actors take of a GPU: by hand for Llama-3-8B, and how it follows from a model's shape."""

from dataclasses import replace

import pytest

from actors.ablation.memory import engine_bytes
from actors.scoring.memory import profile_bytes
from actors.sites import Architecture

LLAMA_8B = Architecture(
    family="llama", num_layers=32, d_mlp=14336, d_model=4096, activation="silu", context=8192, vocabulary=128256
)
PARAMETERS = 8_030_261_248
GB, GIB = 1e9, 2**30


def scoring(num_bins: int = 1024, num_pairs: int = 4096, gpus: int = 1, dtype: str = "bfloat16") -> int:
    sizes = {"num_bins": num_bins, "num_pairs": num_pairs, "batch_tokens": 8192}
    return profile_bytes(LLAMA_8B, dtype, PARAMETERS, gpus, **sizes)


def test_an_engine_holds_weights_a_cache_for_one_window_and_what_a_pack_needs() -> None:
    weights, cache = 1.2 * 2 * PARAMETERS, 1.25 * 2 * 32 * 4096 * 2 * 2064
    assert engine_bytes(LLAMA_8B, "bfloat16", PARAMETERS, 1) == pytest.approx(weights + cache + 4 * GIB)
    assert engine_bytes(LLAMA_8B, "bfloat16", PARAMETERS, 4) == pytest.approx((weights + cache) / 4 + 4 * GIB)
    assert engine_bytes(LLAMA_8B, "float32", PARAMETERS, 1) > 2 * weights
    gemma = replace(LLAMA_8B, vocabulary=262_144)
    more = engine_bytes(gemma, "bfloat16", PARAMETERS, 1) - engine_bytes(LLAMA_8B, "bfloat16", PARAMETERS, 1)
    assert more == pytest.approx(1024 * 262_144 * 6 - GIB), "vLLM computes the logits of a whole step at once"


def test_a_profile_holds_histograms_and_waiting_pairs_beside_the_weights() -> None:
    weights, histograms, pairs = 1.2 * 2 * PARAMETERS, 32 * 14336 * 1026 * 12, 32 * 4096 * (4096 + 14336) * 2
    batch = 8192 * 14336 * 2 * 4
    assert scoring() == pytest.approx(weights + histograms + pairs + batch + GIB)
    assert scoring(num_pairs=0) == scoring() - pairs
    assert scoring() - scoring(num_bins=256) == 32 * 14336 * 768 * 12
    assert scoring(gpus=2) == pytest.approx((weights + histograms + pairs) / 2 + batch + GIB)
