"""The record on a real MLflow server."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import halfwave
from orchestrator.record.client.failures import RecordError
from orchestrator.record.record import Record
from tests.integration.record.recorded import (
    ITEMS,
    MISSING,
    StoreFolder,
    broken_artifact,
    commit,
    condition,
    known,
)
from tests.mlflow_server import running


@pytest.fixture
def server(empty_database: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of a server."""
    with running(tmp_path, empty_database) as server:
        yield server.uri


def test_a_real_server_round_trip_and_its_loss(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store, study = StoreFolder(uri=server, folder=tmp_path), "remote"
    record = store.record(study)
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
    assert halfwave.load(server, "remote").items("tse").shape == (2, 5)
    assert (record.ui_command(), record.ui_link()[: len(server)]) == (server, server)

    blob = next((tmp_path / "blobs").rglob(f"{step.run_id}/**/blimp.parquet"))
    blob.write_bytes(b"rot")
    assert record.verify(step)  # on a server only existence is cheap to check,
    with pytest.raises(RecordError) as error:
        record.frame(step, "items/blimp.parquet")  # but reading checks the content
    assert str(error.value) == broken_artifact(server, "items/blimp.parquet", step.run_id)
    blob.unlink()
    assert not record.verify(step)
    with pytest.raises(RecordError) as error:
        record.frame(step, "items/blimp.parquet")
    assert str(error.value) == broken_artifact(server, "items/blimp.parquet", step.run_id, MISSING)

    gone = Record("http://127.0.0.1:9", outbox=tmp_path / "gone")  # nothing listens there
    with pytest.raises(RecordError) as error:
        gone.open_study("remote", definition="", resolved={}, environment={})
    assert re.fullmatch(r"MLflow at http://127\.0\.0\.1:9 does not answer: .*Connection refused.*", str(error.value))
    assert record.close("FINISHED") == 0
    assert {run.info.status for kind in ("study", "condition") for run in store.runs("remote", kind)} == {"FINISHED"}
    assert capfd.readouterr().out == ""  # MLflow would print links


def test_the_database_of_a_server_is_read_without_it_but_for_artifacts(empty_database: Path, tmp_path: Path) -> None:
    with running(tmp_path, empty_database) as server:
        store = StoreFolder(uri=server.uri, folder=tmp_path / "work")
        record = store.record("remote")
        commit(record, condition(), "one", metrics={"blimp/accuracy": 0.5})
        assert record.close("FINISHED") == 0
    database = f"sqlite:///{tmp_path}/mlflow.db"
    study = halfwave.load(database, "remote")
    assert study.conditions["blimp/accuracy"].tolist() == [0.5]
    told = r"has its artifacts on a tracking server; open the store through that server, with --tracking-uri http"
    with pytest.raises(RecordError, match=rf"run \w+ {told}"):
        study.items("blimp")
    with pytest.raises(RecordError, match=rf"study 'remote' {told}"):
        StoreFolder(uri=database, folder=tmp_path / "other").record("remote")
