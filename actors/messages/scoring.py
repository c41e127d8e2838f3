"""Requests to a score actor, and its results."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from actors.messages.model import ModelSource
from actors.messages.probe import Reference
from studies.benchmarks.special_tokens import SpecialTokens
from studies.benchmarks.texts import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """Score every MLP neuron of the model on a corpus."""

    step: str
    texts: Windows
    skip_first: bool
    """Whether position 0 of every window and all special tokens stay out of the statistics."""
    num_bins: int
    calibration_windows: int
    pairs_per_block: int
    """Mapping-difficulty pairs drawn in every block of windows; 0 = mapping difficulty is not scored."""
    block_windows: int
    """Windows in a block. Blocks are counted from the start of the corpus, so neither the batch size nor sharding
    changes the pairs."""
    seed: int
    batch_windows: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """The neuron table of one model, column by column, and the size of the sample behind it."""

    step: str
    columns: Mapping[str, np.ndarray]
    """`layer`, `neuron` and the statistics named in docs/review.md; one row per neuron."""
    num_windows: int
    num_tokens: int
    """Tokens that entered the statistics."""
    num_pairs: int
    """Mapping-difficulty pairs that entered the statistics."""
    num_pairs_asked: int
    """Pairs that the request asks for in all blocks together; more than there are where a block has too few tokens."""
    num_pairs_dropped: int
    """Pairs left out because their inputs are equal."""
    reference: Reference
    """The probe under the same model, with which the engine of its ablation actor is compared."""
    special_tokens: SpecialTokens
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRequest:
    """Sketch every n-th block of a corpus, over histogram ranges that all shards share."""

    profile: ProfileRequest
    ranges: tuple[Mapping[str, np.ndarray | int], ...]
    """The fields of `histograms.Ranges`, layer by layer."""
    first_block: int
    every: int
    """The shard holds the blocks first_block, first_block + every, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The sketches of a shard's tokens: per layer, the states of the pre-activation and mapping-difficulty sketches."""

    layers: tuple[tuple[Mapping[str, np.ndarray | float], Mapping[str, np.ndarray | float]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest:
    """Compare every neuron's weights with those of an earlier checkpoint."""

    step: str
    before: ModelSource
    """The earlier checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Cosine dissimilarity, 1 - cos, of every neuron's weights between two checkpoints, column by column."""

    step: str
    columns: Mapping[str, np.ndarray]
    """`layer`, `neuron`, `pre_activation` (the neuron's row of the gate projection or, in a plain MLP, of the up
    projection), `up` (its row of a GLU's up projection) and `down` (its column of the down projection); nan where a
    vector is 0."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesRequest:
    """Examine a few neurons: the density of their pre-activations, and token pairs that they split."""

    step: str
    texts: Windows
    skip_first: bool
    """As in `ProfileRequest`."""
    neurons: Mapping[int, tuple[int, ...]]
    """{layer: neuron indices}."""
    pairs_per_neuron: int
    candidates: int
    """Number of tokens, drawn at random from the whole text, among which pairs are searched."""
    context_tokens: int
    """Number of preceding tokens that are returned with each token of a pair."""
    num_bins: int
    seed: int
    batch_windows: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Densities and split token pairs of a few neurons, column by column."""

    step: str
    densities: Mapping[str, np.ndarray]
    """One row per bin: layer, neuron, low, high (bin edges of the pre-activation), count, mean, std."""
    pairs: Mapping[str, np.ndarray]
    """One row per pair: layer, neuron, rank, context_i, token_i, y_i, context_j, token_j, y_j, input_distance,
    output_distance, ratio."""
    num_tokens: int
    """Tokens behind the densities."""
    seconds: float
