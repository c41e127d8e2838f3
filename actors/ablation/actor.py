"""The ablation actor: ONE vLLM engine for all conditions of its model.

Owns the requests: *evaluate* scores a benchmark's texts under several interventions, *match* searches the fraction of a
perplexity-matched control (`actors.matched_control`). Every log-probability comes with a receipt that proves its
intervention. Clamps are buffers changed in place; the model is loaded once, and other checkpoints of its architecture
are loaded into the same engine. Fails closed: a receipt that does not add up is an error, never a result, and a reload
that is not proven is replaced by a fresh engine. Knows nothing of how benchmarks score, or of MLflow. A plain class
that the pool turns into a Ray actor, so it runs and is tested without Ray.
"""

import contextlib
import dataclasses
import gc
import logging
import math
import os
import time
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from actors.ablation.condition_tree import Pass, ideal_layer_passes, layer_passes, plan_passes
from actors.ablation.engine import Engine, code_digest
from actors.ablation.memory import HELD_BYTES
from actors.ablation.receipts import apply
from actors.ablation.reload import Reload, differing_field, reload_in_place
from actors.ablation.routes import RoutedModel, flat_log_probabilities
from actors.ablation.sweep_results import SweepResults
from actors.ablation.token_tree import Pack, PackPlan, pack_to_wire
from actors.hf_model import load_model
from actors.loaded_files import unchanged
from actors.matched_control import matched_control
from actors.messages.ablation import EvaluateRequest, Intervention, Matched, MatchRequest, Part, Receipt, Scored
from actors.messages.model import DTYPE_BYTES, EngineFacts, ModelSource, Route
from actors.messages.probe import Probed, Reference, ReferenceRequest
from actors.messages.stream import Opened, OutOfMemory, Progress, StepFailed
from actors.probe import reference
from actors.sites import SITES
from actors.tokens import TokenSpans, load_tokenizer
from studies.benchmarks.texts import Continuations, TextRequest
from studies.errors import InterventionError, StudyError, first_line, one_line

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 1.0
"""Interval between `Progress` messages."""

PART_SECONDS = 30.0
"""Interval between `Part` messages: the most that a sweep loses if its actor crashes."""


class PackTooLarge(StudyError):
    """A pack does not fit into the device's memory."""

    def __init__(self, num_nodes: int, error: Exception):
        super().__init__(f"out of memory in a pack of {num_nodes} nodes: {first_line(error)}")
        self.num_nodes = num_nodes


class Cost(NamedTuple):
    """What one condition cost: fields of `Scored`, which documents them."""

    seconds: float
    num_conditions: int = 1
    layer_passes: int = 0
    ideal_layer_passes: int = 0


