"""Steps found again: superseded and restored runs, copies of other studies, and the search for them."""

from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

import halfwave
from orchestrator.record import mlflow_store
from orchestrator.record.client.failures import RecordError
from tests.integration.record.recorded import (
    MISSING,
    NEURONS,
    StoreFolder,
    broken_artifact,
    commit,
    condition,
    fail_with,
    known,
    profile,
)


def test_a_changed_definition_supersedes_and_going_back_restores(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    old = commit(record, condition(identity="aa"), "old")
    new = commit(record, condition(identity="bb"), "new", "evaluate.tse", metrics={"tse/accuracy": 0.5})
    assert old.run_id != new.run_id
    assert [run.info.run_id for run in store.runs(study, "condition")] == [new.run_id]  # as the interface lists them
    hidden = store.client.get_run(old.run_id)
    assert (hidden.data.tags["superseded_by"], hidden.info.lifecycle_stage) == (new.run_id, "deleted")
    assert halfwave.load(store.uri, study).conditions.run_id.tolist() == [new.run_id]
    assert record.latest(study) == {("tiny", "wasserstein", "evaluate.tse"): new}
    assert record.latest("no such study") == {}

    assert known(record, study, "old") == {"old": old} and record.verify(old)  # nothing is lost
    adopted = record.adopt(condition(identity="bb"), old)
    assert (adopted.run_id, adopted.metrics) == (new.run_id, old.metrics)
    assert store.client.get_run(new.run_id).data.tags["adopted_from"] == old.run_id
    assert known(record, study, "old") == {"old": adopted}  # the current run goes first

    again = store.record(study)
    assert again.adopt(condition(identity="aa"), old) == old
    assert [run.info.run_id for run in store.runs(study, "condition")] == [old.run_id]
    assert "superseded_by" not in store.client.get_run(old.run_id).data.tags
    assert store.client.get_run(new.run_id).data.tags["superseded_by"] == old.run_id
    assert store.client.get_run(old.run_id).info.status == "KILLED"  # as it was: adopting in place runs nothing
    with monkeypatch.context() as patch:
        fail_with(patch, OSError("gone"))
        assert again.adopt(condition(identity="bb"), adopted) == adopted  # the study goes on,
    assert again.flush() == 0  # and what was to change in MLflow changes later
    assert [run.info.run_id for run in store.runs(study, "condition")] == [new.run_id]


def test_superseded_runs_that_a_restore_made_visible_are_hidden_again(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, condition(identity="aa"), "old")
    new = commit(record, condition(identity="bb"), "new")
    record.close("FINISHED")
    experiment = store.client.get_experiment_by_name(study).experiment_id
    store.client.delete_experiment(experiment)
    store.client.restore_experiment(experiment)
    assert len(store.runs(study, "condition")) == 2
    assert halfwave.load(store.uri, study).conditions.run_id.tolist() == [new.run_id]
    store.record(study)
    assert [run.info.run_id for run in store.runs(study, "condition")] == [new.run_id]


def test_a_profile_is_shared_between_studies(store: StoreFolder, study: str) -> None:
    first, second = store.record(f"{study}-1"), store.record(f"{study}-2")
    results = {"frames": {"neurons.parquet": NEURONS}, "metrics": {"num_tokens": 4096.0}, "tags": {"route": "tree"}}
    step = commit(first, profile(), "scores", "profile", **results)
    shared = known(second, f"{study}-1", "scores")["scores"]
    assert shared == step and shared.experiment == f"{study}-1"
    adopted = second.adopt(profile(), shared)
    (run,) = store.runs(f"{study}-2", "profile")
    assert adopted.run_id == run.info.run_id != step.run_id and adopted.artifacts == step.artifacts
    assert (run.data.metrics, run.data.tags["route"]) == ({"num_tokens": 4096.0}, "tree")
    assert run.data.tags["adopted_from"] == step.run_id
    assert halfwave.load(store.uri, f"{study}-2").neurons("tiny").wasserstein_distance.tolist() == [0.25, 0.5]
    # each study prefers its own copy, and adopting it changes nothing
    assert known(second, f"{study}-1", "scores")["scores"] == adopted
    assert known(first, f"{study}-1", "scores")["scores"] == step
    assert second.adopt(profile(), adopted) == adopted

    store.artifact(run, "neurons.parquet").unlink()
    with pytest.raises(RecordError) as error:
        first.adopt(condition(), adopted)
    assert str(error.value) == broken_artifact(store.uri, "neurons.parquet", run.info.run_id, MISSING)


def test_a_run_that_a_person_deleted_is_not_remembered(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    step = commit(record, condition(), "x")
    store.client.delete_run(step.run_id)
    again = store.record(study)
    assert known(again, study, "x") == {}
    redone = commit(again, condition(), "x")
    assert redone.run_id != step.run_id and known(again, study, "x") == {"x": redone}


def test_equal_steps_of_two_conditions_wait_side_by_side(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    with monkeypatch.context() as patch:
        fail_with(patch, OSError("gone"))
        step = commit(record, condition("bottom"), "x")
        assert record.adopt(condition("bottom"), step) == step  # it waits for that very run
        assert record.adopt(condition("matched"), step).artifacts == step.artifacts
    assert record.flush() == 0
    assert [run.data.metrics for run in store.runs(study, "condition")] == [{"blimp/accuracy": 0.8125}] * 2
    record.close("FINISHED")

    again = store.record(study)
    cached = known(again, study, "x")["x"]
    calls = fail_with(monkeypatch, OSError("gone"))
    runs = [again.adopt(condition(name), cached).run_id for name in ("bottom", "matched")]
    assert runs == [run.info.run_id for run in store.runs(study, "condition")]
    assert calls == []  # a second invocation writes nothing
    monkeypatch.undo()
    store.artifact(store.runs(study, "condition")[1], "items/blimp.parquet").write_bytes(b"rot")
    assert again.verify(
        again.adopt(condition("matched"), replace(cached, run_id=runs[0]))
    )  # mended from the other copy


def test_known_reads_all_pages_in_bulk(store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = store.record(study)
    for i in range(7):
        for j in range(3):
            commit(record, condition(f"c{i}"), f"{i}-{j}", f"step{j}", metrics={}, frames={})
    wanted = [f"{i}-{j}" for i in range(7) for j in range(4)]
    monkeypatch.setattr(mlflow_store, "PAGE", 4)
    calls: list[int] = []
    search = MlflowClient.search_runs
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_runs", lambda *a, **k: calls.append(1) or search(*a, **k))
        assert known(record, study, *wanted).keys() == {f"{i}-{j}" for i in range(7) for j in range(3)}
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    total = len(store.client.search_runs(experiments, "tags.`halfwave.kind` != ''", ViewType.ALL))
    assert len(calls) <= total // 4 + 1
