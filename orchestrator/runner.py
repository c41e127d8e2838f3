"""The one loop of a study: decide, apply, wait once, record.

Owns the states of the steps and what an actor's answer becomes in the record; `requests` says what it is asked.
Everything that arrives is committed before the loop goes on, so a crash of the driver loses only what is in flight.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from actors.messages import (
    EngineFacts,
    EvaluateRequest,
    Examples,
    Intervention,
    Matched,
    MatchRequest,
    ModelSource,
    Part,
    Profiled,
    Progress,
    RequestFailed,
    Scored,
    StepFailed,
    Weights,
    WeightsRequest,
)
from orchestrator.plan import BASELINE, Plan
from orchestrator.pool import ActorLost, Finished, Opened, Pool
from orchestrator.record import Record
from orchestrator.requests import (
    examples_request,
    intervention,
    join_parts,
    magnitude_shortfall,
    match_request,
    profile_request,
    text_request,
)
from orchestrator.scheduler import TERMINAL, Demand, Evict, Fail, Skip, Start, State, Stop, decide
from orchestrator.spool import NOTHING, Committed
from orchestrator.steps import Role, Step
from orchestrator.store import RecordError
from studies import selection
from studies.errors import StudyError
from studies.selection import NeuronSet

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25
NEURON_SET = "neuron_set.parquet"
NEURONS = "neurons.parquet"
WEIGHTS = "weights.parquet"
DENSITIES, TOKEN_PAIRS = "entangled_densities.parquet", "token_pairs.parquet"


class Outcome(NamedTuple):
    """How a study ended."""

    states: Mapping[str, State]
    reasons: Mapping[str, str]
    """{step id: why it failed, was skipped or was recomputed}."""
    committed: Mapping[str, Committed]


Listener = Callable[[Step, State, str], None]
"""Told of every transition: the step, its new state, and a remark."""


class Runner:
    """One run of one plan; see the module."""

    def __init__(
        self,
        plan: Plan,
        record: Record,
        *,
        listener: Listener,
        on_progress: Callable[[Step, Progress], None],
        checkpoint: Callable[[], None] = lambda: None,
    ):
        """checkpoint: called wherever stopping breaks nothing; it stops by raising."""
        self._plan, self._record = plan, record
        self._listener, self._on_progress, self._checkpoint = listener, on_progress, checkpoint
        self._states = dict.fromkeys(plan.steps, State.PENDING)
        self._reasons: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._committed: dict[str, Committed] = {}
        self._sets: dict[str, NeuronSet] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._facts: dict[str, EngineFacts] = {}
        self._requests: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, Part] = {}
        self._series = {model.label: series for series, models in plan.series.items() for model in models}
        self._sources: Mapping[str, ModelSource] = {}
        self._members: dict[str, list[str]] = {}
        for step, keys in plan.runs.items():
            for key in keys:
                self._members.setdefault(key.name, []).append(step)

    def load_finished(self) -> bool:
        """Take over what the record holds; True when nothing is left to compute."""
        known = self._record.known(list(self._plan.steps))
        for step in self._plan.steps.values():
            self._checkpoint()
            committed = known.get(step.id)
            if committed is None:
                continue
            if not self._record.verify(committed):
                self._reasons[step.id] = "its recorded artifacts are damaged"
                log.warning("%s: recorded artifacts are missing or damaged; it is computed again", step.title)
                continue
            self._committed[step.id] = self._adopt(step, committed)
            self._finish(step, State.CACHED, "")
        return all(state in TERMINAL for state in self._states.values())

    def run(self, pool: Pool, demands: Mapping[str, Demand], capacity: Demand) -> Outcome:
        """Run every step to a terminal state."""
        self._sources = pool.sources
        while True:
            self._checkpoint()
            residents = pool.residents()
            decisions = decide(
                self._plan.steps, self._states, self._attempts, residents, demands, capacity, self._series
            )
            for decision in decisions:
                match decision:
                    case Stop():
                        return self.outcome()
                    case Skip(step, culprit):
                        reason = self._reasons[culprit] if self._states[culprit] is State.SKIPPED else ""
                        reason = reason or f"needs {self._plan.steps[culprit].title}"
                        self._finish(self._plan.steps[step], State.SKIPPED, reason)
                    case Fail(step, reason):
                        self._finish(self._plan.steps[step], State.FAILED, reason)
                    case Evict(model):
                        pool.evict(model)
                    case Start(Role.DRIVER, steps=steps):
                        for step in steps:
                            self._run_in_driver(self._plan.steps[step])
                    case Start():
                        self._send(pool, decision)
            if not decisions:
                for model, message in pool.wait(WAIT_SECONDS):
                    self._receive(model, message)

    def outcome(self) -> Outcome:
        """States, reasons and records as they stand."""
        return Outcome(dict(self._states), dict(self._reasons), dict(self._committed))

    # -- from steps to requests --------------------------------------------------------------------------------------

    def _send(self, pool: Pool, start: Start) -> None:
        steps = [self._plan.steps[step] for step in start.steps]
        try:
            method, request = self._request(steps)
        except (StudyError, RecordError) as error:
            for step in steps:
                self._finish(step, State.FAILED, str(error))
            return
        self._requests[start.model] = start.steps
        pool.start(start.model, start.role, method, request, takes=start.takes)
        for step in steps:
            self._states[step.id] = State.RUNNING
            self._listener(step, State.RUNNING, self._reasons.get(step.id, ""))
            for key in self._plan.runs[step.id]:
                self._record.live(key, {}, 0)

    def _request(self, steps: Sequence[Step]) -> tuple[str, Any]:
        step = steps[0]
        match step.kind:
            case "profile":
                return "profile", profile_request(step, self._plan.study.corpus)
            case "examples":
                table = self._neuron_table(step.inputs["profile"])
                return "examples", examples_request(step, self._plan.study.corpus, table)
            case "weights":
                before = self._plan.model(step.model).checkpoint.before
                return "weights", WeightsRequest(step=step.id, before=self._sources[before])
            case "match":
                return "match", self._match_request(step)
            case "evaluate":
                benchmark = self._plan.benchmark(step.payload["params"]["benchmark"])
                return "evaluate", EvaluateRequest(
                    benchmark=benchmark.name,
                    texts=text_request(benchmark),
                    interventions={one.id: self._intervention(one) for one in steps},
                    max_nodes=step.payload["params"].get("pack_nodes"),
                    parts={one.id: self._parts[one.id] for one in steps if one.id in self._parts},
                )
        raise StudyError(f"no actor runs steps of kind {step.kind!r}")

    def _intervention(self, step: Step) -> Intervention:
        if "neurons" not in step.inputs:
            return Intervention()
        neurons = self._neuron_set(step.inputs["neurons"])
        table = self._neuron_table(step.inputs["profile"]) if "profile" in step.inputs else None
        return intervention(step.payload["params"]["clamp"], neurons, table)

    def _neuron_table(self, profile: str) -> pd.DataFrame:
        if profile not in self._tables:
            self._tables[profile] = self._record.frame(self._committed[profile], NEURONS)
        return self._tables[profile]

    def _match_request(self, step: Step) -> MatchRequest:
        committed = {role: self._committed[upstream] for role, upstream in step.inputs.items()}
        return match_request(
            step,
            text_request(self._plan.benchmark("perplexity")),
            neurons=self._neuron_table(step.inputs["profile"]),
            treated=self._neuron_set(step.inputs["treated"]),
            baseline_perplexity=committed["baseline_perplexity"].metrics["perplexity"],
            treated_perplexity=committed["treated_perplexity"].metrics["perplexity"],
        )

    def _neuron_set(self, step: str) -> NeuronSet:
        if step not in self._sets:
            self._sets[step] = NeuronSet.from_frame(self._record.frame(self._committed[step], NEURON_SET))
        return self._sets[step]

    # -- from messages to the record ---------------------------------------------------------------------------------

    def _receive(self, model: str, message: Any) -> None:
        match message:
            case Opened(facts=facts):
                if facts is not None:
                    self._facts[model] = facts
                    if facts.route_reason:
                        log.warning("%s: flat route: %s", model, facts.route_reason)
                    if facts.reload_refused:
                        log.warning("%s: a fresh engine, not a reload: %s", model, facts.reload_refused)
            case Progress(step=step):
                self._on_progress(self._plan.steps[step], message)
            case Part(step=step):
                self._parts[step] = join_parts(self._parts.get(step), message)
            case Profiled(step=step):
                self._commit_profile(self._plan.steps[step], message)
            case Examples(step=step):
                frames = {DENSITIES: pd.DataFrame(message.densities), TOKEN_PAIRS: pd.DataFrame(message.pairs)}
                facts = {"tokens": message.num_tokens, "seconds": message.seconds}
                self._commit(self._plan.steps[step], {}, frames, {"examples.json": facts})
            case Weights(step=step):
                self._commit_weights(self._plan.steps[step], message)
            case Scored(step=step):
                self._commit_scored(self._plan.steps[step], message)
            case Matched(step=step):
                self._commit_matched(self._plan.steps[step], message)
            case StepFailed(step=step, error=error):
                self._finish(self._plan.steps[step], State.FAILED, error)
            case RequestFailed(error=error, traceback=traceback):
                log.debug("%s", traceback)
                for step in self._unanswered(model):
                    self._finish(step, State.FAILED, error)
            case ActorLost(reason=reason):
                for step in self._unanswered(model):
                    self._attempts[step.id] = self._attempts.get(step.id, 0) + 1
                    self._states[step.id] = State.PENDING
                    self._reasons[step.id] = f"actor lost ({reason})"
                    self._listener(step, State.PENDING, self._reasons[step.id])
            case Finished():
                for step in self._unanswered(model):
                    self._finish(step, State.FAILED, "the actor ended its answer without a result for this step")

    def _unanswered(self, model: str) -> list[Step]:
        ids = self._requests.pop(model, ())
        return [self._plan.steps[step] for step in ids if self._states[step] is State.RUNNING]

    def _commit_profile(self, step: Step, result: Profiled) -> None:
        frame = pd.DataFrame(result.columns)
        if not result.num_pairs:
            frame = frame.drop(columns="mapping_difficulty")
        wd = frame["wasserstein_distance"]
        negative = frame["wasserstein_distance_negative"]
        metrics = {
            "wasserstein_distance/median": float(wd.median()),
            "wasserstein_distance/p99": float(wd.quantile(0.99)),
            "wasserstein_distance/max": float(wd.max()),
            "negative_share/mean": float((negative / wd.where(wd > 0)).mean()),
            "scored_tokens": float(result.num_tokens),
            "seconds": result.seconds,
        }
        facts = {
            "corpus": self._plan.study.corpus.label,
            "windows": result.num_windows,
            "tokens": result.num_tokens,
            "pairs": result.num_pairs,
            "pairs_dropped": result.num_pairs_dropped,
        }
        self._commit(step, metrics, {NEURONS: frame}, {"profile.json": facts})

    def _commit_weights(self, step: Step, result: Weights) -> None:
        table = pd.DataFrame(result.columns)
        before = self._plan.model(step.model).checkpoint.before
        means = table.drop(columns=["layer", "neuron"]).mean()
        if (means == 0).all():
            problem = f"its weights are those of {before}: the revision is not what its name says"
            self._finish(step, State.FAILED, problem)
            return
        metrics = {f"cosine_dissimilarity/{name}": float(mean) for name, mean in means.dropna().items()}
        self._commit(step, metrics, {WEIGHTS: table}, {"weights.json": {"before": before, "seconds": result.seconds}})

    def _commit_scored(self, step: Step, result: Scored) -> None:
        benchmark = self._plan.benchmark(step.payload["params"]["benchmark"])
        asked = {"margins": result.margins, "tokens": result.tokens}
        told = {name: value for name, value in asked.items() if value is not None}
        items = benchmark.results(result.sums, result.counts, **told)
        noise = step.name.startswith("noise_floor.")
        metrics = benchmark.metrics(items)
        if noise:
            metrics = {f"noise_floor/{name}": value for name, value in metrics.items()}
        elif step.condition != BASELINE:
            metrics["clipped_fraction"] = result.receipt.clipped_fraction
            if step.payload["params"]["clamp"].get("kind") == "magnitude_matched":
                neurons = self._neuron_set(step.inputs["neurons"])
                metrics["magnitude_shortfall"] = magnitude_shortfall(
                    self._neuron_table(step.inputs["profile"]), neurons
                )
        facts = self._facts[step.model]
        if result.num_cut and step.condition == BASELINE and not noise:
            remark = (
                f"{result.num_cut} contexts of {benchmark.label} are longer than the model's positions and were cut"
            )
            log.warning("%s: %s", step.model, remark)
        key = comparability_key(facts, result)
        neurons = self._neuron_set(step.inputs["neurons"]) if "neurons" in step.inputs else selection.EMPTY
        receipt = {
            "benchmark": benchmark.label,
            "neuron_set": neurons.digest,
            "num_neurons": neurons.count,
            "receipt": _plain(result.receipt),
            "engine": _plain(facts),
            "route": str(result.route),
            "route_reason": result.route_reason,
            "pack_plan": result.pack_plan,
            "nodes": result.num_nodes,
            "tokens": result.num_tokens,
            "contexts_cut": result.num_cut,
            "seconds": result.seconds,
            "conditions_together": result.num_conditions,
            "layer_passes": result.layer_passes,
            "ideal_layer_passes": result.ideal_layer_passes,
        }
        folder = "noise_floor" if noise else "items"
        self._commit(
            step,
            metrics,
            {f"{folder}/{benchmark.name}.parquet": items},
            {f"receipts/{step.name}.json": receipt},
            {f"comparability.{step.name}": key, f"route.{step.name}": str(result.route)},
        )

    def _commit_matched(self, step: Step, result: Matched) -> None:
        neurons = NeuronSet.of(result.neurons)
        curve = pd.DataFrame(result.curve, columns=["fraction", "perplexity"])
        metrics = {"matching/evaluations": float(len(curve))}
        if result.matched:
            metrics["matching/fraction"] = result.fraction
        facts = {
            "matched": result.matched,
            "reason": result.reason,
            "fraction": result.fraction if result.matched else None,
            "curve": [list(point) for point in result.curve],
            "neuron_set": neurons.digest,
            "receipt": _plain(result.receipt) if result.receipt else None,
            "seconds": result.seconds,
        }
        frames = {NEURON_SET: neurons.to_frame(), "matching_curve.parquet": curve}
        series = {
            f"matching/search_{name}": dict(enumerate(curve[name].tolist(), 1)) for name in ("fraction", "perplexity")
        }
        self._commit(step, metrics, frames, {"match.json": facts}, series=series)

    def _run_in_driver(self, step: Step) -> None:
        """Select steps: quick, and the record is at hand."""
        self._listener(step, State.RUNNING, "")
        try:
            neurons = self._select(step)
        except StudyError as error:
            self._finish(step, State.FAILED, str(error))
            return
        facts = {"neuron_set": neurons.digest, "num_neurons": neurons.count}
        self._commit(step, {}, {NEURON_SET: neurons.to_frame()}, {"selection.json": facts})

    def _select(self, step: Step) -> NeuronSet:
        params = step.payload["params"]
        neurons = self._neuron_table(step.inputs["profile"])
        match params["select"]:
            case "top" | "bottom":
                rules = {"top": selection.top, "bottom": selection.bottom}
                rule = selection.above_percentile if params["rule"] == "percentile" else rules[params["select"]]
                return rule(neurons, score=params["score"], fraction=params["fraction"], layers=params["layers"])
            case "random":
                like = self._neuron_set(step.inputs["like"]) if "like" in step.inputs else None
                if like is None:
                    counts = selection.counts_of(params["fraction"], neurons, params["layers"])
                else:
                    counts = {layer: len(indices) for layer, indices in like.indices.items()}
                avoid = like if like is not None and params["disjoint"] else selection.EMPTY
                return selection.random_like(neurons, counts=counts, seed=params["seed"], disjoint_from=avoid)
            case "explicit":
                name = next(c.base for c in self._plan.conditions[step.model] if c.name == step.condition)
                return selection.explicit(self._plan.study.neuron_sets[name], neurons, params["layers"])
        raise StudyError(f"unknown selection {params['select']!r}")

    def _commit(
        self,
        step: Step,
        metrics: Mapping[str, float],
        frames: Mapping[str, pd.DataFrame],
        documents: Mapping[str, dict],
        tags: Mapping[str, str] = NOTHING,
        series: Mapping[str, Mapping[int, float]] = NOTHING,
    ) -> None:
        first, *others = self._plan.runs[step.id]
        committed = self._record.commit(
            first,
            step.id,
            step.name,
            metrics=metrics,
            frames=frames,
            documents={**documents, f"identity/{step.name}.json": _plain(step.payload)},
            tags=tags,
            series=series,
        )
        for key in others:
            self._record.adopt(key, committed)
        self._committed[step.id] = committed
        self._finish(step, State.DONE, "")

    def _adopt(self, step: Step, committed: Committed) -> Committed:
        adopted = [self._record.adopt(key, committed) for key in self._plan.runs[step.id]]
        return adopted[0]

    def _finish(self, step: Step, state: State, reason: str) -> None:
        if step.kind == "match" and state in (State.DONE, State.CACHED):
            facts = self._record.document(self._committed[step.id], "match.json")
            if not facts["matched"]:
                state, reason = State.FAILED, f"the control cannot be matched: {facts['reason']}"
        self._states[step.id] = state
        self._parts.pop(step.id, None)
        if reason:
            self._reasons[step.id] = reason
        self._listener(step, state, reason)
        self._close_runs(step)

    def _close_runs(self, step: Step) -> None:
        """A run whose steps have all ended is closed, so that MLflow shows it as finished while the study goes on."""
        for key in self._plan.runs[step.id]:
            states = [self._states[other] for other in self._members[key.name]]
            if all(state in TERMINAL for state in states) and not all(state is State.CACHED for state in states):
                failed = any(state in (State.FAILED, State.SKIPPED) for state in states)
                self._record.finish(key, "FAILED" if failed else "FINISHED")


def comparability_key(facts: EngineFacts, result: Scored) -> str:
    """Results are compared in pairs only where these are equal."""
    versions = " ".join(f"{name}-{version}" for name, version in sorted(facts.versions.items()))
    return f"{result.route} {result.pack_plan[:16]} {facts.dtype} {facts.device} {versions}"


def _plain(value: Any) -> Any:
    """Dataclasses and mappings as plain JSON types."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value
