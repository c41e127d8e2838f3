"""Engines compared with plain Transformers on the probe, and the results that wait for the comparison.

vLLM may load a model without an error and still compute another one: it ignores a field of config.json that it has no
code for. So nothing that an engine computes is recorded before its log-probabilities of a few texts, the probe, have
been held against those of Transformers. These come with the model's profile; without one, the ablation actor loads
Transformers itself. Owns the rule of the comparison and the verdict on every engine; what becomes of a step is the
runner's. Invariant: `settled` hands out a result only with the verdict on the engine that computed it.
"""

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from actors.messages.probe import PROBE_VERSION, Probed, Reference
from orchestrator.execution.recorder import Recorder
from orchestrator.planning.inputs import Inputs
from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import Committed
from orchestrator.record.record import Record
from orchestrator.scheduling.cluster import ActorKind, Resident
from orchestrator.scheduling.decisions import Start
from orchestrator.steps import profile
from orchestrator.steps.artifacts import ENGINE_PROBE
from orchestrator.steps.identity import identify
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import Role, State, Step

log = logging.getLogger(__name__)

TOLERANCE = {"cpu": 2e-4, "cuda": 1e-3}
"""{device: accepted mean over the probe's tokens of |vLLM - Transformers in float32|, in nats}. On the CPU SmolLM2-135M
in float32 differs by 4e-6; CUDA, where kernels may round to TF32, is unmeasured."""

ROUNDING_FACTOR = 2.0
"""In 16 bits an engine may also be this many times as far from float32 as Transformers in 16 bits is: both round, in
another order."""


class Verdict(NamedTuple):
    """The outcome of a comparison."""

    difference: float
    """Mean over the probe's tokens, in nats; nan where an earlier run has made the comparison."""
    tolerance: float
    refusal: str = ""
    """Why nothing of this engine may be recorded; '' where it may."""


@dataclass(slots=True, kw_only=True)
class _Engine:
    probed: Probed
    verdict: Verdict | None = None


class Held(NamedTuple):
    """A result that may be recorded once its engine has a verdict."""

    step: Step
    result: StepResult
    max_nodes: int | None
    """The pack size that was asked for."""
    engine: _Engine


