"""What a notebook finds: the store at a place, the studies in it, and what only the outbox has."""

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import halfwave
from orchestrator.record.client.failures import DamagedArtifact, RecordError, Unreachable
from orchestrator.record.keys import RunKey
from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.record import Record
from orchestrator.record.recorded_study import RecordedStudy
from orchestrator.record.tags import Definition
from tests.integration.record.recorded import ITEMS, NEURONS, StoreFolder, commit, condition, fail_with, profile

VERDICT = {"claim": "c", "statement": "S.", "model": "tiny", "effect": None, "contrast": None}


def report(*statuses: str) -> dict[str, object]:
    """A report with a verdict of each status."""
    verdicts = [{**VERDICT, "status": status} for status in statuses]
    part = {"label": "tiny", "rows": [], "benchmarks": [], "doubling": [], "verdicts": verdicts}
    return {"study": "s", "models": [part], "series": [], "unfinished": []}


def project(folder: Path, template: Path) -> StoreFolder:
    """A project with a copy of a working folder in it."""
    workdir = Path(shutil.copytree(template, folder / "a project" / ".halfwave"))
    return StoreFolder(uri=sqlite_uri(workdir / "mlflow.db"), folder=workdir)


@pytest.fixture
def empty(tmp_path: Path, empty_database: Path) -> StoreFolder:
    """A project with a store that nothing is recorded in."""
    return project(tmp_path, empty_database.parent)


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The working folder of the study `only`."""
    made = project(tmp_path_factory.mktemp("once"), empty_database.parent)
    ran(made, "only")
    return made.folder


@pytest.fixture
def place(tmp_path: Path, recorded_once: Path) -> StoreFolder:
    """A project in whose store `only` is recorded."""
    return project(tmp_path, recorded_once)


def ran(place: StoreFolder, name: str, *statuses: str) -> None:
    """Leave a study with two conditions, and a report with these verdicts if there are any."""
    record = place.record(None)
    source = Definition("study.yaml", "ab" * 32)
    record.open_study(name, definition=f"study: {name}\n", resolved={"seen": [name]}, environment={}, source=source)
    commit(record, profile(), "p", "profile", frames={"neurons.parquet": NEURONS}, metrics={})
    for of_condition in ("baseline", "top"):
        commit(record, condition(of_condition), of_condition)
    if statuses:
        documents = {"report.json": report(*statuses)}
        commit(record, RunKey(kind="study", name=name), "r", "report", frames={}, metrics={}, documents=documents)
    assert record.close("FINISHED") == 0


def edited(place: StoreFolder) -> Any:
    """The run of a condition, for a test to change."""
    return next(run for run in place.runs("only", "condition") if "top" in run.info.run_name)


@pytest.fixture
def at_home(place: StoreFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place.folder.parent.parent))


@pytest.mark.usefixtures("at_home")
def test_a_store_is_found_by_its_uri_its_file_its_folder_and_its_project(
    place: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder.parent)
    names: tuple[str | Path, ...] = (
        place.uri, place.folder / "mlflow.db", place.folder, place.folder.parent, ".", ".halfwave",
        "~/a project", "sqlite:///.halfwave/mlflow.db", os.path.relpath(place.folder),
    )  # fmt: skip
    for name in names:
        study = halfwave.load(name)
        assert (study.name, study.uri) == ("only", place.uri), name
        assert sorted(study.conditions.condition) == ["baseline", "top"]
    assert study.definition == "study: only\n" and study.resolved == {"seen": ["only"]}
    experiment = place.client.get_experiment_by_name("only")
    assert study.experiment_id == experiment.experiment_id
    assert repr(study) == f"<study only: 1 model, 2 conditions; {place.uri}>"


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "several": (lambda folder: halfwave.load(folder),
                "the store {uri} has several studies, name one of them: only, two"),
    "another": (lambda folder: halfwave.load(folder, "tow"),
                "MLflow at {uri} has no study 'tow'; did you mean 'two'?"),
    "no folder": (lambda folder: halfwave.load(folder / "none"), "there is no MLflow store at {folder}/none"),
    "no store in it": (
        lambda folder: halfwave.load(folder / "artifacts"),
        "there is no mlflow.db in {folder}/artifacts, nor in a .halfwave there; name the file of the store, or its "
        "tracking URI",
    ),
    "a uri": (lambda folder: halfwave.load(f"sqlite:///{folder}/x.db"), "there is no MLflow store at {folder}/x.db"),
    "a list": (lambda folder: halfwave.studies(folder / "x.db"), "there is no MLflow store at {folder}/x.db"),
}  # fmt: skip


def test_a_place_without_the_study_is_one_line_and_nothing_is_created(place: StoreFolder) -> None:
    ran(place, "two")
    (place.folder / "artifacts").mkdir(exist_ok=True)
    before = sorted(place.folder.iterdir())
    for read, message in REFUSED.values():
        with pytest.raises(RecordError) as refused:
            read(place.folder)
        assert str(refused.value) == message.format(uri=place.uri, folder=place.folder)
    assert sorted(place.folder.iterdir()) == before


def test_an_empty_store_has_no_study_yet(empty: StoreFolder) -> None:
    assert halfwave.studies(empty.folder).empty
    with pytest.raises(RecordError, match=r"^the store .* has no study yet$"):
        halfwave.load(empty.folder)


def test_the_studies_of_a_store_last_run_first_with_their_verdicts(
    place: StoreFolder, caplog: pytest.LogCaptureFixture
) -> None:
    ran(place, "judged", "supported", "supported", "not applicable")
    ran(place, "damaged", "absent")
    place.client.create_experiment("somebody else's")
    (parent,) = place.runs("damaged", "study")
    place.artifact(parent, "report.json").write_bytes(b"{}")
    assert repr(halfwave.load(place.folder, "damaged")).startswith("<study damaged: 1 model, 2 conditions; ")
    with caplog.at_level(logging.WARNING):
        found = halfwave.studies(place.folder)
    assert found.study.tolist() == ["damaged", "judged", "only"] and found.last_run.is_monotonic_decreasing
    assert str(found.last_run.dtype.tz) == "UTC" and found.models.tolist() == [1, 1, 1]
    assert found.conditions.tolist() == [2, 2, 2]
    judged = found.set_index("study").loc["judged"]
    assert (judged["supported"], judged["not applicable"], judged["absent"]) == (2, 1, 0)
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("damaged: artifact report.json of run ")


# ---- what has not reached the store


def test_what_waits_in_the_outbox_is_part_of_the_study(place: StoreFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left by a driver that died during an outage: a step of a run that MLflow knows, one of a run that it does not,
    and one of a condition that was changed, whose earlier run will be superseded."""
    record = Record(place.uri, outbox=place.folder / "spool")
    record.open_study("waiting", definition="", resolved={}, environment={})
    commit(record, condition("top"), "one")
    commit(record, condition("changed"), "earlier")
    with monkeypatch.context() as outage:
        fail_with(outage, ConnectionError("away"))
        more = {"frames": {"items/tse.parquet": ITEMS}, "metrics": {"tse/accuracy": 0.5}}
        commit(record, condition("top"), "two", "evaluate.tse", **more)
        commit(record, condition("late", seed="1"), "three", "evaluate.tse", **more)
        commit(record, condition("changed", identity="cc33", fraction="0.5"), "four", "evaluate.tse", **more)
    found = halfwave.load(place.folder, "waiting")
    table = found.conditions.set_index("condition")
    assert sorted(table.index) == ["changed", "late", "top"] and table["tse/accuracy"].tolist() == [0.5] * 3
    changed = table.loc["changed"]
    assert (changed.run_id, changed.fraction) == ("", 0.5) and pandas.isna(changed["blimp/accuracy"])
    assert (table.loc["late", "run_id"], table.loc["late", "status"], table.loc["late", "seed"]) == ("", "", 1)
    assert table.loc["top", "blimp/accuracy"] == 0.8125 and pandas.isna(table.loc["late", "blimp/accuracy"])
    assert len(found.items("tse")) == 6 and halfwave.studies(place.folder).set_index("study").conditions["waiting"] == 3
    by_uri_alone = RecordedStudy(place.record(None), "waiting")  # of another outbox
    assert sorted(by_uri_alone.conditions.condition) == ["changed", "top"]


