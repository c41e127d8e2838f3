"""`halfwave gc` on real SQLite stores: what it finds, that looking changes nothing, and that what stays is intact."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.garbage import GarbageCollector
from orchestrator.planning.digest_cache import DigestCache
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.ownership import own_mark
from orchestrator.record.record import Record
from studies.errors import StudyError

DEAD = f"halfwave-{own_mark().split('-')[1]}-4194999-1"
"""The mark of a process that is gone."""
ITEMS = pandas.DataFrame({"pair": [0, 1], "correct": [1.0, 0.5]})


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating one takes MLflow seconds, copying it none."""
    workdir = tmp_path_factory.mktemp("empty")
    Record(uri(workdir), outbox=workdir / "spool")
    return workdir / "mlflow.db"


@pytest.fixture
def workdir(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path)
    return tmp_path


def uri(workdir: Path) -> str:
    return f"sqlite:///{workdir / 'mlflow.db'}"


def opened(workdir: Path, study: str = "one") -> Record:
    record = Record(uri(workdir), outbox=workdir / "spool")
    record.open_study(study, definition=f"study: {study}\n", resolved={}, environment={})
    return record


def key(name: str, identity: str, kind: str = "condition") -> RunKey:
    return RunKey(kind=kind, model="tiny", condition=name, identity=identity, name=f"tiny · {name}")


def commit(record: Record, run: RunKey, step_id: str, name: str, *inputs: str) -> Committed:
    identity = {"inputs": {f"input{i}": upstream for i, upstream in enumerate(inputs)}}
    documents = {f"identity/{name}.json": identity}
    frames = {f"items/{name}.parquet": ITEMS}
    return record.commit(run, step_id, name, metrics={f"{name}/x": 1.0}, frames=frames, documents=documents)


def study_with_history(workdir: Path, study: str = "one") -> tuple[list[Committed], list[Committed]]:
    """A study whose condition `w` was changed: (steps on current runs, steps on superseded runs)."""
    record = opened(workdir, study)
    current = [commit(record, key("", "p", "profile"), f"{study}-p", "profile")]
    old = [
        commit(record, key("w", "aa"), f"{study}-select-a", "select", f"{study}-p"),
        commit(record, key("w", "aa"), f"{study}-blimp-a", "blimp", f"{study}-select-a"),
    ]
    current += [
        commit(record, key("w", "bb"), f"{study}-select-b", "select", f"{study}-p"),
        commit(record, key("w", "bb"), f"{study}-blimp-b", "blimp", f"{study}-select-b"),
        commit(record, key("baseline", "cc"), f"{study}-blimp-0", "blimp"),
    ]
    assert record.close("FINISHED") == 0
    return current, old


def run(workdir: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["gc", "--workdir", str(workdir), *options])


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def run_ids(workdir: Path) -> set[str]:
    client = Store(uri(workdir)).client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id for run in client.search_runs(experiments, run_view_type=ViewType.ALL)}


def test_a_dry_run_changes_not_one_byte(workdir: Path) -> None:
    _, old = study_with_history(workdir)
    torn = workdir / "spool" / f".writing-{DEAD}-torn.{'0' * 12}"
    (torn / "files").mkdir(parents=True)
    (workdir / "digests.json").write_text(json.dumps({"/nowhere/model.safetensors|5|6|7|8": "ab" * 32}))
    before = contents(workdir)
    answer = run(workdir)
    assert answer.exit_code == 0, answer.output
    assert contents(workdir) == before and torn.is_dir()
    assert f"  one: tiny · w ({old[0].run_id[:8]}, 2 steps)" in answer.output
    assert "1 superseded run, 0.0 MiB; going back to their definitions recomputes 2 steps" in answer.output
    assert "1 incomplete outbox folder of dead drivers" in answer.output
    assert "1 remembered digest of files that are gone or have changed" in answer.output
    assert answer.output.endswith("nothing was removed; add --delete to remove this\n")


