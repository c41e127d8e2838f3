"""Upgrades and mixed clusters, against a pool and a record in memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors.messages.ablation import EvaluateRequest
from actors.messages.stream import Finished, OutOfMemory
from orchestrator.execution.alike import Alike
from orchestrator.execution.runner import Runner
from orchestrator.planning.outcome import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand
from orchestrator.steps.step import State
from tests import fakes
from tests.fakes import ENGINE, NODE, FakePool, FakeRecord, scored
from tests.plans import STUDY, plan, step_id
from tests.watchers import On
from tests.world import make_cluster

OLD, NEW = {"torch": "2.12.0", "vllm": "0.32.0"}, {"torch": "2.13.0", "vllm": "0.32.0"}
SMALLER = STUDY.replace("seeds: [0, 1]", "seeds: [0]")
"""The study before a condition was added."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Makes every engine from now on one of these versions."""
    return lambda versions: monkeypatch.setattr(fakes, "ENGINE", replace(ENGINE, versions=versions))


def run(
    study: Plan,
    record: FakeRecord,
    pool: FakePool | None = None,
    listener: Callable[..., None] = lambda *_: None,
    **options: Any,
) -> Outcome:
    runner = Runner(
        study,
        record,
        watcher=On(listener),
        alike=Alike(study, NEW, **options),
    )
    runner.load_finished()
    return runner.run(pool or FakePool(study), make_cluster([NODE], {"a": Demand(2.0, 0.0)}), {})


def computed(study: Plan, outcome: Outcome) -> set[str]:
    return {study.steps[step].title for step, state in outcome.states.items() if state is State.DONE}


def keys(record: FakeRecord, study: Plan, benchmark: str) -> set[str]:
    """The versions of all conditions' results on a benchmark."""
    name = f"evaluate.{benchmark}"
    tags = [record.steps[step.id].tags for step in study.steps.values() if step.name == name]
    return {of_step[f"comparability.{name}"].split()[4] for of_step in tags}


def test_after_an_upgrade_an_added_condition_takes_its_siblings_along(installed) -> None:
    record, benchmarks = FakeRecord(), ("perplexity", "embedded_pairs", "embedded_knowledge")
    installed(OLD)
    run(plan(SMALLER), record)
    installed(NEW)
    study = plan()
    outcome = run(study, record)
    assert outcome.complete
    evaluations = {step.title for step in study.steps.values() if step.kind.name == "evaluate"}
    assert computed(study, outcome) == {"select a random/seed=1", *evaluations}
    assert all(keys(record, study, name) == {"torch-2.13.0"} for name in benchmarks)
    reason = outcome.reasons[step_id(study, "evaluate.embedded_pairs", "baseline")]
    assert reason == (
        "recorded under torch 2.12.0; evaluated again with torch 2.13.0, as evaluate.embedded_pairs random/seed=1 was"
    )
    assert set(run(study, record).states.values()) == {State.CACHED}


def test_only_what_is_compared_is_evaluated_again(installed) -> None:
    record, study = FakeRecord(), plan()
    installed(OLD)
    run(study, record)
    installed(NEW)
    del record.steps[step_id(study, "evaluate.embedded_pairs", "treated")]
    outcome = run(study, record)
    assert {title.split()[0] for title in computed(study, outcome)} == {
        "evaluate.embedded_pairs",
        "noise_floor.embedded_pairs",
    }
    assert keys(record, study, "perplexity") == {"torch-2.12.0"}


def test_nothing_is_evaluated_again_where_nothing_is_to_run(installed) -> None:
    record, study = FakeRecord(), plan()
    installed(OLD)
    run(study, record)
    installed(NEW)
    assert set(run(study, record).states.values()) == {State.CACHED}


def test_a_run_that_was_killed_half_way_goes_on(installed) -> None:
    record, study = FakeRecord(), plan()
    installed(OLD)
    run(study, record)
    old = dict(record.steps)
    installed(NEW)
    del record.steps[step_id(study, "evaluate.embedded_pairs", "treated")]
    run(study, record)
    baseline = step_id(study, "evaluate.embedded_pairs", "baseline")
    record.steps[baseline] = old[baseline]
    outcome = run(study, record)
    assert computed(study, outcome) == {study.steps[baseline].title}
    assert outcome.reasons[baseline].startswith("recorded under torch 2.12.0; evaluated again with torch 2.13.0, as ")


