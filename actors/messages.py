"""Requests and results that cross Ray: frozen dataclasses of plain data (numbers, strings, bytes, numpy arrays).

Owns the vocabulary between the control plane and the data plane. Imports no torch, so the driver needs none.
An actor answers a request with a stream of messages: any number of `Progress`, then the results. A stream that ends
without its results has failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from studies.benchmarks.texts import TextRequest, Windows
from studies.neurons.clamps import UNCLAMPED, Clamp


class Route(StrEnum):
    """How log-probabilities were computed."""

    TREE = "tree"
    """The logits pass over packed token trees inside vLLM."""
    FLAT = "flat"
    """Ordinary vLLM requests with `prompt_logprobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """One resolved model, exactly as actors load it."""

    label: str
    path: str
    """Local folder with config, weights and tokenizer, or the name of a hub repository, pinned by `revision`."""
    revision: str | None = None
    family: str
    num_layers: int
    d_mlp: int
    d_model: int
    context: int
    dtype: str = "float32"
    tensor_parallel: int = 1
    threads: int | None = None
    """CPU threads of the actor; None leaves the number to the libraries (GPU machines)."""
    gpu_share: float = 1.0
    """Share of each of its GPUs; below 1 where actors share a GPU."""
    over_nodes: bool = False
    """Whether its tensor-parallel ranks run on several nodes, in the placement group of the actor."""
    trust_remote_code: bool = False
    pickled: bool = False
    """Whether the weights are `pytorch_model*.bin`; otherwise only safetensors are loaded."""
    route: str = "auto"
    """`auto`: the tree, or flat with the reason recorded; `tree`: the tree or an error; `flat`: always flat."""
    engine: Mapping[str, object] = field(default_factory=dict)
    """Extra vLLM engine arguments from the study file."""


DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """A neuron set and what is done to it; no neurons = the baseline, on the same code path."""

    clamp: Clamp = UNCLAMPED
    neurons: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """{layer: neuron indices}."""
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """{layer: one value per neuron, in the order of `neurons`}, for clamps whose neurons have values of their own."""

    @property
    def num_neurons(self) -> int:
        """Neurons over all layers."""
        return sum(map(len, self.neurons.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that an intervention was applied, read back after a forward pass of the probe; part of every result."""

    layers_matched: int
    """Layers whose clamp is hooked into the model: all of them."""
    neurons_per_layer: tuple[int, ...]
    """Selected neurons, summed over tensor-parallel ranks."""
    digest: str
    """sha256 of the clamp buffers, read back from the device; one for each rank, joined by colons."""
    probe_tokens: int
    """Tokens of the probe that were forwarded."""
    clipped_fraction: float
    """Share of (probe token, selected neuron) pre-activations that the intervention changed, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The log-probabilities of consecutive packs of one step, sent early so that a crash does not lose them."""

    step: str
    pack_plan: str
    """Digest of the pack plan; a part is useless for any other plan."""
    first_pack: int
    """The part holds the packs from this one up to, but not including, `end_pack`."""
    end_pack: int
    edges: np.ndarray
    """[E] float32 log-probabilities of the part's edges, in nats; [2, E] with their margins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Score one text request under several interventions; each gets its own result."""

    benchmark: str
    texts: TextRequest
    interventions: Mapping[str, Intervention]
    """{step id: intervention}."""
    max_nodes: int | None = None
    """Largest number of nodes in a pack; None = the default of the actor's device. It determines the pack plan."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """{step id: the packs, from pack 0 on, that an earlier actor finished}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The log-probabilities under one intervention."""

    step: str
    sums: np.ndarray
    """[num_sequences] float64 sum of the scored tokens' log-probabilities, in nats."""
    counts: np.ndarray
    """[num_sequences] number of scored tokens."""
    margins: np.ndarray | None = None
    """[num_sequences] float64 sum over the scored tokens of log p(token) - max log p, if requested; 0 where greedy
    decoding yields exactly these tokens."""
    tokens: Mapping[str, np.ndarray] | None = None
    """For `Documents`, one row per scored token: document, start, end (characters of its text), log_probability
    (float32)."""
    receipt: Receipt
    route: Route
    route_reason: str
    """Why the tree route was not taken; empty on the tree route."""
    pack_plan: str
    """Digest of the pack plan."""
    num_nodes: int
    """Nodes forwarded, ancestors repeated at cuts included."""
    num_tokens: int
    """Tokens that an unpadded forward pass over all sequences would compute."""
    num_cut: int = 0
    """Sequences whose context lost its beginning, because the model has too few positions."""
    seconds: float
    """This condition's share of the time that the request took."""
    num_conditions: int = 1
    """Conditions of the request that were scored together."""
    layer_passes: int = 0
    """Layers computed per pack, summed over the conditions; 0 on the flat route, which shares no layers."""
    ideal_layer_passes: int = 0
    """The smallest number of layer passes that the conditions' shared prefixes allow."""


class EngineDied(Exception):
    """A worker process of the engine ended without an error of its own, so a fresh engine may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """A whole request failed inside its actor; the actor is not used again."""

    error: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """A pack did not fit into the device's memory; the request ends here, and the actor is not used again."""

    num_nodes: int
    """Nodes in that pack."""
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """One step of a coalesced request failed; the other steps continue."""

    step: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a request has come: `done` of `total` `unit`s."""

    step: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """How an ablation actor computes its numbers; enters every comparability key."""

    route: Route
    route_reason: str
    """Why the tree route was not taken; empty on the tree route."""
    attention: str
    """The attention kernel of the tree route, with the reason for it; '' on the flat route."""
    device: str
    """vLLM's device type: `cpu` or `cuda`."""
    dtype: str
    versions: Mapping[str, str]
    """{package: version}."""
    probe_difference: float
    """Largest |tree - flat| log-probability of one token in the comparison at start-up, in nats; nan where the flat
    route is taken, which has nothing to compare."""
    probe_tolerance: float
    """The largest difference that is accepted, in nats."""
    max_nodes: int
    """Default pack size."""
    reload_refused: str = ""
    """Why every checkpoint gets an engine of its own; '' as long as weights are exchanged in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRequest:
    """Raise m, the fraction of lowest-scored neurons, until perplexity equals the treated condition's."""

    step: str
    benchmark: str
    """Name of the perplexity benchmark: its pack plan is made once and shared with its evaluations."""
    texts: Windows
    ranking: Mapping[int, tuple[int, ...]]
    """{layer: neurons in ascending score, the treated ones excluded}."""
    clamp: Clamp
    """Without values of the neurons' own."""
    baseline_perplexity: float
    treated_perplexity: float
    treated_fraction: float
    within: float
    """Largest relative distance from the treated perplexity."""
    within_rise: float
    """Largest distance as a share of the treated condition's rise over baseline."""
    max_evaluations: int
    max_nodes: int | None = None
    """Pack size, as in `EvaluateRequest`: the one used for the two perplexities above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The outcome of a search; `matched` is False where no m within bounds met both tolerances."""

    step: str
    matched: bool
    reason: str
    """Why the search failed; empty where it succeeded."""
    fraction: float
    """The accepted m; nan where there is none."""
    neurons: Mapping[int, tuple[int, ...]]
    """{layer: the lowest-scored neurons at that fraction}."""
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity), in the order of evaluation."""
    receipt: Receipt | None
    """Of the last evaluation; None where nothing was evaluated."""
    seconds: float


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
    """`layer`, `neuron` and the statistics named in the README; one row per neuron."""
    num_windows: int
    num_tokens: int
    """Tokens that entered the statistics."""
    num_pairs: int
    """Mapping-difficulty pairs that entered the statistics."""
    num_pairs_dropped: int
    """Pairs left out because their inputs are equal."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The actor has loaded its model; `facts` describes the engine, None for a score actor."""

    facts: EngineFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLost:
    """The actor died or stopped answering."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The stream of the request is complete."""
