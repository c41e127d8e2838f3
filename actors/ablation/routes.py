"""One model in an engine, and its route from texts to log-probabilities: token tree or flat.

Owns the model's pack plans, the two routes, the choice between them and its proof: at start-up a probe is scored both
ways, and a difference above the tolerance is an error. The tree route is the logits pass over packs; the flat route is
ordinary vLLM requests, one per sequence. Everything here belongs to one checkpoint: a reload replaces it whole.

E scored edges.
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from actors.ablation.engine import Engine, Hooks, versions
from actors.ablation.memory import ACTIVATION_BYTES
from actors.ablation.token_tree import PackPlan, pack_to_wire, plan_packs
from actors.hf_model import load_model
from actors.messages.model import DTYPE_BYTES, EngineFacts, ModelSource, Route
from actors.probe import SENTENCES, in_float32, log_probabilities, probe_ids
from actors.tokens import TokenSpans, num_windows, special_tokens_of, tokenise
from studies.benchmarks.special_tokens import SpecialTokens
from studies.benchmarks.texts import Sentences, TextRequest, Windows
from studies.errors import InterventionError, StudyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CPU_NODES = 512
"""Default pack size on a CPU: on two cores 512, 1024 and 2048 take the same time per node."""
PACK_FLOPS = 16e12
"""On CUDA: the work of a pack, about 40 ms of an H100 in 16 bits, so that starting its kernels (a few ms) does not
count. A guess, unmeasured."""
CUDA_NODES = (4096, 65_536)
"""Smallest and largest default pack size on CUDA."""

PROBE_MEAN = {"float32": 0.001, "float16": 0.03, "bfloat16": 0.15}
"""Largest accepted mean over the probe's tokens of |tree - flat| log-probability, in nats. In 16 bits single tokens of
the flat route itself are a nat from float32."""
PROBE_MAXIMUM = {"float32": 0.01, "float16": math.inf, "bfloat16": math.inf}
"""The same for the largest difference of one token, where that says something."""
REPETITIONS = 5
"""How often one pack is scored at start-up, to be equal to the last bit."""


class RoutedModel:
    """A model that its engine has loaded, with the route that was chosen and proven for it."""

    def __init__(self, engine: Engine, source: ModelSource, tokenizer: "PreTrainedTokenizerBase", hooks: Hooks):
        """Choose the route and prove it on the probe. Raises StudyError as `prove_route`."""
        self.engine, self.source, self.hooks = engine, source, hooks
        self._tokenizer = tokenizer
        self._plans: dict[tuple[str, range | None, int | None], PackPlan] = {}
        self._spans: dict[str, TokenSpans] = {}
        self._max_nodes = CPU_NODES if engine.device == "cpu" else cuda_nodes(source)
        sequences = tokenise(Sentences(texts=SENTENCES), tokenizer, source.context, source.vocabulary).ids
        self.probe = plan_packs(sequences, np.ones(len(sequences), dtype=np.int64), self._max_nodes)
        self.facts = prove_route(engine, source, hooks, self.probe, self._max_nodes)

    def probed(self) -> tuple[list[np.ndarray], np.ndarray]:
        """(token ids of the texts that are compared with Transformers, their log-probabilities under the clamps in
        force: [T] float32, in nats, of every token after a text's first)."""
        sequences = probe_ids(self.source, self._tokenizer)
        plan = plan_packs(sequences, np.ones(len(sequences), dtype=np.int64), self._max_nodes)
        return sequences, plan.token_log_probabilities(self.log_probabilities(plan))

    @property
    def num_probe_tokens(self) -> int:
        """Tokens that one forward pass of the probe computes."""
        return self.probe.num_nodes if self.facts.route is Route.TREE else self.probe.num_tokens

    def plan(self, benchmark: str, texts: TextRequest, max_nodes: int | None) -> PackPlan:
        """The pack plan of a benchmark, or of some of its windows, made once for each pack size; None = the default of
        the device."""
        key = (benchmark, texts.only if isinstance(texts, Windows) else None, max_nodes)
        if key not in self._plans:
            sequences = tokenise(texts, self._tokenizer, self.source.context, self.source.vocabulary)
            plan = plan_packs(sequences.ids, sequences.score_from, max_nodes or self._max_nodes)
            self._plans[key] = plan._replace(
                num_cut=sequences.num_cut, left_out=sequences.left_out, kept=sequences.kept
            )
            if sequences.spans is not None:
                self._spans[plan.digest] = sequences.spans
        return self._plans[key]

    def num_windows(self, texts: Windows) -> int:
        """How many windows a text has, whichever of them are used."""
        return num_windows(texts, self._tokenizer, self.source.context)

    def special_tokens(self, texts: TextRequest) -> SpecialTokens:
        """The special tokens that texts get from the model's tokenizer."""
        return special_tokens_of(texts, self._tokenizer, self.source.family)

    def spans(self, plan: PackPlan) -> TokenSpans | None:
        """The character spans of a plan's scored tokens; None unless it was made for documents."""
        return self._spans.get(plan.digest)

    def log_probabilities(self, plan: PackPlan) -> np.ndarray:
        """[E] float32 log-probabilities of a plan's edges under the clamps in force, in nats, by the proven route."""
        by_route = flat_log_probabilities if self.facts.route is Route.FLAT else tree_log_probabilities
        return by_route(self.engine, plan)


def cuda_nodes(source: ModelSource) -> int:
    """The default pack size of a model on CUDA, a power of two."""
    attention, mlp = 4 * source.d_model**2, 3 * source.d_model * source.d_mlp
    num_parameters = source.num_layers * (attention + mlp) + source.vocabulary * source.d_model
    by_work = PACK_FLOPS * source.tensor_parallel / (2 * num_parameters)
    node_bytes = DTYPE_BYTES[source.dtype] * (8 * source.d_model + 2 * source.d_mlp / source.tensor_parallel)
    smallest, largest = CUDA_NODES
    nodes = min(max(by_work, smallest), ACTIVATION_BYTES / node_bytes, largest)
    return 1 << int(math.log2(max(nodes, CPU_NODES)))


def prove_route(engine: Engine, source: ModelSource, hooks: Hooks, probe: PackPlan, max_nodes: int) -> EngineFacts:
    """Choose the route; prove that the tree repeats itself, and compare it with flat requests on the probe.

    Raises StudyError if the study file demands the tree route and the model does not allow it, InterventionError if a
    repetition differs, or if the two routes differ by more than the tolerances and the tree is further from
    Transformers in float32 than the flat route is.
    """
    reason, mean, largest, accepted = hooks.tree_refused, math.nan, math.nan, ""
    if source.route == "flat":
        reason = "asked for in the study file"
    elif reason and source.route == "tree":
        raise StudyError(f"{source.label}: route 'tree' is not possible: {reason}; use route: auto or flat")
    route = Route.FLAT if reason else Route.TREE
    if route is Route.TREE:
        check_repetitions(engine, source, probe)
        tree = probe.token_log_probabilities(tree_log_probabilities(engine, probe))
        flat = probe.token_log_probabilities(flat_log_probabilities(engine, probe))
        mean, largest = _mean_distance(tree, flat), float(np.abs(tree - flat).max())
        if not (mean <= PROBE_MEAN[source.dtype] and largest <= PROBE_MAXIMUM[source.dtype]):
            accepted = _compared_with_float32(source, tree, flat, in_transformers(engine, source, probe))
    return EngineFacts(
        route=route,
        route_reason=reason,
        attention=hooks.attention if route is Route.TREE else "",
        device=engine.device,
        dtype=source.dtype,
        versions=versions(),
        probe_difference=largest,
        probe_tolerance=PROBE_MAXIMUM[source.dtype],
        probe_mean=mean,
        probe_mean_tolerance=PROBE_MEAN[source.dtype],
        probe_accepted=accepted,
        max_nodes=max_nodes,
    )


def check_repetitions(engine: Engine, source: ModelSource, probe: PackPlan) -> None:
    """Raises InterventionError unless every rank computes the same bits of a pack every time."""
    seen = engine.call("halfwave_repeat", pack_to_wire(probe.packs[0]), REPETITIONS)
    if differing := [f"rank {rank}: {count} different ones" for rank, count in enumerate(seen) if count != 1]:
        raise InterventionError(
            f"{source.label}: {REPETITIONS} passes over one pack gave different results ({', '.join(differing)}); "
            "operations of one pass are not in order on this machine"
        )


def in_transformers(engine: Engine, source: ModelSource, probe: PackPlan) -> np.ndarray:
    """[T] float32 log-probabilities of the probe's tokens under Transformers in float32, loaded beside the engine."""
    with engine.vllm_configured():
        model = load_model(source)
        with in_float32(model):
            return log_probabilities(model, probe.sequences())


def _compared_with_float32(source: ModelSource, tree: np.ndarray, flat: np.ndarray, exact: np.ndarray) -> str:
    """Why a tree that differs from the flat route is accepted. Raises InterventionError where it is not."""
    of_tree, of_flat = _mean_distance(tree, exact), _mean_distance(flat, exact)
    if of_tree <= of_flat:
        return f"the tree is {of_tree:.3g} nats from Transformers in float32, the flat route {of_flat:.3g}"
    raise InterventionError(
        f"{source.label}: tree and flat route differ on the probe by {_mean_distance(tree, flat):.3g} nats a token "
        f"(tolerance {PROBE_MEAN[source.dtype]:g}) and at most by {np.abs(tree - flat).max():.3g} (tolerance "
        f"{PROBE_MAXIMUM[source.dtype]:g}); from Transformers in float32 the tree differs by {of_tree:.3g} and the "
        f"flat route by {of_flat:.3g}"
    )


def _mean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).mean(dtype=np.float64))


def tree_log_probabilities(engine: Engine, plan: PackPlan) -> np.ndarray:
    """[E] by the logits pass, pack by pack."""
    packs = (engine.call_head("halfwave_score", pack_to_wire(pack)) for pack in plan.packs)
    return np.concatenate([np.frombuffer(scored, dtype=np.float32) for scored in packs])


def flat_log_probabilities(engine: Engine, plan: PackPlan, *, margins: bool = False) -> np.ndarray:
    """[E] by ordinary requests, mapped back to the plan's edges; [2, E] with the edges' margins."""
    sequences = plan.sequences()
    edges = np.full((2, plan.num_edges), np.nan, dtype=np.float32)
    prompts = engine.prompt_log_probabilities(sequences, num_top=int(margins))
    for i, (ids, tokens) in enumerate(zip(sequences, prompts, strict=True)):
        own = plan.edges[plan.offsets[i] : plan.offsets[i + 1]]
        scored = list(zip(tokens, ids.tolist(), strict=True))[len(ids) - len(own) :]
        edges[0, own] = [candidates[token] for candidates, token in scored]
        edges[1, own] = edges[0, own] - [max(candidates.values()) for candidates, _ in scored]
    return edges if margins else edges[0]
