"""The runner's decisions against a pool and a record in memory: start, retry, take over, give up, stop."""

import math
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from actors.messages.ablation import EvaluateRequest, MatchRequest, Part
from actors.messages.stream import ActorLost, Finished, Load, OutOfMemory, RequestFailed, StepFailed
from orchestrator.execution.runner import Runner
from orchestrator.planning.inputs import Inputs
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.record.client.failures import Unreachable, UnrecordableError
from orchestrator.record.limits import check_metrics
from orchestrator.review.report import review
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.ready_queues import MAX_ATTEMPTS
from orchestrator.steps.step import BASELINE, FINISHED, Role, State, Step
from studies.benchmarks.perplexity import PerplexityBenchmark
from tests.fakes import NODE, FakePool, FakeRecord, matched, scored
from tests.plans import BENCHMARKS, TRAIN, model, plan, step_id
from tests.watchers import On
from tests.world import make_cluster

CLUSTER = make_cluster([NODE], {"a": Demand(2.0, 0.0), "b": Demand(2.0, 0.0)})


def run(
    study: Plan, pool: FakePool, record: FakeRecord | None = None, *, draining: Callable[[], bool] = lambda: False,
    costs: Mapping[str, float] = {},
) -> Outcome:  # fmt: skip
    """One run of the plan."""
    runner = Runner(study, record or FakeRecord(), draining=draining)
    runner.load_finished()
    return runner.run(pool, CLUSTER, costs)


def once(message: Callable[[Start, Any], Any], method: type = EvaluateRequest) -> Callable[..., Iterator[Any]]:
    """An answer that ends the first request of this type with a message; later ones get the usual answer."""
    asked: list[str] = []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, method) and not asked:
            asked.append(actor)
            yield message(start, request)

    return answer


def names(outcome: Outcome, study: Plan, state: State) -> set[str]:
    """Titles of the steps in a state."""
    return {study.steps[step].title for step, at in outcome.states.items() if at is state}


def test_every_step_is_computed_once_and_every_run_is_closed() -> None:
    study, record = plan(), FakeRecord()
    pool = FakePool(study)
    outcome = run(study, pool, record)
    assert set(outcome.states.values()) == {State.DONE} and outcome.complete
    assert record.steps.keys() == study.steps.keys() == outcome.committed.keys()
    runs = {key.name for keys in study.runs.values() for key in keys}
    assert record.finished == dict.fromkeys(runs, "FINISHED")


def test_ready_evaluations_of_a_benchmark_go_out_as_one_request() -> None:
    study = plan()
    pool = FakePool(study)
    run(study, pool)
    requests = [request for _, _, request in pool.requests if isinstance(request, EvaluateRequest)]
    conditions = [{study.steps[step].condition for step in request.interventions} for request in requests]
    assert {"treated", "random/seed=0", "random/seed=1"} in conditions


def test_what_the_record_holds_is_not_computed_again() -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    runner = Runner(study, record)
    assert runner.load_finished()
    assert set(runner.outcome().states.values()) == {State.CACHED}


def test_a_damaged_step_is_computed_again_with_the_reason() -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    damaged = step_id(study, "evaluate.embedded_pairs", "treated")
    record.damaged = {damaged}
    outcome = run(study, FakePool(study), record)
    assert [step for step, state in outcome.states.items() if state is State.DONE] == [damaged]
    assert outcome.reasons[damaged] == "its recorded artifacts are damaged"


def test_damage_that_only_reading_shows_sends_the_producer_back() -> None:
    """As on a server: the neuron set of a cached search is asked for when an evaluation is prepared."""
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    evaluation, select = step_id(study, "evaluate.embedded_pairs", "treated"), step_id(study, "select", "treated")
    record.damaged, record.unreadable_tables = {evaluation}, {select}
    outcome = run(study, FakePool(study), record)
    assert outcome.complete and outcome.committed.keys() == study.steps.keys()
    assert {step for step, state in outcome.states.items() if state is State.DONE} == {evaluation, select}
    assert outcome.reasons == dict.fromkeys([evaluation, select], "its recorded artifacts are damaged")


def test_two_damaged_steps_in_a_row_are_both_computed_again() -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    profile, select = step_id(study, "profile", ""), step_id(study, "select", "treated")
    evaluation = step_id(study, "evaluate.embedded_pairs", "treated")
    record.damaged, record.unreadable_tables = {evaluation}, {profile, select}
    outcome = run(study, FakePool(study), record)
    assert outcome.complete
    assert {step for step, state in outcome.states.items() if state is State.DONE} == {evaluation, profile, select}


