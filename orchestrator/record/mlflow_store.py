"""The MLflow store: every call that is made of MLflow's client, and the names under which it keeps our runs.

Owns the client, the tags that make a run ours and commit its steps, the paging, the saved view of an experiment, and
artifacts, which are read back after writing and verified on reading. Tells two failures apart: `Unreachable` (no answer
or no sensible one; another try may succeed) and any other `RecordError` (refused for good, missing or damaged). Refuses
to know which study is open, what supersedes what, and when to try again.
Invariant: the only module that imports mlflow, and only once a store is opened, because that takes seconds; telemetry
is off by then and nothing of MLflow's is printed to stdout.
"""

import json
import logging
import os
import posixpath
import shlex
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from orchestrator.record.encoding import digest
from orchestrator.record.keys import Committed
from orchestrator.record.limits import INDEX_FOLDER, MAX_TAG
from orchestrator.record.outbox import Entry, size_of
from orchestrator.redaction import redacted, remember
from studies.errors import StudyError

log = logging.getLogger(__name__)

KIND, MODEL, CONDITION, IDENTITY = "halfwave.kind", "halfwave.model", "halfwave.condition", "halfwave.identity"
STEP, ADOPTED, SUPERSEDED, PARENT = "step.", "adopted_from", "superseded_by", "mlflow.parentRunId"
"""Names of tags; `STEP` and a step's name make the tag that commits it."""

PAGE = 200
"""Runs per search request; each comes with all its metrics."""
METRICS_PER_BATCH = 1000
"""mlflow/utils/validation.py, MAX_METRICS_PER_BATCH."""

_CLIENT_DEFAULTS = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # `set_terminated` prints two links, and stdout is ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own 7 block for four minutes; waiting is the spool's work
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_HOPELESS = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "INVALID_STATE",
}  # fmt: skip
"""Error codes of a store that answered and will never accept. The others (5xx, locked, timed out, a proxy's 404, an
expired login) may pass."""

_PARAM_COLUMNS = ("model", "condition", "fraction", "intervention")
_VIEW_TAG = "mlflow.sharedViewState.halfwave"
"""A saved view, as the interface of MLflow 3.17 keeps them in tags of the experiment; `Store.ui_link` opens it."""


def _view(metrics: Sequence[str]) -> str:
    """The saved view: one row a condition, the study's main metrics beside what defines the condition."""
    state = {
        "searchFilter": f"tags.`{KIND}` = 'condition'",
        "orderByKey": "params.`model`",  # in any order but by date the interface lists child runs flat, not folded away
        "orderByAsc": True,
        "selectedColumns": [*(f"params.`{p}`" for p in _PARAM_COLUMNS), *(f"metrics.`{m}`" for m in metrics)],
    }
    return json.dumps({"name": "Halfwave: conditions", "createdAt": 0, "state": json.dumps(state)})


class RecordError(StudyError):
    """The record cannot be read or written as asked."""


class Unreachable(RecordError):
    """The store does not answer, or not sensibly; another try may succeed."""


