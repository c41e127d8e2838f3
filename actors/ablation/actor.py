"""The ablation actor: ONE vLLM engine for all conditions of its model.

Owns the engine, the pack plans and the two routes; hands out log-probabilities with a receipt that proves the
intervention. Clamps are buffers changed in place; the model is loaded once, and another checkpoint of its architecture
into the same engine. Fails closed: an intervention whose receipt does not add up is an error, never a result; a reload
that is not proven becomes a fresh engine. Knows nothing of benchmarks' scoring or of MLflow; a plain class that the
pool turns into a Ray actor, so it runs and is tested without Ray too.
"""

import contextlib
import dataclasses
import gc
import logging
import math
import os
import tempfile
import time
import uuid
from collections.abc import Generator, Hashable, Iterator, Mapping

import numpy as np

from actors.ablation.condition_tree import ideal_layer_passes, layer_passes, plan_passes
from actors.ablation.engine import _load_format, _start_engine, _versions
from actors.ablation.reload import Reload, differing_config, differing_field, plain_log_probabilities
from actors.ablation.sweep_results import SweepResults
from actors.ablation.token_tree import PackPlan, pack_to_wire, plan_packs
from actors.messages import (
    DTYPE_BYTES,
    EngineDied,
    EngineFacts,
    EvaluateRequest,
    Intervention,
    Matched,
    MatchRequest,
    ModelSource,
    OutOfMemory,
    Part,
    Progress,
    Receipt,
    Route,
    Scored,
    StepFailed,
)
from actors.sites import SITES
from actors.tokens import TokenSpans, load_tokenizer, tokenise
from studies.benchmarks.texts import Continuations, TextRequest
from studies.errors import InterventionError, StudyError
from studies.neurons.matching import match_perplexity

log = logging.getLogger(__name__)

PACK_NODES = {"cpu": 512, "cuda": 4096}
"""Default pack size per device. On two CPU cores 512, 1024 and 2048 take the same time a node; CUDA is not measured."""

PROBE_TOLERANCE = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.3}
"""Largest |tree - flat| log-probability of one token, in nats, at start-up."""

RELOAD_TOLERANCE = {"float32": 0.001, "float16": 0.03, "bfloat16": 0.15}
"""Largest mean over the probe's tokens of |reloaded - Transformers| log-probability, in nats; measured on
SmolLM2-135M: 7e-6, 0.006 and 0.06, where single tokens in bfloat16 differ by 0.4."""

PROBE_TEXTS = (
    "The keys to the cabinet are on the table.",
    "The keys to the cabinet is on the table.",
    "The author that the critics praised has never been to Chicago, nor did she want to go.",
    "In 1911, about 40 % of the river's water came from snow; today it is less than half of that!",
    "Water boils at a lower temperature on a mountain than it does at the sea.",
    '"Why," asked the boy, "would anybody lock a door that no one wants to open?"',
)
"""Scored both ways at start-up, and forwarded once after every change of the clamps."""


HELD_BYTES = 2**30
"""Hidden states held for conditions that branch later; where they do not fit, shared layers are computed again."""

PROGRESS_SECONDS = 1.0

PART_SECONDS = 30.0
"""How much of a sweep a crash of its actor costs."""


class PackTooLarge(StudyError):
    """A pack of so many nodes does not fit the device."""

    def __init__(self, num_nodes: int, error: Exception):
        super().__init__(f"out of memory in a pack of {num_nodes} nodes: {str(error).strip().splitlines()[0][:200]}")
        self.num_nodes = num_nodes