def test_a_store_that_damages_everything_does_not_keep_a_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    evaluation, select = step_id(study, "evaluate.embedded_pairs", "treated"), step_id(study, "select", "treated")
    record.damaged, record.unreadable_tables, record.stays_damaged = {evaluation}, {select}, True
    monkeypatch.setattr(Inputs, "keep", lambda *_: None)  # else what was just computed need not be read back
    outcome = run(study, FakePool(study), record)
    assert outcome.states[select] is State.DONE and outcome.states[evaluation] is State.FAILED
    assert outcome.reasons[evaluation] == "neuron_set.parquet is damaged"


def test_the_steps_of_a_lost_actor_go_to_another_one() -> None:
    study = plan()
    pool = FakePool(study, once(lambda *_: ActorLost(reason="killed")))
    outcome = run(study, pool)
    assert set(outcome.states.values()) == {State.DONE}
    assert "actor lost (killed)" in outcome.reasons.values()


def test_a_step_that_keeps_killing_its_actor_fails_alone() -> None:
    study = plan()
    deadly = step_id(study, "evaluate.embedded_pairs", "treated")

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if deadly in start.steps:
            yield ActorLost(reason="killed")

    outcome = run(study, FakePool(study, answer))
    assert names(outcome, study, State.FAILED) == {study.steps[deadly].title}
    assert outcome.reasons[deadly] == f"given up after {MAX_ATTEMPTS} attempts: actor lost (killed)"
    assert set(outcome.states.values()) == {State.DONE, State.FAILED}


class Unopened(FakePool):
    """Its ablation actors die `num_deaths` times before they have loaded their model."""

    num_starts, num_deaths = 0, 99

    def start(self, start: Start, method: str = "", request: Any = None) -> None:
        super().start(start, method, request)
        if start.role is Role.ABLATION:
            self.num_starts += 1
            if self.num_starts <= self.num_deaths:
                self._messages = deque(message for message in self._messages if message[0] != start.actor)
                self._messages.append((start.actor, ActorLost(reason="no free memory")))


def test_a_kind_of_actor_that_never_opens_is_given_up_at_once_for_all_of_its_steps() -> None:
    study = plan()
    pool = Unopened(study)
    outcome = run(study, pool)
    of_engine = {step.id for step in study.steps.values() if step.role is Role.ABLATION}
    failed = {step for step in of_engine if outcome.states[step] is State.FAILED}
    assert pool.num_starts == MAX_ATTEMPTS < len(failed)
    reason = f"given up after {MAX_ATTEMPTS} attempts: no actor (no free memory)"
    assert {outcome.reasons[step] for step in failed} >= {reason}
    assert {outcome.states[step] for step in of_engine} == {State.FAILED, State.SKIPPED}


def test_an_actor_that_opens_at_last_does_everything() -> None:
    study = plan()
    pool = Unopened(study)
    pool.num_deaths = MAX_ATTEMPTS - 1
    outcome = run(study, pool)
    assert outcome.complete and set(outcome.states.values()) == {State.DONE}


def test_a_failed_step_skips_what_depends_on_it_and_nothing_else() -> None:
    study, record = plan(), FakeRecord()
    failing = step_id(study, "evaluate.perplexity", "treated")

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if failing in start.steps:
            yield StepFailed(step=failing, error="the clamp changed nothing")
            yield from (scored(step, request) for step in request.interventions if step != failing)
            yield Finished()

    outcome = run(study, FakePool(study, answer), record)
    skipped = [step for step in study.steps.values() if step.condition.startswith("matched")]
    assert names(outcome, study, State.SKIPPED) == {step.title for step in skipped}
    assert outcome.reasons[failing] == "the clamp changed nothing"
    assert {outcome.reasons[step.id] for step in skipped} == {"needs evaluate.perplexity a treated"}
    failed = {run for run, status in record.finished.items() if status == "FAILED"}
    assert failed == {"treated · a", "matched · a", "matched/neighbour · a"}


def test_a_failed_request_fails_all_of_its_steps() -> None:
    study = plan()
    message = RequestFailed(error="RuntimeError: broken", traceback="")
    outcome = run(study, FakePool(study, once(lambda *_: message)))
    failed = names(outcome, study, State.FAILED)
    assert failed and {outcome.reasons[s] for s, at in outcome.states.items() if at is State.FAILED} == {message.error}


