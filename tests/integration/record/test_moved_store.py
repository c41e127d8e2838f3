"""A working folder that is moved, copied, mounted elsewhere, mounted read-only, or that has an odd name."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import list_artifacts
from mlflow.entities import ViewType

import halfwave
from orchestrator.record.client.failures import RecordError
from orchestrator.record.driver.lease import TAG, encode_claim, own_claim
from orchestrator.record.keys import RunKey
from orchestrator.record.local_store import sqlite_uri
from orchestrator.study import Study
from tests.integration.made_up import Command
from tests.integration.made_up_actors import compute
from tests.integration.record import test_second_file as second_file
from tests.unit.orchestrator.planning.test_resolve import make_folder

STUDY = second_file.STUDY.replace("study: same", "study: moved")
CHANGED = STUDY.replace("fraction: 0.1, clamp: negative", "fraction: 0.2, clamp: zero")


@pytest.fixture(autouse=True)
def made_up_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "_compute", compute)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose study was run, changed and run again, so that it has a superseded run."""
    project = tmp_path_factory.mktemp("template") / "project"
    make_folder(project / "model")
    file = project / "study.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Study, "_compute", compute)
        for text in (CHANGED, STUDY):
            file.write_text(text)
            assert Study.open(file, workdir=project / ".halfwave").run().complete
    return project


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """The project at another place, its old one gone."""
    moved = tmp_path / "moved"
    shutil.copytree(template, moved)
    return moved


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def at_work(project: Path) -> tuple[Path, str, str]:
    """The arguments that name the project's study."""
    return project / "study.yaml", "--workdir", str(project / ".halfwave")


def client(project: Path) -> MlflowClient:
    return MlflowClient(sqlite_uri(project / ".halfwave" / "mlflow.db"))


def recorded_places(project: Path) -> set[str]:
    """Where the database says that experiments and runs are, without what others have."""
    asked = client(project)
    (experiment,) = asked.search_experiments(filter_string="name = 'moved'")
    runs = asked.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    return {experiment.artifact_location, *(run.info.artifact_uri.partition(f"/{run.info.run_id}/")[0] for run in runs)}


