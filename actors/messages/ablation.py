"""Requests to an ablation actor, and its results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from actors.messages.model import Route
from studies.benchmarks.special_tokens import SpecialTokens
from studies.benchmarks.texts import TextRequest, Windows
from studies.neurons.clamps import UNCLAMPED, Clamp
from studies.neurons.match_windows import MatchWindows
from studies.neurons.neighbour import Neighbour


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
    special_tokens: SpecialTokens
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
    left_out: Mapping[int, str] = field(default_factory=dict)
    """{item, or document: why the model cannot score it}. Its texts have nan for a sum, and no tokens."""
    seconds: float
    """This condition's share of the time that the request took."""
    num_conditions: int = 1
    """Conditions of the request that were scored together."""
    layer_passes: int = 0
    """Layers computed per pack, summed over the conditions; 0 on the flat route, which shares no layers."""
    ideal_layer_passes: int = 0
    """The smallest number of layer passes that the conditions' shared prefixes allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLosses:
    """What one measurement of a search found on every window."""

    role: Literal["baseline", "treated", "try", "accepted", "neighbour"]
    """`try`: of a fraction on the way to the accepted point, that point itself included, or to the neighbour."""
    fraction: float
    """Of the neurons; 0 for the baseline."""
    windows: Literal["search", "evidence"]
    numbers: tuple[int, ...]
    """Of the windows, counted from the start of the text."""
    nll: np.ndarray
    """[num_windows] float64 mean negative log-likelihood of a window's scored tokens, in nats."""
    num_tokens: np.ndarray
    """[num_windows] scored tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRequest:
    """Raise m, the fraction of lowest-scored neurons, until perplexity equals the treated condition's.

    The search runs on windows of the text that the evidence leaves out (`studies.neurons.match_windows`); the point
    that it accepts is measured on the windows of the evidence too.
    """

    step: str
    benchmark: str
    """Name of the perplexity benchmark: its pack plan is made once and shared with its evaluations."""
    texts: Windows
    """The windows of the evidence."""
    ranking: Mapping[int, tuple[int, ...]]
    """{layer: neurons in ascending score, the treated ones excluded}."""
    clamp: Clamp
    """Without values of the neurons' own."""
    treated: Intervention
    """The condition whose perplexity is to be matched."""
    treated_fraction: float
    evidence: tuple[WindowLosses, WindowLosses]
    """The recorded losses of the baseline and of the treated condition on the windows of the evidence."""
    within: float
    """Largest relative distance from the treated perplexity."""
    within_rise: float
    """Largest distance as a share of the treated condition's rise over baseline."""
    max_evaluations: int
    neighbour_beyond: float | None = None
    """Look for a neighbour (`studies.neurons.neighbour`) where the accepted point is further than this share of the
    rise from the target on the evidence; None = never."""
    max_nodes: int | None = None
    """Pack size, as in `EvaluateRequest`: the one used for the baseline's and the treated perplexity."""


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
    """Every evaluated (fraction, perplexity on the search's windows), in the order of evaluation."""
    windows: MatchWindows
    losses: tuple[WindowLosses, ...]
    """Of every measurement, in their order."""
    neighbour: Neighbour
    neighbour_neurons: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """{layer: the lowest-scored neurons at the neighbour's fraction}; empty where there is no neighbour."""
    receipt: Receipt | None
    """Of the accepted point, or of the last one where none was accepted; None where nothing was evaluated."""
    seconds: float
