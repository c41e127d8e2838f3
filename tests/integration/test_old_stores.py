"""Stores that an earlier version wrote: read, sent and cleared as if this one had written them, and computed anew.

Their profiles, evaluations and searches are of versions that are raised by now, so no number of theirs is served.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas
import pytest
from click.testing import Result
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from typer.testing import CliRunner

import halfwave
from orchestrator.cli import app
from orchestrator.record.outbox import Outbox
from orchestrator.record.record import Record
from orchestrator.study import Study
from tests.old_stores import stores

EXPECTED = stores.expected()
STUDIES = EXPECTED["studies"]
FINISHED = ["everything", "dissociation"]
"""Both in one store; the second one took its steps over from the first."""


class Place(NamedTuple):
    """An unpacked store and one of its studies."""

    study: str
    file: Path
    workdir: Path

    @property
    def expected(self) -> dict[str, Any]:
        """What the version that wrote it found there."""
        return STUDIES[self.study]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.workdir / 'mlflow.db'}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def command(self, verb: str, *options: str) -> Result:
        """A verb on the study file, in this process."""
        return CliRunner().invoke(app, [verb, str(self.file), "--workdir", str(self.workdir), *options])

    def answer(self, verb: str, *options: str) -> Any:
        """What a verb prints as JSON."""
        done = self.command(verb, "--json", *options)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def planned(self) -> list[dict[str, Any]]:
        return self.answer("plan")["steps"]

    def record(self) -> Record:
        """With the study opened, as a driver opens it."""
        study = Study.open(self.file, workdir=self.workdir)
        record, definition = study.record(), self.file.read_text()
        record.open_study(study.spec.study, definition=definition, resolved=study.plan.study.document(), environment={})
        return record

    def runs(self) -> list[Run]:
        """All of them, hidden ones too, by kind and name; those of one name in the order of their ids."""
        experiment = self.client.get_experiment_by_name(self.study).experiment_id
        found = self.client.search_runs([experiment], run_view_type=ViewType.ALL, max_results=1000)
        return sorted(found, key=lambda run: (kind(run), run.info.run_name, run.info.lifecycle_stage, run.info.run_id))

    def numbers(self) -> pandas.DataFrame:
        """Every number of every condition."""
        return indexed(
            {"model": row["model"], "condition": row["condition"], **row["numbers"]} for row in self.expected["metrics"]
        )

    def found_numbers(self) -> pandas.DataFrame:
        table = halfwave.load(self.uri, self.study).conditions
        numbers = table.select_dtypes("number").columns.difference(["fraction", "num_neurons", "seed"])
        metrics = [name for name in numbers if not name.startswith("delta/")]  # these are of the report
        return indexed(table[["model", "condition", *metrics]].to_dict("records"))


def of_neighbour(planned: dict[str, Any]) -> bool:
    """Whether a planned step evaluates the neighbour of a matched control, which earlier versions did not have."""
    return planned["step"].endswith("/neighbour")


def kind(run: Run) -> str:
    return run.data.tags["halfwave.kind"]


def indexed(rows: Any) -> pandas.DataFrame:
    return pandas.DataFrame(rows).set_index(["model", "condition"]).sort_index().sort_index(axis=1)


def unpacked(study: str, folder: Path) -> Place:
    expected = STUDIES[study]
    place = stores.unpack(expected["store"], folder)
    return Place(study, place / expected["file"], place / stores.WORKDIR)


@pytest.fixture(autouse=True)
def no_place_is_remembered() -> None:
    """MLflow keeps in the process where a run's artifacts lie, by the run's id; here one run lies at several places."""
    _artifact_repos_cache.clear()


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The finished store, for tests that change nothing in it; a folder that has to be quoted in a URI."""
    folder = tmp_path_factory.mktemp("old") / "a störe"
    stores.unpack("finished", folder)
    yield folder / "finished"


@pytest.fixture(params=FINISHED)
def finished(request: pytest.FixtureRequest, read_only: Path) -> Place:
    return Place(request.param, read_only / STUDIES[request.param]["file"], read_only / stores.WORKDIR)


@pytest.fixture
def everything(tmp_path: Path) -> Place:
    """The finished store, for a test of its own."""
    return unpacked("everything", tmp_path)


@pytest.fixture
def interrupted(tmp_path: Path) -> Place:
    """A study whose driver was killed while it emptied its outbox."""
    return unpacked("interrupted", tmp_path)


