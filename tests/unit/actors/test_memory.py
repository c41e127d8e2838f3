"""What actors take of a GPU: by hand for Llama-3-8B, and how it follows from a model's shape."""

from dataclasses import replace
from typing import Any

import pytest

from actors.ablation.memory import engine_bytes, flat_bounds
from actors.scoring.memory import profile_bytes
from actors.sites import Architecture
from orchestrator.steps.profile import BATCH_TOKENS

LLAMA_8B = Architecture(
    family="llama", num_layers=32, d_mlp=14336, d_model=4096, activation="silu", context=8192, vocabulary=128256
)
PARAMETERS = 8_030_261_248
GIB = 2**30


def scoring(num_bins: int = 1024, num_pairs: int = 4096, gpus: int = 1, dtype: str = "bfloat16") -> int:
    sizes = {"num_bins": num_bins, "num_pairs": num_pairs, "batch_tokens": BATCH_TOKENS}
    return profile_bytes(LLAMA_8B, dtype, PARAMETERS, gpus, **sizes)


def engine(shape: Architecture = LLAMA_8B, dtype: str = "bfloat16", ranks: int = 1, **options: Any) -> int:
    return engine_bytes(shape, dtype, PARAMETERS, ranks, options)


def test_an_engine_holds_weights_a_cache_for_one_window_and_what_a_pack_needs() -> None:
    weights, cache = 1.2 * 2 * PARAMETERS, 1.25 * 2 * 32 * 4096 * 2 * 2064
    assert engine() == pytest.approx(weights + cache + 4 * GIB)
    assert engine(ranks=4) == pytest.approx((weights + cache) / 4 + 4 * GIB)
    assert engine(ranks=8) == pytest.approx(weights / 8 + GIB / 4 + 4 * GIB), "vLLM's cache is of each rank"
    assert engine(dtype="float32") > 2 * weights
    more = engine(replace(LLAMA_8B, vocabulary=262_144)) - engine()
    assert more == pytest.approx(1024 * 262_144 * 6 - GIB), "vLLM computes the logits of a whole step at once"


def test_the_options_of_a_study_file_count() -> None:
    per_token = 1.25 * 2 * 32 * 4096 * 2
    assert engine(max_model_len=4128) - engine() == pytest.approx(2064 * per_token)
    assert engine(kv_cache_memory_bytes=8 * GIB) - engine(kv_cache_memory_bytes=GIB) == 7 * GIB
    assert engine(max_num_batched_tokens=8192) - engine() == pytest.approx(8192 * 128_256 * 6 - GIB)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (2064, 1024, 64)),
        ({"max_model_len": 4096}, (4096, 1024, 64)),
        ({"max_num_batched_tokens": 16}, (2064, 16, 16)),
        ({"max_num_seqs": 4000}, (2064, 4000, 4000)),
        ({"max_num_batched_tokens": 32, "max_num_seqs": 8}, (2064, 32, 8)),
        ({"enable_chunked_prefill": False}, (2064, 2064, 64)),
    ],
)
def test_a_bound_that_is_left_open_fits_those_that_are_not(options: dict[str, Any], expected: tuple[int, ...]) -> None:
    """Otherwise vLLM refuses the pair."""
    assert flat_bounds(LLAMA_8B, "bfloat16", 1, options)[:3] == expected


def test_a_profile_holds_histograms_and_waiting_pairs_beside_the_weights() -> None:
    weights, histograms, pairs = 1.2 * 2 * PARAMETERS, 32 * 14336 * 1026 * 12, 32 * 4096 * (4096 + 14336) * 2
    batch = BATCH_TOKENS * 14336 * 2 * 4
    assert scoring() == pytest.approx(weights + histograms + pairs + batch + GIB)
    assert scoring(num_pairs=0) == scoring() - pairs
    assert scoring() - scoring(num_bins=256) == 32 * 14336 * 768 * 12
    assert scoring(gpus=2) == pytest.approx((weights + histograms + pairs) / 2 + batch + GIB)
