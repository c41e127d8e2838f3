"""The MLflow store: experiments, runs and artifacts, in MLflow's words.

Owns the paging, and artifacts, which are read back after writing and verified on reading; where those of a SQLite store
lie, `local_store` says. Raises as `client.calls` does, and `DamagedArtifact`.
Refuses to know which study is open, what a step is, and when to try again.
Invariant: with `creation`, `client.calls` and `client.credentials` the only module that imports mlflow, and only once a
store is opened, because that takes seconds; by then telemetry is off, and nothing of MLflow's is printed to stdout.
"""

import posixpath
import shlex
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.record.client.answers import WEB_PAGE, is_web_page
from orchestrator.record.client.artifact_places import ArtifactPlaces
from orchestrator.record.client.calls import Calls, set_defaults
from orchestrator.record.client.failures import DamagedArtifact, RecordError, Unreachable, WrongAnswer
from orchestrator.record.creation import ensure_database
from orchestrator.record.encoding import digest
from orchestrator.record.limits import MAX_BATCH
from orchestrator.record.local_store import ARTIFACTS, LocalStore, folder_of, locate, remove_run_folder, write_file
from orchestrator.record.outbox import folder_size
from orchestrator.record.pages import links
from orchestrator.record.pages.run_page import RunInput
from orchestrator.record.pages.views import view_tags
from orchestrator.record.tags import KIND, SUPERSEDED
from studies.errors import StudyError, did_you_mean
from studies.files import read_bytes

PAGE = 200
"""Runs per search request; each comes with all its metrics."""


