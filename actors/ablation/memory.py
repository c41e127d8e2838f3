"""The memory that an ablation engine takes of each of its GPUs, and the bounds on it that this package keeps.

Plain arithmetic on a model's shape, without torch: the scheduler places actors by it, and the engine asks vLLM for no
more. Invariant: no number in a study's results depends on `engine_bytes`; the bounds themselves decide how work is cut.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from actors.messages.model import DTYPE_BYTES, GPU_RUNTIME_BYTES, LOADED_WEIGHTS
from actors.sites import Shape

ACTIVATION_BYTES = 2**30
"""On a GPU: the most memory for what one layer computes of a pack. A guess, unmeasured."""
HELD_BYTES = 2**30
"""Memory for hidden states that conditions will branch from; beyond it, shared layers are computed again."""
HEAD_BYTES = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
"""Largest [rows, vocabulary] float32 block of the head, by type of device; above 32 MiB, glibc maps and clears fresh
pages for every block."""

FLAT_LENGTH = 2064
"""Longest sequence of the flat route: the presets' window and a few tokens. `engine: {max_model_len: ...}` in the study
file raises it."""
FLAT_BATCH, FLAT_SEQUENCES = 1024, 64
"""On a GPU: most tokens and sequences of one step of vLLM, whose logits are computed for all of them at once."""
LEAST_CACHE_BYTES = 256 * 2**20


class FlatBounds(NamedTuple):
    """The size of vLLM's own requests, in an engine with the study file's options."""

    length: int
    """Tokens of the longest sequence."""
    batch: int
    """On a GPU: tokens of one step."""
    sequences: int
    """On a GPU: sequences of one step."""
    cache_bytes: int
    """KV cache of each rank: one sequence, keys and values of its share of the heads."""


def flat_bounds(shape: Shape, dtype: str, ranks: int, options: Mapping[str, Any]) -> FlatBounds:
    """The bounds, of which those follow from each other that the options leave open."""
    length = int(options.get("max_model_len", min(shape.context, FLAT_LENGTH)))
    whole = length if options.get("enable_chunked_prefill") is False else 0  # a step must then hold a whole sequence
    batch = int(options.get("max_num_batched_tokens", max(FLAT_BATCH, options.get("max_num_seqs", 0), whole)))
    sequences = int(options.get("max_num_seqs", min(FLAT_SEQUENCES, batch)))
    # heads that share keys are counted as if each had its own; 1.25: vLLM's blocks
    needed = int(1.25 * 2 * shape.num_layers * shape.d_model * DTYPE_BYTES[dtype] * length / ranks)
    cache_bytes = int(options.get("kv_cache_memory_bytes", max(LEAST_CACHE_BYTES, needed)))
    return FlatBounds(length, batch, sequences, cache_bytes)


def engine_bytes(shape: Shape, dtype: str, num_parameters: int, ranks: int, options: Mapping[str, Any]) -> int:
    """Bytes of each of `ranks` GPUs: the weights are divided among them, the working memory is whole on each."""
    flat = flat_bounds(shape, dtype, ranks, options)
    weights = int(LOADED_WEIGHTS * num_parameters * DTYPE_BYTES[dtype] / ranks)
    head = 2 * HEAD_BYTES["cuda"]  # logits and their log-softmax
    flat_head = flat.batch * shape.vocabulary * (4 + DTYPE_BYTES[dtype])
    return weights + flat.cache_bytes + ACTIVATION_BYTES + HELD_BYTES + max(head, flat_head) + GPU_RUNTIME_BYTES