class Store:
    """The calls we make of MlflowClient, with failures told apart and artifacts verified."""

    def __init__(self, tracking_uri: str) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        for name, value in _CLIENT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a traceback for what is one line below
        self.uri = locate(tracking_uri)[0]
        remember(self.uri)
        self._artifact_uris: dict[str, str] = {}
        try:
            self.client = MlflowClient(tracking_uri=self.uri)
        except Exception as error:  # MLflow, SQLAlchemy and the database's driver each raise their own
            raise RecordError(f"cannot open the MLflow store {self.place}: {_first_line(error)}") from error

    @property
    def place(self) -> str:
        """The tracking URI without a password."""
        return redacted(self.uri)

    def ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client. Raises Unreachable for what may pass and RecordError for what will not."""
        return self._guard(getattr(self.client, name), *args, **kwargs)

    def _guard(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return call(*args, **kwargs)
        except MlflowException as error:
            kind = RecordError if error.error_code in _HOPELESS else Unreachable
            verb = "refuses" if kind is RecordError else "does not answer"
            raise kind(f"MLflow at {self.place} {verb}: {_first_line(error)}") from error
        except OSError as error:  # requests' exceptions are OSErrors
            raise Unreachable(f"MLflow at {self.place} does not answer: {_first_line(error)}") from error

    def experiments(self) -> dict[str, str]:
        """Id to name, of all that are not deleted."""
        return {e.experiment_id: e.name for e in self._pages("search_experiments", max_results=1000)}

    def experiment(self, name: str) -> Any:
        """The experiment of this name, or None. RecordError if it is deleted."""
        found = self.ask("get_experiment_by_name", name)
        if found is not None and found.lifecycle_stage != "active":
            restore = f"MLFLOW_TRACKING_URI={shlex.quote(self.place)} mlflow experiments restore -x"
            raise RecordError(
                f"study {name!r} was deleted from MLflow at {self.place}; bring it back with "
                f"`{restore} {found.experiment_id}`, or give the study another name"
            )
        return found

    def open_experiment(self, name: str, artifact_location: str | None, metrics: Sequence[str] = ()) -> str:
        """The id of the experiment of this name, made if there is none; its saved view shows these metrics.

        RecordError if it is deleted.
        """
        view = _view(metrics)
        if (found := self.experiment(name)) is None:
            return self.ask("create_experiment", name, artifact_location=artifact_location, tags={_VIEW_TAG: view})
        if found.tags.get(_VIEW_TAG) != view:
            self.ask("set_experiment_tag", found.experiment_id, _VIEW_TAG, view)
        return found.experiment_id

    def runs(self, experiment_ids: list[str]) -> Iterator[Any]:
        """All our runs, oldest first, so that runs made meanwhile come last. What a person deleted stays deleted."""
        from mlflow.entities import ViewType

        pages = self._pages(
            "search_runs", experiment_ids, filter_string=f"tags.`{KIND}` != ''", run_view_type=ViewType.ALL,
            max_results=PAGE, order_by=["attributes.start_time ASC"],
        )  # fmt: skip
        for run in pages:
            if run.info.lifecycle_stage == "active" or SUPERSEDED in run.data.tags:
                self._artifact_uris[run.info.run_id] = run.info.artifact_uri
                yield run

    def _pages(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        token = None
        while True:
            page = self.ask(name, *args, page_token=token, **kwargs)
            yield from page
            if not (token := page.token):
                return

    def steps(
        self, run_id: str, tags: Mapping[str, str], experiment: str, wanted: Collection[str] | None = None
    ) -> Iterator[Committed]:
        """The steps committed on a run (all, or those wanted). One whose tag or index is damaged counts as absent."""
        for name, value in tags.items():
            if not name.startswith(STEP):
                continue
            try:
                stamp = json.loads(value)
                if wanted is not None and stamp["id"] not in wanted:
                    continue
                if "index" in stamp:
                    path = f"{INDEX_FOLDER}/{name.removeprefix(STEP)}.json"
                    stamp |= json.loads(self.read(run_id, path, stamp["index"]))
                yield Committed(
                    step_id=stamp["id"], step_name=name.removeprefix(STEP), experiment=experiment,
                    run_id=run_id, artifacts=stamp["digests"], metrics=stamp["metrics"], tags=stamp["tags"],
                )  # fmt: skip
            except Unreachable:
                raise
            except (RecordError, ValueError, KeyError, TypeError) as error:
                log.warning("step %s of run %s counts as not done: %s", name, run_id, error)

    def stamp(self, run_id: str, entry: Entry) -> str:
        """The value of the tag that commits a step, as `steps` reads it.

        What is too long for a tag goes to an artifact, whose digest then stands there."""
        body = {"digests": entry.digests, "metrics": entry.metrics, "tags": entry.tags, ADOPTED: entry.adopted_from}
        stamp = json.dumps({"id": entry.step_id, **body}, separators=(",", ":"))
        if len(stamp) <= MAX_TAG:
            return stamp
        content, path = json.dumps(body).encode(), f"{INDEX_FOLDER}/{entry.step_name}.json"
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, posixpath.basename(path))
            file.write_bytes(content)
            self.put(run_id, file, path, digest(content))
        return json.dumps({"id": entry.step_id, "index": digest(content)}, separators=(",", ":"))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, date_ms: int, step: int) -> None:
        """At most METRICS_PER_BATCH; none at all still asks the store."""
        from mlflow.entities import Metric

        values = [Metric(name, value, date_ms, step) for name, value in metrics.items()]
        self.ask("log_batch", run_id, metrics=values)

    def log_series(self, run_id: str, name: str, pairs: Sequence[tuple[int, float]], *, date_ms: int) -> None:
        """One metric at several steps, at most METRICS_PER_BATCH of them."""
        from mlflow.entities import Metric

        self.ask("log_batch", run_id, metrics=[Metric(name, value, date_ms, step) for step, value in pairs])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self.ask("log_batch", run_id, params=[Param(name, value) for name, value in params.items()])

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self.ask("log_batch", run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def artifact_uri(self, run_id: str) -> str:
        if run_id not in self._artifact_uris:
            self._artifact_uris[run_id] = self.ask("get_run", run_id).info.artifact_uri
        return self._artifact_uris[run_id]

    def folder(self, run_id: str) -> Path | None:
        """Where the run's artifacts lie, if that is on this machine."""
        parts = urlsplit(self.artifact_uri(run_id))
        return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None

    def put(self, run_id: str, file: Path, path: str, sha256: str) -> None:
        """Upload one artifact and read it back. Unreachable if it did not arrive intact."""
        self._artifacts(self.client.log_artifact, run_id, str(file), posixpath.dirname(path) or None)
        if (found := self.fetch(run_id, path)) is None or digest(found) != sha256:
            raise Unreachable(f"MLflow at {self.place}: {path} of run {run_id} did not arrive intact")

    def write_text(self, run_id: str, path: str, text: str) -> None:
        self._artifacts(self.client.log_text, run_id, text, path)

    def read(self, run_id: str, path: str, sha256: str) -> bytes:
        """An artifact, verified. RecordError if it is missing or changed."""
        content = self.fetch(run_id, path)
        if content is None or digest(content) != sha256:
            problem = "is missing" if content is None else "is not what was recorded (its sha256 differs)"
            raise RecordError(
                f"artifact {path} of run {run_id} in MLflow at {self.place} {problem}; "
                "put the file back, or run the study again: its step will be recomputed"
            )
        return content

    def fetch(self, run_id: str, path: str) -> bytes | None:
        """An artifact as it stands, or None where there is none."""
        if (folder := self.folder(run_id)) is not None:
            try:
                return (folder / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            except OSError as error:
                raise Unreachable(f"cannot read {folder / path}: {error.strerror}") from error
        from mlflow.artifacts import download_artifacts

        uri = f"{self.artifact_uri(run_id)}/{path}"  # by run id MLflow makes six requests a file instead of two
        try:
            with tempfile.TemporaryDirectory() as scratch:
                file = self._artifacts(download_artifacts, uri, dst_path=scratch, tracking_uri=self.uri)
                return Path(file).read_bytes()
        except RecordError:
            if self.missing(run_id, [path]):  # only listing tells "no such file" and "no answer" apart
                return None
            raise

    def missing(self, run_id: str, paths: Collection[str]) -> set[str]:
        """Those of the paths at which nothing is listed."""
        from mlflow.artifacts import list_artifacts

        present: set[str] = set()
        for folder in {posixpath.dirname(path) for path in paths}:
            uri = f"{self.artifact_uri(run_id)}/{folder}".rstrip("/")
            listed = self._artifacts(list_artifacts, uri, tracking_uri=self.uri)
            present |= {posixpath.join(folder, posixpath.basename(info.path)) for info in listed}
        return set(paths) - present

    def _artifacts(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Artifact stores are plugins with exceptions of their own; any of them may pass."""
        try:
            return self._guard(call, *args, **kwargs)
        except RecordError:
            raise
        except Exception as error:
            raise Unreachable(f"the artifact store of {self.place} does not answer: {_first_line(error)}") from error

    # ---- removing for good: what `mlflow gc` does, run by run (mlflow/cli, `_gc_tracking_resources`)

    @property
    def removes_runs(self) -> bool:
        """Whether runs can be removed for good from here: of a database, not of a server."""
        return hasattr(self._backend, "_hard_delete_run")

    def deleted_runs(self, older_than: timedelta | None) -> set[str] | None:
        """Ids of all runs in the stage "deleted" for longer than that; None of a server, which does not tell.

        StudyError if a server is asked for an age."""
        if not self.removes_runs:
            if older_than is not None:
                raise StudyError(f"--older-than: the server {self.place} does not tell when a run was superseded")
            return None
        age_ms = int((older_than or timedelta()).total_seconds() * 1000)
        return set(self._guard(self._backend._get_deleted_runs, older_than=age_ms))

    def erase(self, run_id: str) -> None:
        """Remove a run and its artifacts; one that is not in the stage "deleted" is left alone."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self.ask("get_run", run_id).info.lifecycle_stage != "deleted":  # restored since it was looked up
            return
        self._artifacts(get_artifact_repository(self.artifact_uri(run_id)).delete_artifacts)
        self._guard(self._backend._hard_delete_run, run_id)
        del self._artifact_uris[run_id]

    def size(self, run_id: str) -> int | None:
        """Bytes of a run's artifacts; None where they do not lie on this machine."""
        folder = self.folder(run_id)
        return None if folder is None else size_of(folder)

    @property
    def _backend(self) -> Any:
        from mlflow.tracking._tracking_service.utils import _get_store

        return _get_store(self.uri)

    # ---- links

    def ui_command(self) -> str:
        """The shell command that opens MLflow on this store (a password left out), or the address of its server."""
        if server := self._server():
            return server
        return f"mlflow ui --backend-store-uri {shlex.quote(self.place)} --port 5000"

    def ui_link(self, experiment_id: str) -> str:
        """The address of an experiment, opened on a table of its conditions; good while `ui_command` runs."""
        server = self._server() or "http://127.0.0.1:5000"
        view = "workflowType=machine_learning&viewStateShareKey=halfwave"  # without it MLflow opens on GenAI traces
        return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{view}"

    def _server(self) -> str:
        """The address of the tracking server, without user and password; '' where the store is a database."""
        parts = urlsplit(self.uri)
        if parts.scheme not in ("http", "https"):
            return ""
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def locate(tracking_uri: str) -> tuple[str, Path | None]:
    """The URI, good from any working folder, and the file of a SQLite store."""
    if not tracking_uri.startswith("sqlite:///"):
        return tracking_uri, None
    path, question, options = tracking_uri.removeprefix("sqlite:///").partition("?")
    file = Path(unquote(path)).absolute()
    return f"sqlite:///{str(file).replace('%', '%25')}{question}{options}", file


def _first_line(error: Exception) -> str:
    return redacted((str(error).strip() or type(error).__name__).splitlines()[0])[:300]
