"""The one loop of a study: decide, apply, wait once, record.

Owns the states of the steps: `requests` says what an actor is asked, `answers` what its answer becomes in the record.
Everything that arrives is committed before the loop goes on, so a crash of the driver loses only what is in flight.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from actors.messages import (
    ActorLost,
    EngineFacts,
    EvaluateRequest,
    Examples,
    Finished,
    Intervention,
    Matched,
    MatchRequest,
    ModelSource,
    Opened,
    OutOfMemory,
    Part,
    Profiled,
    Progress,
    RequestFailed,
    Scored,
    StepFailed,
    Weights,
    WeightsRequest,
)
from orchestrator.execution.in_flight import join_parts
from orchestrator.execution.pack_sizes import PackSizes
from orchestrator.execution.pool import Pool
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.keys import Committed
from orchestrator.record.mlflow_store import Unreachable
from orchestrator.record.record import Record
from orchestrator.scheduling.policy import Cluster, Decision, Evict, Fail, NoRoom, Start, Stop, decide
from orchestrator.scheduling.ready_queues import ActorKind, ReadyQueues, Skip
from orchestrator.steps.artifacts import NEURON_SET, NEURONS
from orchestrator.steps.evaluate import intervention, is_noise_floor, of_evaluation, text_request
from orchestrator.steps.examples import examples_request, of_examples
from orchestrator.steps.match import match_request, of_match
from orchestrator.steps.profile import of_profile, profile_request
from orchestrator.steps.result import StepResult, plain
from orchestrator.steps.select import of_selection
from orchestrator.steps.step import BASELINE, BROKEN, TERMINAL, Role, State, Step
from orchestrator.steps.weights import of_weights
from studies.errors import StudyError
from studies.neurons import selection
from studies.neurons.selection import NeuronSet

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25


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
        draining: Callable[[], bool] = lambda: False,
    ):
        """draining: called wherever stopping breaks nothing; True = start nothing more. It stops at once by raising."""
        self._plan, self._record = plan, record
        self._listener, self._on_progress, self._draining = listener, on_progress, draining
        self._queues = ReadyQueues(plan.steps, {})
        self._reasons: dict[str, str] = {}
        self._committed: dict[str, Committed] = {}
        self._sets: dict[str, NeuronSet] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        self._facts: dict[str, EngineFacts] = {}
        self._requests: dict[str, tuple[str, ...]] = {}
        self._prewarming: dict[str, ActorKind] = {}
        """{actor that is being opened ahead of its first steps: its lane}."""
        self._packs = PackSizes()
        self._asked_nodes: dict[str, int | None] = {}
        """{actor: pack size of its request}."""
        self._parts: dict[str, Part] = {}
        self._store_is_away = False
        self._sources: Mapping[str, ModelSource] = {}
        self._members: dict[str, list[str]] = {}
        for step, keys in plan.runs.items():
            for key in keys:
                self._members.setdefault(key.name, []).append(step)

    def load_finished(self) -> bool:
        """Take over what the record holds; True when nothing is left to compute."""
        known = self._record.known(list(self._plan.steps))
        for step in self._plan.steps.values():
            if self._draining():
                raise KeyboardInterrupt
            committed = known.get(step.id)
            if committed is None:
                continue
            if not self._record.verify(committed):
                self._reasons[step.id] = "its recorded artifacts are damaged"
                log.warning("%s: recorded artifacts are missing or damaged; it is computed again", step.title)
                continue
            self._committed[step.id] = self._adopt(step, committed)
            self._finish(step, State.CACHED, "")
            self._packs.learn(step, committed)
        self._take_back_other_packs()
        return self._queues.ended

    def run(self, pool: Pool, cluster: Cluster, costs: Mapping[str, float]) -> Outcome:
        """Run every step to a terminal state; costs: estimated seconds by step id. KeyboardInterrupt when drained."""
        self._sources, draining = pool.sources, False
        self._queues = ReadyQueues(self._plan.steps, costs, self._queues.states)
        while True:
            if (asked := self._draining()) and not draining:
                log.warning("finishing what runs, starting nothing more; Ctrl-C again stops at once")
            draining = asked
            self._record.renew()
            pool.want(cluster.wanted(self._queues))
            cluster = dataclasses.replace(cluster, nodes=pool.nodes())
            decisions = decide(self._queues, pool.residents(), cluster, draining=draining)
            if Stop() in decisions:
                if not self._queues.ended:
                    raise KeyboardInterrupt
                return self.outcome()
            if not any([self._apply(pool, decision) for decision in decisions]):
                for actor, message in pool.wait(WAIT_SECONDS):
                    self._receive(actor, message)

    def outcome(self) -> Outcome:
        """States, reasons and records as they stand."""
        return Outcome(dict(self._queues.states), dict(self._reasons), dict(self._committed))

    def _apply(self, pool: Pool, decision: Decision) -> bool:
        """Whether anything changed."""
        match decision:
            case Skip(step, culprit):
                reason = self._reasons[culprit] if self._queues.states[culprit] is State.SKIPPED else ""
                reason = reason or f"needs {self._plan.steps[culprit].title}"
                self._finish(self._plan.steps[step], State.SKIPPED, reason)
            case Fail(step, reason):
                self._finish(self._plan.steps[step], State.FAILED, reason)
            case NoRoom(actor_kind, demand):
                reason = pool.why_unplaceable(demand)
                for step in self._queues.ready_in(actor_kind) if reason else ():
                    self._finish(self._plan.steps[step], State.FAILED, reason)
                return bool(reason)
            case Evict(actor):
                pool.evict(actor)
            case Start(steps=()):
                self._prewarming[decision.actor] = ActorKind(decision.model, decision.role)
                pool.start(decision)
            case Start():
                return self._begin(pool, decision)
        return True

    def _begin(self, pool: Pool, start: Start) -> bool:
        """False, for another try, while the store that holds the inputs does not answer."""
        steps = [self._plan.steps[step] for step in start.steps]
        in_driver = start.role is Role.DRIVER
        try:
            prepared = [self._select(step) for step in steps] if in_driver else self._request(steps)
        except Unreachable as error:
            if not self._store_is_away:
                log.warning("%s; %s waits for it", error, steps[0].title)
            self._store_is_away = True
            return False
        except StudyError as error:
            for step in steps:
                self._finish(step, State.FAILED, str(error))
            return True
        self._store_is_away = False
        if in_driver:
            for step, neurons in zip(steps, prepared, strict=True):
                self._listener(step, State.RUNNING, "")
                self._commit(step, of_selection(neurons))
        else:
            self._send(pool, start, steps, *prepared)
        return True

    # -- from steps to requests --------------------------------------------------------------------------------------

    def _send(self, pool: Pool, start: Start, steps: Sequence[Step], method: str, request: Any) -> None:
        self._requests[start.actor] = start.steps
        self._asked_nodes[start.actor] = getattr(request, "max_nodes", None)
        pool.start(start, method, request)
        for step in steps:
            self._queues.set(step.id, State.RUNNING)
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
                    max_nodes=self._packs.size(step),
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
            max_nodes=self._packs.size(self._plan.steps[step.inputs["baseline_perplexity"]]),
            baseline_perplexity=committed["baseline_perplexity"].metrics["perplexity"],
            treated_perplexity=committed["treated_perplexity"].metrics["perplexity"],
        )

    def _neuron_set(self, step: str) -> NeuronSet:
        if step not in self._sets:
            self._sets[step] = NeuronSet.from_frame(self._record.frame(self._committed[step], NEURON_SET))
        return self._sets[step]

    # -- from messages to the record ---------------------------------------------------------------------------------

    def _receive(self, actor: str, message: Any) -> None:
        match message:
            case Opened(facts=facts):
                if facts is not None:
                    self._facts[actor] = facts
                    if facts.route_reason:
                        log.warning("%s: flat route: %s", actor, facts.route_reason)
                    if facts.reload_refused:
                        log.warning("%s: a fresh engine, not a reload: %s", actor, facts.reload_refused)
            case Progress(step=step):
                self._on_progress(self._plan.steps[step], message)
            case Part(step=step):
                self._parts[step] = join_parts(self._parts.get(step), message)
            case Profiled(step=step):
                self._commit(self._plan.steps[step], of_profile(message, self._plan.study.corpus.label))
            case Examples(step=step):
                self._commit(self._plan.steps[step], of_examples(message))
            case Weights(step=step):
                self._commit_weights(self._plan.steps[step], message)
            case Scored(step=step) if self._asked_nodes[actor] != self._packs.size(self._plan.steps[step]):
                self._wait_again(self._plan.steps[step], "meanwhile the other conditions went into smaller packs")
            case Scored(step=step):
                self._commit_scored(self._plan.steps[step], message, self._facts[actor])
            case Matched(step=step):
                self._commit(self._plan.steps[step], of_match(message))
            case OutOfMemory(num_nodes=num_nodes, error=error):
                self._split_packs(actor, num_nodes, error)
            case StepFailed(step=step, error=error):
                self._finish(self._plan.steps[step], State.FAILED, error)
            case Finished() if actor in self._prewarming:
                del self._prewarming[actor]
            case RequestFailed(error=reason) | ActorLost(reason=reason) if actor in self._prewarming:
                log.warning("%s was opened ahead of its first step in vain: %s", actor, reason)
                self._queues.never_prewarm(self._prewarming.pop(actor))
            case RequestFailed(error=error, traceback=traceback):
                log.debug("%s", traceback)
                for step in self._unanswered(actor):
                    self._finish(step, State.FAILED, error)
            case ActorLost(reason=reason):
                for step in self._unanswered(actor):
                    self._queues.lose(step.id)
                    self._wait_again(step, f"actor lost ({reason})")
            case Finished():
                for step in self._unanswered(actor):
                    self._finish(step, State.FAILED, "the actor ended its answer without a result for this step")

    def _unanswered(self, actor: str) -> list[Step]:
        ids = self._requests.pop(actor, ())
        return [self._plan.steps[step] for step in ids if self._queues.states[step] is State.RUNNING]

    def _commit_weights(self, step: Step, result: Weights) -> None:
        before = self._plan.model(step.model).checkpoint.before
        found = of_weights(result, before)
        if not any(found.metrics.values()):
            problem = f"its weights are those of {before}: the revision is not what its name says"
            self._finish(step, State.FAILED, problem)
            return
        self._commit(step, found)

    def _commit_scored(self, step: Step, result: Scored, facts: EngineFacts) -> None:
        benchmark = self._plan.benchmark(step.payload["params"]["benchmark"])
        neurons = self._neuron_set(step.inputs["neurons"]) if "neurons" in step.inputs else selection.EMPTY
        table = self._neuron_table(step.inputs["profile"]) if "profile" in step.inputs else None
        found = of_evaluation(step, result, benchmark, facts, neurons, table)
        if result.num_cut and step.condition == BASELINE and not is_noise_floor(step):
            cut = f"{result.num_cut} contexts of {benchmark.label}"
            log.warning("%s: %s are longer than the model's positions and were cut", step.model, cut)
        self._commit(step, found._replace(tags={**found.tags, **self._packs.tag(step)}))

    def _split_packs(self, actor: str, num_nodes: int, error: str) -> None:
        """Smaller packs for all conditions of the model and benchmark, so that they stay comparable; or give up."""
        steps = self._unanswered(actor)
        smaller = self._packs.halve(steps[0], num_nodes, asked=self._asked_nodes[actor])
        if smaller is None:
            for step in steps:
                self._finish(step, State.FAILED, f"{error}; smaller packs are not possible")
            return
        log.warning("%s: %s; trying packs of %d nodes, for all conditions", actor, error, smaller)
        for step in steps:
            self._parts.pop(step.id, None)
            self._wait_again(step, f"out of memory, now in packs of {smaller} nodes")
        self._take_back_other_packs()

    def _take_back_other_packs(self) -> None:
        """Steps that were committed in packs of another size than their siblings are computed once more."""
        for step in self._plan.steps.values():
            if step.id in self._committed and not self._packs.agree(step, self._committed[step.id]):
                del self._committed[step.id]
                self._wait_again(step, "the other conditions were scored in smaller packs")

    def _wait_again(self, step: Step, reason: str) -> None:
        self._queues.set(step.id, State.PENDING)
        self._reasons[step.id] = reason
        self._listener(step, State.PENDING, reason)

    def _select(self, step: Step) -> NeuronSet:
        """What a step of the driver's own comes to: quick, and the record is at hand."""
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

    def _commit(self, step: Step, found: StepResult) -> None:
        first, *others = self._plan.runs[step.id]
        committed = self._record.commit(
            first,
            step.id,
            step.name,
            metrics=found.metrics,
            frames=found.frames,
            documents={**found.documents, f"identity/{step.name}.json": plain(step.payload)},
            tags=found.tags,
            series=found.series,
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
        self._queues.set(step.id, state)
        self._parts.pop(step.id, None)
        if reason:
            self._reasons[step.id] = reason
        self._listener(step, state, reason)
        self._close_runs(step)

    def _close_runs(self, step: Step) -> None:
        """A run whose steps have all ended is closed, so that MLflow shows it as finished while the study goes on."""
        for key in self._plan.runs[step.id]:
            states = [self._queues.states[other] for other in self._members[key.name]]
            if all(state in TERMINAL for state in states) and not all(state is State.CACHED for state in states):
                failed = any(state in BROKEN for state in states)
                self._record.finish(key, "FAILED" if failed else "FINISHED")