def test_an_open_record_is_read_while_the_store_is_away(place: StoreFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver knows and what waits in its outbox; only what the store alone has is out of reach."""
    record = place.record("away")
    commit(record, condition("top"), "sent")
    with monkeypatch.context() as outage:
        fail_with(outage, ConnectionError("away"))
        more = {"frames": {"items/tse.parquet": ITEMS}, "metrics": {"tse/accuracy": 0.5}}
        commit(record, condition("top"), "waits", "evaluate.tse", **more)

        def no_answer(*args: object, **kwargs: object) -> Iterator[object]:
            raise Unreachable("away")

        outage.setattr(type(record._store), "call", no_answer)
        outage.setattr(type(record._store), "fetch", no_answer)
        found = RecordedStudy(record, "away")
        assert found.conditions[["condition", "blimp/accuracy", "tse/accuracy"]].values.tolist() == [
            ["top", 0.8125, 0.5]
        ]
        assert len(found.items("tse")) == 2 and found.experiment_id
        with pytest.raises(Unreachable):
            found.items("blimp")
    assert record.close("FINISHED") == 0


def test_a_metric_that_was_changed_in_mlflow_is_one_logged_line(
    place: StoreFolder, caplog: pytest.LogCaptureFixture
) -> None:
    place.client.log_metric(edited(place).info.run_id, "blimp/accuracy", 1.0)
    with caplog.at_level(logging.WARNING):
        found = halfwave.load(place.folder)
    assert found.conditions["blimp/accuracy"].tolist() == [0.8125, 0.8125]
    (line,) = [record.message for record in caplog.records]
    assert re.search(
        r"blimp/accuracy of run .* is 1 there and 0\.8125 in the record.*; what was recorded is used$", line
    )


def test_a_damaged_artifact_is_named_with_its_path(place: StoreFolder) -> None:
    top = edited(place)
    place.artifact(top, "items/blimp.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedArtifact, match=rf"^artifact items/blimp\.parquet of run {top.info.run_id} in MLflow"):
        halfwave.load(place.folder).items("blimp")
