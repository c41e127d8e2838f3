"""Kills, outages and full disks: no result is lost, and none is half there."""

import errno
import hashlib
import json
import logging
import os
import re
import sqlite3
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

import halfwave
from orchestrator.record import mlflow_store, sender
from orchestrator.record import record as record_module
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.mlflow_store import Store
from orchestrator.record.sender import LONGEST_PAUSE_S
from tests.integration.record.recorded import (
    ITEMS,
    Killed,
    StoreFolder,
    commit,
    condition,
    fail_at_step_tag,
    fail_with,
    known,
)


def test_killed_before_the_tag_the_step_is_unknown_and_can_be_redone(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study, outbox=f"{study}-lost")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        fail_at_step_tag(patch, Killed())
        commit(record, condition(), "half")
    (run,) = store.runs(study, "condition")
    assert store.artifact(run, "items/blimp.parquet").exists() and run.data.metrics  # all but the tag is there

    elsewhere = store.record(study, outbox=f"{study}-other")  # as if the outbox was lost too
    assert known(elsewhere, study, "half") == {}
    assert halfwave.load(store.uri, study).conditions.columns.intersection(["blimp/accuracy"]).empty
    redone = commit(elsewhere, condition(), "half", metrics={"blimp/accuracy": 0.25})
    assert known(elsewhere, study, "half") == {"half": redone}
    assert store.runs(study, "condition")[0].data.metrics == {"blimp/accuracy": 0.25}


def test_killed_before_the_tag_the_next_invocation_sends_it_from_the_outbox(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        fail_at_step_tag(patch, Killed())
        commit(record, condition(), "half")
    assert known(store.record(None, outbox=study), study, "half")["half"].run_id == ""
    again = store.record(study)
    (run,) = store.runs(study, "condition")
    assert known(again, study, "half")["half"].run_id == run.info.run_id
    assert len(store.client.get_metric_history(run.info.run_id, "blimp/accuracy")) == 1  # sent twice, recorded once
    assert again.close("FINISHED") == 0


def test_an_outbox_of_version_0_1_0_is_sent(store: StoreFolder, study: str) -> None:
    content = b'{"neurons": [1]}'
    manifest = (
        f'{{"study": "{study}", "key": {{"kind": "condition", "model": "tiny", "name": "tiny · random", '
        '"condition": "random", "identity": "aa11", "params": {"fraction": "0.01"}, "tags": {"model.note": "é"}}, '
        f'"step_id": "{study}-old", "step_name": "evaluate.blimp", "metrics": {{"blimp/accuracy": 0.8125}}, '
        '"series": {"cost": [[4, 0.5], [30, 0.25]]}, "tags": {"route": "tree"}, '
        f'"digests": {{"receipts/evaluate.blimp.json": "{hashlib.sha256(content).hexdigest()}"}}, '
        '"written_ns": 1700000000123456789, "adopted_from": "run7"}'
    )
    owner = hashlib.sha256(json.dumps([study, "condition", "tiny", "random", "aa11"]).encode()).hexdigest()
    folder = store.folder / "outboxes" / study / f"{study}-old.{owner[:12]}"
    (folder / "files" / "receipts").mkdir(parents=True)
    (folder / "files" / "receipts" / "evaluate.blimp.json").write_bytes(content)
    (folder / "manifest.json").write_text(manifest, encoding="utf-8")

    record = store.record(study)
    (run,) = store.runs(study, "condition")
    (step,) = known(record, study, "old").values()
    assert (run.info.run_name, run.data.params, run.data.metrics["blimp/accuracy"]) == (
        "tiny · random",
        {"fraction": "0.01"},
        0.8125,
    )
    assert {name: run.data.tags[name] for name in ("model.note", "route", "adopted_from")} == {
        "model.note": "é",
        "route": "tree",
        "adopted_from": "run7",
    }
    history = store.client.get_metric_history(run.info.run_id, "cost")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (4, 0.5, 1_700_000_000_123),
        (30, 0.25, 1_700_000_000_123),
    ]
    assert record.document(step, "receipts/evaluate.blimp.json") == {"neurons": [1]}
    assert record.close("FINISHED") == 0 and not folder.exists()


