"""The memory that a score actor takes of each of its GPUs, for the scheduler. Plain arithmetic, without torch."""

from actors.messages.model import DTYPE_BYTES, GPU_RUNTIME_BYTES, LOADED_WEIGHTS
from actors.sites import Shape

COUNT_BYTES, HISTOGRAMS = 4, 3
"""A neuron has one histogram of its pre-activations, and one of output distances for each half of the pairs."""
LAYER_COPIES = 4
"""Copies of a batch's pre-activations that exist at once: of the model, kept tokens, by neuron, as float64 blocks."""


def profile_bytes(
    shape: Shape, dtype: str, num_parameters: int, gpus: int, *, num_bins: int, num_pairs: int, batch_tokens: int
) -> int:
    """Bytes of one of the GPUs over which a model is spread, while it is profiled.

    num_bins, num_pairs: of the profile (`ProfileRequest`); batch_tokens: tokens of one forward pass. A pair's first
    token is held, inputs and outputs of its layer, until the second one comes: at most `num_pairs` tokens.
    """
    number = DTYPE_BYTES[dtype]
    weights = LOADED_WEIGHTS * num_parameters * number
    histograms = shape.num_layers * shape.d_mlp * (num_bins + 2) * COUNT_BYTES * HISTOGRAMS
    held = shape.num_layers * num_pairs * (shape.d_model + shape.d_mlp) * number
    batch = batch_tokens * shape.d_mlp * number * LAYER_COPIES
    return int((weights + histograms + held) / gpus) + batch + GPU_RUNTIME_BYTES