def test_texts_that_a_model_cannot_score_are_reported_with_their_place_in_the_study_file() -> None:
    study = plan()
    named = [benchmark.name for benchmark in study.study.benchmarks]
    places = {"profile": ("profile",), "evaluate.embedded_pairs": ("evaluate", named.index("embedded_pairs"))}

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if any(study.steps[step].name in places for step in start.steps):
            yield RequestFailed(error="the tokenizer has no BOS", traceback="", texts_refused=True)

    outcome = run(study, FakePool(study, answer))
    failed = {study.steps[s].name: outcome.reasons[s] for s, at in outcome.states.items() if at is State.FAILED}
    assert failed == {
        name: str(study.study.located.error(place, "a: the tokenizer has no BOS")) for name, place in places.items()
    }


def test_an_answer_without_a_result_is_a_failure() -> None:
    study = plan()
    outcome = run(study, FakePool(study, once(lambda *_: Finished())))
    failed = [step for step, state in outcome.states.items() if state is State.FAILED]
    assert failed and "without a result" in outcome.reasons[failed[0]]


def test_a_search_reads_the_windows_of_the_perplexity_that_it_matches() -> None:
    windows, *others = BENCHMARKS
    first = PerplexityBenchmark(name="first", corpus=TRAIN, window=64, num_tokens=1024)
    study = plan(benchmarks=(*others, first, windows))
    pool = FakePool(study)
    run(study, pool)
    (search,) = (request for _, _, request in pool.requests if isinstance(request, MatchRequest))
    assert (search.benchmark, search.texts) == ("first", first.request)


def test_a_search_without_a_match_is_a_finding_and_its_evaluations_are_not_applicable() -> None:
    study, record = plan(), FakeRecord()

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if study.steps[start.steps[0]].kind.name == "match":
            yield matched(request, found=False)
            yield Finished()

    outcome = run(study, FakePool(study, answer), record)
    search = step_id(study, "match", "matched")
    finding = "the control cannot be matched: perplexity never comes near"
    assert outcome.states[search] is State.DONE and search in record.steps and outcome.reasons[search] == finding
    names_of = ("matched", "matched/neighbour")
    evaluations = [step for name in names_of for step in study.evaluations["a", name].values()]
    assert {outcome.states[step] for step in evaluations} == {State.NOT_APPLICABLE}
    assert {outcome.reasons[step] for step in evaluations} == {finding}
    others = {state for step, state in outcome.states.items() if step not in evaluations}
    assert others == {State.DONE} and record.finished["matched · a"] == "FINISHED" and outcome.complete
    assert "matched/neighbour · a" not in record.finished.keys() | record.begun

    again = Runner(study, record)
    assert again.load_finished(), "nothing is left to compute"
    assert {again.outcome().states[step] for step in evaluations} == {State.NOT_APPLICABLE}


def test_a_control_that_needs_no_neighbour_leaves_its_evaluations_not_applicable_and_makes_no_run() -> None:
    study, record = plan(), FakeRecord()

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if study.steps[start.steps[0]].kind.name == "match":
            yield matched(request, neighbour=False)
            yield Finished()

    outcome = run(study, FakePool(study, answer), record)
    search, neighbour = step_id(study, "match", "matched"), set(study.evaluations["a", "matched/neighbour"].values())
    finding = "the matched control has no neighbour: not needed: near enough"
    assert {step for step, state in outcome.states.items() if state is State.NOT_APPLICABLE} == neighbour
    assert {outcome.reasons[step] for step in neighbour} == {finding} and not outcome.reasons.get(search)
    assert {at for step, at in outcome.states.items() if step not in neighbour} == {State.DONE} and outcome.complete
    assert "matched/neighbour · a" not in record.finished.keys() | record.begun

    again = Runner(study, record)
    assert again.load_finished() and {again.outcome().states[step] for step in neighbour} == {State.NOT_APPLICABLE}


