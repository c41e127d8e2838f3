"""Engines compared with Transformers: the rule, and what becomes of results until the comparison is made."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.messages.ablation import EvaluateRequest, Part
from actors.messages.probe import ReferenceRequest
from actors.messages.scoring import ProfileRequest
from actors.messages.stream import ActorLost, Finished, RequestFailed
from orchestrator.execution.engine_proofs import TOLERANCE as TOLERANCES
from orchestrator.execution.engine_proofs import compare
from orchestrator.execution.runner import Runner
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.steps.artifacts import ENGINE_PROBE
from orchestrator.steps.step import Role, State
from tests.fakes import FakePool, FakeRecord, probed, profiled, reference
from tests.plans import model, plan, step_id
from tests.world import make_cluster

NODE = Node("n", cpus=16.0)
TOLERANCE = TOLERANCES["cpu"]


def run(study: Plan, pool: FakePool, record: FakeRecord, models: tuple[str, ...] = ("a",), **options: Any) -> Outcome:
    runner = Runner(study, record, **options)
    runner.load_finished()
    return runner.run(pool, make_cluster([NODE], dict.fromkeys(models, Demand(2.0, 0.0))), {})


def methods(pool: FakePool) -> list[str]:
    """The methods that were asked of actors."""
    return [method for _, method, _ in pool.requests]


# -- the rule --------------------------------------------------------------------------------------------------------


def floats(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize(
    ("engine", "rounded", "passes"),
    [
        pytest.param((-2.0, -2.0, -2.0), None, True, id="equal"),
        pytest.param((-2.0, -2.0, -2.0 + 2.9 * TOLERANCE), None, True, id="the mean decides, not the largest"),
        pytest.param((-2.0, -2.0, -2.0 + 3.1 * TOLERANCE), None, False, id="the mean is too large"),
        pytest.param((-2.0, -2.0, float("nan")), None, False, id="not a number"),
        pytest.param((-2.1, -1.9, -2.0), (-2.0, -2.0, -2.2), True, id="no further than rounding"),
        pytest.param((-2.1, -1.9, -2.0), (-2.0, -2.0, -2.05), False, id="further than rounding explains"),
        pytest.param((-2.0, -2.0, -2.0), (-2.0, -2.0, float("nan")), True, id="only Transformers overflows"),
    ],
)
def test_the_mean_over_the_tokens_decides(
    engine: tuple[float, ...], rounded: tuple[float, ...] | None, passes: bool
) -> None:
    expected = reference("a") if rounded is None else reference("a", rounded=floats(*rounded))
    verdict = compare(probed("a", log_probabilities=floats(*engine)), expected)
    assert (verdict.refusal == "") is passes


def test_a_refusal_says_by_how_much() -> None:
    assert compare(probed("a", -4.5), reference("a")).refusal == (
        "a: vLLM and Transformers differ by 2.5 nats a token on the probe (tolerance 0.0002): the engine does not "
        "compute this model"
    )


def test_an_engine_with_fewer_positions_is_compared_on_the_tokens_that_it_has() -> None:
    short = probed("a", ids=((0, 1), (0, 3)), log_probabilities=floats(-2.0, -2.5))
    whole = reference("a", log_probabilities=floats(-2.0, -9.0, -2.5), rounded=floats(-2.0, -9.0, -2.5))
    verdict = compare(short, whole)
    assert (verdict.difference, verdict.refusal) == (0.0, "")


def test_other_tokens_are_refused() -> None:
    verdict = compare(probed("a", ids=((0, 1, 2), (0, 4))), reference("a"))
    assert verdict.refusal == "a: the probe has other tokens in vLLM than in Transformers: the tokenizer has changed"


# -- in a run --------------------------------------------------------------------------------------------------------


def test_an_engine_is_compared_with_the_reference_of_the_profile() -> None:
    study, record = plan(), FakeRecord()
    pool = FakePool(study)
    assert run(study, pool, record).complete and "reference" not in methods(pool)
    (comparison,) = record.probes.values()
    assert comparison.metrics == {
        "engine_probe/difference": 0.0,
        "engine_probe/tolerance": TOLERANCE,
        "engine_probe/passed": 1.0,
    }
    assert record.document(comparison, "engine_probe.json") == {
        "start": probed("a").start,
        "tokens": 3,
        "difference": 0.0,
        "tolerance": TOLERANCE,
        "refusal": "",
    }


class ProfilesLast(FakePool):
    """Score actors answer once nothing else has anything to say."""

    def wait(self, timeout: float) -> list[tuple[str, Any]]:
        self._messages = deque(sorted(self._messages, key=lambda message: " score " in message[0]))
        return super().wait(timeout)


def test_results_wait_for_the_comparison() -> None:
    study, record = plan(), FakeRecord()
    pool = ProfilesLast(study)
    assert run(study, pool, record).complete
    order = list(record.steps)
    assert order[0] == step_id(study, "profile", ""), "the baseline was scored first, and recorded later"


def test_a_model_that_the_engine_does_not_compute_is_refused_and_others_go_on() -> None:
    study = plan(STUDY_OF_TWO, models=[model("a"), model("b", digest="d2")])
    record = FakeRecord()

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, ProfileRequest):
            yield replace(profiled(request), reference=reference(start.model))
            yield Finished()

    pool = FakePool(study, answer, probe=lambda label: probed(label, -2.0 if label == "b" else -4.5))
    outcome = run(study, pool, record, models=("a", "b"))
    states = {(step.model, step.role): outcome.states[step.id] for step in study.steps.values()}
    assert states["a", Role.ABLATION] is State.FAILED and states["a", Role.SCORE] is State.DONE
    assert {state for (label, _), state in states.items() if label == "b"} == {State.DONE}
    failed = {outcome.reasons[step] for step, state in outcome.states.items() if state is State.FAILED}
    assert failed == {compare(probed("a", -4.5), reference("a")).refusal}
    assert {comparison.metrics["engine_probe/passed"] for comparison in record.probes.values()} == {0.0, 1.0}


def test_a_refused_engine_is_closed_at_once_and_not_opened_again() -> None:
    """The profile is known: nothing of the model is scored."""
    study = plan()
    record = FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated"), step_id(study, "select", "random/seed=0")}
    pool = FakePool(study, probe=lambda label: probed(label, -4.5))
    outcome = run(study, pool, record)
    assert {state for state in outcome.states.values()} == {State.CACHED, State.DONE, State.FAILED}
    engines = [actor for actor, _, _ in pool.requests if "ablation" in actor]
    assert len(engines) == 1 and pool.evicted.count(engines[0]) == 1


def test_packs_of_an_engine_without_a_verdict_are_not_gone_on_with() -> None:
    study, record, asked = plan(), FakeRecord(), []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest):
            asked.append(request)
            if len(asked) == 1:
                step = next(iter(request.interventions))
                yield Part(step=step, pack_plan="plan", first_pack=0, end_pack=7, edges=np.zeros(7, dtype=np.float32))
                yield ActorLost(reason="killed")

    pool = ProfilesLast(study, answer)
    assert run(study, pool, record).complete
    assert all(not request.parts for request in asked)


def test_a_damaged_probe_counts_as_none() -> None:
    study = plan()
    record = FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated")}
    record.unreadable = {"probe.json"}
    pool = FakePool(study)
    assert run(study, pool, record).complete and "reference" not in methods(pool), "the record knows this engine"
    record.probes.clear()
    pool = FakePool(study)
    assert run(study, pool, record).complete and methods(pool).count("reference") == 1


def test_a_probe_of_other_texts_counts_as_none() -> None:
    study = plan()
    record = FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated")}
    record.replace_document(step_id(study, "profile", ""), "probe.json", version=0, ids=[[0, 1]])
    record.probes.clear()
    pool = FakePool(study)
    assert run(study, pool, record).complete and methods(pool).count("reference") == 1


def test_the_run_of_a_profile_is_closed_after_the_comparison() -> None:
    study, record = plan(), FakeRecord()
    run(study, FakePool(study), record)
    assert record.finished["neuron profile · a"] == "FINISHED"


STUDY_OF_TWO = """\
study: by-hand
models: [org/a, org/b]
profile: {tokens: 4096, window: 128}
conditions:
  treated: {select: top, fraction: 0.1, clamp: negative}