def test_delete_removes_exactly_the_superseded_and_the_rest_verifies(workdir: Path) -> None:
    current, old = study_with_history(workdir)
    others, more = study_with_history(workdir, "two")
    before, folders = run_ids(workdir), {path.name for path in (workdir / "artifacts").iterdir()}
    gone = {step.run_id for step in [*old, *more]}
    assert len(gone) == 2 and gone < before & folders

    survey = json.loads(run(workdir, "--delete", "--json").output)
    assert survey["removed"] and {run["run_id"] for run in survey["runs"]} == gone
    assert survey["bytes"] > 0 and survey["steps_lost"] == 4
    assert run_ids(workdir) == before - gone
    left = [path for name in gone for path in (workdir / "artifacts" / name).rglob("*")]
    assert [path for path in left if path.is_file()] == []
    record = opened(workdir)
    known = record.known([step.step_id for step in [*current, *old, *others, *more]])
    assert known == {step.step_id: step for step in [*current, *others]} and all(map(record.verify, known.values()))
    assert record.frame(current[2], "items/blimp.parquet").equals(ITEMS)
    record.close("FINISHED")

    assert run(workdir).output == "nothing to remove\n"
    assert run(workdir, "--delete").output == "nothing to remove\n"
    again = opened(workdir)  # the old definition is computed anew
    redone = commit(again, key("w", "aa"), "one-select-a", "select", "one-p")
    assert redone.run_id not in gone and again.verify(redone)
    assert again.close("FINISHED") == 0


def test_with_a_study_file_other_studies_stay(workdir: Path) -> None:
    _, old = study_with_history(workdir)
    _, more = study_with_history(workdir, "two")
    file = workdir / "study.yaml"
    file.write_text(
        "study: two\nmodels: [./m]\nevaluate: [embedded_knowledge]\n"
        "conditions: {w: {select: top, fraction: 0.1, clamp: zero}}\n"
    )
    answer = run(workdir, str(file), "--delete")
    assert answer.exit_code == 0 and "  two: tiny · w" in answer.output and "one:" not in answer.output
    left = run_ids(workdir)
    assert {step.run_id for step in old} <= left and not {step.run_id for step in more} & left
    file.write_text(file.read_text().replace("two", "tow"))
    answer = run(workdir, str(file))
    assert isinstance(answer.exception, StudyError) and "has no study 'tow'; did you mean 'two'?" in str(
        answer.exception
    )


def test_superseded_runs_that_a_current_one_rests_on_stay(workdir: Path) -> None:
    """The driver was stopped between a new profile and the new conditions: the old ones still rest on the old one."""
    record = opened(workdir)
    base = commit(record, key("", "aa", "profile"), "old-profile", "profile")
    select = commit(record, key("w", "aa"), "old-select", "select", "old-profile")
    matched = commit(record, key("m", "aa"), "old-match", "match", "old-select")
    commit(record, key("", "bb", "profile"), "new-profile", "profile")
    commit(record, key("w", "bb"), "new-select", "select", "new-profile")
    record.close("KILLED")
    answer = run(workdir, "--delete")
    assert answer.output == "2 more superseded runs hold steps that other runs depend on: kept\nnothing to remove\n"

    record = opened(workdir)
    commit(record, key("m", "bb"), "new-match", "match", "new-select")
    record.close("FINISHED")
    survey = json.loads(run(workdir, "--delete", "--json").output)
    assert [run["run_id"] for run in survey["runs"]] == [step.run_id for step in (base, select, matched)]


def test_an_adopted_step_outlives_the_run_that_it_came_from(workdir: Path) -> None:
    record = opened(workdir)
    old = commit(record, key("w", "aa"), "shared", "blimp")
    other = commit(record, key("w", "bb"), "new", "tse")
    adopted = record.adopt(key("w", "bb"), old)
    record.close("FINISHED")
    survey = json.loads(run(workdir, "--delete", "--json").output)
    assert [run["run_id"] for run in survey["runs"]] == [old.run_id] and survey["steps_lost"] == 0
    again = opened(workdir)
    assert again.known(["shared", "new"]) == {"shared": adopted, "new": other} and again.verify(adopted)
    again.close("FINISHED")


def test_a_running_study_blocks_it_unless_forced(workdir: Path) -> None:
    _, old = study_with_history(workdir)
    driver = opened(workdir, "two")
    answer = run(workdir, "--delete")
    assert isinstance(answer.exception, StudyError)
    assert str(answer.exception).startswith("two is being run; wait for its driver, or, if that was killed")
    assert old[0].run_id in run_ids(workdir)
    assert "--delete will refuse while two is being run" in run(workdir).output
    assert run(workdir, "--delete", "--force").exit_code == 0
    assert old[0].run_id not in run_ids(workdir)
    driver.close("FINISHED")


def test_only_runs_superseded_for_long_enough(workdir: Path) -> None:
    study_with_history(workdir)
    assert run(workdir, "--older-than", "1h").output == "nothing to remove\n"
    assert "1 superseded run" in run(workdir, "--older-than", "0m").output