def test_the_neighbour_is_scored_under_its_own_neurons() -> None:
    study, record = plan(), FakeRecord()
    pool = FakePool(study)
    assert run(study, pool, record).complete and record.finished["matched/neighbour · a"] == "FINISHED"
    asked = {s: i for _, _, r in pool.requests if isinstance(r, EvaluateRequest) for s, i in r.interventions.items()}
    for name, count in (("matched", 1), ("matched/neighbour", 2)):
        found = asked[study.evaluations["a", name]["embedded_pairs"]]
        assert {len(neurons) for neurons in found.neurons.values()} == {count} and found.clamp.bounds == (0.0, math.inf)


ODD_RESULTS = {
    "an infinite metric": {"perplexity": math.inf},
    "a metric that is nan": {"perplexity": math.nan},
    "a name that MLflow refuses": {"blimp/agreement (subject-verb)": 0.5},
    "a name that is too long": {"x" * 300: 0.5},
}


@pytest.mark.parametrize("metrics", ODD_RESULTS.values(), ids=ODD_RESULTS)
def test_a_result_that_cannot_be_recorded_fails_its_step_alone(metrics: dict[str, float]) -> None:
    study, record = plan(models=[model("a"), model("b", digest="d2")]), RefusingRecord()
    odd = step_id(study, "evaluate.perplexity", BASELINE)
    record.odd = {odd: metrics}
    outcome = run(study, FakePool(study), record)
    failed = {step for step, state in outcome.states.items() if state is State.FAILED}
    assert failed == {odd} and outcome.reasons[odd].startswith("its result cannot be recorded: metric ")
    skipped = {study.steps[step].model for step, state in outcome.states.items() if state is State.SKIPPED}
    assert skipped == {study.steps[odd].model}, "the search rests on that perplexity"
    assert {outcome.states[step.id] for step in study.steps.values() if step.model not in skipped} == {State.DONE}
    (reported,) = [m for m in review(study, outcome, record).report["models"] if m["label"] not in skipped]
    assert all(row["cells"] for row in reported["rows"])


class RefusingRecord(FakeRecord):
    """A record in memory with the checks of the real one; it gives some steps other metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: dict[str, dict[str, float]] = {}

    def commit(self, key: Any, step_id: str, step_name: str, **results: Any) -> Any:
        try:
            results["metrics"] = check_metrics(self.odd.get(step_id, results["metrics"]))
        except ValueError as error:
            raise UnrecordableError(f"its result cannot be recorded: {error}") from None
        return super().commit(key, step_id, step_name, **results)


def test_an_error_that_nobody_expected_fails_its_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark or kind brings code of its own."""
    study = plan()
    broken = step_id(study, "evaluate.embedded_pairs", "treated")
    original = type(study.steps[broken].kind).result

    def result(self: Any, step: Any, answer: Any, context: Any) -> Any:
        if step.id == broken:
            raise KeyError("uid")
        return original(self, step, answer, context)

    monkeypatch.setattr(type(study.steps[broken].kind), "result", result)
    outcome = run(study, FakePool(study))
    assert {step for step, state in outcome.states.items() if state is not State.DONE} == {broken}
    assert outcome.states[broken] is State.FAILED and outcome.reasons[broken] == "KeyError: 'uid'"


def test_a_pack_that_does_not_fit_makes_packs_smaller_for_all_conditions() -> None:
    study, record = plan(), FakeRecord()
    pool = FakePool(study, once(lambda *_: OutOfMemory(num_nodes=512, error="out of memory")))
    outcome = run(study, pool, record)
    assert set(outcome.states.values()) == {State.DONE}
    first, *later = [request for _, _, request in pool.requests if isinstance(request, EvaluateRequest)]
    again = [request for request in later if request.benchmark == first.benchmark and request.max_nodes == 256]
    assert first.max_nodes is None and first.interventions.keys() <= {s for r in again for s in r.interventions}
    step = study.steps[next(iter(first.interventions))]
    assert record.steps[step.id].tags[f"pack_nodes.{step.name}"] == "256"


def test_a_search_that_does_not_fit_is_repeated_in_smaller_packs_with_the_perplexities_that_it_rests_on() -> None:
    study, record = plan(), FakeRecord()
    pool = FakePool(study, once(lambda *_: OutOfMemory(num_nodes=512, error="out of memory"), MatchRequest))
    assert run(study, pool, record).complete
    sizes = [request.max_nodes for _, _, request in pool.requests if isinstance(request, MatchRequest)]
    assert sizes == [None, 256]
    for condition in ("baseline", "treated", "matched"):
        step = study.steps[step_id(study, "evaluate.perplexity", condition)]
        assert record.steps[step.id].tags[f"pack_nodes.{step.name}"] == "256"