class AblationActor:
    """One engine; see the module. Methods that answer a request return iterators of messages."""

    def __init__(self, source: ModelSource):
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages: the head's blocks fault 16 times less often
        self._never_in_place = ""
        """Why checkpoints are not exchanged in place; '' as long as they are."""
        self._open(source)

    def _open(self, source: ModelSource) -> None:
        self._last_reload: Reload | None = None
        with contextlib.ExitStack() as on_error:
            with unchanged(source):
                tokenizer = load_tokenizer(source)
                self._engine = Engine(source)
                on_error.callback(self.close)
                if source.over_nodes:
                    self._engine.verify_files(source)
                hooks = self._engine.install_hooks(SITES[source.family], source.num_layers, source.d_mlp)
                self.model = RoutedModel(self._engine, source, tokenizer, hooks)
                """The checkpoint in force, with its engine and its route; `reload` replaces it."""
            on_error.pop_all()

    def reload(self, source: ModelSource) -> None:
        """Load another checkpoint of the same architecture, and answer to the last bit as a fresh actor of it would.

        Raises StudyError, naming the first field that differs, if the architecture is another one, and for a file that
        is not what was pinned. Where the engine
        cannot exchange the weights in place and prove it, fresh engines serve this checkpoint and all later ones; a
        warning says why.
        """
        current = self.model.source
        if difference := differing_field(current, source):
            raise StudyError(f"{source.label} cannot take the engine of {current.label}: {difference}")
        if not self._never_in_place:
            with unchanged(source):
                try:
                    self.model, self._last_reload = reload_in_place(self.model, source, self._last_reload)
                    if source.over_nodes:
                        self._engine.verify_files(source)
                    return
                except Exception as error:  # of any kind: a fresh engine is always right, or raises an error itself
                    reason = self._never_in_place = one_line(f"{type(error).__name__}: {error}")
                    log.warning("%s: fresh engines from now on, not reloaded ones: %s", source.label, reason)
        self.close()
        gc.collect()  # the engine's weights are in reference cycles
        self._open(source)

    def opened(self) -> Opened:
        """How this actor computes its numbers, and those of the probe."""
        return Opened(facts=self.facts(), probe=self._probed())

    def facts(self) -> EngineFacts:
        """How this actor computes its numbers."""
        return dataclasses.replace(self.model.facts, reload_refused=self._never_in_place)

    def _probed(self) -> Probed:
        import transformers

        source, facts = self.model.source, self.model.facts
        ids, log_probabilities = self.model.probed()
        return Probed(
            model=source.label,
            ids=tuple(tuple(of_text.tolist()) for of_text in ids),
            log_probabilities=log_probabilities,
            start={
                "versions": {**facts.versions, "transformers": transformers.__version__},
                "device": facts.device,
                "dtype": facts.dtype,
                "tensor_parallel": source.tensor_parallel,
                "route": str(facts.route),
                "engine": dict(source.engine),
                "code": code_digest(),
            },
            is_exchanged=self._last_reload is not None,
        )

    def reference(self, request: ReferenceRequest) -> Iterator[Reference]:  # noqa: ARG002 - the source says it all
        """The probe under plain Transformers, which is loaded on the CPU beside the engine."""
        source = self.model.source
        with unchanged(source), self._engine.vllm_configured():
            computed = reference(load_model(source), source, load_tokenizer(source))
        yield computed

    def close(self) -> None:
        """Shut the engine and its worker processes down."""
        self._engine.close()

    # -- evaluate ----------------------------------------------------------------------------------------------------

    def evaluate(self, request: EvaluateRequest) -> Iterator[Progress | Part | Scored | StepFailed | OutOfMemory]:
        """Score the texts under every intervention; the failure of one does not affect the others."""
        plan = self.model.plan(request.benchmark, request.texts, request.max_nodes)
        margins = isinstance(request.texts, Continuations) and request.texts.margins
        if self.model.facts.route is Route.FLAT:
            yield from self._evaluate_flat(request, plan, margins)
            return
        try:
            yield from self._sweep(request, plan, margins)
        except PackTooLarge as error:
            yield OutOfMemory(num_nodes=error.num_nodes, error=str(error))

    def _evaluate_flat(
        self, request: EvaluateRequest, plan: PackPlan, margins: bool
    ) -> Iterator[Progress | Scored | StepFailed]:
        """One intervention after the other, each as a batch of ordinary requests."""
        for done, (step, intervention) in enumerate(request.interventions.items()):
            yield Progress(step=step, done=done, total=len(request.interventions), unit="conditions")
            started = time.monotonic()
            try:
                receipt = apply(self.model, intervention)
            except InterventionError as error:
                yield StepFailed(step=step, error=str(error))
                continue
            edges = flat_log_probabilities(self.model.engine, plan, margins=margins)
            yield self._scored(step, request.texts, plan, edges, receipt, Cost(time.monotonic() - started))

    def _sweep(
        self, request: EvaluateRequest, plan: PackPlan, margins: bool
    ) -> Iterator[Progress | Part | Scored | StepFailed]:
        """All interventions at once, pack by pack; layers that they share are computed once."""
        started = time.monotonic()
        source = self.model.source
        receipts = yield from self._keep_clamps(request.interventions)
        if not receipts:
            return
        per_layer = [_layer_keys(request.interventions[step], source.num_layers) for step in receipts]
        largest = max(len(pack.ids) for pack in plan.packs)
        state_bytes = 2 * largest * source.d_model * DTYPE_BYTES[source.dtype]
        passes = plan_passes(per_layer, HELD_BYTES // state_bytes)
        results = SweepResults(plan, list(receipts), margins=margins)
        results.resume(request.parts)
        yield from self._sweep_packs(plan, results, passes, margins, next(iter(receipts)))
        digests = [":".join(ranks) for ranks in zip(*self.model.engine.call("halfwave_digests"), strict=True)]
        cost = Cost(
            seconds=(time.monotonic() - started) / len(receipts),
            num_conditions=len(receipts),
            layer_passes=sum(layer_passes(passes, source.num_layers)),
            ideal_layer_passes=ideal_layer_passes(per_layer),
        )
        for (step, receipt), digest, edges in zip(receipts.items(), digests, results.edges, strict=True):
            if digest != receipt.digest:
                results.failed[step] = "the clamp buffers changed while the packs were scored"
            if step in results.failed:
                yield StepFailed(step=step, error=f"{source.label}: {results.failed[step]}")
            else:
                yield self._scored(step, request.texts, plan, edges, receipt, cost)

    def _keep_clamps(
        self, interventions: Mapping[str, Intervention]
    ) -> Generator[StepFailed, None, dict[str, Receipt]]:
        """Prove every intervention and keep its clamps in the workers, numbered in the order of the receipts."""
        receipts: dict[str, Receipt] = {}
        for step, intervention in interventions.items():
            try:
                receipts[step] = apply(self.model, intervention)
            except InterventionError as error:
                yield StepFailed(step=step, error=str(error))
            else:
                self.model.engine.call("halfwave_keep", len(receipts) - 1)
        return receipts

    def _sweep_packs(
        self, plan: PackPlan, results: SweepResults, passes: Sequence[Pass], margins: bool, step: str
    ) -> Iterator[Progress | Part]:
        """Score the remaining packs; report progress under `step`, and send finished packs from time to time."""
        reported = sent = time.monotonic()
        for pack in plan.packs[results.num_done :]:
            try:
                results.add(self._sweep_pack(pack, passes, margins))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise PackTooLarge(len(pack.ids), error) from error
            now = time.monotonic()
            if now - reported > PROGRESS_SECONDS:
                reported = now
                yield Progress(step=step, done=results.num_done, total=len(plan.packs), unit="packs")
            if now - sent > PART_SECONDS:
                yield from results.parts()
                sent = time.monotonic()

    def _sweep_pack(self, pack: Pack, passes: Sequence[Pass], margins: bool) -> dict[int, bytes | str]:
        """{number of a condition: the float32 numbers of the pack's edges, or why there are none}."""
        walk = [tuple(turn) for turn in passes]
        return self.model.engine.call_head("halfwave_sweep", pack_to_wire(pack), walk, margins)

    def _scored(
        self, step: str, texts: TextRequest, plan: PackPlan, edges: np.ndarray, receipt: Receipt, cost: Cost
    ) -> Scored | StepFailed:
        """The gate through which every number of an evaluation passes, on either route: it is finite or a failure."""
        if problem := _not_finite(edges):
            return StepFailed(step=step, error=f"{self.model.source.label}: {problem}")
        log_probabilities, *margins = np.atleast_2d(edges)
        spans = self.model.spans(plan)
        return Scored(
            step=step,
            sums=plan.by_text(plan.sums(log_probabilities), absent=math.nan),
            counts=plan.by_text(plan.counts(), absent=0),
            margins=plan.by_text(plan.sums(margins[0]), absent=math.nan) if margins else None,
            tokens=_token_columns(spans, plan.token_log_probabilities(log_probabilities)) if spans else None,
            receipt=receipt,
            special_tokens=self.model.special_tokens(texts),
            route=self.model.facts.route,
            route_reason=self.model.facts.route_reason,
            pack_plan=plan.digest,
            num_nodes=plan.num_nodes,
            num_tokens=plan.num_tokens,
            num_cut=plan.num_cut,
            left_out=dict(plan.left_out),
            **cost._asdict(),
        )

    # -- match -------------------------------------------------------------------------------------------------------

    def match(self, request: MatchRequest) -> Iterator[Progress | Matched | StepFailed]:
        """Search the fraction of lowest-scored neurons whose clamp costs the treated condition's perplexity."""
        yield from matched_control(_Measured(self.model), request)


class _Measured:
    """A loaded model as searches measure it, by its proven route."""

    def __init__(self, model: RoutedModel) -> None:
        self._model, self.source = model, model.source
        self.plan, self.num_windows = model.plan, model.num_windows

    def losses(self, intervention: Intervention, plan: PackPlan) -> tuple[np.ndarray, np.ndarray, Receipt]:
        """As `MeasuredModel.losses`."""
        receipt = apply(self._model, intervention)
        edges = self._model.log_probabilities(plan)
        if problem := _not_finite(edges):
            raise FloatingPointError(problem)
        return plan.sums(edges), plan.counts(), receipt


def _not_finite(edges: np.ndarray) -> str:
    """Why log-probabilities must not become a result; empty where they may."""
    num_broken = int((~np.isfinite(edges)).sum())
    return f"{num_broken} of {edges.size} log-probabilities are not finite" if num_broken else ""


def _layer_keys(intervention: Intervention, num_layers: int) -> list[Hashable]:
    """What the intervention does to each layer, equal for equal clamps; None where it does nothing."""
    neurons = {int(layer): tuple(map(int, indices)) for layer, indices in intervention.neurons.items()}
    values = {int(layer): tuple(map(float, own)) for layer, own in intervention.values.items()}
    return [(neurons[i], intervention.clamp, values.get(i)) if neurons.get(i) else None for i in range(num_layers)]


def _token_columns(spans: TokenSpans, log_probabilities_T: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of `Scored.tokens`; T scored tokens."""
    places = {"document": spans.document_T, "start": spans.start_T, "end": spans.end_T}
    return places | {"log_probability": log_probabilities_T.astype(np.float32)}


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory. An error from another process can be recognised by its text alone."""
    phrases = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in phrases)