class Store(Calls):
    """The experiments, runs and verified artifacts at one tracking URI."""

    def __init__(self, tracking_uri: str, artifact_root: str | None = None) -> None:
        """Opens the store; a missing SQLite file is created. artifact_root: as the root of `ArtifactPlaces`.

        RecordError if the store cannot be opened."""
        uri, database = locate(tracking_uri)
        set_defaults()
        if database is not None:
            ensure_database(database, uri)
        super().__init__(uri)
        self.local = None if database is None else LocalStore(database)
        """The folder of a SQLite store; None for a server or another database."""
        self._places = ArtifactPlaces(uri, artifact_root)
        self._artifact_uris: dict[str, str] = {}
        """{run: where its artifacts are, as it is recorded}"""

    @property
    def identity(self) -> str:
        """Another one for a copy of a local store; empty for any other store."""
        return self.local.identity if self.local else ""

    def experiments(self) -> dict[str, str]:
        """{id: name} of all experiments that are not deleted."""
        pages = self._pages("search_experiments", max_results=1000)
        return {experiment.experiment_id: experiment.name for experiment in pages}

    def experiment(self, name: str) -> Any:
        """The experiment of this name, or None. RecordError if it is deleted, or has its artifacts where they may not
        be used. The database of a server can be read without the server, but for artifacts."""
        experiment = self.call("get_experiment_by_name", name)
        if experiment is not None and experiment.lifecycle_stage != "active":
            restore = f"MLFLOW_TRACKING_URI={shlex.quote(self.safe_uri)} mlflow experiments restore -x"
            raise RecordError(
                f"study {name!r} was deleted from MLflow at {self.safe_uri}; bring it back with "
                f"`{restore} {shlex.quote(experiment.experiment_id)}`, or give the study another name"
            )
        if experiment is not None and not self._is_harmless(experiment.artifact_location):
            self._places.check(experiment.artifact_location, f"study {name!r}")
        return experiment

    def unknown_study(self, name: str) -> RecordError:
        """The error that the store has no study of this name, with the nearest name that it has."""
        return RecordError(
            f"MLflow at {self.safe_uri} has no study {name!r}{did_you_mean(name, self.experiments().values())}"
        )

    def relocate(self) -> None:
        """Correct where the database of a local store has our artifacts, for MLflow's own pages. Unreachable if it
        cannot be written."""
        try:
            if self.local is not None:
                self.local.relocate()
        except sqlite3.Error as error:
            raise Unreachable(f"MLflow at {self.safe_uri} does not answer: {error}") from error

    def open_experiment(self, name: str, metrics: Sequence[str] = ()) -> str:
        """The id of the experiment of this name, created if there is none; its saved views show these metrics.

        A server chooses where the artifacts of a new one lie. RecordError as by `experiment`, and for a database
        without a place for artifacts."""
        views = view_tags(metrics)
        experiment = self.experiment(name) or self._new_experiment(name, views)
        if self.local and self.local.is_served(experiment.artifact_location):
            raise RecordError(f"MLflow at {self.safe_uri}: study {name!r} {self.local.SERVED}")
        self.tag_experiment(experiment.experiment_id, views, experiment.tags)
        return experiment.experiment_id

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str], held: Mapping[str, str]) -> None:
        """Set tags of an experiment, all but those that it has already. held: its tags."""
        for name, value in tags.items():
            if held.get(name) != value:
                self.call("set_experiment_tag", experiment_id, name, value)

    def _new_experiment(self, name: str, views: Mapping[str, str]) -> Any:
        place = None
        if self.local is not None:
            place = self.local.artifacts.as_uri()  # MLflow percent-decodes plain paths
        elif self.removes_runs:
            place = self._places.for_database()
        try:
            self.call("create_experiment", name, artifact_location=place, tags=dict(views))
        except RecordError:
            if self.experiment(name) is None:  # else it was created and the answer lost, or by another driver
                raise
        return self.experiment(name)

    def runs(self, experiment_ids: Collection[str], kind: str = "") -> Iterator[Any]:
        """All our runs in these experiments, oldest first, so that a run made between two pages comes last.

        kind: only runs of this kind.

        Runs in MLflow's stage "deleted" are among them if superseded; those that a person deleted are not."""
        from mlflow.entities import ViewType

        if not experiment_ids:
            return
        pages = self._pages(
            "search_runs",
            list(experiment_ids),
            filter_string=f"tags.`{KIND}` = '{kind}'" if kind else f"tags.`{KIND}` != ''",
            run_view_type=ViewType.ALL,
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
        )
        for run in pages:
            if run.info.lifecycle_stage == "active" or SUPERSEDED in run.data.tags:
                self._artifact_uris[run.info.run_id] = run.info.artifact_uri
                yield run

    def _pages(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        token = None
        while True:
            page = self.call(name, *args, page_token=token, **kwargs)
            yield from page
            if not (token := page.token):
                return

    # ---- metrics, params and tags of a run

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, date_ms: int) -> None:
        """Log metrics at step 0, dated with Unix time in milliseconds."""
        self._log_points(run_id, [(name, 0, value) for name, value in metrics.items()], date_ms)

    def log_series(self, run_id: str, name: str, pairs: Sequence[tuple[int, float]], *, date_ms: int) -> None:
        """Log one metric at several steps: (step, value) pairs, dated with Unix time in milliseconds."""
        self._log_points(run_id, [(name, step, value) for step, value in pairs], date_ms)

    def log_samples(self, run_id: str, samples: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics at several times: (Unix time in seconds, which is the step as well; {metric: value})."""
        for second, metrics in samples:
            self._log_points(run_id, [(name, second, value) for name, value in metrics.items()], second * 1000)

    def _log_points(self, run_id: str, points: Sequence[tuple[str, int, float]], date_ms: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, date_ms, step) for name, step, value in points]
        for start in range(0, len(metrics), MAX_BATCH):
            self.call("log_batch", run_id, metrics=metrics[start : start + MAX_BATCH])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self.call("log_batch", run_id, params=[Param(name, value) for name, value in params.items()])

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.call("log_batch", run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def confirm_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Unreachable if a server that took these tags does not show them: something else answered in its place."""
        if self.is_server:
            shown = self.call("get_run", run_id).data.tags
            if any(shown.get(name) != value for name, value in tags.items()):
                raise Unreachable(f"MLflow at {self.safe_uri}: the tags of run {run_id} did not arrive intact")

    def remove_tag(self, run_id: str, name: str) -> None:
        """Remove a tag of a run, if the run has it."""
        try:
            self.call("delete_tag", run_id, name)
        except Unreachable:
            raise
        except RecordError:  # as MLflow refuses a second request for the same, whose first answer was lost
            if name in self.call("get_run", run_id).data.tags:
                raise

    def restore_metric(self, run_id: str, name: str, value: float) -> None:
        """Log a value so that it is the one that MLflow shows, whatever was logged after it."""
        from mlflow.entities import Metric

        history = self.call("get_metric_history", run_id, name)
        last = max(history, key=lambda metric: (metric.step, metric.timestamp), default=Metric(name, value, 0, 0))
        date_ms = max(int(time.time() * 1000), last.timestamp + 1)
        self.call("log_batch", run_id, metrics=[Metric(name, value, date_ms, last.step)])

    def log_inputs(self, run_id: str, inputs: Sequence[RunInput]) -> None:
        """Log data sets and models as the inputs of a run; one that it has stays single."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = [
            DatasetInput(
                Dataset(one.name, one.short_digest, "halfwave", one.source),
                [InputTag("mlflow.data.context", one.context), InputTag("digest", one.digest)],
            )
            for one in inputs
        ]
        self.call("log_inputs", run_id, datasets)

    # ---- artifacts

    def artifact_uri(self, run_id: str) -> str:
        """Where the artifacts of a run are. RecordError if they may not be used there."""
        place = self._recorded_place(run_id)
        self._places.check(place, f"run {run_id}")
        return place

    def _recorded_place(self, run_id: str) -> str:
        if run_id not in self._artifact_uris:
            self._artifact_uris[run_id] = self.call("get_run", run_id).info.artifact_uri
        return self._artifact_uris[run_id]

    def _repository(self, run_id: str) -> Any:
        """MLflow's store of a run's artifacts, at the place that was checked.

        Its client would ask the server for the place again, and its functions for a URI take it apart and put it
        together otherwise."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

        place = add_databricks_profile_info_to_artifact_uri(self.artifact_uri(run_id), self.uri)
        return self.call_artifacts(get_artifact_repository, place, tracking_uri=self.uri)

    def _is_harmless(self, place: str) -> bool:
        """Whether no file and no key of this machine is used for artifacts that are recorded at this URI: of a SQLite
        store, those that are looked for beside it, and those that its server alone can reach."""
        return self.local is not None and (folder_of(place) is not None or self.local.is_served(place))

    def folder(self, run_id: str) -> Path | None:
        """Where the artifacts of a run of a local store lie; None where they do not lie on this machine."""
        if self.local is None:
            return folder_of(self.artifact_uri(run_id))
        try:
            return self.local.run_folder(run_id, self._recorded_place(run_id))
        except ValueError as error:
            raise RecordError(f"MLflow at {self.safe_uri}: {error}") from error

    def put(self, run_id: str, content: bytes, path: str) -> None:
        """Write bytes as the artifact `path` and read it back. Unreachable if it did not arrive intact."""
        self._write(run_id, content, path)
        if self.fetch(run_id, path) != content:
            raise Unreachable(f"MLflow at {self.safe_uri}: {path} of run {run_id} did not arrive intact")

    def write_text(self, run_id: str, path: str, text: str) -> None:
        """Write a text as the artifact `path`, without reading it back."""
        self._write(run_id, text.encode(), path)

    def _write(self, run_id: str, content: bytes, path: str) -> None:
        if (folder := self.folder(run_id)) is not None:
            if self.local is not None and not self.local.database.exists():  # moved away: it must not come back
                raise RecordError(f"the store {self.local.database} is gone; run the study again where it is now")
            try:
                write_file(folder / path, content)
            except OSError as error:
                raise Unreachable(f"cannot write {folder / path}: {error.strerror}") from error
            return
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, posixpath.basename(path))
            file.write_bytes(content)
            self.call_artifacts(self._repository(run_id).log_artifact, str(file), posixpath.dirname(path) or None)

    def read(self, run_id: str, path: str, sha256: str) -> bytes:
        """An artifact, verified. DamagedArtifact if it is missing or changed."""
        content = self.fetch(run_id, path)
        if self.is_server and (content is None or digest(content) != sha256):
            content = self._fetch_again(run_id, path, content)
        if content is None or digest(content) != sha256:
            problem = "is missing" if content is None else "is not what was recorded (its sha256 differs)"
            raise DamagedArtifact(
                f"artifact {path} of run {run_id} in MLflow at {self.safe_uri} {problem}; "
                "put the file back, or run the study again: its step will be recomputed"
            )
        return content

    def _fetch_again(self, run_id: str, path: str, content: bytes | None) -> bytes | None:
        """What a server sends in a second try. WrongAnswer if it is not the server that answers."""
        if content is not None and is_web_page(content):
            raise WrongAnswer(f"the artifact store of {self.safe_uri} {WEB_PAGE}")
        self.call("get_run", run_id)
        return self.fetch(run_id, path)

    def fetch(self, run_id: str, path: str) -> bytes | None:
        """An artifact, unverified; None where there is none."""
        if (folder := self.folder(run_id)) is not None:
            try:
                return read_bytes(folder / path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, StudyError):  # or no ordinary file
                return None
            except OSError as error:
                raise Unreachable(f"cannot read {folder / path}: {error.strerror}") from error
        try:
            with tempfile.TemporaryDirectory() as scratch:
                file = self.call_artifacts(self._repository(run_id).download_artifacts, path, dst_path=scratch)
                return read_bytes(Path(file)) if Path(file).is_file() else None
        except RecordError:
            if self.missing(run_id, [path]):  # only listing tells "no such file" and "no answer" apart
                return None
            raise

    def missing(self, run_id: str, paths: Collection[str]) -> set[str]:
        """The paths at which the artifact store lists nothing."""
        if (own := self.folder(run_id)) is not None:
            return {path for path in paths if not (own / path).is_file()}
        present: set[str] = set()
        for folder in {posixpath.dirname(path) for path in paths}:
            listed = self.call_artifacts(self._repository(run_id).list_artifacts, folder or None)
            present |= {posixpath.join(folder, posixpath.basename(info.path)) for info in listed}
        return set(paths) - present

    # ---- removing for good, as `mlflow gc` does, run by run (mlflow/cli, `_gc_tracking_resources`)

    @property
    def removes_runs(self) -> bool:
        """Whether runs can be removed for good from here: from a database yes, from a server no."""
        return hasattr(self._backend, "_hard_delete_run")

    def deleted_runs(self, older_than: timedelta | None) -> set[str] | None:
        """Ids of the runs that have been in MLflow's stage "deleted" for longer; None from a server, which has no such
        list.

        StudyError if the store is a server and `older_than` is given."""
        if not self.removes_runs:
            if older_than is not None:
                raise StudyError(f"--older-than: the server {self.safe_uri} does not say when a run was superseded")
            return None
        age_ms = int((older_than or timedelta()).total_seconds() * 1000)
        return set(self.guarded(self._backend._get_deleted_runs, older_than=age_ms))

    def erase(self, run_id: str) -> None:
        """Remove a run and its artifacts. Does nothing to a run that is not in MLflow's stage "deleted"."""
        if self.call("get_run", run_id).info.lifecycle_stage != "deleted":  # restored since it was looked up
            return
        place = self._recorded_place(run_id)
        if not place.endswith(f"/{run_id}/{ARTIFACTS}"):
            raise RecordError(f"the artifacts of run {run_id} are at {place}, which may hold others' too: not removed")
        if (folder := self.folder(run_id)) is not None:
            try:
                remove_run_folder(folder)
            except OSError as error:
                raise RecordError(f"cannot remove {folder}: {error.strerror}") from error
        else:
            self.call_artifacts(self._repository(run_id).delete_artifacts)
        self.guarded(self._backend._hard_delete_run, run_id)
        del self._artifact_uris[run_id]

    def size(self, run_id: str) -> int | None:
        """Bytes of a run's artifacts; None where they do not lie on this machine."""
        folder = self.folder(run_id)
        return None if folder is None else folder_size(folder)

    @property
    def _backend(self) -> Any:
        from mlflow.tracking._tracking_service.utils import _get_store

        return _get_store(self.uri)

    # ---- links

    @property
    def server_uri(self) -> str:
        """The tracking URI of a server; empty where the store is a database."""
        return self.uri if self.is_server else ""

    def ui_command(self) -> str:
        """The shell command that opens MLflow on this store (a password left out), or the address of its server."""
        return links.ui_command(self.server_uri, self.safe_uri)

    def ui_link(self, experiment_id: str) -> str:
        """The address of an experiment, opened on a table of its conditions; valid while `ui_command` runs."""
        return links.printed(self.server_uri, links.view_address(experiment_id))