def test_killed_while_writing_an_entry_nothing_is_half_there(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)

    def rename(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("orchestrator.record.outbox.os.rename", rename)
        commit(record, condition(), "torn")
    folder = store.outbox(study).folder
    (left,) = folder.iterdir()
    assert known(record, study, "torn") == {} and left.name.startswith(".writing-")
    left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-4194999-")))  # of a process that is gone
    store.record(study)
    assert list(folder.iterdir()) == []


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
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    record = store.record(study)
    caplog.set_level(logging.INFO, logger="orchestrator.record.sender")
    with monkeypatch.context() as patch:
        calls = fail_with(patch, error)
        steps = [commit(record, condition(), f"{i}", f"step{i}", metrics={f"m{i}": i}) for i in range(3)]
        record.begin(condition())
        assert len(calls) == 1  # within the pause nothing is tried
        record.finish(condition(), "FINISHED")
        assert record.flush() == 3 and len(calls) == 2
        assert {step.run_id for step in steps} == {""}
        assert record.known([step.step_id for step in steps]) == {step.step_id: step for step in steps}
        assert all(map(record.verify, steps)) and record.frame(steps[2], "items/blimp.parquet").equals(ITEMS)
        assert store.runs(study, "condition") == []
    assert record.flush() == 0
    (run,) = store.runs(study, "condition")
    assert run.data.metrics == {"m0": 0.0, "m1": 1.0, "m2": 2.0} and run.info.status == "FINISHED"
    sent = store.record(None).known([step.step_id for step in steps])
    assert sent == {step.step_id: replace(step, run_id=run.info.run_id) for step in steps}
    assert record.frame(steps[2], "items/blimp.parquet").equals(ITEMS)  # the handle from the outage still reads
    levels = [(line.levelname, line.message) for line in caplog.records]
    assert [level for level, _ in levels] == ["WARNING", "INFO"]
    assert str(store.outbox(study).folder) in levels[0][1] and levels[1][1].endswith("answers again")


def test_an_outage_that_ends_in_the_middle_of_a_step(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    with monkeypatch.context() as patch:
        fail_at_step_tag(patch, requests.exceptions.ReadTimeout("slow"))
        assert commit(record, condition(), "slow").run_id == ""
    (run,) = store.runs(study, "condition")
    assert known(store.record(None, outbox="elsewhere"), study, "slow") == {}
    assert record.flush() == 0
    assert known(record, study, "slow")["slow"].run_id == run.info.run_id
    assert len(store.client.get_metric_history(run.info.run_id, "blimp/accuracy")) == 1


def test_an_outage_of_the_artifact_store_alone_is_one_outage(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = store.record(study)
    clock = count(1000.0, step=2 * LONGEST_PAUSE_S)  # every pause is over by the next look at it

    def refuse(*args: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "write_file", refuse)
        patch.setattr(sender, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        for i in range(3):
            record.begin(condition())
            assert commit(record, condition(), f"{i}", f"step{i}").run_id == ""
    assert [line.levelname for line in caplog.records if line.name == "orchestrator.record.sender"] == ["WARNING"]
    assert record.flush() == 0 and len(known(store.record(None), study, "0", "1", "2")) == 3


def test_what_close_cannot_send_the_next_invocation_sends(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CLOSING_PAUSE_S", 0.0)
    record = store.record(study)
    commit(record, condition(), "before")
    with monkeypatch.context() as patch:
        fail_with(patch, requests.exceptions.ConnectionError("gone"))
        commit(record, condition(), "during", "evaluate.tse", metrics={"tse/accuracy": 0.75})
        commit(record, condition("random"), "other", metrics={"blimp/accuracy": 0.5})
        assert record.close("FINISHED") == 2
    assert store.runs(study, "study")[0].info.status == "RUNNING"  # closing it could not be sent

    again = store.record(study)
    steps = known(again, study, "before", "during", "other")
    assert [name for name, step in sorted(steps.items()) if step.run_id] == ["before", "during", "other"]
    assert again.close("FINISHED") == 0
    assert [run.data.metrics for run in store.runs(study, "condition")] == [
        {"blimp/accuracy": 0.5},
        {"blimp/accuracy": 0.8125, "tse/accuracy": 0.75},
    ]
    assert {run.info.status for kind in ("study", "condition") for run in store.runs(study, kind)} == {"FINISHED"}


def test_a_waiting_file_changed_on_disk_is_refused_and_blocks_nothing(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    with monkeypatch.context() as patch:
        fail_with(patch, OSError("gone"))
        rotten = commit(record, condition(), "rotten")
        commit(record, condition(), "sound", "evaluate.tse", metrics={"tse/accuracy": 1.0})
    outbox = store.outbox(study)
    entry = outbox.entries()[0]
    file, folder = outbox.file(entry, "items/blimp.parquet"), outbox.folder / entry.folder_name
    file.write_bytes(b"rot")
    assert not record.verify(rotten)
    with pytest.raises(RecordError) as error:
        record.flush()
    assert str(error.value) == (
        f"{file} is missing or changed since it was written; delete its folder to have the step recomputed "
        f"(kept in {folder})"
    )
    assert known(store.record(None), study, "rotten", "sound").keys() == {"sound"}
    assert record.close("FINISHED") == 1


def test_orphans_of_a_killed_driver_are_closed_and_reopened_when_used(store: StoreFolder, study: str) -> None:
    killed = store.record(study)
    commit(killed, condition("wasserstein"), "one")
    commit(killed, condition("random"), "two")
    again = store.record(study)
    runs = store.runs(study, "condition")
    assert {run.info.status for run in runs} == {"KILLED"} and all(run.info.end_time for run in runs)
    (parent,) = store.runs(study, "study")
    assert parent.info.status == "RUNNING"
    invocations = [value for name, value in sorted(parent.data.tags.items()) if name.startswith("invocation.")]
    assert invocations == ["KILLED", "RUNNING"]
    commit(again, condition("random"), "three", "evaluate.tse")
    assert [run.info.status for run in store.runs(study, "condition")] == ["RUNNING", "KILLED"]
    again.finish(condition("wasserstein"), "FINISHED")  # all its steps were cached
    assert [run.info.status for run in store.runs(study, "condition")] == ["RUNNING", "FINISHED"]


def test_a_store_that_is_locked_for_real_is_an_outage(store: StoreFolder, tmp_path: Path) -> None:
    """MLflow waits 20 s for a locked SQLite file, so only the classification of its error is tested."""
    sqlite3.connect(tmp_path / "x.db").executescript("create table t (a)")
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("begin exclusive")
    from mlflow.store.db.utils import _get_managed_session_maker
    from sqlalchemy import create_engine, orm, text

    engine = create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0})
    session = _get_managed_session_maker(orm.sessionmaker(bind=engine), "not sqlite: no pragma for 20 s")
    opened = Store(store.uri)

    def write() -> None:
        with session(read_only=False) as open_session:
            open_session.execute(text("insert into t values (1)"))

    opened.client.write = write
    with pytest.raises(Unreachable) as error:
        opened.call("write")
    assert re.fullmatch(rf"MLflow at {re.escape(store.uri)} does not answer: .*database is locked.*", str(error.value))
    holder.execute("commit")
    opened.call("write")


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_no_half_entry(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.record(study)
    step = commit(record, condition(), "one")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError) as error:
            commit(record, condition("random"), "two")
    assert str(error.value) == (
        f"cannot write in {store.outbox(study).folder}: No space left on device; make room and run the study again, "
        "what was committed is kept"
    )
    assert list(store.outbox(study).folder.iterdir()) == [] and record.close("FAILED") == 0
    assert known(store.record(study), study, "one", "two") == {"one": step}


def test_studies_that_share_an_outbox_do_not_mix(
    store: StoreFolder, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.record(f"{study}-1", outbox=study)
    with monkeypatch.context() as patch:
        fail_with(patch, OSError("gone"))
        step = commit(first, condition(), "x")
    second = store.record(f"{study}-2", outbox=study)
    assert store.runs(f"{study}-1", "condition") == [] and second.known([step.step_id]) == {step.step_id: step}
    assert second.adopt(condition(), step).run_id == store.runs(f"{study}-2", "condition")[0].info.run_id
    assert [entry.study for entry in store.outbox(study).entries()] == [f"{study}-1"]
    assert (first.flush(), second.close("FINISHED")) == (0, 0)
    assert len(store.runs(f"{study}-1", "condition")) == 1