class EngineProofs:
    """The engines of one run."""

    def __init__(self, plan: Plan, record: Record, inputs: Inputs, recorder: Recorder) -> None:
        self._plan, self._record, self._inputs, self._recorder = plan, record, inputs, recorder
        self.profiles = {
            key.model: step.id
            for step in plan.steps.values()
            if step.kind is profile.KIND
            for key in plan.runs[step.id]
        }
        """{model label: id of its profile step}."""
        self._engines: dict[str, _Engine] = {}
        """{actor: its engine with the weights that it holds now}."""
        self._held: dict[str, Held] = {}
        """{step id: its result}."""
        self._references: dict[str, Reference] = {}
        """{model label: what an ablation actor has computed itself}."""
        self._refusals: dict[str, str] = {}
        self._without_reference: set[str] = set()
        """Profile steps whose reference is damaged."""
        self._recorded: dict[str, Committed] | None = None
        """{id: comparison}, of all studies of the store, once it has been read."""

    # -- what arrives ------------------------------------------------------------------------------------------------

    def opened(self, actor: str, probed: Probed) -> None:
        """Note the probe of an engine that has just loaded weights."""
        self._engines[actor] = _Engine(probed=probed)

    def has_passed(self, actor: str) -> bool:
        """Whether the engine of an actor, closed or not, has a verdict and may be used."""
        engine = self._engines.get(actor)
        verdict = self._verdict(engine) if engine is not None else None
        return verdict is not None and not verdict.refusal

    def add(self, reference: Reference) -> None:
        """Note the probe under Transformers, computed by an ablation actor."""
        self._references[reference.model] = reference

    def hold(self, actor: str, step: Step, result: StepResult, max_nodes: int | None) -> None:
        """Keep the result of a step that this actor has computed."""
        self._held[step.id] = Held(step, result, max_nodes, self._engines[actor])

    def refuse(self, model: str, reason: str) -> None:
        """Refuse every engine of a model."""
        self._refusals[model] = reason

    # -- what follows ------------------------------------------------------------------------------------------------

    def settled(self) -> Iterator[tuple[Held, Verdict]]:
        """The held results whose engine has a verdict; they are held no longer. Every engine that can be is judged."""
        for engine in self._engines.values():
            self._verdict(engine)
        for held in list(self._held.values()):
            if (verdict := self._verdict(held.engine)) is not None:
                del self._held[held.step.id]
                yield held, verdict

    @property
    def refusals(self) -> Mapping[str, str]:
        """{model: why none of its engines may be used}."""
        return self._refusals

    def is_held(self, step: str) -> bool:
        """Whether the step's result waits."""
        return step in self._held

    def seek(
        self, residents: Iterable[Resident], states: Mapping[str, State], draining: bool, sought: Collection[str]
    ) -> tuple[list[Start], list[Step]]:
        """What to do where results wait for a reference that no profile will bring.

        sought: models of which an engine computes it already. Returns the idle engines to ask for it, and the steps to
        compute again because no engine of their model is left.
        """
        coming = {State.RUNNING} if draining else {State.RUNNING, State.PENDING}
        asked, lost = [], []
        for model in {held.step.model for held in self._held.values()}:
            if model in sought or model in self._references or states[self.profiles[model]] in coming:
                continue
            of_model = ActorKind(model, Role.ABLATION)
            engines = [resident for resident in residents if resident.actor_kind == of_model]
            idle = next((resident.actor for resident in engines if not resident.busy), None)
            if idle is not None:
                asked.append(Start(Role.ABLATION, (), model, idle))
            elif not engines:
                lost += [held.step for held in self._held.values() if held.step.model == model]
        for step in lost:
            del self._held[step.id]
        return asked, lost

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def _verdict(self, engine: _Engine) -> Verdict | None:
        """None as long as there is nothing to compare with, or the store does not answer."""
        model = engine.probed.model
        if self._refusals.get(model):
            return Verdict(math.nan, math.nan, self._refusals[model])
        if engine.verdict is None:
            try:
                engine.verdict = self._judge(engine.probed)
            except Unreachable:
                return None
            if engine.verdict is not None and engine.verdict.refusal:
                self._refusals[model] = engine.verdict.refusal
        return engine.verdict

    def _judge(self, probed: Probed) -> Verdict | None:
        reference = self._references.get(probed.model) or self._of_profile(probed)
        if reference is not None:
            verdict = compare(probed, reference)
            self._commit(probed, verdict)
            return verdict
        if not probed.is_exchanged and self._has_passed(self._payload(probed)):
            return Verdict(math.nan, math.nan)
        return None

    def _of_profile(self, probed: Probed) -> Reference | None:
        """The reference that the model's profile left, if it is one of these texts under this Transformers."""
        step = self.profiles[probed.model]
        try:
            reference = self._inputs.reference(step, probed.model) if self._may_have_reference(step) else None
        except Unreachable:
            raise
        except RecordError as error:  # damaged: as if there were none
            log.warning("%s; this run computes it in its engine", error)
            self._without_reference.add(step)
            return None
        if reference is None or reference.version != PROBE_VERSION:
            return None
        return reference if reference.transformers == probed.start["versions"]["transformers"] else None

    def _may_have_reference(self, profile: str) -> bool:
        return profile in self._recorder.committed and profile not in self._without_reference

    def _has_passed(self, payload: dict[str, Any]) -> bool:
        """Whether an engine started in the same way has passed before, in any study of the store."""
        if self._recorded is None:
            self._recorded = self._record.named(ENGINE_PROBE)
        known = self._recorded.get(identify(payload))
        return known is not None and bool(known.metrics[f"{ENGINE_PROBE}/passed"])

    def _payload(self, probed: Probed) -> dict[str, Any]:
        """What a comparison holds for; its id is the hash of this."""
        digest, params = self._plan.model(probed.model).digest, {**probed.start, "exchanged": probed.is_exchanged}
        return {"kind": ENGINE_PROBE, "version": PROBE_VERSION, "model": digest, "params": params, "inputs": {}}

    def _commit(self, probed: Probed, verdict: Verdict) -> None:
        numbers = {"difference": verdict.difference, "tolerance": verdict.tolerance}
        finite = {name: number for name, number in numbers.items() if math.isfinite(number)}
        metrics = {f"{ENGINE_PROBE}/{name}": number for name, number in finite.items()}
        metrics[f"{ENGINE_PROBE}/passed"] = float(not verdict.refusal)
        document = {
            "start": dict(probed.start),
            "tokens": len(probed.log_probabilities),
            **{name: finite.get(name) for name in numbers},
            "refusal": verdict.refusal,
        }
        payload = self._payload(probed)
        self._recorder.commit_probe(self.profiles[probed.model], identify(payload), payload, metrics, document)


def compare(probed: Probed, reference: Reference) -> Verdict:
    """An engine's probe against Transformers', by the mean over the tokens that both have scored."""
    lengths = [min(map(len, both)) for both in zip(probed.ids, reference.ids, strict=True)]  # `max_model_len` may cut
    cut = [
        tuple(ids[:length] for ids, length in zip(each, lengths, strict=True)) for each in (probed.ids, reference.ids)
    ]
    if cut[0] != cut[1]:
        refusal = f"{probed.model}: the probe has other tokens in vLLM than in Transformers: the tokenizer has changed"
        return Verdict(math.nan, math.nan, refusal)
    engine = _cut(probed.log_probabilities, probed.ids, lengths)
    exact, rounded = (
        _cut(numbers, reference.ids, lengths) for numbers in (reference.log_probabilities, reference.rounded)
    )
    difference = _mean_distance(engine, exact)
    tolerance = max(
        TOLERANCE.get(probed.start["device"], TOLERANCE["cuda"]), ROUNDING_FACTOR * _mean_distance(rounded, exact)
    )
    refusal = (
        f"{probed.model}: vLLM and Transformers differ by {difference:.3g} nats a token on the probe (tolerance "
        f"{tolerance:.3g}): the engine does not compute this model"
    )
    return Verdict(difference, tolerance, "" if difference <= tolerance else refusal)


def _cut(numbers: np.ndarray, ids: tuple[tuple[int, ...], ...], lengths: list[int]) -> np.ndarray:
    """The numbers of the first tokens of each text, `lengths` of each; a text's first token has none."""
    by_text = np.split(numbers, np.cumsum([len(of_text) - 1 for of_text in ids])[:-1])
    return np.concatenate([of_text[: length - 1] for of_text, length in zip(by_text, lengths, strict=True)])


def _mean_distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).mean(dtype=np.float64))