def test_the_command_exits_with_2_and_one_line(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.cli import entry

    for options, problem in (
        (["--older-than", "soon"], "halfwave: --older-than: 'soon' is not an age"),
        ([], f"halfwave: there is no MLflow store at {tmp_path / 'mlflow.db'}; name it with --workdir"),
    ):
        monkeypatch.setattr("sys.argv", ["halfwave", "gc", "--workdir", str(tmp_path), *options])
        with pytest.raises(SystemExit) as caught:
            entry()
        output = capsys.readouterr()
        assert caught.value.code == 2 and output.out == ""
        assert output.err.startswith(problem) and output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_server_keeps_its_runs_and_the_output_says_so(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, old = study_with_history(workdir)
    monkeypatch.setattr(Store, "removes_runs", False)  # as a REST store, which cannot delete for good
    answer = run(workdir, "--delete").output
    assert "a client cannot remove runs from the server" in answer and "removed all but the runs" in answer
    assert f"mlflow gc --backend-store-uri DATABASE --run-ids {old[0].run_id}" in answer
    assert old[0].run_id in run_ids(workdir)
    answer = run(workdir, "--older-than", "1d")
    assert "does not say when a run was superseded" in str(answer.exception)


def test_outbox_folders_of_dead_drivers_go_and_those_of_live_ones_and_waiting_steps_stay(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_with_history(workdir)
    outbox = workdir / "spool"
    waiting = opened(workdir)
    with monkeypatch.context() as patch:
        for write in ("create_run", "log_batch"):
            patch.setattr(MlflowClient, write, unreachable)
        step = commit(waiting, key("x", "dd"), "waits", "blimp")
    (outbox / f"{'ab' * 10}.{'0' * 12}" / "files").mkdir(parents=True)  # as earlier versions left it, half removed
    (outbox / f".writing-{DEAD}-dead.{'0' * 12}").mkdir()
    alive = outbox / f".writing-{own_mark()}-alive.{'0' * 12}"
    alive.mkdir()
    mine = outbox / "my data"
    mine.mkdir()
    answer = run(workdir, "--delete", "--force")
    assert "2 incomplete outbox folders of dead drivers" in answer.output
    assert "1 step waits in the outbox for the tracking server: kept" in answer.output
    assert "1 thing in the outbox that Halfwave did not write, or cannot read: my data; left as found" in answer.output
    (entry,) = Outbox(outbox).entries()
    assert {path.name for path in outbox.iterdir()} == {alive.name, mine.name, entry.folder_name}
    record = opened(workdir)  # the next invocation sends it
    assert record.known(["waits"])["waits"] == replace(step, run_id=record.known(["waits"])["waits"].run_id)
    assert record.close("FINISHED") == 0


def unreachable(*arguments: Any, **options: Any) -> None:
    raise OSError("gone")


def test_digests_of_files_that_are_gone_or_changed_go(workdir: Path) -> None:
    study_with_history(workdir)
    files = [workdir / name for name in ("same|1|2.txt", "gone.txt", "changed.txt")]
    for file in files:
        file.write_text("a")
    cache = DigestCache(workdir / "digests.json")
    digests = [cache.digest([file]) for file in files]
    cache.save()
    files[1].unlink()
    files[2].write_text("longer")
    assert "2 remembered digests of files" in run(workdir, "--delete").output
    (left,) = json.loads((workdir / "digests.json").read_text())
    assert left.startswith(str(files[0])) and DigestCache(workdir / "digests.json").digest(files[:1]) == digests[0]


@pytest.mark.parametrize("content", ["[1, 2]", "{", '"a"', "[" * 100_000])
def test_a_file_that_is_no_digest_cache_is_read_as_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "digests.json").write_text(content)
    cache = DigestCache(tmp_path / "digests.json")
    assert cache.digest([tmp_path / "digests.json"]) and cache.stale() == []


def test_a_run_restored_meanwhile_is_left_alone(workdir: Path) -> None:
    _, old = study_with_history(workdir)
    collector = GarbageCollector(uri(workdir), workdir)
    garbage = collector.survey()
    driver = opened(workdir)
    assert driver.adopt(key("w", "aa"), old[0]) == old[0]
    driver.close("FINISHED")
    collector.collect(garbage)
    assert driver.verify(old[0]) and old[0].run_id in run_ids(workdir)


def test_a_kill_between_artifacts_and_run_is_mended(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, old = study_with_history(workdir)
    collector = GarbageCollector(uri(workdir), workdir)
    garbage = collector.survey()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SqlAlchemyStore, "_hard_delete_run", interrupted)
        collector.collect(garbage)
    record = Record(uri(workdir), outbox=workdir / "spool")
    assert not record.verify(record.known([old[0].step_id])[old[0].step_id])  # known, and computed again
    assert run(workdir, "--delete").exit_code == 0 and old[0].run_id not in run_ids(workdir)


def interrupted(*arguments: Any) -> None:
    raise KeyboardInterrupt