def test_a_moved_project_is_reported_planned_and_run_without_computing_anything(
    template: Path, tmp_path: Path, in_process: Command
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(template, old)
    assert "0 steps computed" in in_process("run", *at_work(old)).out
    before = in_process("report", *at_work(old))
    old.rename(new)
    after = in_process("report", *at_work(new))
    same, _, page = after.out.partition("Read the page:")
    assert after.code == 0 and same == before.out.partition("Read the page:")[0]
    assert Path(page.strip()).is_relative_to(new / ".halfwave" / "reports") and Path(page.strip()).is_file()
    assert json.loads(in_process("plan", *at_work(new), "--json").out)["forecast"]["makespan"] == 0
    frames = halfwave.load(sqlite_uri(new / ".halfwave" / "mlflow.db"), "moved")
    assert len(frames.items("embedded_pairs")) and len(frames.neurons("model"))
    assert recorded_places(new) == {(old / ".halfwave" / "artifacts").as_uri()}, "who only reads changes nothing"
    ran = in_process("run", *at_work(new))
    assert ran.code == 0 and "0 steps computed" in ran.out
    assert recorded_places(new) == {(new / ".halfwave" / "artifacts").as_uri()}
    assert not old.exists()


def test_work_in_a_copy_leaves_the_original_as_it_was(template: Path, project: Path, in_process: Command) -> None:
    before = contents(template)
    survey = json.loads(in_process("gc", *at_work(project), "--json").out)
    assert len(survey["runs"]) == 1 and survey["bytes"] > 0 and not survey["removed"]
    (experiment,) = client(project).search_experiments(filter_string="name = 'moved'")
    run_id = survey["runs"][0]["run_id"]
    folder = project / ".halfwave" / "artifacts" / run_id
    assert folder.exists()
    assert json.loads(in_process("gc", *at_work(project), "--delete", "--json").out)["removed"]
    assert not folder.exists() and (template / ".halfwave" / "artifacts" / run_id).exists()
    project.joinpath("study.yaml").write_text(CHANGED)
    ran = in_process("run", *at_work(project))
    assert ran.code == 0 and "0 steps computed" not in ran.out
    assert contents(template) == before
    places = {run.info.artifact_uri for run in client(project).search_runs([experiment.experiment_id])}
    assert all(place.startswith((project / ".halfwave").as_uri()) for place in places)
    for run in client(project).search_runs([experiment.experiment_id]):
        assert list_artifacts(run_id=run.info.run_id, tracking_uri=sqlite_uri(project / ".halfwave" / "mlflow.db"))


def test_experiments_of_others_in_a_moved_store_are_left_alone(project: Path, in_process: Command) -> None:
    asked = client(project)
    theirs = asked.create_experiment("theirs", artifact_location="file:///old/theirs")
    run = asked.create_run(theirs)
    asked.delete_run(run.info.run_id)
    assert in_process("run", *at_work(project)).code == 0
    assert in_process("gc", *at_work(project), "--delete").code == 0
    assert asked.get_experiment(theirs).artifact_location == "file:///old/theirs"
    kept = asked.get_run(run.info.run_id).info
    assert (kept.artifact_uri, kept.lifecycle_stage) == (f"file:///old/theirs/{run.info.run_id}/artifacts", "deleted")


def test_a_study_in_an_experiment_that_others_made_keeps_its_artifacts_in_its_store(
    tmp_path: Path, template: Path, in_process: Command
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    shutil.copytree(template, project, ignore=shutil.ignore_patterns(".halfwave"))
    assert in_process("plan", *at_work(project)).code == 0
    client(project).create_experiment("moved", artifact_location=elsewhere.as_uri())
    assert in_process("run", *at_work(project)).code == 0
    assert not elsewhere.exists()
    assert "0 steps computed" in in_process("run", *at_work(project)).out
    assert recorded_places(project) == {elsewhere.as_uri(), (project / ".halfwave" / "artifacts").as_uri()}


def test_a_project_that_is_moved_while_its_study_runs_does_not_come_back(project: Path) -> None:
    study = Study.open(project / "study.yaml", workdir=project / ".halfwave")
    record = study.record()
    record.open_study("moved", definition=STUDY, resolved={}, environment={})
    project.rename(project.with_name("elsewhere"))
    key = RunKey(kind="condition", model="model", condition="late", identity="1", name="late")
    with pytest.raises(RecordError) as error:
        record.commit(key, "0123456789abcdef", "late", metrics={"a": 1.0}, frames={}, documents={})
    assert str(error.value) == (
        f"cannot write in {project}/.halfwave/spool: the folder is gone; make room and run the study again, what was "
        "committed is kept"
    )
    assert not project.exists()


def test_a_lease_that_was_copied_along_does_not_hold(project: Path, in_process: Command) -> None:
    """The claim is of a living process: this test's parent, on the store from which the copy was made."""
    asked, database = client(project), project / ".halfwave" / "mlflow.db"
    (experiment,) = asked.search_experiments(filter_string="name = 'moved'")
    claim = own_claim("1")
    living = json.loads(encode_claim(claim)) | {"pid": os.getppid(), "born": psutil.Process(os.getppid()).create_time()}
    asked.set_experiment_tag(experiment.experiment_id, TAG, json.dumps(living))
    assert in_process("run", *at_work(project)).code == 0
    held = living | {"store": str(database.stat().st_ino)}
    asked.set_experiment_tag(experiment.experiment_id, TAG, json.dumps(held))
    refused = in_process("run", *at_work(project))
    assert refused.code == 2 and f"is being run by process {os.getppid()} on" in refused.err
    assert in_process("run", *at_work(project), "--takeover").code == 0


@pytest.mark.parametrize("name", ["my%20study", "100% of what? #1;a&b @1:é"])
def test_a_folder_of_any_name_holds_its_store_alone(name: str, template: Path, tmp_path: Path, in_process: Command):
    project = tmp_path / "root" / name
    shutil.copytree(template, project, ignore=shutil.ignore_patterns(".halfwave"))
    assert in_process("plan", *at_work(project)).code == 0
    assert (project / ".halfwave" / "mlflow.db").exists()
    assert in_process("run", *at_work(project)).code == 0
    shown = in_process("report", *at_work(project))
    assert shown.code == 0 and "wasserstein" in shown.out
    assert in_process("gc", *at_work(project), "--delete").code == 0
    assert [path.name for path in (tmp_path / "root").iterdir()] == [name]
    uri = sqlite_uri(project / ".halfwave" / "mlflow.db")
    (experiment,) = client(project).search_experiments(filter_string="name = 'moved'")
    for run in client(project).search_runs([experiment.experiment_id]):
        assert list_artifacts(run_id=run.info.run_id, tracking_uri=uri), "MLflow's own pages find them too"


def test_gc_looks_where_run_has_written(template: Path, tmp_path: Path, in_process: Command, monkeypatch):
    project, other = tmp_path / "project", tmp_path / "other"
    shutil.copytree(template, project, ignore=shutil.ignore_patterns(".halfwave"))
    other.mkdir()
    (other / "mine.db").write_text("not a database")
    monkeypatch.chdir(project.parent)
    for text in (CHANGED, STUDY):
        (project / "study.yaml").write_text(text + "tracking_uri: sqlite:///mine.db\n")
        assert in_process("run", project / "study.yaml", "--workdir", "project/work").code == 0
    monkeypatch.chdir(other)
    survey = in_process("gc", project / "study.yaml", "--workdir", "../project/work", "--json")
    assert survey.code == 0 and len(json.loads(survey.out)["runs"]) == 1
    assert (project / "work" / "mine.db").exists() and (other / "mine.db").read_text() == "not a database"


@pytest.fixture
def mounted(project: Path, tmp_path: Path) -> Iterator[Path]:
    """The project, mounted read-only. Skips where this user may not mount."""
    place = tmp_path / "mounted"
    place.mkdir()
    bound = subprocess.run(["mount", "--bind", project, place], capture_output=True, text=True, check=False)
    if bound.returncode:
        pytest.skip(f"mounting a folder read-only is not allowed here: {bound.stderr.strip()}")
    subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # MLflow keeps its connection


def test_a_record_that_is_mounted_read_only_is_validated_planned_and_reported(
    mounted: Path, in_process: Command, tmp_path: Path
) -> None:
    before = contents(mounted)
    for verb in ("validate", "plan", "report", "gc"):
        answer = in_process(verb, *at_work(mounted))
        assert answer.code == 0 and not answer.err, (verb, answer.err)
    assert len(halfwave.load(sqlite_uri(mounted / ".halfwave" / "mlflow.db"), "moved").items("embedded_pairs"))
    answer = in_process("report", *at_work(mounted))
    assert "not written (the page cannot be written to " in answer.out and "with --page)" in answer.out
    elsewhere = in_process("report", *at_work(mounted), "--page", str(tmp_path / "page"))
    assert elsewhere.out.endswith(f"Read the page:    {tmp_path}/page/report.html\n")
    refused = in_process("run", *at_work(mounted))
    assert refused.code == 2 and refused.err == (
        f"halfwave: cannot write in {mounted}/.halfwave: Read-only file system; choose another working folder with "
        "--workdir\n"
    )
    assert contents(mounted) == before


def test_a_project_without_a_record_that_is_mounted_read_only_is_validated(
    project: Path, mounted: Path, in_process: Command
) -> None:
    shutil.rmtree(project / ".halfwave")
    answer = in_process("validate", mounted / "study.yaml")
    assert answer.code == 0 and not answer.err
