"""The MLflow record of a study, which is also its memory: written while it runs, read back as its cache.

Experiment = study; one parent run per study; under it one run per (model, condition identity) and one profile run per
model, reopened by later invocations. A step is committed artifacts first and, last of all, by the tag `step.<name>`
with its id, digests and metrics: what has no tag was never committed, whatever else stands on the run. Everything
passes through the write-ahead spool, so a server that does not answer costs no result. A run whose definition changed
gets `superseded_by` and MLflow's lifecycle stage "deleted", which hides it in the interface and in plain searches and
loses nothing (before `mlflow gc`): `known` and `adopt` still find it, and going back to its definition restores it.
One driver writes, from one thread, through MlflowClient with explicit run ids. Refuses to know what a step computes.
"""

import json
import logging
import os
import posixpath
import shlex
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from orchestrator.spool import (
    INDEX_FOLDER,
    MAX_TAG,
    NOTHING,
    PROGRESS,
    Committed,
    Entry,
    RunKey,
    Spool,
    check_key,
    check_metrics,
    check_name,
    check_texts,
    decode_document,
    decode_frame,
    digest,
    encode,
)
from studies.errors import StudyError, did_you_mean

if TYPE_CHECKING:
    import pandas

__all__ = ["Committed", "Record", "RecordError", "RunKey", "StudyFrames", "load_study"]

log = logging.getLogger(__name__)

KIND, MODEL, CONDITION, IDENTITY = "halfwave.kind", "halfwave.model", "halfwave.condition", "halfwave.identity"
STEP, INVOCATION, SUPERSEDED, ADOPTED = "step.", "invocation.", "superseded_by", "adopted_from"
PARENT = "mlflow.parentRunId"

PAGE = 200
"""Runs per search request; each comes with all its metrics."""
METRICS_PER_BATCH = 1000
"""mlflow/utils/validation.py, MAX_METRICS_PER_BATCH."""
LONGEST_PAUSE_S = 60.0
"""Between two attempts to reach a store that does not answer; the first pause is a second, then they double."""
CLOSING_ATTEMPTS = 3
CLOSING_PAUSE_S = 2.0
RUN_COLUMNS = ("run_id", "name", "status", "model", "condition")
NUMERIC_PARAMS = ("fraction", "seed")

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

_COLUMNS = [f"params.`{name}`" for name in ("model", "condition", "fraction", "intervention")] + [
    f"metrics.`{name}`" for name in ("perplexity", "blimp/accuracy", "tse/accuracy", "multiple_choice/mean_accuracy")
]
_VIEW = {
    "searchFilter": f"tags.`{KIND}` = 'condition'",
    "orderByKey": "params.`model`",  # in any order but by date the interface lists child runs flat, not folded away
    "orderByAsc": True,
    "selectedColumns": _COLUMNS,
}
_VIEW_TAG = "mlflow.sharedViewState.halfwave"
"""A saved view, as the interface of MLflow 3.17 keeps them in tags of the experiment; `Record.ui_link` opens it."""


class RecordError(StudyError):
    """The record cannot be read or written as asked."""


class Unreachable(RecordError):
    """The store does not answer, or not sensibly; another try may succeed."""


class _Store:
    """The calls we make of MlflowClient, with failures told apart and artifacts verified."""

    def __init__(self, tracking_uri: str) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        for name, value in _CLIENT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.uri, self.database = _absolute(tracking_uri)
        self._artifact_uris: dict[str, str] = {}
        try:
            self.client = MlflowClient(tracking_uri=self.uri)
        except Exception as error:  # MLflow, SQLAlchemy and the database's driver each raise their own
            raise RecordError(f"cannot open the MLflow store {self.place}: {_first_line(error)}") from error

    @property
    def place(self) -> str:
        """The tracking URI without a password."""
        parts = urlsplit(self.uri)
        return self.uri.replace(f":{parts.password}@", ":***@") if parts.password else self.uri

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
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