@pytest.mark.parametrize("keep_versions", [False, True])
def test_a_search_aims_at_perplexities_of_the_installed_versions(installed, keep_versions: bool) -> None:
    record, study, order = FakeRecord(), plan(), []
    installed(OLD)
    run(study, record)
    for step in study.steps.values():
        if step.condition == "matched":
            del record.steps[step.id]
    installed(NEW)
    outcome = run(
        study,
        record,
        listener=lambda step, state, remark: order.append((state, step.name, step.condition)),
        keep_versions=keep_versions,
    )
    assert outcome.complete
    search = order.index((State.RUNNING, "match", "matched"))
    aims = {(State.DONE, "evaluate.perplexity", condition) for condition in ("baseline", "treated")}
    assert aims.isdisjoint(order) if keep_versions else aims <= set(order[:search])


def test_versions_are_kept_on_demand(installed) -> None:
    record, study = FakeRecord(), plan()
    installed(OLD)
    run(plan(SMALLER), record)
    installed(NEW)
    outcome = run(study, record, keep_versions=True)
    assert computed(study, outcome) == {
        "select a random/seed=1",
        *(f"evaluate.{b} a random/seed=1" for b in ("perplexity", "embedded_pairs", "embedded_knowledge")),
    }
    assert keys(record, study, "embedded_pairs") == {"torch-2.12.0", "torch-2.13.0"}
    assert set(run(study, record, keep_versions=True).states.values()) == {State.CACHED}
    assert run(study, record).complete and keys(record, study, "embedded_pairs") == {"torch-2.13.0"}


def on_packs(study: Plan, name: str, pack_plan: Callable[[str], str]) -> Callable[..., Iterator[Any]]:
    """Actors that answer requests for these steps in the packs that `pack_plan` gives for a condition."""

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest) and study.steps[next(iter(request.interventions))].name == name:
            for step in request.interventions:
                yield scored(step, request, pack_plan=pack_plan(study.steps[step].condition))
            yield Finished()

    return answer


def test_two_kinds_of_actors_end_in_one_clear_line(installed) -> None:
    installed(NEW)
    study, record = plan(), FakeRecord()
    name, asked = "evaluate.embedded_pairs", []

    def other_for_treated(condition: str) -> str:
        asked.append(condition)
        return "two" if condition == "treated" else "one"

    outcome = run(study, record, FakePool(study, on_packs(study, name, other_for_treated)))
    failed = {study.steps[s].title: outcome.reasons[s] for s, state in outcome.states.items() if state is State.FAILED}
    assert failed == {
        f"{name} a treated": (
            f"computed with pack plan two, but {name} a baseline in this run with pack plan one: what is compared must "
            "be computed alike; give a nodes of one kind and with the same packages (`labels` beside the model), or "
            "compare less with --keep-versions"
        )
    }
    assert asked.count("treated") == 2 and set(outcome.states.values()) == {State.DONE, State.FAILED}


def test_a_result_that_differs_is_computed_once_more(installed) -> None:
    installed(NEW)
    study, record = plan(), FakeRecord()
    plans = iter(["one", "two"])
    pool = FakePool(study, on_packs(study, "evaluate.embedded_pairs", lambda _: next(plans, "one")))
    assert run(study, record, pool).complete
    assert next(plans, None) is None


def test_smaller_packs_in_the_middle_of_a_run_are_no_second_kind(installed) -> None:
    installed(NEW)
    study, record, seen = plan(), FakeRecord(), []

    def answer(actor: str, start: Start, request: Any) -> Iterator[Any]:
        if isinstance(request, EvaluateRequest) and request.benchmark == "embedded_pairs":
            if request.max_nodes is None and seen:
                yield OutOfMemory(num_nodes=512, error="out of memory")
                return
            seen.append(request.max_nodes)
            for step in request.interventions:
                yield scored(step, request, pack_plan=f"of-{request.max_nodes}")
            yield Finished()

    outcome = run(study, record, FakePool(study, answer))
    assert outcome.complete, outcome.reasons
    assert seen[0] in (None, 256) and 256 in seen
    name = "evaluate.embedded_pairs"
    tags = [record.steps[step.id].tags[f"comparability.{name}"] for step in study.steps.values() if step.name == name]
    assert len(set(tags)) == 1
