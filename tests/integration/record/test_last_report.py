"""`report` from the record alone: by a study file whose model is gone, and by a name."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.definition import definition_of
from orchestrator.record.encoding import digest, encode
from orchestrator.record.entry import Entry
from orchestrator.record.keys import RunKey
from orchestrator.record.local_store import sqlite_uri
from orchestrator.record.outbox import Outbox
from orchestrator.record.record import Record
from orchestrator.study_file.load import load_spec
from tests.integration.made_up import Command
from tests.integration.record.test_second_file import STUDY

REPORT = {"study": "same", "models": [], "series": [], "unfinished": ["a step that did not end"]}
"""As an earlier version recorded it: without margins."""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project whose study file was run, and whose model and data are nowhere."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / ".halfwave").mkdir()
    shutil.copy(empty_database, folder / ".halfwave")
    (folder / "same.yaml").write_text(STUDY)
    record_of(folder / ".halfwave", folder / "same.yaml")
    return folder


@pytest.fixture
def project(tmp_path: Path, reported: Path) -> Path:
    """A copy of it: a store that is copied is a store."""
    return Path(shutil.copytree(reported, tmp_path / "project"))


def record_of(workdir: Path, file: Path, name: str = "same", report: Mapping[str, object] = REPORT) -> None:
    """Leave the record of a study that was run from this file; without a report where that is empty."""
    record = Record(sqlite_uri(workdir / "mlflow.db"), outbox=workdir / "spool")
    source = definition_of(file, load_spec(file)[1])
    record.open_study(name, definition=file.read_text(), resolved={}, environment={}, source=source)
    if report:
        key = RunKey(kind="study", name=name)
        record.commit(key, f"r-{name}", "report", metrics={}, frames={}, documents={"report.json": report})
        record.reported()
    record.close("FINISHED")


def test_a_report_needs_neither_the_model_nor_the_data(project: Path, in_process: Command) -> None:
    shown = in_process("report", project / "same.yaml")
    assert (shown.code, shown.err) == (0, "") and "a step that did not end" in shown.out
    assert in_process("plan", project / "same.yaml").code == 2, "the model is needed for that"


def test_a_report_by_name_is_that_of_the_file(
    project: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = sqlite_uri(project / ".halfwave" / "mlflow.db")
    by_file = in_process("report", project / "same.yaml", "--json")
    monkeypatch.chdir(project)
    for where in (
        ("--tracking-uri", uri, "--study", "same"),
        ("--workdir", project / ".halfwave", "--study", "same"),
        ("--tracking-uri", uri),  # its only study
        (),  # in the project that the current folder belongs to
    ):
        by_name = in_process("report", *where, "--json")
        assert (by_name.code, by_name.out, by_name.err) == (0, by_file.out, "")
    assert json.loads(by_file.out) == REPORT, "as it was recorded"


def test_a_report_of_another_definition_says_so_from_the_file_alone(project: Path, in_process: Command) -> None:
    file = project / "same.yaml"
    file.write_text(STUDY.replace("fraction: 0.1", "fraction: 0.2"))
    shown = in_process("report", file)
    assert shown.code == 0
    assert (
        shown.out.startswith("same: this is the report of same.yaml as it was run on 20")
        and "run it for its own" in shown.out
    )
    by_name = in_process("report", "--workdir", project / ".halfwave", "--study", "same")
    assert "this is the report of" not in by_name.out


def test_what_waits_for_another_store_is_no_part_of_the_report(
    project: Path, reported: Path, in_process: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the outbox of the current folder waits a newer report of a study of the same name."""
    newer = {**REPORT, "unfinished": ["of another store"]}
    payload = encode(frames={}, documents={"report.json": newer}, files={})
    key, digests = RunKey(kind="study", name="same"), {path: digest(content) for path, content in payload.items()}
    waiting = Entry(
        study="same", key=key, step_id="newer", step_name="report", metrics={}, series={}, tags={}, digests=digests,
        written_ns=1,
    )  # fmt: skip
    Outbox(project / ".halfwave" / "spool").write(waiting, payload)
    monkeypatch.chdir(project)
    other = sqlite_uri(reported / ".halfwave" / "mlflow.db")
    assert json.loads(in_process("report", "--tracking-uri", other, "--study", "same", "--json").out) == REPORT
    assert json.loads(in_process("report", "--study", "same", "--json").out) == newer


def test_a_store_that_the_file_names_is_read(project: Path, in_process: Command) -> None:
    (project / ".halfwave" / "mlflow.db").rename(project / ".halfwave" / "own.db")
    (project / "same.yaml").write_text("tracking_uri: sqlite:///own.db\n" + STUDY)
    assert "a step that did not end" in in_process("report", project / "same.yaml").out


def refused(found: Command) -> str:
    assert found.code == 2 and found.out == "" and found.err.count("\n") == 1
    return found.err.removeprefix("halfwave: ").rstrip("\n")


def test_what_is_not_there_is_one_line(project: Path, in_process: Command) -> None:
    workdir, file = project / ".halfwave", project / "same.yaml"
    store = workdir / "mlflow.db"
    uri = sqlite_uri(store)
    assert refused(in_process("report", "--workdir", workdir, "--study", "sane")) == (
        f"MLflow at {uri} has no study 'sane'; did you mean 'same'?"
    )
    assert refused(in_process("report", file, "--study", "same")).startswith(f"--study: {file} names its study itself")
    record_of(workdir, file, "other", report={})
    assert (
        refused(in_process("report", "--workdir", workdir, "--study", "other"))
        == "other has no report yet; run it first"
    )
    assert refused(in_process("report", "--workdir", workdir)) == (
        f"the store {uri} has several studies, name one of them: other, same"
    )
    store.rename(workdir / "away.db")
    remedy = "run the study first, or name its store with --workdir or --tracking-uri"
    assert (
        refused(in_process("report", file)) == f"same has no report yet: there is no MLflow store at {store}; {remedy}"
    )
    assert (
        refused(in_process("report", "--workdir", workdir))
        == f"no report: there is no MLflow store at {store}; {remedy}"
    )
    assert not store.exists()
    file.write_text(STUDY + "claim: x\n")
    assert refused(in_process("report", file)).startswith(f"{file}:9: claim: unknown key")


def test_options_of_models_and_data_are_unknown_to_report(project: Path, in_process: Command) -> None:
    for option in ("--data-root", "--model-root"):
        found = in_process("report", project / "same.yaml", option, project)
        assert found.code == 2 and f"there is no option {option}" in found.err