evaluate: [perplexity, embedded_pairs]
"""


def finished_but_one(study: Plan) -> FakeRecord:
    """A record in which one evaluation is damaged, and the profile left no probe."""
    record = FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated")}
    profile = step_id(study, "profile", "")
    artifacts = {path: digest for path, digest in record.steps[profile].artifacts.items() if path != "probe.json"}
    record.steps[profile] = replace(record.steps[profile], artifacts=artifacts)
    return record


def test_without_a_probe_in_the_profile_the_engine_loads_transformers_once() -> None:
    study = plan()
    record = finished_but_one(study)
    record.probes.clear()
    pool = FakePool(study)
    assert run(study, pool, record).complete and methods(pool).count("reference") == 1
    (comparison,) = record.probes.values()
    assert comparison.step_name == ENGINE_PROBE
    again = FakePool(study)
    assert run(study, again, record).complete and methods(again) == ["evaluate"], "the record knows this engine"


def test_another_version_of_transformers_is_another_comparison() -> None:
    study = plan()
    record = FakeRecord()
    run(study, FakePool(study), record)
    record.damaged = {step_id(study, "evaluate.embedded_pairs", "treated")}
    newer = {"start": {"versions": {"transformers": "6"}, "device": "cpu"}}
    pool = FakePool(study, probe=lambda label: probed(label, **newer))
    assert run(study, pool, record).complete and methods(pool) == ["evaluate", "reference"]
    assert len(record.probes) == 2


def test_exchanged_weights_are_compared_although_the_record_knows_the_engine() -> None:
    study = plan()
    record = finished_but_one(study)
    pool = FakePool(study, probe=lambda label: probed(label, is_exchanged=True))
    assert run(study, pool, record).complete and methods(pool) == ["evaluate", "reference"]


def test_a_model_that_transformers_cannot_load_is_refused() -> None:
    study = plan()
    record = finished_but_one(study)
    record.probes.clear()

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, ReferenceRequest):
            yield RequestFailed(error="OSError: no weights", traceback="")

    outcome = run(study, FakePool(study, answer), record)
    (failed,) = [step for step, state in outcome.states.items() if state is State.FAILED]
    assert outcome.reasons[failed] == "a could not be compared with Transformers: OSError: no weights"


def test_an_engine_lost_while_it_loads_transformers_is_replaced() -> None:
    study = plan()
    record = finished_but_one(study)
    record.probes.clear()
    lost: list[str] = []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, ReferenceRequest) and not lost:
            lost.append(actor)
            yield ActorLost(reason="killed")

    pool = FakePool(study, answer)
    assert run(study, pool, record).complete
    assert methods(pool) == ["evaluate", "reference", "evaluate", "reference"]


def test_where_the_profile_fails_the_engine_loads_transformers() -> None:
    study, record = plan(), FakeRecord()

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, ProfileRequest):
            yield RequestFailed(error="broken", traceback="")

    pool = FakePool(study, answer)
    outcome = run(study, pool, record)
    assert outcome.states[step_id(study, "evaluate.perplexity", "baseline")] is State.DONE
    assert outcome.states[step_id(study, "evaluate.perplexity", "treated")] is State.SKIPPED
    assert methods(pool).count("reference") == 1


def test_a_drained_run_records_what_waits() -> None:
    study, record, asked = plan(), FakeRecord(), []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest):
            asked.append(start.steps)
            yield from ()

    pool = FakePool(study, answer, nodes=[Node("n", cpus=2.0)])
    with pytest.raises(KeyboardInterrupt):
        run(study, pool, record, draining=lambda: bool(asked))
    assert set(record.steps) >= set(asked[0])
