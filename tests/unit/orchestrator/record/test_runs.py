"""The life of runs, and that nothing is asked or written twice, without MLflow."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import RunKey
from orchestrator.record.pages.run_page import RunInput, RunPage
from orchestrator.record.runs import Runs, current, invocations, left_by, twins
from tests.unit.orchestrator.record.examples import KEY, STUDY_KEY


class FakeStore:
    """Logs every call; `stored` are the runs that MLflow holds."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.stored: list[Any] = []
        self.error: Exception | None = None

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.calls.append((name, *args, *kwargs.values()))
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run{len(self.calls)}"))

    def log_params(self, run_id: str, params: dict[str, str]) -> None:
        self.calls.append(("params", run_id, dict(params)))

    def log_tags(self, run_id: str, tags: dict[str, str]) -> None:
        self.calls.append(("tags", run_id, dict(tags)))

    def remove_tag(self, run_id: str, name: str) -> None:
        self.calls.append(("delete_tag", run_id, name))

    def log_metrics(self, run_id: str, metrics: dict[str, float], *, date_ms: int) -> None:
        assert date_ms > 1_700_000_000_000
        self.calls.append(("metrics", run_id, dict(metrics)))

    def restore_metric(self, run_id: str, name: str, value: float) -> None:
        self.calls.append(("metric again", run_id, name, value))

    def log_inputs(self, run_id: str, inputs: list[RunInput]) -> None:
        self.calls.append(("inputs", run_id, [one.name for one in inputs]))

    def runs(self, experiments: list[str]) -> list[Any]:
        return self.stored

    def names(self) -> list[str]:
        """The calls made since the last look, by name."""
        calls, self.calls = self.calls, []
        return [call[0] for call in calls]


def stored(run_id: str, identity: str, *, status: str = "FINISHED", stage: str = "active", **tags: str) -> Any:
    """A condition run as MLflow returns it."""
    place = {"halfwave.kind": "condition", "halfwave.model": "tiny", "halfwave.condition": "wasserstein"}
    info = SimpleNamespace(run_id=run_id, run_name=KEY.name, status=status, lifecycle_stage=stage, experiment_id="1")
    data = SimpleNamespace(params=dict(KEY.params), tags={**place, "halfwave.identity": identity, **tags}, metrics={})
    return SimpleNamespace(info=info, data=data, inputs=None)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def runs(store: FakeStore) -> Runs:
    runs = Runs(store)
    runs.load("1")
    runs.ensure(STUDY_KEY)
    store.names()
    return runs


def test_a_run_is_created_once(store: FakeStore, runs: Runs) -> None:
    run = runs.ensure(KEY)
    assert store.calls == [
        ("create_run", "1", "wasserstein · tiny", run.tags),
        ("params", run.run_id, {"model": "tiny", "fraction": "0.01"}),
    ]
    assert run.tags["mlflow.parentRunId"] == runs.parent.run_id
    store.names()
    assert runs.ensure(KEY) is run and runs.find(KEY) is run and store.names() == []
    assert runs.running() == [runs.parent, run]


def test_a_closed_run_is_reopened_only_if_asked(store: FakeStore, runs: Runs) -> None:
    run = runs.ensure(KEY)
    runs.terminate(run, "FINISHED")
    runs.terminate(run, "FINISHED")
    assert store.names() == ["create_run", "params", "set_terminated"]
    runs.ensure(KEY, running=False)
    assert store.names() == [] and run.status == "FINISHED"
    runs.ensure(KEY)
    assert store.calls == [("update_run", run.run_id, "RUNNING")] and run.status == "RUNNING"


def test_another_identity_supersedes_and_the_first_restores(store: FakeStore, runs: Runs) -> None:
    old = runs.ensure(KEY)
    new = runs.ensure(replace(KEY, identity="bb22"))
    assert old.is_superseded and old.tags["superseded_by"] == new.run_id and old.status == "KILLED"
    assert store.names() == ["create_run", "params", "create_run", "params", "set_terminated", "set_tag", "delete_run"]
    assert runs.ensure(KEY, running=False) is old
    assert not old.is_superseded and new.is_superseded
    assert store.names() == ["restore_run", "delete_tag", "set_terminated", "set_tag", "delete_run"]
    runs.ensure(replace(KEY, condition="random"))
    assert not old.is_superseded  # another slot