class AblationActor:
    """One engine; see the module. Methods that stream return iterators of messages."""

    def __init__(self, model: ModelSource):
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages: the head's blocks fault 16 times less often
        self._never_in_place = ""
        self._open(model)

    def _open(self, model: ModelSource) -> None:
        self._take(model)
        self._last_reload: Reload | None = None
        self._last_words = os.path.join(tempfile.gettempdir(), f"halfwave-{uuid.uuid4().hex}.txt")
        self._engine = _start_engine(model)
        try:
            self._facts = self._install()
        except BaseException:
            self.close()
            raise

    def _take(self, model: ModelSource) -> None:
        """Everything of the checkpoint that is not in the engine."""
        self._model = model
        self._plans: dict[tuple[str, int | None], PackPlan] = {}
        self._spans: dict[str, TokenSpans] = {}
        self._tokenizer = load_tokenizer(model)

    def reload(self, model: ModelSource) -> None:
        """Answer from here on as a fresh actor of another checkpoint of the same architecture would, to the last bit.

        Raises StudyError, naming the first field that differs, for another architecture. Where the engine cannot take
        the weights in place and prove it, fresh engines serve this checkpoint and all later ones; a warning says why.
        """
        if different := differing_field(self._model, model):
            raise StudyError(f"{model.label} cannot take the engine of {self._model.label}: {different}")
        if not self._never_in_place:
            try:
                self._reload_in_place(model)
                return
            except Exception as error:  # whatever it was: a fresh engine is always right, or raises
                self._never_in_place = f"{type(error).__name__}: {error}"
                log.warning("%s: fresh engines from here on, not reloaded ones: %s", model.label, self._never_in_place)
        self.close()
        gc.collect()  # the engine's weights are in cycles
        self._open(model)

    def _reload_in_place(self, model: ModelSource) -> None:
        """Raises where this engine, with the checkpoint's weights, is not proven to be what a fresh one would be.

        The engine's first reload is held against Transformers. Later ones take the same way with the same tensors.
        """
        if different := differing_config(self._model, model):
            raise InterventionError(f"config.json: {different}")
        stale = None if self._last_reload else self._unclamped_probe()
        read = self._rpc("halfwave_reload", model.path, model.revision, _load_format(model))[0]
        self._take(model)
        self._facts = self._prove_route()
        done = Reload(read, self._unclamped_probe())
        if stale is not None:
            self._check_against_transformers(done.probe, stale)
        else:
            done.check_against(self._last_reload)
        self._last_reload = done

    def _unclamped_probe(self) -> np.ndarray:
        """The probe's log-probabilities, token by token, every layer's hook called as often as it should be."""
        self._apply(Intervention())
        return self._probe.token_log_probabilities(self._score(self._probe))

    def _check_against_transformers(self, probe: np.ndarray, stale: np.ndarray) -> None:
        """stale: the probe's log-probabilities with the weights before; they must be further away than the new ones."""
        from vllm.config import set_current_vllm_config

        # vLLM's Transformers backend decorates Transformers' own classes, which then ask for its configuration
        with set_current_vllm_config(self._engine.llm_engine.vllm_config):
            plain = plain_log_probabilities(self._model, self._probe.sequences())
        difference = float(np.abs(probe - plain).mean())
        moved = float(np.abs(stale - plain).mean()) if len(stale) == len(plain) else math.inf
        tolerance = min(RELOAD_TOLERANCE[self._model.dtype], moved / 2)
        if not difference <= tolerance:
            raise InterventionError(
                f"the reloaded engine and Transformers differ by {difference:.3g} nats a token on the probe "
                f"(tolerance {tolerance:.3g}; the weights before differed by {moved:.3g})"
            )

    def facts(self) -> EngineFacts:
        """What stands behind this actor's numbers."""
        return dataclasses.replace(self._facts, reload_refused=self._never_in_place)

    def evaluate(self, request: EvaluateRequest) -> Iterator[Progress | Part | Scored | StepFailed | OutOfMemory]:
        """Score the texts under every intervention; a failed one does not take its siblings down."""
        plan = self._plan(request.benchmark, request.texts, request.max_nodes)
        margins = isinstance(request.texts, Continuations) and request.texts.margins
        if self._facts.route is Route.TREE:
            try:
                yield from self._sweep(request, plan, margins)
            except PackTooLarge as error:
                yield OutOfMemory(num_nodes=error.num_nodes, error=str(error))
            return
        for number, (step, intervention) in enumerate(request.interventions.items()):
            yield Progress(step=step, done=number, total=len(request.interventions), unit="conditions")
            started = time.monotonic()
            try:
                receipt = self._apply(intervention)
            except InterventionError as error:
                yield StepFailed(step=step, error=str(error))
                continue
            edges = self._forward_flat(plan, margins)
            yield self._scored(step, plan, edges, receipt, seconds=time.monotonic() - started)

    def _sweep(
        self, request: EvaluateRequest, plan: PackPlan, margins: bool
    ) -> Iterator[Progress | Part | Scored | StepFailed]:
        """All interventions pack by pack, layers that they share computed once."""
        started = time.monotonic()
        receipts = yield from self._keep(request.interventions)
        if not receipts:
            return
        per_layer = [self._layer_keys(request.interventions[step]) for step in receipts]
        largest = max(len(pack.ids) for pack in plan.packs)
        state_bytes = 2 * largest * self._model.d_model * DTYPE_BYTES[self._model.dtype]
        passes = plan_passes(per_layer, HELD_BYTES // state_bytes)
        collected = SweepResults(plan, list(receipts), margins=margins)
        collected.take(request.parts)
        yield from self._walk(plan, collected, [tuple(one) for one in passes], margins, next(iter(receipts)))
        digests = [":".join(ranks) for ranks in zip(*self._rpc("halfwave_digests"), strict=True)]
        facts = {
            "seconds": (time.monotonic() - started) / len(receipts),
            "num_conditions": len(receipts),
            "layer_passes": sum(layer_passes(passes, self._model.num_layers)),
            "ideal_layer_passes": ideal_layer_passes(per_layer),
        }
        for (step, receipt), digest, edges in zip(receipts.items(), digests, collected.edges, strict=True):
            if digest != receipt.digest:
                collected.broken[step] = "the clamp buffers changed while the packs were scored"
            if step in collected.broken:
                yield StepFailed(step=step, error=f"{self._model.label}: {collected.broken[step]}")
            else:
                yield self._scored(step, plan, edges, receipt, **facts)

    def _keep(self, interventions: Mapping[str, Intervention]) -> Generator[StepFailed, None, dict[str, Receipt]]:
        """Prove every intervention and keep its clamps in the workers, numbered in the order of the receipts."""
        receipts: dict[str, Receipt] = {}
        for step, intervention in interventions.items():
            try:
                receipts[step] = self._apply(intervention)
            except InterventionError as error:
                yield StepFailed(step=step, error=str(error))
            else:
                self._rpc("halfwave_keep", len(receipts) - 1)
        return receipts

    def _walk(
        self, plan: PackPlan, collected: SweepResults, walk: list[tuple], margins: bool, step: str
    ) -> Iterator[Progress | Part]:
        """Score the packs that are left, reporting for `step`, and send what is done from time to time."""
        told = sent = time.monotonic()
        for pack in plan.packs[collected.done :]:
            try:
                collected.add(self._gathered("halfwave_sweep", pack_to_wire(pack), walk, margins))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise PackTooLarge(len(pack.ids), error) from error
            now = time.monotonic()
            if now - told > PROGRESS_SECONDS:
                told = now
                yield Progress(step=step, done=collected.done, total=len(plan.packs), unit="packs")
            if now - sent > PART_SECONDS:
                yield from collected.parts()
                sent = time.monotonic()

    def _layer_keys(self, intervention: Intervention) -> list[Hashable]:
        """What the intervention does to each layer, equal for equal clamps; None where it does nothing."""
        neurons = {int(layer): tuple(map(int, chosen)) for layer, chosen in intervention.neurons.items()}
        values = {int(layer): tuple(map(float, each)) for layer, each in intervention.values.items()}
        act = (intervention.kind, intervention.floor, intervention.ceiling)
        layers = range(self._model.num_layers)
        return [(neurons[i], act, values.get(i)) if neurons.get(i) else None for i in layers]

    def _scored(self, step: str, plan: PackPlan, edges: np.ndarray, receipt: Receipt, **fields: float) -> Scored:
        log_probabilities, *margins = np.atleast_2d(edges)
        spans = self._spans.get(plan.digest)
        return Scored(
            step=step,
            sums=plan.sums(log_probabilities),
            counts=plan.counts(),
            margins=plan.sums(margins[0]) if margins else None,
            tokens=_told(spans, plan.token_log_probabilities(log_probabilities)) if spans else None,
            receipt=receipt,
            route=self._facts.route,
            route_reason=self._facts.route_reason,
            pack_plan=plan.digest,
            num_nodes=plan.num_nodes,
            num_tokens=plan.num_tokens,
            num_cut=plan.num_cut,
            **fields,
        )

    def match(self, request: MatchRequest) -> Iterator[Progress | Matched]:
        """Search the fraction of lowest-scored neurons whose clamp costs the treated condition's perplexity."""
        started = time.monotonic()
        plan = self._plan("perplexity", request.texts, request.max_nodes)
        cap = min(len(neurons) for neurons in request.ranking.values()) / self._model.d_mlp
        search = match_perplexity(
            baseline=request.baseline_perplexity,
            treated=request.treated_perplexity,
            start=request.treated_fraction,
            cap=cap,
            within=request.within,
            within_rise=request.within_rise,
            max_evaluations=request.max_evaluations,
            resolution=1 / self._model.d_mlp,
        )
        receipt, done = None, 0
        try:
            fraction = next(search)
            while True:
                intervention = self._lowest(request, fraction)
                receipt = self._apply(intervention)
                edges = self._score(plan)
                done += 1
                yield Progress(step=request.step, done=done, total=request.max_evaluations, unit="perplexities")
                fraction = search.send(perplexity(plan.sums(edges), plan.counts()))
        except StopIteration as stop:
            outcome = stop.value
        matched = outcome.fraction is not None
        yield Matched(
            step=request.step,
            matched=matched,
            reason=outcome.reason,
            fraction=outcome.fraction if matched else math.nan,
            neurons=self._lowest(request, outcome.fraction).neurons if matched else {},
            curve=outcome.curve,
            receipt=receipt,
            seconds=time.monotonic() - started,
        )

    def close(self) -> None:
        """Shut the engine and its worker processes down."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.llm_engine.engine_core.shutdown()
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._last_words)

    # -- interventions ---------------------------------------------------------------------------------------------

    def _lowest(self, request: MatchRequest, fraction: float) -> Intervention:
        count = round(fraction * self._model.d_mlp)
        neurons = {layer: tuple(ranked[:count]) for layer, ranked in request.ranking.items()}
        return Intervention(neurons=neurons, floor=request.floor, ceiling=request.ceiling)

    def _apply(self, intervention: Intervention) -> Receipt:
        """Set the clamps, forward the probe, and check that what was asked for is what happened."""
        wanted = {int(layer): [int(j) for j in neurons] for layer, neurons in intervention.neurons.items()}
        self._check_indices(wanted)
        values = {int(layer): [float(value) for value in each] for layer, each in intervention.values.items()}
        act = (intervention.kind, intervention.floor, intervention.ceiling)
        per_rank = self._rpc("halfwave_set_clamps", wanted, *act, values)
        placed = [sum(counts) for counts in zip(*per_rank, strict=True)]
        asked = [len(wanted.get(layer, ())) for layer in range(self._model.num_layers)]
        if placed != asked:
            raise InterventionError(f"{self._model.label}: asked for {asked} neurons per layer, placed {placed}")
        self._rpc("halfwave_start_counting")
        self._score(self._probe)
        reports = self._rpc("halfwave_stop_counting")
        for calls, _, _ in reports:
            expected = len(self._probe.packs) if self._facts.route is Route.TREE else max(calls)
            wrong = [i for i, count in enumerate(calls) if count != expected or not count]
            if wrong:
                raise InterventionError(
                    f"{self._model.label}: the clamp of layer {wrong[0]} was called {calls[wrong[0]]} times "
                    f"in the probe, expected {max(expected, 1)}"
                )
        clipped = sum(sum(counts) for _, counts, _ in reports)
        if intervention.num_neurons and not clipped:
            raise InterventionError(
                f"{self._model.label}: {intervention.display} on {intervention.num_neurons} neurons changed nothing "
                f"in {self._probe.num_nodes} probe tokens"
            )
        return Receipt(
            layers_matched=len(placed),
            neurons_per_layer=tuple(placed),
            digest=":".join(digest for _, _, digest in reports),
            probe_tokens=self._probe_tokens,
            clipped_fraction=clipped / max(1, intervention.num_neurons * self._probe_tokens),
        )

    def _check_indices(self, wanted: Mapping[int, list[int]]) -> None:
        for layer, neurons in wanted.items():
            if not 0 <= layer < self._model.num_layers:
                raise InterventionError(f"{self._model.label} has no layer {layer} (0 to {self._model.num_layers - 1})")
            outside = [j for j in neurons if not 0 <= j < self._model.d_mlp]
            if outside or len(set(neurons)) != len(neurons):
                what = (
                    f"neuron {outside[0]} is outside 0..{self._model.d_mlp - 1}" if outside else "a neuron is repeated"
                )
                raise InterventionError(f"{self._model.label} layer {layer}: {what}")

    # -- routes ----------------------------------------------------------------------------------------------------

    def _install(self) -> EngineFacts:
        model = self._model
        site = dataclasses.asdict(SITES[model.family])
        self._found = self._rpc("halfwave_install", site, model.d_mlp, self._last_words)[0]
        if self._found["layers"] != model.num_layers:
            raise InterventionError(
                f"{model.label}: {self._found['layers']} layers hooked, config.json says {model.num_layers}"
            )
        return self._prove_route()

    def _prove_route(self) -> EngineFacts:
        """Choose the route, and hold the tree against flat requests on the probe."""
        model, found = self._model, self._found
        device = self._engine.llm_engine.vllm_config.device_config.device_type
        self._max_nodes = PACK_NODES.get(device, PACK_NODES["cuda"])
        sequences = tokenise_probe(self._tokenizer, model.context)
        self._probe = plan_packs(sequences, np.ones(len(sequences), dtype=np.int64), self._max_nodes)
        tolerance = PROBE_TOLERANCE[model.dtype]
        reason, difference = found["tree_refused"], math.nan
        if model.route == "flat":
            reason = "asked for in the study file"
        elif reason and model.route == "tree":
            raise StudyError(f"{model.label}: route 'tree' is not possible: {reason}; use route: auto or flat")
        route = Route.FLAT if reason else Route.TREE
        if route is Route.TREE:
            difference = float(np.abs(self._forward_tree(self._probe) - self._forward_flat(self._probe)).max())
            if not difference <= tolerance:
                raise InterventionError(
                    f"{model.label}: tree and flat route differ by {difference:.3g} nats on the probe "
                    f"(tolerance {tolerance})"
                )
        self._probe_tokens = self._probe.num_nodes if route is Route.TREE else self._probe.num_tokens
        return EngineFacts(
            route=route,
            route_reason=reason,
            attention=found["attention"] if route is Route.TREE else "",
            device=device,
            dtype=model.dtype,
            versions=_versions(),
            probe_difference=difference,
            probe_tolerance=tolerance,
            max_nodes=self._max_nodes,
        )

    def _plan(self, benchmark: str, texts: TextRequest, max_nodes: int | None) -> PackPlan:
        key = (benchmark, max_nodes)
        if key not in self._plans:
            sequences = tokenise(texts, self._tokenizer, self._model.context)
            plan = plan_packs(sequences.ids, sequences.score_from, max_nodes or self._max_nodes)
            self._plans[key] = plan._replace(num_cut=sequences.num_cut)
            if sequences.spans is not None:
                self._spans[plan.digest] = sequences.spans
        return self._plans[key]

    def _score(self, plan: PackPlan) -> np.ndarray:
        """[num_edges] log-probabilities of a plan under the clamps as they stand."""
        return self._forward_flat(plan) if self._facts.route is Route.FLAT else self._forward_tree(plan)

    def _forward_tree(self, plan: PackPlan) -> np.ndarray:
        return np.concatenate([self._forward_pack(pack) for pack in plan.packs])

    def _forward_pack(self, pack) -> np.ndarray:
        return np.frombuffer(self._gathered("halfwave_score", pack_to_wire(pack)), dtype=np.float32)

    def _forward_flat(self, plan: PackPlan, margins: bool = False) -> np.ndarray:
        """Ordinary requests with `prompt_logprobs`, brought back to the plan's edges; [E], with margins [2, E]."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        sequences = plan.sequences()
        outputs = self._engine.generate(
            [TokensPrompt(prompt_token_ids=ids.tolist()) for ids in sequences],
            SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=int(margins), detokenize=False),
            use_tqdm=False,
        )
        edges = np.full((2, plan.num_edges), np.nan, dtype=np.float32)
        for i, (ids, output) in enumerate(zip(sequences, outputs, strict=True)):
            mine = plan.edges[plan.offsets[i] : plan.offsets[i + 1]]
            scored = list(zip(output.prompt_logprobs, ids.tolist(), strict=True))[len(ids) - len(mine) :]
            edges[0, mine] = [found[token].logprob for found, token in scored]
            edges[1, mine] = edges[0, mine] - [max(one.logprob for one in found.values()) for found, _ in scored]
        return edges if margins else edges[0]

    def _gathered(self, method: str, *arguments):
        """The answer of the rank that holds the gathered head; the others answer None."""
        return next(answer for answer in self._rpc(method, *arguments) if answer is not None)

    def _rpc(self, method: str, *arguments):
        """The answers of all ranks. Raises EngineDied where a worker process is gone without a word."""
        try:
            return self._engine.collective_rpc(method, args=arguments)
        except Exception as error:
            if not getattr(self._engine.llm_engine.model_executor, "is_failed", False):
                raise
            if os.path.exists(self._last_words):
                with open(self._last_words) as file:
                    raise RuntimeError(file.read()) from error
            raise EngineDied(f"{self._model.label}: a worker process of the engine is gone: {error}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device had too little memory. From another process an error comes as its text alone."""
    words = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _told(spans: TokenSpans, log_probabilities_T: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `Scored.tokens`."""
    places = {"document": spans.document_T, "start": spans.start_T, "end": spans.end_T}
    return places | {"log_probability": log_probabilities_T.astype(np.float32)}


def perplexity(sums: np.ndarray, counts: np.ndarray) -> float:
    """exp of the mean of the windows' mean negative log-likelihoods (the paper's protocol)."""
    return float(np.exp(np.mean(-sums / counts)))


def tokenise_probe(tokenizer, context: int) -> list[np.ndarray]:
    """The probe texts as token sequences."""
    from studies.benchmarks.texts import Sentences

    return tokenise(Sentences(texts=PROBE_TEXTS), tokenizer, context).ids
