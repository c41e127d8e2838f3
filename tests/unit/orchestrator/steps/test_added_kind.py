"""A step kind added from outside the product: planned, asked, recorded and cached like any other."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from orchestrator.execution.runner import Runner
from orchestrator.planning import plan as planning
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import State
from tests.fakes import NODE, FakePool, FakeRecord
from tests.plans import plan, step_id
from tests.toys.step_kind import KIND, TABLE, Counted, CountRequest
from tests.world import make_cluster

COUNTS = np.array([3, 0, 4])


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MODEL_STEPS", (*planning.MODEL_STEPS, KIND))


def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
    if isinstance(request, CountRequest):
        yield Counted(step=request.step, counts=COUNTS)


def run(record: FakeRecord) -> dict[str, State]:
    """One run of the study; {title: state}."""
    study = plan()
    runner = Runner(study, record)
    if not runner.load_finished():
        runner.run(FakePool(study, answer), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})
    return {study.steps[step].title: state for step, state in runner.outcome().states.items()}


def test_an_added_kind_is_run_with_all_others_and_cached() -> None:
    record = FakeRecord()
    assert set(run(record).values()) == {State.DONE}
    committed = record.steps[step_id(plan(), "token_counts", "")]
    assert committed.metrics == {"token_counts/distinct": 2.0}
    assert record.frame(committed, TABLE)["count"].tolist() == [3, 0, 4]
    assert run(record)["token_counts a"] is State.CACHED


def test_an_added_kind_changes_no_other_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = plan()
    monkeypatch.undo()
    assert set(with_it.steps) - set(plan().steps) == {step_id(with_it, "token_counts", "")}
    assert set(plan().steps) < set(with_it.steps)


def test_a_raised_version_recomputes_the_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    record = FakeRecord()
    run(record)
    monkeypatch.setattr(type(KIND), "version", 2)
    states = run(record)
    assert {title for title, state in states.items() if state is State.DONE} == {"token_counts a"}
