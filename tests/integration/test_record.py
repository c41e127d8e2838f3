"""The MLflow record: what is committed, what survives, what is found again. One SQLite store for the module."""

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas
import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from orchestrator.record import mlflow_store as store_module
from orchestrator.record import record as record_module
from orchestrator.record.frames import load_study
from orchestrator.record.keys import RunKey
from orchestrator.record.mlflow_store import RecordError, Unreachable
from orchestrator.record.outbox import Spool
from orchestrator.record.record import Record
from tests.mlflow_server import Server

WRITES = ("create_run", "log_batch", "log_artifact", "set_tag", "update_run", "set_terminated", "delete_run")
ITEMS = pandas.DataFrame({"uid": ["a", "b"], "pair": [0, 1], "correct": [1.0, 0.5]})
NEURONS = pandas.DataFrame({"layer": [0, 0], "neuron": [0, 1], "wasserstein_distance": [0.25, 0.5]})


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


@dataclass
class Place:
    """A store, and what a test does with it."""

    uri: str
    folder: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def record(self, study: str | None, spool: str | None = None) -> Record:
        record = Record(self.uri, spool=self.folder / "spools" / (spool or study or "none"))
        if study is not None:
            record.open_study(study, definition=f"study: {study}\n", resolved={"a": [1]}, environment=ENVIRONMENT)
        return record

    def runs(self, study: str, kind: str, view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        experiment = self.client.get_experiment_by_name(study)
        found = self.client.search_runs([experiment.experiment_id], f"tags.`halfwave.kind` = '{kind}'", view)
        return sorted(found, key=lambda run: run.info.run_name)

    def artifact(self, run: Any, path: str) -> Path:
        return self.folder / "artifacts" / run.info.run_id / "artifacts" / path


ENVIRONMENT = {"git_commit": "4f2a91c", "user": "ada", "vllm": "0.32.0", "gpus": ["none"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("store") / "a store at 100%23 é"  # a path that is not a URI
    database = str(folder / "mlflow.db").replace("%", "%25")
    made = Place(uri=f"sqlite:///{database}", folder=folder)
    made.record(None)
    assert (folder / "mlflow.db").exists()
    return made


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("[", "-").replace("]", "")


def condition(name: str = "wasserstein", identity: str = "aa11", **params: str) -> RunKey:
    params = {"model": "tiny", "condition": name, "fraction": "0.01"} | params
    place = {"kind": "condition", "model": "tiny", "condition": name, "identity": identity}
    return RunKey(name=f"tiny · {name}", params=params, **place)


def profile(identity: str = "bb22") -> RunKey:
    return RunKey(kind="profile", model="tiny", name="tiny · profile", identity=identity, params={"model": "tiny"})


def commit(record: Record, key: RunKey, step_id: str, step: str = "evaluate.blimp", **more: Any) -> Any:
    """Commit a step; its id starts with the study, because ids are looked up in the whole store."""
    given = {"metrics": {"blimp/accuracy": 0.8125}, "frames": {"items/blimp.parquet": ITEMS}, "documents": {}} | more
    return record.commit(key, f"{record._study}-{step_id}", step, **given)


def known(record: Record, study: str, *step_ids: str) -> dict[str, Any]:
    found = record.known([f"{study}-{step_id}" for step_id in step_ids])
    return {step_id.removeprefix(f"{study}-"): step for step_id, step in found.items()}


def fail_with(monkeypatch: pytest.MonkeyPatch, record: Record, error: BaseException) -> list[str]:
    """Make every write of the client fail; returns the calls that were made."""
    calls: list[str] = []

    def fail(name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> None:
            calls.append(name)
            raise error

        return method

    for name in WRITES:
        monkeypatch.setattr(record._store.client, name, fail(name))
    return calls


def kill_at_step_tag(monkeypatch: pytest.MonkeyPatch, record: Record, error: BaseException) -> None:
    """Let everything through except the tag that commits a step."""
    log_batch = record._store.client.log_batch

    def method(run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        if any(tag.key.startswith("step.") for tag in tags):
            raise error
        log_batch(run_id, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(record._store.client, "log_batch", method)


# ---- layout


def test_importing_the_record_imports_nothing_heavy() -> None:
    heavy = {"mlflow", "pandas", "numpy", "ray", "torch", "pydantic", "sqlalchemy"}
    code = f"import sys, orchestrator.record.frames, orchestrator.record.record; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_one_parent_and_one_run_per_condition_visible_while_the_study_runs(place: Place, study: str) -> None:
    record = place.record(study)
    for name in ("wasserstein", "random"):
        commit(record, condition(name), f"{name}-blimp")
        commit(record, condition(name), f"{name}-tse", "evaluate.tse", metrics={"tse/accuracy": 0.5}, frames={})
    commit(record, profile(), "scores", "profile", frames={"neurons.parquet": NEURONS}, metrics={})

    (parent,) = place.runs(study, "study")
    children = place.runs(study, "condition") + place.runs(study, "profile")
    assert [run.info.run_name for run in children] == ["tiny · random", "tiny · wasserstein", "tiny · profile"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"RUNNING"}
    assert children[0].data.metrics == {"blimp/accuracy": 0.8125, "tse/accuracy": 0.5}
    assert children[0].data.params == dict(condition("random").params)
    assert place.client.get_experiment(parent.info.experiment_id).name == study
    assert "mlflow.parentRunId" not in parent.data.tags and parent.info.run_name == study
    assert parent.data.params == {"study": study}
    assert parent.data.tags["mlflow.source.git.commit"] == "4f2a91c"
    assert parent.data.tags["environment.vllm"] == "0.32.0"

    record.finish(condition("random"), "FINISHED")
    record.finish(condition("wasserstein"), "FAILED")
    record.note("**clips** the negative half")
    statuses = {run.info.run_name: run.info.status for run in place.runs(study, "condition")}
    assert statuses == {"tiny · random": "FINISHED", "tiny · wasserstein": "FAILED"}
    assert place.runs(study, "study")[0].info.status == "RUNNING"
    assert record.close("FINISHED") == 0
    (parent,) = place.runs(study, "study")
    assert (parent.info.status, parent.data.tags["mlflow.note.content"]) == ("FINISHED", "**clips** the negative half")
    assert place.runs(study, "profile")[0].info.status == "FINISHED"


def test_a_later_invocation_reopens_the_same_runs_and_leaves_its_mark(place: Place, study: str) -> None:
    first = place.record(study)
    commit(first, condition(), "one")
    first.close("FAILED")
    second = place.record(study)
    commit(second, condition(), "two", "evaluate.tse", metrics={"tse/accuracy": 1.0}, frames={})
    (child,), (parent,) = place.runs(study, "condition"), place.runs(study, "study")
    assert (child.info.status, parent.info.status) == ("RUNNING", "RUNNING")
    assert child.data.metrics == {"blimp/accuracy": 0.8125, "tse/accuracy": 1.0}
    second.close("FINISHED")

    (parent,) = place.runs(study, "study")
    marks = {name: value for name, value in parent.data.tags.items() if name.startswith("invocation.")}
    assert sorted(marks.values()) == ["FAILED", "FINISHED"]
    for name in marks:
        path = place.artifact(parent, f"invocations/{name.removeprefix('invocation.')}.json")
        assert json.loads(path.read_text())["gpus"] == ["none"]
    assert place.artifact(parent, "study.yaml").read_text() == f"study: {study}\n"
    assert json.loads(place.artifact(parent, "resolved.json").read_text()) == {"a": [1]}
    assert json.loads(place.artifact(parent, "environment.json").read_text()) == ENVIRONMENT


def test_a_run_whose_display_name_has_changed_is_renamed(place: Place, study: str) -> None:
    place.record(study).live(replace(condition(), name="tiny · wasserstein"), {}, 0)
    place.record(study).live(replace(condition(), name="wasserstein · tiny"), {}, 0)
    assert [run.info.run_name for run in place.runs(study, "condition")] == ["wasserstein · tiny"]


def test_a_deleted_study_says_how_to_bring_it_back(place: Place, study: str) -> None:
    place.record(study).close("FINISHED")
    experiment = place.client.get_experiment_by_name(study).experiment_id
    place.client.delete_experiment(experiment)
    with pytest.raises(RecordError, match=f"was deleted.*restore -x {experiment}.*another name"):
        place.record(study)
    with pytest.raises(RecordError, match="was deleted"):
        load_study(place.uri, study)
    place.client.restore_experiment(experiment)
    assert place.record(study).close("FINISHED") == 0


def test_links(place: Place, study: str) -> None:
    record = place.record(study)
    assert record.ui_command() == f"mlflow ui --backend-store-uri '{place.uri}' --port 5000"
    experiment = place.client.get_experiment_by_name(study)
    assert f"/#/experiments/{experiment.experiment_id}/runs?" in record.ui_link()
    view = json.loads(experiment.tags["mlflow.sharedViewState.halfwave"])
    commit(record, condition(), "one", metrics={"perplexity": 30.5})
    assert "metrics.`perplexity`" in json.loads(view["state"])["selectedColumns"]
    shown = place.client.search_runs([experiment.experiment_id], json.loads(view["state"])["searchFilter"])
    assert [run.info.run_name for run in shown] == ["tiny · wasserstein"]


# ---- commit and read


def test_what_was_committed_is_read_back(place: Place, study: str) -> None:
    record = place.record(study)
    documents = {"selection.json": {"layer": [1, 2], "é": None}, "why.txt": "because\n"}
    step = commit(
        record, condition(), "full", metrics={"perplexity": 0.1 + 0.2}, documents=documents, files={"empty.bin": b""},
        tags={"route": "tree"}, series={"blimp/accuracy": {30: 0.7, 4: 0.8}},
    )  # fmt: skip
    assert (step.experiment, step.step_name, step.metrics) == (study, "evaluate.blimp", {"perplexity": 0.1 + 0.2})
    for reader in (place.record(None), record):
        assert known(reader, study, "full", "other") == {"full": step}
    for found in (step, known(record, study, "full")["full"]):
        pandas.testing.assert_frame_equal(record.frame(found, "items/blimp.parquet"), ITEMS)
        assert record.document(found, "selection.json") == documents["selection.json"]
        assert record.document(found, "why.txt") == "because\n"
        assert record.verify(found)
    (run,) = place.runs(study, "condition")
    assert step.run_id == run.info.run_id and run.data.tags["route"] == "tree"
    history = place.client.get_metric_history(run.info.run_id, "blimp/accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(4, 0.8), (30, 0.7)]
    assert json.loads(run.data.tags["step.evaluate.blimp"])["digests"] == step.artifacts
    with pytest.raises(RecordError, match=r"no artifact 'items/tse.parquet'; it has: .*items/blimp.parquet"):
        record.frame(step, "items/tse.parquet")
    assert record._spool.entries() == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metrics": {"perplexity": float("nan")}}, "perplexity.*nan"),
        ({"metrics": {"perplexity": float("-inf")}}, "perplexity.*-inf"),
        ({"metrics": {"perplexity": True}}, "not a number"),
        ({"series": {"perplexity": {1: 2.0, 2: float("nan")}}}, "perplexity.*nan"),
        ({"metrics": {"a" * 251: 1.0}}, "251 characters"),
        ({"metrics": {"accuracy@1": 1.0}}, "accuracy@1"),
        ({"metrics": {"a//b": 1.0}}, "a/b"),
        ({"metrics": {"name\n": 1.0}}, "name"),
        ({"metrics": {"fraction": 1.0}}, "name is that of a param"),
        ({"metrics": {"progress/x": 1.0}}, "progress/x"),
        ({"tags": {"route": "x" * 8001}}, "cut it to 8000"),
        ({"tags": {"step.other": "x"}}, "sets itself"),
        ({"documents": {"../x.json": {}}}, r"\.\./x.json"),
        ({"documents": {"a#b.json": {}}}, "a#b"),
        ({"documents": {"steps/x.json": {}}}, "belongs to the record"),
        ({"documents": {"x.json": {"a": float("nan")}}}, "JSON compliant"),
        ({"documents": {"x.txt": {}}}, "written as .json"),
        ({"documents": {"items/blimp.parquet": "x"}}, "given twice"),
        ({"frames": {"items.csv": ITEMS}}, "written as .parquet"),
    ],
)
def test_what_mlflow_would_refuse_or_alter_is_refused_before_anything_is_written(
    place: Place, request: pytest.FixtureRequest, more: dict[str, Any], message: str
) -> None:
    record = place.record("refusals")
    with pytest.raises(ValueError, match=message):
        commit(record, condition(), "refused", **more)
    for params in ({"layers": "1 " * 3001}, {"layers": 3}, {"lay@ers": "3"}):
        with pytest.raises(ValueError, match="lay"):
            commit(record, condition(**params), "refused")
    assert list(record._spool.folder.iterdir()) == []
    assert place.runs("refusals", "condition", ViewType.ALL) == []


def test_mlflow_itself_takes_what_we_let_through(place: Place, study: str) -> None:
    record = place.record(study)
    longest = {"tags": {"t" * 250: "v" * 8000}, "metrics": {"a.b/c-d e:f_" + "m" * 238: 5e-324, "é": 1.7e308}}
    key = condition(layers="l" * 6000)
    commit(record, key, "longest", **longest)
    (run,) = place.runs(study, "condition")
    assert run.data.metrics == longest["metrics"] and run.data.params == dict(key.params)
    assert run.data.tags["t" * 250] == "v" * 8000
    assert known(place.record(None), study, "longest")["longest"].metrics == longest["metrics"]


def test_1500_metrics_of_one_commit_all_arrive(place: Place, study: str) -> None:
    record = place.record(study)
    metrics = {f"blimp/a_rather_long_name_of_a_phenomenon/{i:04d}": i / 7 for i in range(1500)}
    step = commit(record, condition(), "many", metrics=metrics)
    (run,) = place.runs(study, "condition")
    assert run.data.metrics == metrics
    assert len(run.data.tags["step.evaluate.blimp"]) < 200  # what does not fit in a tag went to an artifact
    assert known(place.record(None), study, "many")["many"] == step and step.metrics == metrics

    index = place.artifact(run, "steps/evaluate.blimp.json")
    index.write_bytes(index.read_bytes().replace(b"0001", b"0002"))
    assert known(place.record(None), study, "many") == {}  # the tag holds the index's own digest


def test_params_are_written_once(place: Place, study: str) -> None:
    record = place.record(study)
    commit(record, condition(), "one")
    commit(record, condition(seed="3"), "two", "evaluate.tse")  # the same again, and a new one
    with pytest.raises(RecordError, match=r"'fraction'.*'0\.01' in MLflow and '0\.02' now"):
        commit(record, condition(fraction="0.02"), "three", "evaluate.piqa")
    assert known(record, study, "one", "two", "three").keys() == {"one", "two"}
    again = place.record(study)
    with pytest.raises(RecordError, match="'fraction'"):
        commit(again, condition(fraction="0.02"), "three", "evaluate.piqa")
    assert place.runs(study, "condition")[0].data.params["seed"] == "3"


def test_changed_and_missing_artifacts_are_noticed(place: Place, study: str) -> None:
    record = place.record(study)
    step = commit(record, condition(), "precious")
    (run,) = place.runs(study, "condition")
    file = place.artifact(run, "items/blimp.parquet")
    whole = file.read_bytes()
    for broken, problem in ((whole[:-1] + b"x", "sha256 differs"), (b"", "sha256 differs"), (None, "is missing")):
        file.unlink() if broken is None else file.write_bytes(broken)
        assert not record.verify(step)
        with pytest.raises(RecordError, match=f"items/blimp.parquet of run {run.info.run_id}.*{problem}.*recomputed"):
            record.frame(step, "items/blimp.parquet")
    redone = commit(record, condition(), "precious")
    assert record.verify(redone) and record.frame(redone, "items/blimp.parquet").equals(ITEMS)


def test_live_metrics_show_and_never_hide_a_result(place: Place, study: str) -> None:
    record = place.record(study)
    record.live(condition(), {}, 0)
    assert place.runs(study, "condition")[0].info.status == "RUNNING"
    for step in range(3):
        record.live(condition(), {"perplexity": 90.0 - step}, step)
    commit(record, condition(), "one", metrics={"perplexity": 40.0})
    (run,) = place.runs(study, "condition")
    assert run.data.metrics == {"progress/perplexity": 88.0, "perplexity": 40.0}
    assert len(place.client.get_metric_history(run.info.run_id, "progress/perplexity")) == 3
    assert "progress/perplexity" not in load_study(place.uri, study).conditions
    with pytest.raises(ValueError, match="progress/loss"):
        record.live(condition(), {"loss": float("nan")}, 4)


# ---- kills and outages


def test_killed_before_the_tag_the_step_is_unknown_and_can_be_redone(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study, spool=f"{study}-lost")
    kill_at_step_tag(monkeypatch, record, Killed())
    with pytest.raises(Killed):
        commit(record, condition(), "half")
    (run,) = place.runs(study, "condition")
    assert place.artifact(run, "items/blimp.parquet").exists() and run.data.metrics  # all but the tag is there

    elsewhere = place.record(study, spool=f"{study}-other")  # as if the spool was lost too
    assert known(elsewhere, study, "half") == {}
    assert load_study(place.uri, study).conditions.columns.intersection(["blimp/accuracy"]).empty
    redone = commit(elsewhere, condition(), "half", metrics={"blimp/accuracy": 0.25})
    assert known(elsewhere, study, "half") == {"half": redone}
    assert place.runs(study, "condition")[0].data.metrics == {"blimp/accuracy": 0.25}


def test_killed_before_the_tag_the_next_invocation_sends_it_from_the_spool(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study)
    kill_at_step_tag(monkeypatch, record, Killed())
    with pytest.raises(Killed):
        commit(record, condition(), "half")
    assert known(place.record(None, spool=study), study, "half")["half"].run_id == ""
    again = place.record(study)
    (run,) = place.runs(study, "condition")
    assert known(again, study, "half")["half"].run_id == run.info.run_id
    assert len(place.client.get_metric_history(run.info.run_id, "blimp/accuracy")) == 1  # sent twice, recorded once
    assert again.close("FINISHED") == 0


def test_killed_while_spooling_nothing_is_half_there(place: Place, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = place.record(study)

    def rename(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("orchestrator.record.outbox.os.rename", rename)
        commit(record, condition(), "torn")
    (left,) = record._spool.folder.iterdir()
    assert known(record, study, "torn") == {} and left.name.startswith(".writing-")
    left.rename(left.with_name(left.name.replace(str(os.getpid()), "4194999")))  # of a process that is gone
    assert list(place.record(study)._spool.folder.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("API request to http://x failed with exception: connection refused"),
        MlflowException("(sqlite3.OperationalError) database is locked", error_code=TEMPORARILY_UNAVAILABLE),
        requests.exceptions.ConnectionError("no route"),
        OSError("no space left"),
    ],
    ids=["rest", "locked", "requests", "disk"],
)
def test_an_outage_costs_nothing(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    record = place.record(study)
    caplog.set_level(logging.INFO, logger="orchestrator.record.record")
    with monkeypatch.context() as patch:
        calls = fail_with(patch, record, error)
        steps = [commit(record, condition(), f"{i}", f"step{i}", metrics={f"m{i}": i}) for i in range(3)]
        record.live(condition(), {"rate": 1.0}, 1)
        assert len(calls) == 1  # within the pause nothing is tried
        record.finish(condition(), "FINISHED")
        assert record.flush() == 3 and len(calls) == 2
        assert {step.run_id for step in steps} == {""}
        assert record.known([s.step_id for s in steps]) == {s.step_id: s for s in steps}
        assert all(map(record.verify, steps)) and record.frame(steps[2], "items/blimp.parquet").equals(ITEMS)
        assert place.runs(study, "condition") == []
    assert record.flush() == 0
    (run,) = place.runs(study, "condition")
    assert run.data.metrics == {"m0": 0.0, "m1": 1.0, "m2": 2.0} and run.info.status == "FINISHED"
    found = place.record(None).known([s.step_id for s in steps])
    assert found == {s.step_id: replace(s, run_id=run.info.run_id) for s in steps}
    assert record.frame(steps[2], "items/blimp.parquet").equals(ITEMS)  # the handle from the outage still reads
    levels = [(r.levelname, r.message) for r in caplog.records]
    assert [level for level, _ in levels] == ["WARNING", "INFO"]
    assert str(record._spool.folder) in levels[0][1] and "1 progress values were not shown" in levels[1][1]


def test_an_outage_that_ends_in_the_middle_of_a_step(place: Place, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = place.record(study)
    with monkeypatch.context() as patch:
        kill_at_step_tag(patch, record, requests.exceptions.ReadTimeout("slow"))
        assert commit(record, condition(), "slow").run_id == ""
    (run,) = place.runs(study, "condition")
    assert known(place.record(None, spool="elsewhere"), study, "slow") == {}
    assert record.flush() == 0
    assert known(record, study, "slow")["slow"].run_id == run.info.run_id
    assert len(place.client.get_metric_history(run.info.run_id, "blimp/accuracy")) == 1


def test_an_outage_of_the_artifact_store_alone_is_one_outage(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = place.record(study)

    def refuse(*args: Any) -> None:
        raise RuntimeError("a plugin's own exception")

    with monkeypatch.context() as patch:
        patch.setattr(record._store.client, "log_artifact", refuse)
        for i in range(3):
            record._retry_at = 0.0  # the pause is over
            record.live(condition(), {"rate": 1.0}, i)  # this part of MLflow answers
            record._retry_at = 0.0
            assert commit(record, condition(), f"{i}", f"step{i}").run_id == ""
    assert [entry.levelname for entry in caplog.records if entry.name == "orchestrator.record.record"] == ["WARNING"]
    assert record.flush() == 0 and len(known(place.record(None), study, "0", "1", "2")) == 3


def test_what_close_cannot_send_the_next_invocation_sends(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CLOSING_PAUSE_S", 0.0)
    record = place.record(study)
    commit(record, condition(), "before")
    with monkeypatch.context() as patch:
        fail_with(patch, record, requests.exceptions.ConnectionError("gone"))
        commit(record, condition(), "during", "evaluate.tse", metrics={"tse/accuracy": 0.75})
        commit(record, condition("random"), "other", metrics={"blimp/accuracy": 0.5})
        assert record.close("FINISHED") == 2
    assert place.runs(study, "study")[0].info.status == "RUNNING"  # it could not be told

    again = place.record(study)
    found = known(again, study, "before", "during", "other")
    assert [name for name, step in sorted(found.items()) if step.run_id] == ["before", "during", "other"]
    assert again.close("FINISHED") == 0
    assert [run.data.metrics for run in place.runs(study, "condition")] == [
        {"blimp/accuracy": 0.5},
        {"blimp/accuracy": 0.8125, "tse/accuracy": 0.75},
    ]
    assert {run.info.status for kind in ("study", "condition") for run in place.runs(study, kind)} == {"FINISHED"}


def test_a_spooled_file_changed_on_disk_is_refused_and_blocks_nothing(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study)
    with monkeypatch.context() as patch:
        fail_with(patch, record, OSError("gone"))
        rotten = commit(record, condition(), "rotten")
        commit(record, condition(), "sound", "evaluate.tse", metrics={"tse/accuracy": 1.0})
    file = record._spool.file(record._spool.entries()[0], "items/blimp.parquet")
    file.write_bytes(b"rot")
    assert not record.verify(rotten)
    with pytest.raises(RecordError, match=r"rotten.*items/blimp.parquet is missing or changed.*delete its folder"):
        record.flush()
    assert known(place.record(None), study, "rotten", "sound").keys() == {"sound"}
    assert record.close("FINISHED") == 1


def test_orphans_of_a_killed_driver_are_closed_and_reopened_when_used(place: Place, study: str) -> None:
    killed = place.record(study)
    commit(killed, condition("wasserstein"), "one")
    commit(killed, condition("random"), "two")
    again = place.record(study)
    runs = place.runs(study, "condition")
    assert {run.info.status for run in runs} == {"KILLED"} and all(run.info.end_time for run in runs)
    (parent,) = place.runs(study, "study")
    assert parent.info.status == "RUNNING"
    marks = [value for name, value in sorted(parent.data.tags.items()) if name.startswith("invocation.")]
    assert marks == ["KILLED", "RUNNING"]
    commit(again, condition("random"), "three", "evaluate.tse")
    assert [run.info.status for run in place.runs(study, "condition")] == ["RUNNING", "KILLED"]
    again.finish(condition("wasserstein"), "FINISHED")  # all its steps were cached
    assert [run.info.status for run in place.runs(study, "condition")] == ["RUNNING", "FINISHED"]


def test_a_store_that_is_locked_for_real_is_an_outage(place: Place, tmp_path: Path, study: str) -> None:
    """MLflow waits 20 s for a locked SQLite file, so the lock is shown to the classification alone."""
    sqlite3.connect(tmp_path / "x.db").executescript("create table t (a)")
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("begin exclusive")
    from mlflow.store.db.utils import _get_managed_session_maker
    from sqlalchemy import create_engine, orm, text

    engine = create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0})
    session = _get_managed_session_maker(orm.sessionmaker(bind=engine), "not sqlite: no pragma for 20 s")
    store = place.record(study)._store

    def write() -> None:
        with session(read_only=False) as open_session:
            open_session.execute(text("insert into t values (1)"))

    store.client.write = write
    with pytest.raises(Unreachable, match=r"does not answer.*locked"):
        store.ask("write")
    holder.execute("commit")
    store.ask("write")


# ---- finding and adopting


def test_a_changed_definition_supersedes_and_going_back_restores(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study)
    old = commit(record, condition(identity="aa"), "old")
    new = commit(record, condition(identity="bb"), "new", "evaluate.tse", metrics={"tse/accuracy": 0.5})
    assert old.run_id != new.run_id
    assert [run.info.run_id for run in place.runs(study, "condition")] == [new.run_id]  # as the interface lists them
    hidden = place.client.get_run(old.run_id)
    assert (hidden.data.tags["superseded_by"], hidden.info.lifecycle_stage) == (new.run_id, "deleted")
    assert load_study(place.uri, study).conditions.run_id.tolist() == [new.run_id]
    assert record.latest(study) == {("tiny", "wasserstein", "evaluate.tse"): new}
    assert record.latest("no such study") == {}

    assert known(record, study, "old") == {"old": old} and record.verify(old)  # nothing is lost
    adopted = record.adopt(condition(identity="bb"), old)
    assert (adopted.run_id, adopted.metrics) == (new.run_id, old.metrics)
    assert place.client.get_run(new.run_id).data.tags["adopted_from"] == old.run_id
    assert known(record, study, "old") == {"old": adopted}  # the current run goes first

    again = place.record(study)
    assert again.adopt(condition(identity="aa"), old) == old
    assert [run.info.run_id for run in place.runs(study, "condition")] == [old.run_id]
    assert "superseded_by" not in place.client.get_run(old.run_id).data.tags
    assert place.client.get_run(new.run_id).data.tags["superseded_by"] == old.run_id
    assert place.client.get_run(old.run_id).info.status == "KILLED"  # as it was: adopting in place runs nothing
    with monkeypatch.context() as patch:
        fail_with(patch, again, OSError("gone"))
        assert again.adopt(condition(identity="bb"), adopted) == adopted  # the study goes on,
    assert again.flush() == 0  # and what was to change in MLflow changes later
    assert [run.info.run_id for run in place.runs(study, "condition")] == [new.run_id]


def test_superseded_runs_that_a_restore_made_visible_are_hidden_again(place: Place, study: str) -> None:
    record = place.record(study)
    commit(record, condition(identity="aa"), "old")
    new = commit(record, condition(identity="bb"), "new")
    record.close("FINISHED")
    experiment = place.client.get_experiment_by_name(study).experiment_id
    place.client.delete_experiment(experiment)
    place.client.restore_experiment(experiment)
    assert len(place.runs(study, "condition")) == 2
    assert load_study(place.uri, study).conditions.run_id.tolist() == [new.run_id]
    place.record(study)
    assert [run.info.run_id for run in place.runs(study, "condition")] == [new.run_id]


def test_a_profile_is_shared_between_studies(place: Place, study: str) -> None:
    first, second = place.record(f"{study}-1"), place.record(f"{study}-2")
    given = {"frames": {"neurons.parquet": NEURONS}, "metrics": {"num_tokens": 4096.0}, "tags": {"route": "tree"}}
    step = commit(first, profile(), "scores", "profile", **given)
    found = known(second, f"{study}-1", "scores")["scores"]
    assert found == step and found.experiment == f"{study}-1"
    adopted = second.adopt(profile(), found)
    (run,) = place.runs(f"{study}-2", "profile")
    assert adopted.run_id == run.info.run_id != step.run_id and adopted.artifacts == step.artifacts
    assert (run.data.metrics, run.data.tags["route"]) == ({"num_tokens": 4096.0}, "tree")
    assert run.data.tags["adopted_from"] == step.run_id
    assert load_study(place.uri, f"{study}-2").neurons("tiny").wasserstein_distance.tolist() == [0.25, 0.5]
    # each study prefers its own copy, and adopting it changes nothing
    assert known(second, f"{study}-1", "scores")["scores"] == adopted
    assert known(first, f"{study}-1", "scores")["scores"] == step
    assert second.adopt(profile(), adopted) == adopted

    place.artifact(run, "neurons.parquet").unlink()
    with pytest.raises(RecordError, match=r"neurons.parquet.*is missing"):
        first.adopt(condition(), adopted)


def test_a_run_that_a_person_deleted_is_not_remembered(place: Place, study: str) -> None:
    record = place.record(study)
    step = commit(record, condition(), "x")
    place.client.delete_run(step.run_id)
    again = place.record(study)
    assert known(again, study, "x") == {}
    redone = commit(again, condition(), "x")
    assert redone.run_id != step.run_id and known(again, study, "x") == {"x": redone}


def test_equal_steps_of_two_conditions_wait_side_by_side(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study)
    with monkeypatch.context() as patch:
        fail_with(patch, record, OSError("gone"))
        step = commit(record, condition("bottom"), "x")
        assert record.adopt(condition("bottom"), step) == step  # it waits for that very run
        assert record.adopt(condition("matched"), step).artifacts == step.artifacts
    assert record.flush() == 0
    assert [run.data.metrics for run in place.runs(study, "condition")] == [{"blimp/accuracy": 0.8125}] * 2
    record.close("FINISHED")

    again = place.record(study)
    found = known(again, study, "x")["x"]
    calls = fail_with(monkeypatch, again, OSError("gone"))
    runs = [again.adopt(condition(name), found).run_id for name in ("bottom", "matched")]
    assert (
        runs == [run.info.run_id for run in place.runs(study, "condition")] and calls == []
    )  # a second run does nothing
    monkeypatch.undo()
    place.artifact(place.runs(study, "condition")[1], "items/blimp.parquet").write_bytes(b"rot")
    assert again.verify(again.adopt(condition("matched"), replace(found, run_id=runs[0])))  # mended from the other copy


def test_known_reads_all_pages_in_bulk(place: Place, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = place.record(study)
    for i in range(7):
        for j in range(3):
            commit(record, condition(f"c{i}"), f"{i}-{j}", f"step{j}", metrics={}, frames={})
    wanted = [f"{i}-{j}" for i in range(7) for j in range(4)]
    monkeypatch.setattr(store_module, "PAGE", 4)
    calls: list[int] = []
    search = record._store.client.search_runs
    monkeypatch.setattr(record._store.client, "search_runs", lambda *a, **k: calls.append(1) or search(*a, **k))
    assert known(record, study, *wanted).keys() == {f"{i}-{j}" for i in range(7) for j in range(3)}
    total = sum(len(place.client.search_runs([e.experiment_id], "tags.`halfwave.kind` != ''", ViewType.ALL))
                for e in place.client.search_experiments())  # fmt: skip
    assert len(calls) <= total // 4 + 1


# ---- frames


def test_a_study_as_tidy_frames(place: Place, study: str) -> None:
    record = place.record(study)
    commit(record, profile(), "p", "profile", frames={"neurons.parquet": NEURONS}, metrics={"num_tokens": 9.0})
    for name, accuracy in (("wasserstein", 0.5), ("random", 0.75)):
        table = ITEMS.assign(correct=accuracy)
        given = {"frames": {"items/blimp.parquet": table}, "metrics": {"blimp/accuracy": accuracy}}
        commit(record, condition(name, seed="0"), f"b-{name}", **given)
    commit(record, condition("random", seed="0"), "q", "perplexity", frames={}, metrics={"perplexity": 40.0})
    frames = load_study(place.uri, study)
    table = frames.conditions.set_index("condition")
    assert sorted(table.index) == ["random", "wasserstein"] and set(table.model) == {"tiny"}
    assert table.loc["random", ["perplexity", "blimp/accuracy"]].tolist() == [40.0, 0.75]
    assert pandas.isna(table.loc["wasserstein", "perplexity"])
    assert table.fraction.dtype == float and table.fraction.tolist() == [0.01, 0.01]
    items = frames.items("blimp")
    assert list(items.columns) == ["model", "condition", *ITEMS.columns] and len(items) == 4
    assert items.groupby("condition").correct.mean().to_dict() == {"wasserstein": 0.5, "random": 0.75}
    assert frames.neurons("tiny").drop(columns="model").equals(NEURONS)
    with pytest.raises(RecordError, match=r"did you mean 'items/blimp.parquet'"):
        frames.items("blmp")
    with pytest.raises(RecordError, match="did you mean 'tiny'"):
        frames.neurons("tinny")
    with pytest.raises(RecordError, match=f"did you mean '{study}'"):
        load_study(place.uri, study + "s")
    place.artifact(place.runs(study, "profile")[0], "neurons.parquet").write_bytes(b"")
    with pytest.raises(RecordError, match="sha256 differs"):
        frames.neurons("tiny")


def test_stores_that_cannot_be_used_say_so(place: Place, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot open the MLflow store.*sqlite"):
        Record(str(tmp_path / "mlruns"), spool=tmp_path / "spool")
    with pytest.raises(RecordError, match="no MLflow store at"):
        load_study(f"sqlite:///{tmp_path}/none.db", "x")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(RecordError, match="open_study first"):
        commit(place.record(None), condition(), "x")


# ---- a server


@pytest.fixture
def server(place: Place, tmp_path: Path) -> Iterator[str]:
    with sqlite3.connect(place.folder / "mlflow.db") as made:  # a copy spares the server making the tables
        made.backup(sqlite3.connect(tmp_path / "mlflow.db"))
    one = Server(tmp_path)
    one.start()
    yield one.uri
    one.stop()


def test_a_real_server_round_trip_and_its_loss(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place, study = Place(uri=server, folder=tmp_path), "remote"
    record = place.record(study)
    metrics = {f"a_metric_with_some_length_{i}": i / 7 for i in range(1001)}  # two batches, and too long for a tag
    step = commit(record, condition(note=""), "one", metrics=metrics, documents={"deep/er/x.json": [1]})
    assert step.run_id and known(record, study, "one") == {"one": step}
    assert record.verify(step) and record.frame(step, "items/blimp.parquet").equals(ITEMS)
    assert record.document(step, "deep/er/x.json") == [1]
    small = {"metrics": {"tse/accuracy": 0.5}, "frames": {"items/tse.parquet": ITEMS}}
    old = commit(record, condition("random", identity="bb"), "old", "evaluate.tse", **small)
    new = commit(record, condition("random", identity="cc"), "new")
    assert known(record, study, "one", "old", "new") == {"one": step, "old": old, "new": new}
    assert record.adopt(condition("random", identity="cc"), old) == replace(old, run_id=new.run_id)
    assert load_study(server, "remote").items("tse").shape == (2, 5)
    assert (record.ui_command(), record.ui_link()[: len(server)]) == (server, server)

    blob = next((tmp_path / "blobs").rglob(f"{step.run_id}/**/blimp.parquet"))
    blob.write_bytes(b"rot")
    assert record.verify(step)  # from afar only existence is cheap,
    with pytest.raises(RecordError, match="sha256 differs"):
        record.frame(step, "items/blimp.parquet")  # but reading checks
    blob.unlink()
    assert not record.verify(step)
    with pytest.raises(RecordError, match="is missing"):
        record.frame(step, "items/blimp.parquet")

    gone = Record("http://127.0.0.1:9", spool=tmp_path / "gone")  # nothing listens there
    with pytest.raises(RecordError, match=r"http://127.0.0.1:9 does not answer"):
        gone.open_study("remote", definition="", resolved={}, environment={})
    assert record.close("FINISHED") == 0
    assert {run.info.status for kind in ("study", "condition") for run in place.runs("remote", kind)} == {"FINISHED"}
    assert capfd.readouterr().out == ""  # MLflow would print links


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_no_half_entry(
    place: Place, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = place.record(study)
    step = commit(record, condition(), "one")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError, match=r"cannot write in .*: No space left on device; make room and run"):
            commit(record, condition("random"), "two")
    assert list(record._spool.folder.iterdir()) == [] and record.close("FAILED") == 0
    assert known(place.record(study), study, "one", "two") == {"one": step}


def test_spools_of_two_studies_do_not_mix(place: Place, study: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.record(f"{study}-1", spool=study)
    with monkeypatch.context() as patch:
        fail_with(patch, first, OSError("gone"))
        step = commit(first, condition(), "x")
    second = place.record(f"{study}-2", spool=study)
    assert place.runs(f"{study}-1", "condition") == [] and second.known([step.step_id]) == {step.step_id: step}
    assert second.adopt(condition(), step).run_id == place.runs(f"{study}-2", "condition")[0].info.run_id
    assert [entry.study for entry in Spool(first._spool.folder).entries()] == [f"{study}-1"]
    assert (first.flush(), second.close("FINISHED")) == (0, 0)
    assert len(place.runs(f"{study}-1", "condition")) == 1


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and mlflow.__version__.startswith("3.")