@pytest.fixture
def waiting(tmp_path: Path) -> Place:
    """A working folder without a store, whose outbox holds a whole study."""
    return unpacked("waiting", tmp_path)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same, once its entries were sent to a fresh store; for tests that change nothing there."""
    place = unpacked("waiting", tmp_path_factory.mktemp("landed"))
    assert place.record().close("FINISHED") == 0
    return place


# ---- what is moved


def test_nothing_in_the_database_names_the_place_where_it_was_written(read_only: Path) -> None:
    with sqlite3.connect(read_only / stores.WORKDIR / "mlflow.db") as database:
        assert not [line for line in database.iterdump() if stores.PREFIX in line]


# ---- finished


def test_the_steps_are_the_same_and_none_is_served_whose_numbers_may_have_moved(finished: Place) -> None:
    planned = finished.planned()
    assert {one["step"] for one in planned if not of_neighbour(one)} == set(finished.expected["steps"].values())
    served = {one["step"].split()[0] for one in planned if one["cached"]}
    assert served <= {"weights"}, "it compares two files, and no fix touched that"


def test_the_plan_says_that_the_version_was_raised(finished: Place) -> None:
    planned = [one for one in finished.planned() if not one["cached"] and not of_neighbour(one)]
    raised = {one["step"].split()[0].split(".")[0]: one["reason"] for one in planned}
    assert "version: 2 -> 3" in raised["profile"] and "version: 2 -> 3" in raised["evaluate"]


def test_the_numbers_are_read_as_they_were(finished: Place) -> None:
    pandas.testing.assert_frame_equal(finished.found_numbers(), finished.numbers(), check_exact=True)


def test_every_member_of_the_study_is_read(finished: Place) -> None:
    """What the earlier version did not record is missing, and nothing else."""
    study = halfwave.load(finished.workdir, finished.study)
    assert len(study.conditions) and study.conditions.fraction.notna().any() and study.definition
    assert set(study.models) == {row["model"] for row in finished.expected["metrics"]}
    claims = sum(len(part["verdicts"]) for part in (*study.report["models"], *study.report["series"]))
    assert len(study.verdicts) == claims and claims and study.verdicts.margin.isna().all()
    assert len(study.comparisons) and all(len(study.items(name)) for name in study.benchmarks.name)
    assert all(len(study.neurons(model)) for model in study.models)
    schedules = {step for run in finished.runs() if kind(run) == "schedule" for step in run.data.tags}
    for table, step in ((study.layers(), "layers"), (study.doses(), "doses"), (study.trajectories(), "dynamics")):
        assert len(table) > 0 if f"step.{step}" in schedules else table.empty
    assert study.figures and all(figure.png and figure.svg is None for figure in study.figures.values())
    assert all(text not in study._repr_html_() for text in ("nan", "None"))


def test_the_report_is_read_as_it_was(finished: Place) -> None:
    assert finished.answer("report") == finished.expected["report"]


def test_the_report_prints_every_condition(finished: Place) -> None:
    printed = finished.command("report")
    assert printed.exit_code == 0
    words = "".join(printed.stdout.split())  # the table breaks long names
    names = {row["condition"] for model in finished.expected["report"]["models"] for row in model["rows"]}
    assert len(names) > 3 and [name for name in names if name.split("/")[0] not in words] == []


def test_every_artifact_of_every_step_is_intact(finished: Place) -> None:
    record = Record(finished.uri, outbox=finished.workdir / "spool")
    latest = record.latest(finished.study)
    assert len(latest) >= len(finished.expected["steps"])
    assert [place for place, step in latest.items() if not record.verify(step)] == []


def test_documents_have_the_names_and_tables_the_columns_that_they_had(finished: Place) -> None:
    record, seen = Record(finished.uri, outbox=finished.workdir / "spool"), set()
    for step in record.latest(finished.study).values():
        for path in step.artifacts:
            if path.endswith(".json"):
                document = record.document(step, path)
                names = {name for name in EXPECTED["documents"][path] if not set(name) & set(".[")}
                assert set(document) == names, path
            elif path.endswith(".parquet"):
                columns = record.frame(step, path).dtypes.astype(str).to_dict()
                assert list(columns) == list(EXPECTED["tables"][path]), path
            seen.add(path)
    assert {"neurons.parquet", "match.json", "receipts/evaluate.pairs.json", "report.json"} <= seen


def test_schedules_have_the_histories_that_they_had(read_only: Path) -> None:
    place = Place("everything", read_only / "study.yaml", read_only / stores.WORKDIR)
    found = {
        run.info.run_name: {
            name: [[one.step, one.value] for one in place.client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        for run in place.runs()
        if kind(run) == "schedule"
    }
    assert found == place.expected["histories"]


@pytest.mark.long
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_a_run_computes_everything_anew_beside_what_was_there(tmp_path: Path) -> None:
    place = unpacked("dissociation", tmp_path)
    done = place.command("run")
    assert done.exit_code == 0, done.output
    planned = place.planned()
    idle = [one for one in planned if not one["cached"]]
    assert all(of_neighbour(one) and one["reason"].startswith("not applicable") for one in idle)
    assert len([one for one in planned if not of_neighbour(one)]) == place.expected["num_steps"]
    assert f"{len(planned) - len(idle)} steps computed, 0 cached, in " in done.stdout
    before = {run["run_id"] for run in place.expected["runs"]}
    assert before < {run.info.run_id for run in place.runs()}, "the old runs are superseded, not lost"


# ---- superseded


def test_gc_finds_exactly_the_superseded_runs(read_only: Path) -> None:
    place = Place("everything", read_only / "study.yaml", read_only / stores.WORKDIR)
    hidden = {run["run_id"] for run in place.expected["runs"] if "superseded_by" in run["tags"]}
    found = place.answer("gc")
    assert len(hidden) == 8 and {run["run_id"] for run in found["runs"]} == hidden
    assert found == {**EXPECTED["gc"], "unknown": []}


def test_gc_removes_them_and_nothing_that_is_needed(everything: Place) -> None:
    everything.answer("gc", "--delete")
    assert len(everything.runs()) == len(everything.expected["runs"]) - len(EXPECTED["gc"]["runs"])
    record = Record(everything.uri, outbox=everything.workdir / "spool")
    assert all(map(record.verify, record.latest("everything").values()))


# ---- half finished


def test_what_a_killed_driver_had_done_is_there(interrupted: Place) -> None:
    assert {one["step"] for one in interrupted.planned()} == set(interrupted.expected["steps"].values())
    record = Record(interrupted.uri, outbox=interrupted.workdir / "spool")
    assert set(record.intact(list(interrupted.expected["steps"]))) == set(interrupted.expected["cached"])


def test_its_lease_has_lapsed_and_its_orphans_are_closed(interrupted: Place) -> None:
    tags = interrupted.client.get_experiment_by_name("interrupted").tags
    assert tags[EXPECTED["lease_tag"]["name"]] == EXPECTED["lease_tag"]["value"]
    assert {run.info.status for run in interrupted.runs() if kind(run) == "condition"} == {"RUNNING"}
    record = interrupted.record()
    statuses = {run.info.run_name: run.info.status for run in interrupted.runs() if kind(run) == "condition"}
    resent = statuses.pop("baseline · step10")  # opened again by what the outbox held
    assert set(statuses.values()) == {"KILLED"} and resent == "RUNNING"
    (parent,) = (run for run in interrupted.runs() if kind(run) == "study")
    marks = [value for name, value in sorted(parent.data.tags.items()) if name.startswith("invocation.")]
    assert marks == ["KILLED", "RUNNING"]
    assert record.close("FINISHED") == 0


def test_what_it_was_sending_is_sent_and_recorded_once(interrupted: Place) -> None:
    (entry,) = Outbox(interrupted.workdir / "spool").entries()
    assert entry.step_id == interrupted.expected["spooled"]
    record = interrupted.record()
    assert record.known([entry.step_id])[entry.step_id].run_id and Outbox(interrupted.workdir / "spool").entries() == []
    (run,) = (run for run in interrupted.runs() if run.info.run_name == "baseline · step10")
    assert f"step.{entry.step_name}" in run.data.tags
    assert len(interrupted.client.get_metric_history(run.info.run_id, "pairs/accuracy")) == 1
    record.close("FINISHED")


@pytest.mark.long
@pytest.mark.usefixtures("no_process_outlives_its_driver")
def test_it_comes_to_the_numbers_of_the_earlier_version(interrupted: Place) -> None:
    """Where BOS stands as it stood then: in the first window alone."""
    text = interrupted.file.read_text(encoding="utf-8")
    assert text.count("window: ") == 2, "of the profile and of the perplexity"
    interrupted.file.write_text(text.replace("window: ", "bos: first, window: "), encoding="utf-8")
    done = interrupted.command("run")
    assert done.exit_code == 0, done.output
    assert f"{interrupted.expected['num_steps']} steps computed, 0 cached, in " in done.stdout
    pandas.testing.assert_frame_equal(interrupted.found_numbers(), interrupted.numbers(), rtol=1e-4, atol=1e-4)


# ---- an outbox that waits


def test_the_entries_of_a_waiting_outbox_are_read(waiting: Place) -> None:
    found = [
        (entry.folder_name, entry.step_id, entry.step_name, entry.key.kind, entry.key.model, entry.key.condition)
        for entry in Outbox(waiting.workdir / "spool").entries()
    ]
    names = ("folder", "step_id", "step_name", "kind", "model", "condition")
    assert found == [tuple(entry[name] for name in names) for entry in waiting.expected["entries"]]


def test_they_land_in_a_fresh_store(landed: Place) -> None:
    record = Record(landed.uri, outbox=landed.workdir / "spool")
    known = record.known(list(landed.expected["steps"]))
    assert known.keys() == landed.expected["steps"].keys() and all(step.run_id for step in known.values())
    assert list((landed.workdir / "spool").iterdir()) == [] and all(map(record.verify, known.values()))


def test_they_land_with_their_numbers(landed: Place) -> None:
    pandas.testing.assert_frame_equal(landed.found_numbers(), landed.numbers(), check_exact=True)


def test_they_land_with_their_series(landed: Place) -> None:
    (entry,) = (entry for entry in landed.expected["entries"] if entry["series"])
    (run,) = (run for run in landed.runs() if run.data.tags.get("halfwave.condition") == entry["condition"])
    for name, pairs in entry["series"].items():
        history = landed.client.get_metric_history(run.info.run_id, name)
        assert [[one.step, one.value] for one in history] == pairs


def test_what_was_adopted_from_the_outbox_says_so(landed: Place) -> None:
    adopted = {entry["condition"] for entry in landed.expected["entries"] if entry["adopted_from"]}
    found = {run.data.tags["halfwave.condition"] for run in landed.runs() if "adopted_from" in run.data.tags}
    assert found == adopted == {"same"}