def test_packs_that_cannot_be_smaller_are_a_failure() -> None:
    study = plan()
    pool = FakePool(study, once(lambda *_: OutOfMemory(num_nodes=40, error="out of memory")))
    outcome = run(study, pool)
    reasons = {outcome.reasons[s] for s, at in outcome.states.items() if at is State.FAILED}
    assert reasons == {"out of memory; smaller packs are not possible"}


def test_what_a_lost_actor_had_finished_goes_along_with_the_next_request() -> None:
    study = plan()
    parts: list[Part] = []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest) and not parts:
            step = next(iter(request.interventions))
            parts.append(Part(step=step, pack_plan="p", first_pack=0, end_pack=2, edges=np.zeros(3, np.float32)))
            yield parts[0]
            yield ActorLost(reason="killed")

    pool = FakePool(study, answer)
    assert run(study, pool).complete
    assert [r.parts[parts[0].step] for _, _, r in pool.requests if isinstance(r, EvaluateRequest) and r.parts] == parts


def test_a_drained_run_starts_nothing_more() -> None:
    study = plan()
    pool = FakePool(study)
    with pytest.raises(KeyboardInterrupt):
        run(study, pool, draining=lambda: len(pool.requests) > 0)
    assert len(pool.requests) == 1


def test_while_the_store_is_away_its_inputs_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated")}
    record.away, pool = [Unreachable("MLflow does not answer")], FakePool(study)
    pool.idle_waits = 1
    outcome = run(study, pool, record)
    assert outcome.complete and "MLflow does not answer" in caplog.text


def test_a_run_reads_nothing_back_that_it_made() -> None:
    study, record = plan(), FakeRecord()
    record.away = [Unreachable("MLflow does not answer")]
    outcome = run(study, FakePool(study), record)
    assert outcome.complete and len(record.away) == 1, "no table was read"
    record.away.clear()
    selected = step_id(study, "select", "treated")
    recorded = record.frame(record.steps[selected], "neuron_set.parquet")
    assert outcome.inputs.neuron_set(selected).to_frame().equals(recorded)


def test_a_model_for_which_no_node_is_large_enough_fails_with_what_it_needs() -> None:
    study = plan()
    outcome = run(study, FakePool(study, nodes=[Node("small", cpus=1.0)]))
    failed = {outcome.reasons[s] for s, at in outcome.states.items() if at is State.FAILED}
    assert failed == {"no node is large enough"} and not set(outcome.states.values()) & FINISHED


def test_an_actor_that_dies_before_its_first_request_costs_no_step_an_attempt() -> None:
    study, record, prewarmed = plan(), FakeRecord(), []
    run(study, FakePool(study), record)
    profile, select = step_id(study, "profile", ""), step_id(study, "select", "treated")
    evaluation = step_id(study, "evaluate.embedded_pairs", "treated")
    record.damaged = {profile, select, evaluation}

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if not start.steps:
            prewarmed.append(actor)
            yield ActorLost(reason="killed")

    outcome = run(study, FakePool(study, answer), record, costs={profile: 30.0, evaluation: 100.0})
    assert outcome.complete and len(prewarmed) == 1
    assert not any("actor lost" in reason for reason in outcome.reasons.values())


def test_transitions_are_heard_in_order() -> None:
    study, heard = plan(), []

    def listener(step: Step, state: State, remark: str) -> None:
        heard.append((step.title, state))

    runner = Runner(study, FakeRecord(), watcher=On(listener))
    runner.run(FakePool(study), CLUSTER, {})
    for step in study.steps.values():
        assert [state for title, state in heard if title == step.title] == [State.RUNNING, State.DONE]


def test_importing_the_runner_loads_neither_ray_nor_mlflow() -> None:
    code = "import sys, orchestrator.execution.runner; print(sorted({'ray', 'mlflow', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_what_a_machine_is_busy_with_is_recorded_between_the_results() -> None:
    study, record = plan(), FakeRecord()
    load = {"system/node/cpu_utilization_percentage": 75.0}

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest):
            for step in request.interventions:
                yield scored(step, request)
                yield Load(metrics=load)
            yield Finished()

    outcome = run(study, FakePool(study, answer), record)
    assert outcome.complete and record.pages.samples and all(sample == load for sample in record.pages.samples)
