"""Requests and results that cross Ray: frozen dataclasses of plain data (numbers, strings, bytes, numpy arrays).

Owns the vocabulary between the control plane and the data plane. Imports no torch, so that the driver needs none.
Actors stream events: any number of `Progress`, then results; a generator that ends without its results has failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from studies.benchmarks.texts import TextRequest, Windows


class Route(StrEnum):
    """How log-probabilities were computed."""

    TREE = "tree"
    """The logits pass over packed token trees inside vLLM."""
    FLAT = "flat"
    """Ordinary vLLM requests with `prompt_logprobs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """One resolved model: actors load exactly this."""

    label: str
    path: str
    """Local folder with config, weights and tokenizer, or a hub repository with `revision` pinned."""
    revision: str | None = None
    family: str
    num_layers: int
    d_mlp: int
    d_model: int
    context: int
    dtype: str = "float32"
    tensor_parallel: int = 1
    threads: int | None = None
    """CPU threads of the actor; None leaves the libraries' own choice (GPU machines)."""
    gpu_share: float = 1.0
    """Of each of its GPUs; below 1 where actors share one."""
    over_nodes: bool = False
    """Whether its tensor-parallel ranks lie on several nodes, in the placement group that the actor is in."""
    trust_remote_code: bool = False
    pickled: bool = False
    """Whether the weights are `pytorch_model*.bin`; else nothing but safetensors is loaded."""
    route: str = "auto"
    """`auto`: the tree, or flat with the reason recorded; `tree`: the tree or an error; `flat`."""
    engine: Mapping[str, object] = field(default_factory=dict)
    """Extra vLLM engine arguments from the study file."""


DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """What is done to a neuron set, as `clamps.Act` says; no neurons = the baseline, on the same path."""

    neurons: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """{layer: neuron indices}."""
    kind: str = "clamp"
    floor: float = float("-inf")
    ceiling: float = float("inf")
    values: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """{layer: one value a neuron, in its order}, for the kinds that have them."""

    @property
    def display(self) -> str:
        return f"clamp [{self.floor}, {self.ceiling}]" if self.kind == "clamp" else self.kind

    @property
    def num_neurons(self) -> int:
        return sum(map(len, self.neurons.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that an intervention was applied, read back after a probe forward; returned with every result."""

    layers_matched: int
    neurons_per_layer: tuple[int, ...]
    """Summed over tensor-parallel ranks."""
    digest: str
    """sha256 of the clamp buffers as they stand on the device(s)."""
    probe_tokens: int
    clipped_fraction: float
    """Share of (probe token, selected neuron) pre-activations that the intervention changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The first packs of one step, so that a crash does not cost them."""

    step: str
    pack_plan: str
    """Digest of the pack plan; on another plan a part is worthless."""
    first_pack: int
    """The part begins here and ends before `end_pack`."""
    end_pack: int
    edges: np.ndarray
    """[E], with margins [2, E], float32, of the part's edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    """Score one text request under several interventions, one result a key, streamed as they are ready."""

    benchmark: str
    texts: TextRequest
    interventions: Mapping[str, Intervention]
    """{step id: intervention}."""
    max_nodes: int | None = None
    """Pack size; None = the actor's default for its device. Another size is another pack plan."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """{step id: what an earlier actor finished of it, from pack 0}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One intervention's log-probabilities."""

    step: str
    sums: np.ndarray
    """[num_sequences] float64 sum of the scored tokens' log-probabilities, nats."""
    counts: np.ndarray
    """[num_sequences] scored tokens."""
    margins: np.ndarray | None = None
    """[num_sequences] float64 sum over the scored tokens of log p(token) - max log p, if asked for; 0 = all greedy."""
    tokens: Mapping[str, np.ndarray] | None = None
    """Of documents, a row a scored token: document, start, end (characters of its text), log_probability (float32)."""
    receipt: Receipt
    route: Route
    route_reason: str
    """Why the tree route was not taken; empty on the tree route."""
    pack_plan: str
    """Digest of the pack plan."""
    num_nodes: int
    num_tokens: int
    num_cut: int = 0
    """Sequences whose context lost its beginning, because the model has too few positions."""
    seconds: float
    """This condition's share of the request's time."""
    num_conditions: int = 1
    """Conditions of the request that were scored together."""
    layer_passes: int = 0
    """Layers computed for each pack, over all of them; 0 on the flat route, which shares nothing."""
    ideal_layer_passes: int = 0
    """The fewest that the conditions' shared prefixes allow."""


class EngineDied(Exception):
    """A worker process of the engine is gone, and nothing says that another would go too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """A whole request failed inside its actor; the actor is not used again."""

    error: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """A pack did not fit the device; the request ends here, and the actor is not used again."""

    num_nodes: int
    """Of the pack."""
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """One step of a coalesced request failed; its siblings go on."""

    step: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a request is."""

    step: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What stands behind an ablation actor's numbers; part of every comparability key."""

    route: Route
    route_reason: str
    attention: str
    """How packs attend on the tree route, with the reason; '' on the flat route."""
    device: str
    dtype: str
    versions: Mapping[str, str]
    probe_difference: float
    """Largest |tree - flat| log-probability of the start-up comparison, nats; nan where there was none to make."""
    probe_tolerance: float
    max_nodes: int
    reload_refused: str = ""
    """Why checkpoints have engines of their own; '' while their weights are exchanged in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRequest:
    """Raise m, the fraction of lowest-scored neurons, until perplexity equals the treated condition's."""

    step: str
    texts: Windows
    ranking: Mapping[int, tuple[int, ...]]
    """{layer: neurons in ascending score, the treated ones left out}."""
    floor: float
    ceiling: float
    baseline_perplexity: float
    treated_perplexity: float
    treated_fraction: float
    within: float
    """Largest relative distance from the treated perplexity."""
    within_rise: float
    """Largest distance as a share of the treated condition's rise over baseline."""
    max_evaluations: int
    max_nodes: int | None = None
    """Pack size, as in `EvaluateRequest`: that of the perplexities it is held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """The outcome of a search; `matched` False means that no m within bounds met both tolerances."""

    step: str
    matched: bool
    reason: str
    fraction: float
    neurons: Mapping[int, tuple[int, ...]]
    curve: tuple[tuple[float, float], ...]
    """Every evaluated (fraction, perplexity), in the order of evaluation."""
    receipt: Receipt | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRequest:
    """Score every MLP neuron of the model on a corpus."""

    step: str
    texts: Windows
    skip_first: bool
    """Leave position 0 of every window and all special tokens out of the statistics."""
    num_bins: int
    calibration_windows: int
    pairs_per_block: int
    """Mapping-difficulty pairs drawn in every block of windows; 0 = do not score it."""
    block_windows: int
    """Windows in a block, fixed by the corpus so that neither batches nor shards change the pairs."""
    seed: int
    batch_windows: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """The neuron table of one model, column by column, and what it was measured on."""

    step: str
    columns: Mapping[str, np.ndarray]
    """`layer`, `neuron` and the statistics named in the README; one row a neuron."""
    num_windows: int
    num_tokens: int
    """Tokens that entered the statistics."""
    num_pairs: int
    num_pairs_dropped: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRequest:
    """Every n-th block of a corpus, over ranges that are the same for all shards."""

    profile: ProfileRequest
    ranges: tuple[Mapping[str, np.ndarray | int], ...]
    """The fields of `sketches.Ranges`, layer by layer."""
    first_block: int
    every: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What a shard's tokens were reduced to, layer by layer: the states of its two sketches."""

    layers: tuple[tuple[Mapping[str, np.ndarray | float], Mapping[str, np.ndarray | float]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest:
    """How far every neuron's weights are from those of an earlier checkpoint."""

    step: str
    before: ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Cosine dissimilarity, 1 - cos, of every neuron's weights between two checkpoints, column by column."""

    step: str
    columns: Mapping[str, np.ndarray]
    """`layer`, `neuron`, `pre_activation` (its row of the gate or plain up projection), `up` (of a GLU's other half)
    and `down` (its column of the down projection); nan where a vector is 0."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesRequest:
    """Look closer at a few neurons: the density of their outputs, and token pairs that they pull apart."""

    step: str
    texts: Windows
    skip_first: bool
    """As in `ProfileRequest`."""
    neurons: Mapping[int, tuple[int, ...]]
    """{layer: neuron indices}."""
    pairs_per_neuron: int
    candidates: int
    """Tokens among which pairs are looked for, drawn at random over the whole text."""
    context_tokens: int
    """How much text in front of a token is told."""
    num_bins: int
    seed: int
    batch_windows: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What was seen of the neurons, column by column."""

    step: str
    densities: Mapping[str, np.ndarray]
    """layer, neuron, low, high (bin edges, of the pre-activation), count, mean, std."""
    pairs: Mapping[str, np.ndarray]
    """layer, neuron, rank, context_i, token_i, y_i, the same of j, input_distance, output_distance, ratio."""
    num_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The actor has loaded its model; `facts` are the engine's, None for a score actor."""

    facts: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorLost:
    """The actor died or fell silent."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The request's stream has ended in order."""
