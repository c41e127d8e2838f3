"""The memory that an ablation engine takes of each of its GPUs, and the bounds on it that this package keeps.

Plain arithmetic on a model's shape, without torch: the scheduler places actors by it, and the engine asks vLLM for no
more. Invariant: no number in a study's results depends on `engine_bytes`; the bounds themselves decide how work is cut.
"""

from actors.messages.model import DTYPE_BYTES
from actors.sites import Shape

FLAT_LENGTH = 2064
"""Longest sequence of the flat route: the presets' window and a few tokens. `engine: {max_model_len: ...}` in the study
file raises it."""
FLAT_BATCH, FLAT_SEQUENCES = 1024, 64
"""On a GPU: most tokens and sequences of one step of vLLM, whose logits are computed for all of them at once."""

ACTIVATION_BYTES = 2**30
"""On a GPU: the most memory for what one layer computes of a pack. A guess, unmeasured."""
HELD_BYTES = 2**30
"""Memory for hidden states that conditions will branch from; beyond it, shared layers are computed again."""
HEAD_BYTES = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
"""Largest [rows, vocabulary] float32 block of the head, by type of device; above 32 MiB, glibc maps and clears fresh
pages for every block."""

LEAST_CACHE_BYTES = 256 * 2**20
RUNTIME_BYTES = 2**30
"""A process's share of a GPU beside its tensors: CUDA's context, libraries' workspaces, what the allocator cannot
use. A guess, unmeasured."""
LOADED = 1.2
"""Memory for the weights, by their size."""


def cache_bytes(shape: Shape, dtype: str) -> int:
    """The KV cache: one sequence of the flat route, keys and values of every head."""
    longest = min(shape.context, FLAT_LENGTH)
    return max(LEAST_CACHE_BYTES, int(1.25 * 2 * shape.num_layers * shape.d_model * DTYPE_BYTES[dtype] * longest))


def engine_bytes(shape: Shape, dtype: str, num_parameters: int, ranks: int) -> int:
    """Bytes of one of `ranks` GPUs: weights and KV cache divided among them; the rest is whole on each of them."""
    weights = LOADED * num_parameters * DTYPE_BYTES[dtype]
    head = 2 * HEAD_BYTES["cuda"]  # logits and their log-softmax
    flat_head = FLAT_BATCH * shape.vocabulary * (4 + DTYPE_BYTES[dtype])
    working = ACTIVATION_BYTES + HELD_BYTES + max(head, flat_head) + RUNTIME_BYTES
    return int((weights + cache_bytes(shape, dtype)) / ranks) + working