@dataclass(slots=True, kw_only=True)
class _Run:
    """What stands on a run of this study, so that nothing is asked or written twice."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]


class Record:
    """The record of one study.

    >>> record = Record("sqlite:////home/me/study/mlflow.db", spool=Path("/home/me/study/spool"))
    >>> record.open_study("dissociation", definition=text, resolved={...}, environment={"git_commit": "4f2a91c"})
    >>> done = record.known(step_ids)
    >>> record.commit(key, "9be1...", "evaluate.blimp", metrics={"blimp/accuracy": 0.81}, frames={...}, documents={})
    >>> record.finish(key, "FINISHED")
    >>> waiting = record.close("FINISHED")
    """

    def __init__(self, tracking_uri: str, *, spool: Path, artifact_location: str | None = None) -> None:
        """`artifact_location` holds for experiments that this record creates; a SQLite store defaults to the folder
        `artifacts` beside its file, any other to what its server chooses. RecordError if there is no such store."""
        database = _absolute(tracking_uri)[1]
        if database is not None:
            _make_writable(database.parent)
            artifact_location = artifact_location or str(database.parent / "artifacts")
        if artifact_location is not None and "://" not in artifact_location:
            _make_writable(Path(artifact_location))
            artifact_location = Path(artifact_location).resolve().as_uri()  # MLflow percent-decodes plain paths
        self._artifact_location = artifact_location
        self._store = _Store(tracking_uri)
        self._spool = Spool(spool)
        _make_writable(self._spool.folder)
        self._study = self._experiment = self._invocation = ""
        self._runs: dict[tuple[str, str, str], dict[str, _Run]] = {}
        self._pending: list[Entry] = []
        self._refused: list[Entry] = []
        self._landed: dict[str, str] = {}
        self._later: dict[object, Callable[[], Any]] = {}
        self._pause_s, self._retry_at, self._unseen = 0.0, 0.0, 0

    # ---- the memory

    def known(self, step_ids: Collection[str]) -> dict[str, Committed]:
        """Which of the steps are done, in any study of the store or waiting in the spool.

        One paged search, whatever the number of steps. Of several copies the one on this study's own run is preferred,
        then that of any current run, then that of a superseded one. Says nothing of the artifacts: see `verify`."""
        wanted, found, ranks = set(step_ids), {}, {}
        experiments = self._store.experiments()
        for run in self._store.runs(list(experiments)) if experiments else ():
            rank = 2 * (SUPERSEDED not in run.data.tags) + (run.info.experiment_id == self._experiment)
            for step in self._store.steps(run.info.run_id, run.data.tags, experiments[run.info.experiment_id], wanted):
                if rank > ranks.get(step.step_id, -1):
                    found[step.step_id], ranks[step.step_id] = step, rank
        spooled = {e.step_id: e.committed() for e in self._spool.entries() if e.step_id in wanted}
        return found | spooled

    def latest(self, study: str) -> dict[tuple[str, str, str], Committed]:
        """{(model, condition, step name): the step as it stands} of a study's current runs; empty if it has none."""
        found = self._store.experiment(study)
        runs = self._store.runs([found.experiment_id]) if found is not None else ()
        return {
            (run.data.tags.get(MODEL, ""), run.data.tags.get(CONDITION, ""), step.step_name): step
            for run in runs
            if SUPERSEDED not in run.data.tags
            for step in self._store.steps(run.info.run_id, run.data.tags, study)
        }

    def verify(self, committed: Committed) -> bool:
        """Whether the artifacts are there: by digest on this machine, by listing on a server."""
        for entry in self._spool.holding(committed):
            if all(self._spool.read(entry, path) is not None for path in entry.digests):
                return True
        run_id = committed.run_id or self._landed.get(committed.step_id)
        if not run_id:
            return False
        try:
            if self._store.folder(run_id) is None:
                return not self._store.missing(run_id, committed.artifacts)
            for path, sha256 in committed.artifacts.items():
                self._store.read(run_id, path, sha256)
            return True
        except Unreachable:
            raise
        except RecordError:
            return False

    def frame(self, committed: Committed, path: str) -> "pandas.DataFrame":
        """A recorded table. RecordError if it is missing or changed."""
        return decode_frame(self._read(committed, path))

    def document(self, committed: Committed, path: str) -> dict | list | str:
        """A recorded document: JSON decoded, else text. RecordError if it is missing or changed."""
        return decode_document(path, self._read(committed, path))

    def _read(self, committed: Committed, path: str) -> bytes:
        if path not in committed.artifacts:
            has = ", ".join(sorted(committed.artifacts)) or "none"
            raise RecordError(f"step {committed.step_name} recorded no artifact {path!r}; it has: {has}")
        for entry in self._spool.holding(committed):
            if (content := self._spool.read(entry, path)) is not None:
                return content
        run_id = committed.run_id or self._landed.get(committed.step_id, "")
        if not run_id:
            raise RecordError(
                f"artifact {path} of step {committed.step_name} is missing from the spool {self._spool.folder} or "
                "changed there; put the file back, or delete the folder: its step will be recomputed"
            )
        return self._store.read(run_id, path, committed.artifacts[path])

    # ---- opening

    def open_study(self, study: str, *, definition: str, resolved: dict, environment: Mapping[str, Any]) -> None:
        """Create or reopen the study's experiment and parent run, close what a killed driver left open, send the spool.

        `environment` is recorded whole in `environment.json` and its plain values as tags; `git_commit` and `user` also
        under MLflow's own names. Raises RecordError if the store does not answer or the experiment was deleted."""
        now = datetime.now(UTC)
        self._invocation = f"{now:%Y%m%dT%H%M%S.%fZ}"
        plain = {k: str(v) for k, v in environment.items() if isinstance(v, str | int | float)}
        tags = {f"environment.{name}": value for name, value in plain.items()}
        for name, tag in {"git_commit": "mlflow.source.git.commit", "user": "mlflow.user"}.items():
            tags |= {tag: plain[name]} if name in plain else {}
        parent = check_key(RunKey(kind="study", name=study, params={"study": study}, tags=tags))
        invocation = {"started": now.isoformat(), "definition_sha256": digest(definition.encode()), **environment}
        texts = {"study.yaml": definition} | {
            path: json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
            for path, content in {
                "resolved.json": resolved,
                "environment.json": dict(environment),
                f"invocations/{self._invocation}.json": invocation,
            }.items()
        }
        self._study, self._experiment = study, self._open_experiment(study)
        self._load_runs()
        run = self._use(parent)
        for name, value in list(run.tags.items()):
            if name.startswith(INVOCATION) and value == "RUNNING":
                self._tag(run, {name: "KILLED"})
        for path, text in texts.items():
            self._store.write_text(run.run_id, path, text)
        self._tag(run, {INVOCATION + self._invocation: "RUNNING"})
        self._spool.sweep()
        self._pending = self._spool.entries(study)
        self._drain(force=True)

    def _open_experiment(self, study: str) -> str:
        view = json.dumps({"name": "Halfwave: conditions", "createdAt": 0, "state": json.dumps(_VIEW)})
        if (found := self._store.experiment(study)) is None:
            make = partial(self._store.ask, "create_experiment", study, tags={_VIEW_TAG: view})
            return make(artifact_location=self._artifact_location)
        if _VIEW_TAG not in found.tags:  # one that a user changed stays
            self._store.ask("set_experiment_tag", found.experiment_id, _VIEW_TAG, view)
        return found.experiment_id

    def _load_runs(self) -> None:
        """Learn this study's runs; close orphans, and hide superseded runs that a kill or a restore left visible."""
        self._runs.clear()
        for found in self._store.runs([self._experiment]):
            tags, active = dict(found.data.tags), found.info.lifecycle_stage == "active"
            run = _Run(
                run_id=found.info.run_id, name=found.info.run_name, status=found.info.status,
                params=dict(found.data.params), tags=tags,
            )  # fmt: skip
            if active and run.status == "RUNNING" and tags[KIND] != "study":
                self._terminate(run, "KILLED")
            if active and SUPERSEDED in tags:
                self._store.ask("delete_run", run.run_id)
            place = self._runs.setdefault((tags[KIND], tags.get(MODEL, ""), tags.get(CONDITION, "")), {})
            twin = place.setdefault(tags.get(IDENTITY, ""), run)
            if SUPERSEDED in twin.tags and SUPERSEDED not in tags:
                place[tags[IDENTITY]] = run

    # ---- writing

    def commit(
        self, key: RunKey, step_id: str, step_name: str, *,
        metrics: Mapping[str, float], frames: Mapping[str, "pandas.DataFrame"],
        documents: Mapping[str, dict | list | str], files: Mapping[str, bytes] = NOTHING,
        tags: Mapping[str, str] = NOTHING, metric_step: int = 0,
    ) -> Committed:  # fmt: skip
        """Record a finished step: on disk at once, in MLflow as soon as it answers.

        Raises ValueError, before anything is written, for a name or value that MLflow would refuse or change, and
        RecordError for a param that has another value on the run. `metrics` are logged at `metric_step`."""
        payload = encode(frames=frames, documents=documents, files=files)
        return self._commit(key, step_id, step_name, payload, metrics, tags, metric_step)

    def adopt(self, key: RunKey, committed: Committed) -> Committed:
        """Put a step found elsewhere onto this study's run for `key`, with everything it recorded and `adopted_from`.

        A step that already stands on that run stays as it is (or is mended, if damaged there), and the run becomes the
        current one again if it was superseded; so a driver may adopt every cached step, for every run that shares it.
        RecordError if an artifact is missing or changed."""
        key, study = check_key(key), self._opened()
        source = committed.run_id or self._landed.get(committed.step_id, "")
        if (run := self._find(key)) is not None:
            stamp = {name: run.tags[name] for name in [STEP + committed.step_name] if name in run.tags}
            for own in self._store.steps(run.run_id, stamp, study, {committed.step_id}):
                if own.run_id == source or self.verify(own):
                    self._later["use", _ref(key)] = lambda: self._use(key, running=False)
                    self._drain()
                    return own
        here = [e for e in self._pending if e.step_id == committed.step_id and _ref(e.key) == _ref(key)]
        if here:
            return here[0].committed()
        payload = {path: self._read(committed, path) for path in committed.artifacts}
        return self._commit(
            key, committed.step_id, committed.step_name, payload, committed.metrics, committed.tags, 0,
            adopted_from=source or "the spool",
        )  # fmt: skip

    def _commit(
        self, key: RunKey, step_id: str, step_name: str, payload: Mapping[str, bytes], metrics: Mapping[str, float],
        tags: Mapping[str, str], metric_step: int, adopted_from: str = "",
    ) -> Committed:  # fmt: skip
        key = check_key(key)
        check_name("step", STEP + step_name)
        metrics = check_metrics(metrics)
        for name in metrics:
            if name.startswith(PROGRESS) or name in key.params:
                raise ValueError(f"metric {name!r}: the name is that of a param, or of progress shown by `live`")
        if (run := self._find(key)) is not None:
            _new_params(run, key)
        entry = Entry(
            study=self._opened(), key=key, step_id=step_id, step_name=step_name, metrics=metrics,
            metric_step=metric_step, tags=check_texts("tag", tags, MAX_TAG), written_ns=time.time_ns(),
            digests={path: digest(content) for path, content in payload.items()}, adopted_from=adopted_from,
        )  # fmt: skip
        self._spool.write(entry, payload)
        self._pending = [e for e in self._pending if e.folder_name != entry.folder_name] + [entry]
        self._refused = [e for e in self._refused if e.folder_name != entry.folder_name]
        self._later.pop(_ref(key), None)
        self._drain()
        waits = any(e is entry for e in self._pending)
        return entry.committed("" if waits else self._landed[step_id])

    def _upload(self, entry: Entry) -> None:
        """Send one entry: run and params, artifacts read back, metrics, tags, and last the step's own tag."""
        from mlflow.entities import Metric

        run = self._use(entry.key)
        for path, sha256 in entry.digests.items():
            if self._spool.read(entry, path) is None:
                raise RecordError(
                    f"{self._spool.file(entry, path)} is missing or changed since it was spooled; "
                    "delete its folder to have the step recomputed"
                )
            self._store.put(run.run_id, self._spool.file(entry, path), path, sha256)
        date = entry.written_ns // 1_000_000
        values = [Metric(name, value, date, entry.metric_step) for name, value in entry.metrics.items()]
        for start in range(0, len(values), METRICS_PER_BATCH):
            self._store.ask("log_batch", run.run_id, metrics=values[start : start + METRICS_PER_BATCH])
        self._tag(run, {**entry.tags, **({ADOPTED: entry.adopted_from} if entry.adopted_from else {})})
        self._tag(run, {STEP + entry.step_name: self._stamp(run, entry)})
        self._landed[entry.step_id] = run.run_id
        self._spool.remove(entry)

    def _stamp(self, run: _Run, entry: Entry) -> str:
        """The value of the step's tag; what is too long for a tag goes to an artifact whose digest stands there."""
        body = {"digests": entry.digests, "metrics": entry.metrics, "tags": entry.tags, ADOPTED: entry.adopted_from}
        stamp = json.dumps({"id": entry.step_id, **body}, separators=(",", ":"))
        if len(stamp) <= MAX_TAG:
            return stamp
        content, path = json.dumps(body).encode(), f"{INDEX_FOLDER}/{entry.step_name}.json"
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, posixpath.basename(path))
            file.write_bytes(content)
            self._store.put(run.run_id, file, path, digest(content))
        return json.dumps({"id": entry.step_id, "index": digest(content)}, separators=(",", ":"))

    def live(self, key: RunKey, metrics: Mapping[str, float], step: int) -> None:
        """Show progress under `progress/<name>` while a step runs; with no metrics it only shows the run as running.

        Lost if MLflow does not answer, which is logged once an outage together with how many values were lost."""
        from mlflow.entities import Metric

        key, metrics = check_key(key), check_metrics({PROGRESS + name: value for name, value in metrics.items()})
        self._opened()
        self._later.pop(_ref(key), None)
        if time.monotonic() < self._retry_at:
            self._unseen += len(metrics)
            return
        try:
            values = [Metric(name, value, time.time_ns() // 1_000_000, step) for name, value in metrics.items()]
            self._store.ask("log_batch", self._use(key).run_id, metrics=values)
            if not self._pending:
                self._back()
        except Unreachable as error:
            self._unseen += len(metrics)
            self._lost(error)

    def note(self, text: str) -> None:
        """Set the description that MLflow shows on the parent run (Markdown)."""
        tags, parent = check_texts("tag", {"mlflow.note.content": text}, MAX_TAG), self._parent
        self._later["note"] = lambda: self._tag(parent, tags)
        self._drain()

    def finish(self, key: RunKey, status: str) -> None:
        """Close a run as FINISHED or FAILED. A later commit opens it again."""
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"run status {status!r}: allowed are 'FINISHED', 'FAILED' and 'KILLED'")
        key, _ = check_key(key), self._opened()
        self._later[_ref(key)] = lambda: self._terminate(self._find(key) or self._use(key), status)
        self._drain()

    def flush(self) -> int:
        """Send what waits, now; returns how many entries still wait."""
        self._drain(force=True)
        return len(self._pending) + len(self._refused)

    def close(self, status: str) -> int:
        """Close the parent and all runs still open with this status and send what waits, with a few attempts.

        Returns how many entries stay in the spool; the next `open_study` sends them."""
        self._later["close"] = partial(self._close, self._parent, status)
        for attempt in range(CLOSING_ATTEMPTS):
            time.sleep(CLOSING_PAUSE_S if attempt else 0)
            self._drain(force=True)
            if not self._later:
                break
        self._study = ""
        return len(self._pending) + len(self._refused)

    def _close(self, parent: _Run, status: str) -> None:
        for run in [run for place in self._runs.values() for run in place.values()]:
            if run.status == "RUNNING" and run is not parent:
                self._terminate(run, status)
        self._tag(parent, {INVOCATION + self._invocation: status})
        self._terminate(parent, status)

    # ---- links

    def ui_command(self) -> str:
        """The shell command that opens MLflow on this store (a password left out), or the address of its server."""
        if urlsplit(self._store.uri).scheme in ("http", "https"):
            return self._store.uri
        return f"mlflow ui --backend-store-uri {shlex.quote(self._store.place)} --port 5000"

    def ui_link(self) -> str:
        """The address of this study, opened on a table of its conditions; good while `ui_command` runs."""
        server = self._store.uri if urlsplit(self._store.uri).scheme in ("http", "https") else "http://127.0.0.1:5000"
        view = "workflowType=machine_learning&viewStateShareKey=halfwave"  # without it MLflow opens on GenAI traces
        return f"{server.rstrip('/')}/#/experiments/{self._experiment}/runs?{view}"

    # ---- runs

    @property
    def _parent(self) -> _Run:
        self._opened()
        return self._runs["study", "", ""][""]

    def _opened(self) -> str:
        if not self._study:
            raise RecordError("no study is open; call open_study first")
        return self._study

    def _find(self, key: RunKey) -> _Run | None:
        place, identity = _ref(key)
        return self._runs.get(place, {}).get(identity)

    def _use(self, key: RunKey, *, running: bool = True) -> _Run:
        """The run of this key: made, restored or reopened, carrying the key's params and tags, and the only current one
        in its place."""
        place, identity = _ref(key)
        tags = dict(key.tags) | {"mlflow.source.name": "halfwave", "mlflow.source.type": "LOCAL", KIND: place[0]}
        if key.kind != "study":
            parent = self._runs["study", "", ""][""].run_id
            tags |= {MODEL: key.model, CONDITION: key.condition, IDENTITY: identity, PARENT: parent}
        run = self._find(key)
        if run is None:
            made = self._store.ask("create_run", self._experiment, run_name=key.name, tags=tags)
            run = _Run(run_id=made.info.run_id, name=key.name, status="RUNNING", params={}, tags=tags)
            self._runs.setdefault(place, {})[identity] = run
        elif SUPERSEDED in run.tags:
            self._store.ask("restore_run", run.run_id)
            self._store.ask("delete_tag", run.run_id, SUPERSEDED)
            del run.tags[SUPERSEDED]
        self._params(run, _new_params(run, key))
        self._tag(run, {name: value for name, value in tags.items() if run.tags.get(name) != value})
        if run.name != key.name:
            self._store.ask("update_run", run.run_id, name=key.name)
            run.name = key.name
        for other in self._runs[place].values():
            if other is not run and SUPERSEDED not in other.tags:
                if other.status == "RUNNING":  # a deleted run cannot be closed
                    self._terminate(other, "KILLED")
                self._store.ask("set_tag", other.run_id, SUPERSEDED, run.run_id)
                self._store.ask("delete_run", other.run_id)
                other.tags[SUPERSEDED] = run.run_id
        if running and run.status != "RUNNING":
            self._store.ask("update_run", run.run_id, status="RUNNING")
            run.status = "RUNNING"
        return run

    def _params(self, run: _Run, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        if params:
            self._store.ask("log_batch", run.run_id, params=[Param(name, value) for name, value in params.items()])
            run.params |= params

    def _tag(self, run: _Run, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if tags:
            self._store.ask("log_batch", run.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
            run.tags |= tags

    def _terminate(self, run: _Run, status: str) -> None:
        if run.status != status:
            self._store.ask("set_terminated", run.run_id, status)
            run.status = status

    # ---- outages

    def _drain(self, *, force: bool = False) -> None:
        """Send what waits, oldest first, then the statuses and the note; not within a pause, unless forced.

        What MLflow refuses for good is set aside, so that it blocks nothing, and raised at the end."""
        if not (self._pending or self._later) or (time.monotonic() < self._retry_at and not force):
            return
        refusals: list[str] = []
        try:
            while self._pending:
                try:
                    self._upload(self._pending[0])
                except Unreachable:
                    raise
                except RecordError as error:
                    refusals.append(f"{error} (kept in {self._spool.folder / self._pending[0].folder_name})")
                    self._refused.append(self._pending[0])
                del self._pending[0]
            for name in list(self._later):
                try:
                    self._later[name]()
                except Unreachable:
                    raise
                except RecordError as error:
                    refusals.append(str(error))
                del self._later[name]
            self._back()
        except Unreachable as error:
            self._lost(error)
        if refusals:
            raise RecordError("; ".join(refusals))

    def _lost(self, error: Unreachable) -> None:
        if not self._pause_s:
            log.warning("%s; results wait in %s and are sent again later", error, self._spool.folder)
        self._pause_s = min(2 * self._pause_s or 1.0, LONGEST_PAUSE_S)
        self._retry_at = time.monotonic() + self._pause_s

    def _back(self) -> None:
        if self._pause_s:
            log.info("MLflow at %s answers again; %d progress values were not shown", self._store.place, self._unseen)
        self._pause_s, self._retry_at, self._unseen = 0.0, 0.0, 0


class StudyFrames:
    """The results of a study as tidy tables. Made by `load_study`."""

    conditions: "pandas.DataFrame"
    """One row per current condition run: run_id, name, status, model, condition, then params and committed metrics."""

    def __init__(self, store: _Store, study: str, runs: list[Any]) -> None:
        import pandas

        self._store = store
        self._steps = [(run, list(store.steps(run.info.run_id, run.data.tags, study))) for run in runs]
        rows = []
        for run, steps in self._of_kind("condition"):
            tags = run.data.tags
            about = run.info.run_id, run.info.run_name, run.info.status, tags[MODEL], tags[CONDITION]
            row = dict(zip(RUN_COLUMNS, about, strict=True))
            row |= {name: value for name, value in run.data.params.items() if name not in row}
            rows.append(row | {name: value for step in steps for name, value in step.metrics.items()})
        self.conditions = pandas.DataFrame(rows, columns=None if rows else [*RUN_COLUMNS])
        for name in self.conditions.columns.intersection(NUMERIC_PARAMS):
            numeric = pandas.to_numeric(self.conditions[name], errors="coerce")
            if not (numeric.isna() & self.conditions[name].notna()).any():
                self.conditions[name] = numeric

    def items(self, benchmark: str) -> "pandas.DataFrame":
        """The items of a benchmark in all conditions, below columns `model` and `condition`."""
        return self._table(f"items/{benchmark}.parquet", self._of_kind("condition"), ("model", "condition"))

    def neurons(self, model: str) -> "pandas.DataFrame":
        """The neuron table of a model."""
        profiles = [(run, steps) for run, steps in self._of_kind("profile") if run.data.tags[MODEL] == model]
        if not profiles:
            has = sorted({run.data.tags[MODEL] for run, _ in self._of_kind("profile")})
            raise RecordError(f"no profile of model {model!r}{did_you_mean(model, has)}")
        return self._table("neurons.parquet", profiles, ("model",))

    def _of_kind(self, kind: str) -> list[tuple[Any, list[Committed]]]:
        return [(run, steps) for run, steps in self._steps if run.data.tags[KIND] == kind]

    def _table(self, path: str, runs: list[tuple[Any, list[Committed]]], labels: tuple[str, ...]) -> "pandas.DataFrame":
        import pandas

        tables = []
        for run, steps in runs:
            for step in steps:
                if path in step.artifacts:
                    table = decode_frame(self._store.read(step.run_id, path, step.artifacts[path]))
                    front = {label: run.data.tags[f"halfwave.{label}"] for label in labels}
                    tables.append(table.assign(**front)[[*labels, *(c for c in table.columns if c not in labels)]])
        if not tables:
            has = sorted({p for _, steps in runs for step in steps for p in step.artifacts})
            raise RecordError(f"no run of this study recorded {path}{did_you_mean(path, has)}")
        return pandas.concat(tables, ignore_index=True)


def load_study(tracking_uri: str, study: str) -> StudyFrames:
    """A study's committed results for a notebook; RecordError if the store has no such study.

    >>> frames = load_study("sqlite:////home/me/study/mlflow.db", "dissociation")
    >>> frames.conditions[["model", "condition", "perplexity", "blimp/accuracy"]]
    >>> frames.items("blimp").groupby(["model", "condition", "uid"]).correct.mean()
    >>> frames.neurons("SmolLM2-135M-Instruct").nlargest(10, "wasserstein_distance")
    """
    database = _absolute(tracking_uri)[1]
    if database is not None and not database.exists():  # MLflow would make an empty one
        raise RecordError(f"no MLflow store at {database}")
    store = _Store(tracking_uri)
    if (found := store.experiment(study)) is None:
        hint = did_you_mean(study, sorted(store.experiments().values()))
        raise RecordError(f"MLflow at {store.place} has no study {study!r}{hint}")
    runs = [run for run in store.runs([found.experiment_id]) if SUPERSEDED not in run.data.tags]
    return StudyFrames(store, study, runs)


def _ref(key: RunKey) -> tuple[tuple[str, str, str], str]:
    """Place (kind, model, condition) and identity; there is one study run, whatever its definition."""
    return (("study", "", ""), "") if key.kind == "study" else ((key.kind, key.model, key.condition), key.identity)


def _new_params(run: _Run, key: RunKey) -> dict[str, str]:
    """The params that the run lacks. MLflow writes a param once; RecordError if the run has another value."""
    for name, value in key.params.items():
        if run.params.get(name, value) != value:
            raise RecordError(
                f"param {name!r} of run {run.name!r} ({run.run_id}) is {run.params[name]!r} in MLflow and {value!r} "
                "now; params are written once, so a changed definition needs another identity"
            )
    return {name: value for name, value in key.params.items() if name not in run.params}


def _absolute(tracking_uri: str) -> tuple[str, Path | None]:
    """The URI, good from any working folder, and the file of a SQLite store."""
    if not tracking_uri.startswith("sqlite:///"):
        return tracking_uri, None
    path, question, options = tracking_uri.removeprefix("sqlite:///").partition("?")
    file = Path(unquote(path)).absolute()
    return f"sqlite:///{str(file).replace('%', '%25')}{question}{options}", file


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RecordError(f"cannot write in {folder}: {error.strerror}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
