"""What MLflow's own pages hold, in MLflow: searches, inputs, tables and samples; and that nothing is written twice."""

import json
from typing import Any

import pandas
import pytest

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import RunKey
from orchestrator.record.mlflow_store import Store
from orchestrator.record.pages.run_page import RunInput, RunPage
from studies.reporting.records import table_record
from tests.integration.record.recorded import StoreFolder, commit, condition, profile

MODEL = RunInput("tiny", "0123456789abcdef" * 4, "/models/tiny", "model")
PAGE = RunPage(
    note="costs **grammar**",
    tags={"claim.syntax_loss/blimp": "supported"},
    owned=("claim.",),
    metrics={"claim/syntax_loss/blimp": -0.031, "claim/syntax_loss/blimp_low": -0.04},
    inputs=(MODEL, RunInput("BLiMP", "fe" * 32, "nyu-mll/blimp", "benchmark")),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are made from now on, by name."""
    made: list[str] = []
    call = Store.call

    def noted(self: Store, name: str, /, *args: Any, **kwargs: Any) -> Any:
        made.append(name)
        return call(self, name, *args, **kwargs)

    monkeypatch.setattr(Store, "call", noted)
    return made


def test_which_models_show_a_claim_is_a_search(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, profile(), "one", "profile", frames={})
    record.pages.show(profile(), PAGE)
    record.pages.describe("finding")
    experiment = store.client.get_experiment_by_name(study)
    assert experiment.tags["mlflow.note.content"] == "finding"
    for search in ("tags.`claim.syntax_loss/blimp` = 'supported'", "metrics.`claim/syntax_loss/blimp_low` < -0.01"):
        (run,) = store.client.search_runs([experiment.experiment_id], search)
        assert run.info.run_name == "tiny · profile" and run.data.tags["mlflow.note.content"] == PAGE.note
    found = {one.dataset.name: one for one in run.inputs.dataset_inputs}
    assert (found["tiny"].dataset.digest, found["tiny"].dataset.source) == ("0123456789abcdef" * 2, "/models/tiny")
    assert {tag.key: tag.value for tag in found["BLiMP"].tags} == {
        "mlflow.data.context": "benchmark", "digest": "fe" * 32,
    }  # fmt: skip


def test_a_page_is_written_once_also_by_a_later_driver(store: StoreFolder, study: str, calls: list[str]) -> None:
    first = store.record(study)
    commit(first, profile(), "one", "profile", frames={})
    first.pages.show(profile(), PAGE)
    first.close("FINISHED")
    second = store.record(study)
    calls.clear()
    second.pages.show(profile(), PAGE)
    assert calls == []
    second.pages.show(profile(), RunPage(tags={"claim.other": "absent"}, owned=("claim.",), metrics={"claim/x": 2.0}))
    (run,) = store.runs(study, "profile")
    claims = {name for name in run.data.tags if name.startswith("claim.")}
    assert claims == {"claim.other"} and run.data.tags["mlflow.note.content"] == PAGE.note


def test_a_metric_that_somebody_changed_shows_the_report_again(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, profile(), "one", "profile", frames={})
    record.pages.show(profile(), PAGE)
    (run,) = store.runs(study, "profile")
    store.client.log_metric(run.info.run_id, "claim/syntax_loss/blimp", 9.0, step=7)
    later = store.record(study)
    later.pages.show(profile(), PAGE)
    (run,) = store.runs(study, "profile")
    assert run.data.metrics["claim/syntax_loss/blimp"] == -0.031


def test_a_page_follows_the_results_that_it_was_made_from(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store is away both wait, and neither stops the study."""
    record = store.record(study)
    call = Store.call

    def away(self: Store, name: str, /, *args: Any, **kwargs: Any) -> Any:
        raise Unreachable("no answer")

    monkeypatch.setattr(Store, "call", away)
    commit(record, condition(), "one")
    record.pages.show(condition(), PAGE)
    record.pages.sample({"system/n/cpu_utilization_percentage": 50.0})
    monkeypatch.setattr(Store, "call", call)
    assert record.flush() == 0
    (run,), (parent,) = store.runs(study, "condition"), store.runs(study, "study")
    assert run.data.metrics["claim/syntax_loss/blimp"] == -0.031 and run.data.metrics["blimp/accuracy"] == 0.8125
    assert parent.data.metrics == {"system/n/cpu_utilization_percentage": 50.0}


def test_what_mlflow_refuses_for_a_page_fails_nothing(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: Store, *args: Any) -> None:
        raise RecordError("no inputs here")

    monkeypatch.setattr(Store, "log_inputs", refuse)
    record = store.record(study)
    commit(record, profile(), "one", "profile", frames={})
    record.pages.show(profile(), PAGE)
    assert "a page of MLflow is not up to date: no inputs here" in caplog.text
    assert record.close("FINISHED") == 0


def test_samples_make_a_line_over_time(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    for load in (10.0, 20.0):
        record.pages.sample({"system/n/cpu_utilization_percentage": load})
    (parent,) = store.runs(study, "study")
    history = store.client.get_metric_history(parent.info.run_id, "system/n/cpu_utilization_percentage")
    assert [metric.value for metric in history] == [10.0, 20.0]
    assert all(metric.timestamp == 1000 * metric.step for metric in history)


def test_a_table_of_sentences_is_loaded_by_mlflow(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that `log_table` has written."""
    row = {"change": "lost", "good": "She | runs\n.", "logprob_good_before": -1.23456, "n": None}
    table = pandas.DataFrame([row])
    record = store.record(study)
    document = {"flipped/blimp.json": table_record(table, 4)}
    commit(record, condition(), "one", "flipped", frames={}, metrics={}, documents=document)
    tag = {"mlflow.loggedArtifacts": json.dumps([{"path": "flipped/blimp.json", "type": "table"}])}
    record.pages.show(condition(), RunPage(tags=tag))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    experiment = store.client.get_experiment_by_name(study).experiment_id
    loaded = store.client.load_table(experiment, "flipped/blimp.json")
    assert loaded[["change", "good", "logprob_good_before"]].values.tolist() == [["lost", "She | runs\n.", -1.2346]]


def test_the_links_lead_to_the_run(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    parent = RunKey(kind="study", name=study)
    (run,) = store.runs(study, "study")
    place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert record.pages.run_address(parent).startswith(f"{place}?")
    assert record.pages.run_address(parent, "report.html").startswith(f"{place}/artifacts/report.html?")
    assert record.pages.run_address(condition()) == ""