def test_new_params_tags_and_names_are_written_and_changed_params_refused(store: FakeStore, runs: Runs) -> None:
    run = runs.ensure(KEY)
    store.names()
    params = {**KEY.params, "seed": "3"}
    runs.ensure(replace(KEY, name="tiny · wasserstein", params=params, tags={"model.note": "è"}))
    assert store.calls == [
        ("params", run.run_id, {"seed": "3"}),
        ("tags", run.run_id, {"model.note": "è"}),
        ("update_run", run.run_id, "tiny · wasserstein"),
    ]
    with pytest.raises(RecordError) as caught:
        runs.ensure(replace(KEY, params={**params, "seed": "4"}))
    assert str(caught.value) == (
        f"param 'seed' of run 'tiny · wasserstein' ({run.run_id}) is '3' in MLflow and '4' now; "
        "params are written once, so a changed definition needs another identity"
    )


def test_orphans_are_closed_and_superseded_runs_hidden_when_loaded(store: FakeStore) -> None:
    store.stored = [
        stored("orphan", "aa11", status="RUNNING"),
        stored("visible", "bb22", superseded_by="orphan"),
        stored("hidden", "cc33", stage="deleted", superseded_by="orphan"),
    ]
    runs = Runs(store)
    runs.load("1")
    assert store.calls == [("set_terminated", "orphan", "KILLED"), ("delete_run", "visible")]
    assert [run_id_of(runs, identity) for identity in ("aa11", "bb22", "cc33", "dd44")] == [
        "orphan",
        "visible",
        "hidden",
        None,
    ]


def run_id_of(runs: Runs, identity: str) -> str | None:
    run = runs.find(replace(KEY, identity=identity))
    return None if run is None else run.run_id


def test_of_two_runs_of_one_identity_the_current_one_counts(store: FakeStore) -> None:
    store.stored = [
        stored("old", "aa11", stage="deleted", superseded_by="new"),
        stored("new", "aa11"),
        stored("newer", "aa11"),
    ]
    runs = Runs(store)
    runs.load("1")
    assert run_id_of(runs, "aa11") == "new"


def test_a_run_that_was_asked_for_without_an_answer_is_looked_for_first(store: FakeStore, runs: Runs) -> None:
    store.error = Unreachable("no answer")
    with pytest.raises(Unreachable):
        runs.ensure(KEY)
    store.error, store.stored = None, [stored("there", "aa11")]
    assert runs.ensure(KEY).run_id == "there" and "create_run" not in store.names()


def test_of_twins_the_oldest_that_holds_commits_stays(store: FakeStore) -> None:
    store.stored = [
        stored("empty", "aa11", status="RUNNING"),
        stored("first", "aa11", **{"step.evaluate.blimp": "{}"}),
        stored("second", "aa11", **{"step.evaluate.tse": "{}"}),
        stored("hidden", "aa11", stage="deleted", superseded_by="gone", **{"step.evaluate.tse": "{}"}),
        stored("other", "bb22"),
    ]
    assert twins(store.stored) == {"empty": "first", "second": "first"}
    assert [run.info.run_id for run in current(store.stored)] == ["first", "other"]
    runs = Runs(store)
    runs.load("1")
    assert run_id_of(runs, "aa11") == "first" and run_id_of(runs, "bb22") == "other"
    assert store.calls == [
        ("set_terminated", "empty", "KILLED"),
        ("set_tag", "empty", "superseded_by", "first"),
        ("delete_run", "empty"),
        ("set_tag", "second", "superseded_by", "first"),
        ("delete_run", "second"),
    ]


def test_a_key_of_another_kind_is_another_slot(runs: Runs) -> None:
    profile = RunKey(kind="profile", model="tiny", name="x", identity="aa11")
    assert runs.ensure(profile) is not runs.ensure(KEY) and not runs.ensure(profile).is_superseded


