"""A commit: what is refused, what is written, and that it is read back as it was."""

import json
import re
from typing import Any

import pandas
import pytest
from mlflow.entities import ViewType

from orchestrator.record.client.failures import RecordError, UnrecordableError
from orchestrator.record.keys import RunKey
from orchestrator.record.tags import REPORTED, Definition, definition_tags
from tests.integration.record.recorded import (
    DIFFERS,
    ITEMS,
    MISSING,
    StoreFolder,
    broken_artifact,
    commit,
    condition,
    known,
)


def test_what_was_committed_is_read_back(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    documents = {"selection.json": {"layer": [1, 2], "é": None}, "why.txt": "because\n"}
    step = commit(
        record,
        condition(),
        "full",
        metrics={"perplexity": 0.1 + 0.2},
        documents=documents,
        files={"empty.bin": b""},
        tags={"route": "tree"},
        series={"blimp/accuracy": {30: 0.7, 4: 0.8}},
    )
    assert (step.experiment, step.step_name, step.metrics) == (study, "evaluate.blimp", {"perplexity": 0.1 + 0.2})
    for reader in (store.record(None), record):
        assert known(reader, study, "full", "other") == {"full": step}
    for handle in (step, known(record, study, "full")["full"]):
        pandas.testing.assert_frame_equal(record.frame(handle, "items/blimp.parquet"), ITEMS)
        assert record.document(handle, "selection.json") == documents["selection.json"]
        assert record.document(handle, "why.txt") == "because\n"
        assert record.verify(handle)
    (run,) = store.runs(study, "condition")
    assert step.run_id == run.info.run_id and run.data.tags["route"] == "tree"
    history = store.client.get_metric_history(run.info.run_id, "blimp/accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(4, 0.8), (30, 0.7)]
    assert json.loads(run.data.tags["step.evaluate.blimp"])["digests"] == step.artifacts
    with pytest.raises(RecordError) as error:
        record.frame(step, "items/tse.parquet")
    assert str(error.value) == (
        "step evaluate.blimp recorded no artifact 'items/tse.parquet'; it has: empty.bin, items/blimp.csv, "
        "items/blimp.parquet, selection.json, why.txt"
    )
    assert store.outbox(study).entries() == []


CHARACTERS = "allowed are letters, digits, '_', '-', '.', ' ' and '/'"
RELATIVE = "MLflow reads it as a relative path, without '.', '..' or empty parts"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"metrics": {"perplexity": float("nan")}}, "metric 'perplexity' is nan; only finite numbers are recorded"),
    ({"metrics": {"perplexity": float("-inf")}}, "metric 'perplexity' is -inf; only finite numbers are recorded"),
    ({"metrics": {"perplexity": True}}, "metric 'perplexity' is True, not a number"),
    (
        {"series": {"perplexity": {1: 2.0, 2: float("nan")}}},
        "metric 'perplexity' is nan; only finite numbers are recorded",
    ),
    ({"metrics": {"a" * 251: 1.0}}, f"metric '{'a' * 40}'... has 251 characters; MLflow takes 250"),
    ({"metrics": {"accuracy@1": 1.0}}, f"metric 'accuracy@1': {CHARACTERS}"),
    ({"metrics": {"a//b": 1.0}}, f"metric 'a//b': {RELATIVE}"),
    ({"metrics": {"name\n": 1.0}}, f"metric 'name\\n': {CHARACTERS}"),
    ({"metrics": {"fraction": 1.0}}, "metric 'fraction': the name is that of a param"),
    ({"tags": {"route": "x" * 8001}}, "tag 'route' has 8001 characters; MLflow would cut it to 8000"),
    ({"tags": {"step.other": "x"}}, "tag 'step.other' is one that the record sets itself"),
    ({"documents": {"../x.json": {}}}, f"artifact path '../x.json': {RELATIVE}"),
    ({"documents": {"a#b.json": {}}}, f"artifact path 'a#b.json': {CHARACTERS}"),
    ({"documents": {"steps/x.json": {}}}, "artifact path 'steps/x.json': the folder steps/ belongs to the record"),
    (
        {"documents": {"x.json": {"a": float("nan")}}},
        "artifact path 'x.json': JSON has no NaN and no infinity; record null instead",
    ),
    ({"documents": {"x.txt": {}}}, "artifact path 'x.txt': a dict is written as .json"),
    ({"documents": {"items/blimp.parquet": "x"}}, "artifact path 'items/blimp.parquet' is given twice"),
    ({"frames": {"items.csv": ITEMS}}, "artifact path 'items.csv': a frame is written as .parquet"),
    ({"params": {"layers": "1 " * 3001}}, "param 'layers' has 6002 characters; MLflow would cut it to 6000"),
    ({"params": {"layers": 3}}, "param 'layers' is 3, not a string"),
    ({"params": {"lay@ers": "3"}}, f"param 'lay@ers': {CHARACTERS}"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_mlflow_would_refuse_or_alter_is_refused_before_anything_is_written(
    store: StoreFolder, more: dict[str, Any], message: str
) -> None:
    record, params = store.record("refusals"), more.get("params", {})
    with pytest.raises(UnrecordableError) as error:
        commit(record, condition(**params), "refused", **{key: value for key, value in more.items() if key != "params"})
    assert str(error.value) == f"its result cannot be recorded: {message}"
    assert list(store.outbox("refusals").folder.iterdir()) == []
    assert store.runs("refusals", "condition", ViewType.ALL) == []


def test_mlflow_itself_takes_what_we_let_through(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    longest = {"tags": {"t" * 250: "v" * 8000}, "metrics": {"a.b/c-d e:f_" + "m" * 238: 5e-324, "é": 1.7e308}}
    key = condition(layers="l" * 6000)
    commit(record, key, "longest", **longest)
    (run,) = store.runs(study, "condition")
    assert run.data.metrics == longest["metrics"] and run.data.params == dict(key.params)
    assert run.data.tags["t" * 250] == "v" * 8000
    assert known(store.record(None), study, "longest")["longest"].metrics == longest["metrics"]


def test_1500_metrics_of_one_commit_all_arrive(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    metrics = {f"blimp/a_rather_long_name_of_a_phenomenon/{i:04d}": i / 7 for i in range(1500)}
    step = commit(record, condition(), "many", metrics=metrics)
    (run,) = store.runs(study, "condition")
    assert run.data.metrics == metrics
    assert len(run.data.tags["step.evaluate.blimp"]) < 200  # what does not fit in a tag went to an artifact
    assert known(store.record(None), study, "many")["many"] == step and step.metrics == metrics

    index = store.artifact(run, "steps/evaluate.blimp.json")
    index.write_bytes(index.read_bytes().replace(b"0001", b"0002"))
    assert known(store.record(None), study, "many") == {}  # the tag holds the index's own digest


def test_params_are_written_once(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    commit(record, condition(), "one")
    commit(record, condition(seed="3"), "two", "evaluate.tse")  # the same again, and a new one
    for opened in (record, store.record(study)):
        with pytest.raises(UnrecordableError) as error:
            commit(opened, condition(fraction="0.02"), "three", "evaluate.piqa")
        (run,) = store.runs(study, "condition")
        assert re.sub(r" \(kept in .*\)$", "", str(error.value)) == (
            f"its result cannot be recorded: param 'fraction' of run 'tiny · wasserstein' ({run.info.run_id}) is "
            "'0.01' in MLflow and '0.02' now; params are written once, so a changed definition needs another identity"
        )
        assert known(record, study, "one", "two", "three").keys() == {"one", "two"} and run.data.params["seed"] == "3"


def test_changed_and_missing_artifacts_are_noticed(store: StoreFolder, study: str) -> None:
    record = store.record(study)
    step = commit(record, condition(), "precious")
    (run,) = store.runs(study, "condition")
    file = store.artifact(run, "items/blimp.parquet")
    whole = file.read_bytes()
    for broken, problem in ((whole[:-1] + b"x", DIFFERS), (b"", DIFFERS), (None, MISSING)):
        file.unlink() if broken is None else file.write_bytes(broken)
        assert not record.verify(step)
        with pytest.raises(RecordError) as error:
            record.frame(step, "items/blimp.parquet")
        assert str(error.value) == broken_artifact(store.uri, "items/blimp.parquet", run.info.run_id, problem)
    redone = commit(record, condition(), "precious")
    assert record.verify(redone) and record.frame(redone, "items/blimp.parquet").equals(ITEMS)


def test_the_last_step_of_every_study_is_found_newest_first(store: StoreFolder, study: str) -> None:
    other = f"{study}-2"
    for name, day in ((study, "2026-11-30"), (other, "2026-12-01")):
        record = store.record(name)
        parent = RunKey(kind="study", name=name)
        commit(record, parent, "before", "report")
        commit(record, parent, "last", "report", documents={"report.json": {"study": name}})
        commit(record, condition(), "else", "report")
        (run,) = store.runs(name, "study")
        noted = definition_tags(Definition("a.yaml", "aa", f"{day}T10:00:00+01:00"), REPORTED)
        for tag, value in noted.items():
            store.client.set_tag(run.info.run_id, tag, value)
        record.close("FINISHED")
    reader = store.record(None)
    found = [entry for entry in reader.last_of_studies("report") if entry[1].experiment.startswith(study)]
    dated = [(day[:10], step.step_id) for day, step in found]
    assert dated == [("2026-12-01", f"{other}-last"), ("2026-11-30", f"{study}-last")]
    assert reader.document(found[0][1], "report.json") == {"study": other}
    assert reader.last_of_studies("summary") == []
