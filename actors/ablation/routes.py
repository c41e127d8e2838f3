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
from actors.ablation.token_tree import PackPlan, pack_to_wire, plan_packs
from actors.messages.model import EngineFacts, ModelSource, Route
from actors.probe import SENTENCES, probe_ids
from actors.tokens import TokenSpans, special_tokens_of, tokenise
from studies.benchmarks.special_tokens import SpecialTokens
from studies.benchmarks.texts import Sentences, TextRequest
from studies.errors import InterventionError, StudyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACK_NODES = {"cpu": 512, "cuda": 4096}
"""{device: default pack size}. On two CPU cores 512, 1024 and 2048 take the same time per node; CUDA is unmeasured."""

PROBE_TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.3}
"""Largest accepted |tree - flat| log-probability of one token of the probe, in nats."""


class RoutedModel:
    """A model that its engine has loaded, with the route that was chosen and proven for it."""

    def __init__(self, engine: Engine, source: ModelSource, tokenizer: "PreTrainedTokenizerBase", hooks: Hooks):
        """Choose the route and prove it on the probe. Raises StudyError as `prove_route`."""
        self.engine, self.source, self.hooks = engine, source, hooks
        self._tokenizer = tokenizer
        self._plans: dict[tuple[str, int | None], PackPlan] = {}
        self._spans: dict[str, TokenSpans] = {}
        self._max_nodes = PACK_NODES.get(engine.device, PACK_NODES["cuda"])
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
        """The pack plan of a benchmark, made once for each pack size; None = the default of the device."""
        key = (benchmark, max_nodes)
        if key not in self._plans:
            sequences = tokenise(texts, self._tokenizer, self.source.context, self.source.vocabulary)
            plan = plan_packs(sequences.ids, sequences.score_from, max_nodes or self._max_nodes)
            self._plans[key] = plan._replace(
                num_cut=sequences.num_cut, left_out=sequences.left_out, kept=sequences.kept
            )
            if sequences.spans is not None:
                self._spans[plan.digest] = sequences.spans
        return self._plans[key]

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


def prove_route(engine: Engine, source: ModelSource, hooks: Hooks, probe: PackPlan, max_nodes: int) -> EngineFacts:
    """Choose the route, and compare the tree with flat requests on the probe.

    Raises StudyError if the study file demands the tree route and the model does not allow it, InterventionError if
    the two routes differ by more than `PROBE_TOLERANCE`.
    """
    tolerance = PROBE_TOLERANCE[source.dtype]
    reason, difference = hooks.tree_refused, math.nan
    if source.route == "flat":
        reason = "asked for in the study file"
    elif reason and source.route == "tree":
        raise StudyError(f"{source.label}: route 'tree' is not possible: {reason}; use route: auto or flat")
    route = Route.FLAT if reason else Route.TREE
    if route is Route.TREE:
        difference = float(np.abs(tree_log_probabilities(engine, probe) - flat_log_probabilities(engine, probe)).max())
        if not difference <= tolerance:
            raise InterventionError(
                f"{source.label}: tree and flat route differ by {difference:.3g} nats on the probe "
                f"(tolerance {tolerance})"
            )
    return EngineFacts(
        route=route,
        route_reason=reason,
        attention=hooks.attention if route is Route.TREE else "",
        device=engine.device,
        dtype=source.dtype,
        versions=versions(),
        probe_difference=difference,
        probe_tolerance=tolerance,
        max_nodes=max_nodes,
    )


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