PAGE = RunPage(
    note="costs",
    tags={"claim.a": "supported"},
    owned=("claim.",),
    metrics={"delta/blimp": -0.5},
    inputs=(RunInput("blimp", "ab" * 32, "hub", "benchmark"),),
)


def test_a_page_is_written_once_and_then_only_where_it_differs(store: FakeStore, runs: Runs) -> None:
    run = runs.ensure(KEY).run_id
    store.calls.clear()
    runs.show(KEY, PAGE)
    assert store.calls == [
        ("tags", run, {"claim.a": "supported", "mlflow.note.content": "costs"}),
        ("metrics", run, {"delta/blimp": -0.5}),
        ("inputs", run, ["blimp"]),
    ]
    store.calls.clear()
    runs.show(KEY, PAGE)
    assert store.calls == []
    runs.show(KEY, replace(PAGE, tags={"claim.b": "absent"}, metrics={"delta/blimp": 0.25}, note=""))
    assert store.calls == [
        ("delete_tag", run, "claim.a"),
        ("delete_tag", run, "mlflow.note.content"),
        ("tags", run, {"claim.b": "absent"}),
        ("metric again", run, "delta/blimp", 0.25),
    ]


def test_what_mlflow_shows_already_is_known_when_the_runs_are_loaded(store: FakeStore) -> None:
    held = stored("there", "aa11", **{"claim.a": "supported", "mlflow.note.content": "costs"})
    held.data.metrics = {"delta/blimp": -0.5}
    dataset = SimpleNamespace(dataset=SimpleNamespace(name="blimp", digest="ab" * 16))
    held.inputs = SimpleNamespace(dataset_inputs=[dataset])
    store.stored = [held]
    runs = Runs(store)
    runs.load("1")
    store.calls.clear()
    runs.show(KEY, PAGE)
    assert store.calls == []


def test_a_run_that_is_not_there_or_was_superseded_has_no_page(store: FakeStore, runs: Runs) -> None:
    runs.show(KEY, PAGE)
    assert store.calls == []
    runs.ensure(KEY)
    runs.ensure(replace(KEY, identity="bb22"))
    store.calls.clear()
    runs.show(KEY, PAGE)
    assert store.calls == []


def at(second: int, name: str, condition: str = "top", **tags: str) -> Any:
    """One of MLflow's runs, made at a second."""
    tags = {"halfwave.kind": "condition", "halfwave.condition": condition, "halfwave.identity": name, **tags}
    info = SimpleNamespace(run_id=name, start_time=1000 * second, experiment_id="1")
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


def second(number: int) -> datetime:
    return datetime.fromtimestamp(number, UTC)


def left(runs: list[Any], began: int, ended: int) -> tuple[list[str], list[str]]:
    """Names of the runs that an invocation left, and of the doubtful ones."""
    found = left_by(runs, second(began), second(ended))
    return [run.info.run_id for run in found.runs], [run.info.run_id for run in found.doubtful]


def test_an_invocation_left_the_newest_run_of_every_slot() -> None:
    runs = [
        at(11, "first", superseded_by="second"),
        at(12, "other", "bottom"),
        at(21, "second", superseded_by="third"),
        at(31, "third"),
    ]
    assert left(runs, 10, 20) == (["first", "other"], [])
    assert left(runs, 20, 30) == (["second", "other"], [])


def test_a_definition_that_was_gone_back_to_leaves_a_doubt_in_later_invocations_alone() -> None:
    """first, then second, then first again, then third."""
    runs = [at(11, "first", superseded_by="third"), at(21, "second", superseded_by="first"), at(41, "third")]
    assert left(runs, 10, 20) == (["first"], [])
    assert left(runs, 20, 30) == (["second"], []), "an invocation has one definition, and made this run"
    assert left(runs, 30, 40) == ([], ["second"])


def test_invocations_are_told_by_the_tags_of_the_studys_own_run() -> None:
    tags = {"invocation.19700101T000020.500000Z": "FINISHED", "invocation.19700101T000010.000000Z": "KILLED"}
    parent = at(1, "s", **tags, **{"invocation.of others": "x", "halfwave.kind": "study"})
    assert invocations([at(2, "a"), parent]) == [second(10), datetime.fromtimestamp(20.5, UTC)]
