"""The one loop of a study: decide, apply, wait once, record.

Owns the states of the steps and the order of things; a step's kind says what is asked and what an answer becomes,
`in_flight` knows what actors are working on, `engine_proofs` whether an engine's numbers may be recorded, `recorder`
what has been committed. Whatever arrives is committed before the loop goes on, unless its engine has yet to be
compared: a crash of the driver loses only that and what is in flight. Runs against the `ActorPool` protocol: importing
this loads neither ray nor mlflow.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from actors.messages.ablation import Part
from actors.messages.probe import Reference, ReferenceRequest
from actors.messages.stream import ActorLost, Finished, Load, Opened, OutOfMemory, Progress, RequestFailed, StepFailed
from orchestrator.execution.actor_pool import ActorPool
from orchestrator.execution.alike import Alike
from orchestrator.execution.context import RunContext
from orchestrator.execution.engine_proofs import EngineProofs
from orchestrator.execution.in_flight import InFlight
from orchestrator.execution.preparation import Preparation, why_failed
from orchestrator.execution.recorder import Recorder
from orchestrator.planning.inputs import Inputs
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.progress.watcher import Watcher
from orchestrator.record.client.failures import UnrecordableError
from orchestrator.record.keys import NOTHING
from orchestrator.record.record import Record
from orchestrator.scheduling.cluster import ActorKind, Cluster
from orchestrator.scheduling.decisions import Decision, Evict, Fail, NoRoom, Skip, Start, Stop
from orchestrator.scheduling.policy import decide
from orchestrator.scheduling.ready_queues import ReadyQueues
from orchestrator.steps.kind import ActorStepKind, DriverStepKind
from orchestrator.steps.result import StepResult
from orchestrator.steps.step import ANY_ROLE, FINISHED, Role, State, Step

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25
DAMAGED = "its recorded artifacts are damaged"

T = TypeVar("T")


class Runner:
    """One run of one plan."""

    def __init__(
        self,
        plan: Plan,
        record: Record,
        *,
        watcher: Watcher | None = None,
        draining: Callable[[], bool] = lambda: False,
        alike: Alike | None = None,
    ) -> None:
        """draining: called wherever stopping breaks nothing; True = start nothing more. It raises to stop at once."""
        self._plan, self._record = plan, record
        self._watcher, self._draining = watcher or Watcher(), draining
        self._queues = ReadyQueues(plan.steps, {})
        self._reasons: dict[str, str] = {}
        self._recorder = Recorder(plan, record)
        self._inputs = Inputs(record, self._recorder.committed)
        self._alike, self._in_flight = alike or Alike(plan), InFlight()
        self._proofs = EngineProofs(plan, record, self._inputs, self._recorder)
        self._preparation = Preparation(plan.steps)

    def load_finished(self) -> bool:
        """Take over the steps that the record holds; True when nothing is left to compute."""
        known = self._record.known(list(self._plan.steps))
        for step in self._plan.steps.values():
            if self._draining():
                raise KeyboardInterrupt
            if step.id in known and self._recorder.take_over(step, known[step.id]):
                self._end(step, State.CACHED, "")
            elif step.id in known:
                self._reasons[step.id] = DAMAGED
                log.warning("%s: recorded artifacts are missing or damaged; it is computed again", step.title)
        self._evaluate_again(self._alike.load(self._recorder.committed))
        return self._queues.ended

    def run(self, pool: ActorPool, cluster: Cluster, costs: Mapping[str, float]) -> Outcome:
        """Run every step to a terminal state.

        costs: {step id: estimated seconds}. Raises KeyboardInterrupt once it is drained with steps left.
        """
        self._queues = ReadyQueues(self._plan.steps, costs, self._queues.states)
        committed = self._recorder.committed
        context = RunContext(self._plan, self._inputs, committed, self._alike.packs, self._in_flight, pool.sources)
        draining = False
        while True:
            if (asked := self._draining()) and not draining:
                log.warning("finishing what runs, starting nothing more; Ctrl-C again stops at once")
            draining = asked
            self._record.renew()
            self._settle(context)
            self._drop_refused(pool)
            self._seek_references(pool, draining)
            pool.want(cluster.wanted(self._queues.num_unfinished))
            cluster = dataclasses.replace(cluster, nodes=pool.nodes())
            decisions = decide(self._queues, pool.residents(), cluster, draining=draining)
            if Stop() in decisions:
                if not self._queues.ended:
                    raise KeyboardInterrupt
                return self.outcome()
            if not any([self._apply(pool, context, decision) for decision in decisions]):
                for actor, message in pool.wait(WAIT_SECONDS):
                    self._receive(context, actor, message)

    def outcome(self) -> Outcome:
        """States, reasons and records as they stand."""
        return Outcome(dict(self._queues.states), dict(self._reasons), dict(self._recorder.committed), self._inputs)

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _apply(self, pool: ActorPool, context: RunContext, decision: Decision) -> bool:
        """Carry a decision out; returns whether anything changed."""
        match decision:
            case Skip(step, culprit):
                reason = self._reasons[culprit] if self._queues.states[culprit] is State.SKIPPED else ""
                reason = reason or f"needs {self._plan.steps[culprit].title}"
                self._end(self._plan.steps[step], State.SKIPPED, reason)
            case Fail(step, reason):
                last = self._reasons.get(step)
                self._end(self._plan.steps[step], State.FAILED, f"{reason}: {last}" if last else reason)
            case NoRoom(actor_kind, demand):
                reason = pool.why_unplaceable(demand)
                for step in self._queues.ready_steps(actor_kind) if reason else ():
                    self._end(self._plan.steps[step], State.FAILED, reason)
                return bool(reason)
            case Evict(actor):
                pool.evict(actor)
            case Start(steps=()):
                self._in_flight.prewarm(decision.actor, ActorKind(decision.model, decision.role))
                self._watcher.opening(decision.actor, decision.model, decision.role)
                pool.start(decision)
            case Start():
                return self._start(pool, context, decision)
        return True

    def _start(self, pool: ActorPool, context: RunContext, start: Start) -> bool:
        steps = [self._plan.steps[step] for step in start.steps]
        kind = steps[0].kind
        if not all(self._queues.is_ready(step.id) for step in steps):
            return True  # an input was sent back by a decision of this turn
        if isinstance(kind, ActorStepKind):
            return self._send(pool, context, start, steps, kind)
        for step in steps:
            if self._queues.is_ready(step.id):
                self._compute(context, step)
        return not self._preparation.store_is_away

    def _compute(self, context: RunContext, step: Step) -> None:
        kind = step.kind
        assert isinstance(kind, DriverStepKind)
        result = self._prepare([step], lambda: kind.compute(step, context))
        if result is not None:
            self._watcher.transition(step, State.RUNNING, "")
            self._commit(step, result)

    def _send(
        self, pool: ActorPool, context: RunContext, start: Start, steps: Sequence[Step], kind: ActorStepKind[Any]
    ) -> bool:
        request = self._prepare(steps, lambda: kind.request(steps, context))
        if request is None:
            return not self._preparation.store_is_away
        self._in_flight.send(start.actor, start.steps, kind.pack_size(steps[0], context))
        if start.placement or start.reload:
            self._watcher.opening(start.actor, start.model, start.role)
        pool.start(start, request.method, request.message)
        for step in steps:
            self._queues.set(step.id, State.RUNNING)
            self._watcher.transition(step, State.RUNNING, self._reasons.get(step.id, ""))
            self._recorder.begin(step)
        return True

    def _prepare(self, steps: Sequence[Step], prepare: Callable[[], T]) -> T | None:
        """What `prepare` returns; None where the steps have failed, or must wait: for the store, or for an input that
        is computed again."""
        prepared = self._preparation.attempt(steps, prepare, self._queues.states)
        if prepared.damaged is not None:
            del self._recorder.committed[prepared.damaged.id]
            self._wait_again(prepared.damaged, DAMAGED)
        for step in steps if prepared.failure else ():
            self._end(step, State.FAILED, prepared.failure)
        return prepared.value

    # -- messages ----------------------------------------------------------------------------------------------------

    def _receive(self, context: RunContext, actor: str, message: Any) -> None:
        if isinstance(message, Opened | RequestFailed | ActorLost):
            self._watcher.opened(actor)
        match message:
            case Opened():
                self._opened(actor, message)
            case Reference():
                self._proofs.add(message)
            case Load(metrics=metrics):
                self._record.pages.sample(metrics)
            case Progress():
                self._watcher.report(self._plan.steps[message.step], message)
            case Part():
                self._in_flight.add_part(message)
            case StepFailed(step=step, error=error):
                self._end(self._plan.steps[step], State.FAILED, error)
            case OutOfMemory():
                self._out_of_memory(actor, message)
            case RequestFailed():
                self._request_failed(actor, message)
            case ActorLost(reason=reason):
                self._actor_lost(actor, reason)
            case Finished():
                self._finished(actor)
            case answer:
                self._answered(context, actor, answer)

    def _opened(self, actor: str, message: Opened) -> None:
        engine = message.facts
        self._in_flight.opened(actor, engine)
        if steps := self._in_flight.steps(actor):
            self._queues.opened(self._queues.actor_kind(steps[0]))
        if engine is None or message.probe is None:  # a score actor
            return
        self._proofs.opened(actor, message.probe)
        if engine.route_reason:
            log.warning("%s: flat route: %s", actor, engine.route_reason)
        if engine.reload_refused:
            log.warning("%s: a fresh engine, not a reload: %s", actor, engine.reload_refused)

    def _answered(self, context: RunContext, actor: str, answer: Any) -> None:
        """The answer for one step, whose kind says what it becomes."""
        step = self._plan.steps[answer.step]
        kind = step.kind
        assert isinstance(kind, ActorStepKind), f"no actor computes {step.title}"
        if self._in_flight.max_nodes(actor) != kind.pack_size(step, context):
            self._wait_again(step, "the other conditions have been put into smaller packs meanwhile")
            return
        try:
            result = kind.result(step, answer, context)
        except Exception as error:  # of any kind: benchmarks and added kinds bring code of their own
            self._end(step, State.FAILED, why_failed(error))
            return
        result = result._replace(tags={**result.tags, **self._alike.packs.tag(step)})
        if kind.role is Role.ABLATION:
            self._proofs.hold(actor, step, result, self._in_flight.max_nodes(actor))
        else:
            self._commit(step, result)

    def _out_of_memory(self, actor: str, message: OutOfMemory) -> None:
        """Smaller packs for all conditions of the model and benchmark, so that they stay comparable; or give up."""
        steps = self._unanswered(actor)
        if not steps:
            return
        smaller = self._alike.halve(steps[0], message.num_nodes, asked=self._in_flight.max_nodes(actor))
        if smaller is None:
            for step in steps:
                self._end(step, State.FAILED, f"{message.error}; smaller packs are not possible")
            return
        log.warning("%s: %s; trying packs of %d nodes, for all conditions", actor, message.error, smaller)
        for step in steps:
            self._in_flight.drop_part(step.id)
            self._wait_again(step, f"out of memory, now in packs of {smaller} nodes")
        self._evaluate_again(self._alike.unlike(self._recorder.committed))

    def _request_failed(self, actor: str, message: RequestFailed) -> None:
        if self._prewarming_failed(actor, message.error):
            return
        log.debug("%s", message.traceback)
        if model := self._in_flight.end_reference(actor):
            self._proofs.refuse(model, f"{model} could not be compared with Transformers: {message.error}")
        for step in self._unanswered(actor):
            error = self._plan.with_place(step, message.error) if message.texts_refused else message.error
            self._end(step, State.FAILED, error)

    def _actor_lost(self, actor: str, reason: str) -> None:
        if self._prewarming_failed(actor, reason):
            return
        self._in_flight.end_reference(actor)
        had_opened, steps = self._in_flight.lost(actor), self._unanswered(actor)
        if had_opened or not steps:
            self._compute_again(steps, f"actor lost ({reason})", keep_parts=self._proofs.has_passed(actor))
            return
        self._queues.lose_opening(self._queues.actor_kind(steps[0].id), [step.id for step in steps])
        for step in steps:
            self._wait_again(step, f"no actor ({reason})")

    def _finished(self, actor: str) -> None:
        if self._in_flight.end_prewarming(actor) is not None:
            return
        self._in_flight.end_reference(actor)
        for step in self._unanswered(actor):
            self._end(step, State.FAILED, "the actor ended its answer without a result for this step")

    def _prewarming_failed(self, actor: str, reason: str) -> bool:
        """Whether the actor was lost while it was only being opened; its kind is then not prewarmed again."""
        actor_kind = self._in_flight.end_prewarming(actor)
        if actor_kind is None:
            return False
        log.warning("%s failed while it was opened ahead of its first step: %s", actor, reason)
        self._queues.never_prewarm(actor_kind)
        return True

    def _unanswered(self, actor: str) -> list[Step]:
        """The steps of the actor's request, which is over, that have no result."""
        steps = [step for step in self._in_flight.end(actor) if not self._proofs.is_held(step)]
        return [self._plan.steps[step] for step in steps if self._queues.states[step] is State.RUNNING]

    # -- engines -----------------------------------------------------------------------------------------------------

    def _settle(self, context: RunContext) -> None:
        """Record the results of engines that have been proven, and refuse those of the others."""
        for held, verdict in self._proofs.settled():
            step, kind = held.step, held.step.kind
            assert isinstance(kind, ActorStepKind)
            if verdict.refusal:
                self._end(step, State.FAILED, verdict.refusal)
            elif held.max_nodes != kind.pack_size(step, context):
                self._wait_again(step, "the other conditions have been put into smaller packs meanwhile")
            elif not (refusal := self._alike.refusal(step, held.result.tags)):
                self._commit(step, held.result)
                if step.id in self._recorder.committed and self._alike.computed(step, held.result.tags):
                    self._evaluate_again(self._alike.unlike(self._recorder.committed))
            elif self._alike.may_try_again(step):
                self._in_flight.drop_part(step.id)
                self._wait_again(step, refusal)
            else:
                self._end(step, State.FAILED, refusal)

    def _drop_refused(self, pool: ActorPool) -> None:
        """Close the engines of models that they do not compute, and end these models' steps."""
        for model, reason in self._proofs.refusals.items():
            of_model = ActorKind(model, Role.ABLATION)
            self._queues.never_prewarm(of_model)
            for actor in [name for name, one in pool.residents().items() if one.actor_kind == of_model]:
                pool.evict(actor)
                self._in_flight.end_prewarming(actor)
                for step in self._unanswered(actor):
                    self._end(step, State.FAILED, reason)
            for ready in self._queues.ready_steps(of_model):
                self._end(self._plan.steps[ready], State.FAILED, reason)

    def _seek_references(self, pool: ActorPool, draining: bool) -> None:
        """Have engines load Transformers themselves where no profile will bring what they are compared with."""
        asked, lost = self._proofs.seek(
            pool.residents().values(), self._queues.states, draining, self._in_flight.sought
        )
        for start in asked:
            self._in_flight.seek_reference(start.actor, start.model)
            pool.start(start, "reference", ReferenceRequest())
        self._compute_again(lost, "its engine was closed before it was compared with Transformers")

    def _compute_again(self, steps: Sequence[Step], reason: str, *, keep_parts: bool = False) -> None:
        """keep_parts: another engine may go on with the packs that have arrived, because theirs is proven."""
        for step in steps:
            if not keep_parts:
                self._in_flight.drop_part(step.id)
            self._queues.lose(step.id)
            self._wait_again(step, reason)

    # -- states ------------------------------------------------------------------------------------------------------

    def _evaluate_again(self, reasons: Mapping[str, str]) -> None:
        """Compute committed steps again, which cannot be compared with the other conditions."""
        for step, reason in reasons.items():
            del self._recorder.committed[step]
            self._wait_again(self._plan.steps[step], reason)

    def _wait_again(self, step: Step, reason: str) -> None:
        self._queues.set(step.id, State.PENDING)
        self._reasons[step.id] = reason
        self._watcher.transition(step, State.PENDING, reason)

    def _commit(self, step: Step, result: StepResult) -> None:
        try:
            self._recorder.commit(step, result)
        except UnrecordableError as error:
            self._end(step, State.FAILED, str(error))
            return
        self._inputs.keep(step.id, result)
        self._end(step, State.DONE, "", result)

    def _end(self, step: Step, state: State, reason: str, result: StepResult | None = None) -> None:
        """End a step, and with it the steps to which it leaves nothing to compute. result: where it has just been
        recorded."""
        findings = self._recorder.why_barren(step, result) if state in FINISHED else NOTHING
        self._close(step, state, findings.get(ANY_ROLE, reason))
        for later, finding in self._plan.without_work(step.id, findings).items():
            if self._queues.states[later] is State.PENDING:
                self._close(self._plan.steps[later], State.NOT_APPLICABLE, finding)

    def _close(self, step: Step, state: State, reason: str) -> None:
        self._queues.set(step.id, state)
        self._in_flight.drop_part(step.id)
        if reason:
            self._reasons[step.id] = reason
        self._watcher.transition(step, state, reason)
        self._recorder.close_runs(step, self._queues.states)
