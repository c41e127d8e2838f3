"""Experiments, runs and what stands on them, as a person sees them in MLflow."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

import halfwave
from orchestrator.record.client.failures import RecordError
from orchestrator.record.keys import RunKey
from orchestrator.record.pages.run_page import RunPage
from orchestrator.record.record import Record
from tests.integration.record.recorded import ENVIRONMENT, NEURONS, StoreFolder, commit, condition, profile


def test_one_parent_and_one_run_per_condition_visible_while_the_study_runs(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    for name in ("wasserstein", "random"):
        commit(record, condition(name), f"{name}-blimp")
        commit(record, condition(name), f"{name}-tse", "evaluate.tse", metrics={"tse/accuracy": 0.5}, frames={})
    commit(record, profile(), "scores", "profile", frames={"neurons.parquet": NEURONS}, metrics={})

    (parent,) = store.runs(study, "study")
    children = store.runs(study, "condition") + store.runs(study, "profile")
    assert [run.info.run_name for run in children] == ["tiny · random", "tiny · wasserstein", "tiny · profile"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"RUNNING"}
    assert children[0].data.metrics == {"blimp/accuracy": 0.8125, "tse/accuracy": 0.5}
    assert children[0].data.params == dict(condition("random").params)
    assert store.client.get_experiment(parent.info.experiment_id).name == study
    assert "mlflow.parentRunId" not in parent.data.tags and parent.info.run_name == study
    assert parent.data.params == {"study": study}
    assert parent.data.tags["mlflow.source.git.commit"] == "4f2a91c"
    assert parent.data.tags["environment.vllm"] == "0.32.0"

    record.finish(condition("random"), "FINISHED")
    record.finish(condition("wasserstein"), "FAILED")
    record.pages.show(RunKey(kind="study", name=study), RunPage(note="**clips** the negative half"))
    statuses = {run.info.run_name: run.info.status for run in store.runs(study, "condition")}
    assert statuses == {"tiny · random": "FINISHED", "tiny · wasserstein": "FAILED"}
    assert store.runs(study, "study")[0].info.status == "RUNNING"
    assert record.close("FINISHED") == 0
    (parent,) = store.runs(study, "study")
    assert (parent.info.status, parent.data.tags["mlflow.note.content"]) == ("FINISHED", "**clips** the negative half")
    assert store.runs(study, "profile")[0].info.status == "FINISHED"


def test_a_later_invocation_reopens_the_same_runs_and_is_recorded(store: StoreFolder, study: str) -> None:
    first = store.record(study)
    commit(first, condition(), "one")
    first.close("FAILED")
    second = store.record(study)
    commit(second, condition(), "two", "evaluate.tse", metrics={"tse/accuracy": 1.0}, frames={})
    (child,), (parent,) = store.runs(study, "condition"), store.runs(study, "study")
    assert (child.info.status, parent.info.status) == ("RUNNING", "RUNNING")
    assert child.data.metrics == {"blimp/accuracy": 0.8125, "tse/accuracy": 1.0}
    second.close("FINISHED")

    (parent,) = store.runs(study, "study")
    invocations = {name: value for name, value in parent.data.tags.items() if name.startswith("invocation.")}
    assert sorted(invocations.values()) == ["FAILED", "FINISHED"]
    for name in invocations:
        path = store.artifact(parent, f"invocations/{name.removeprefix('invocation.')}.json")
        assert json.loads(path.read_text())["gpus"] == ["none"]
    assert store.artifact(parent, "study.yaml").read_text() == f"study: {study}\n"
    assert json.loads(store.artifact(parent, "resolved.json").read_text()) == {"a": [1]}
    assert json.loads(store.artifact(parent, "environment.json").read_text()) == ENVIRONMENT


def test_a_run_whose_display_name_has_changed_is_renamed(store: StoreFolder, study: str) -> None:
    store.record(study).begin(replace(condition(), name="tiny · wasserstein"))
    store.record(study).begin(replace(condition(), name="wasserstein · tiny"))
    assert [run.info.run_name for run in store.runs(study, "condition")] == ["wasserstein · tiny"]


def test_a_run_shows_as_running_before_its_first_result(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    record.begin(condition())
    assert store.runs(study, "condition")[0].info.status == "RUNNING"
    record.finish(condition(), "FAILED")
    record.begin(condition())
    (run,) = store.runs(study, "condition")
    assert (run.info.status, run.data.metrics) == ("RUNNING", {})
    assert halfwave.load(store.uri, study).conditions[["name", "status"]].values.tolist() == [
        ["tiny · wasserstein", "RUNNING"]
    ]
    commit(record, condition(), "one", metrics={"perplexity": 40.0})
    (run,) = store.runs(study, "condition")
    assert run.data.metrics == {"perplexity": 40.0}


def test_a_deleted_study_says_how_to_bring_it_back(store: StoreFolder, study: str) -> None:
    store.record(study).close("FINISHED")
    experiment = store.client.get_experiment_by_name(study).experiment_id
    store.client.delete_experiment(experiment)
    for opening in (store.record, lambda name: halfwave.load(store.uri, name)):
        with pytest.raises(RecordError) as error:
            opening(study)
        assert str(error.value) == (
            f"study '{study}' was deleted from MLflow at {store.uri}; bring it back with "
            f"`MLFLOW_TRACKING_URI='{store.uri}' mlflow experiments restore -x {experiment}`, "
            "or give the study another name"
        )
    store.client.restore_experiment(experiment)
    assert store.record(study).close("FINISHED") == 0


def test_links(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    assert record.ui_command() == f"mlflow ui --backend-store-uri '{store.uri}' --port 5000"
    experiment = store.client.get_experiment_by_name(study)
    assert f"/#/experiments/{experiment.experiment_id}/runs?" in record.ui_link()
    view = json.loads(experiment.tags["mlflow.sharedViewState.halfwave"])
    shown_as = {"view": "conditions", "order": "tiny 1 wasserstein"}
    commit(record, replace(condition(), tags=shown_as), "one", metrics={"perplexity": 30.5})
    commit(record, replace(condition("deep"), tags={"view": "members"}), "two", metrics={"perplexity": 40.5})
    assert "metrics.`perplexity`" in json.loads(view["state"])["selectedColumns"]
    shown = store.client.search_runs([experiment.experiment_id], json.loads(view["state"])["searchFilter"])
    assert [run.info.run_name for run in shown] == ["tiny · wasserstein"]


def test_a_store_that_cannot_be_used_is_named(store: StoreFolder, tmp_path: Path) -> None:
    unused = tmp_path / "mlruns"
    with pytest.raises(RecordError) as error:
        Record(str(unused), outbox=tmp_path / "spool")
    assert str(error.value).startswith(f"{unused} is no tracking URI; write http://HOST:PORT or sqlite:///")
    refused: list[tuple[Callable[[], object], str]] = [
        (
            lambda: halfwave.load(f"sqlite:///{tmp_path}/none.db", "x"),
            f"there is no MLflow store at {tmp_path}/none.db",
        ),
        (lambda: commit(store.record(None), condition(), "x"), "no study is open; call open_study first"),
    ]
    for use, message in refused:
        with pytest.raises(RecordError) as error:
            use()
        assert str(error.value) == message
    assert not (tmp_path / "none.db").exists()


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and mlflow.__version__.startswith("3.")
