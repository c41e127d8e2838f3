"""The MLflow record of a study, which is also its memory: written while it runs, read back as its cache.

Experiment = study; one parent run per study; under it one run per (model, condition identity) and one profile run per
model, reopened by later invocations. A step is committed artifacts first and, last of all, by the tag `step.<name>`
with its id, digests and metrics: what has no tag was never committed, whatever else stands on the run. Everything
passes through the write-ahead spool, so a server that does not answer costs no result. A run whose definition changed
gets `superseded_by` and MLflow's lifecycle stage "deleted", which hides it in the interface and in plain searches and
loses nothing (before `halfwave gc`): `known` and `adopt` still find it, and going back to its definition restores it.
One driver writes, from one thread, through MlflowClient with explicit run ids. No secret is written (`redaction`).
Refuses to know what a step computes.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.record.encoding import decode_document, decode_frame, digest, encode
from orchestrator.record.keys import NOTHING, Committed, RunKey
from orchestrator.record.lease import Lease
from orchestrator.record.limits import MAX_TAG, PROGRESS, check_key, check_metrics, check_name, check_texts
from orchestrator.record.mlflow_store import (
    ADOPTED,
    CONDITION,
    METRICS_PER_BATCH,
    MODEL,
    STEP,
    SUPERSEDED,
    RecordError,
    Store,
    Unreachable,
    locate,
)
from orchestrator.record.outbox import Entry, Spool
from orchestrator.record.runs import Run, Runs, new_params, place_of
from orchestrator.redaction import redacted

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

INVOCATION = "invocation."
"""With its time, the tag of an invocation on the parent run."""

LONGEST_PAUSE_S = 60.0
"""Between two attempts to reach a store that does not answer; the first pause is a second, then they double."""
CLOSING_ATTEMPTS = 3
CLOSING_PAUSE_S = 2.0


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
        database = locate(tracking_uri)[1]
        if database is not None:
            _make_writable(database.parent)
            artifact_location = artifact_location or str(database.parent / "artifacts")
        if artifact_location is not None and "://" not in artifact_location:
            _make_writable(Path(artifact_location))
            artifact_location = Path(artifact_location).resolve().as_uri()  # MLflow percent-decodes plain paths
        self._artifact_location = artifact_location
        self._store = Store(tracking_uri)
        self._spool = Spool(spool)
        _make_writable(self._spool.folder)
        self._runs = Runs(self._store)
        self._study = self._invocation = ""
        self._pending: dict[str, Entry] = {}
        self._refused: dict[str, Entry] = {}
        """Both by the name of their folder, oldest first."""
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
            rank = 2 * (SUPERSEDED not in run.data.tags) + (run.info.experiment_id == self._runs.experiment)
            for step in self._store.steps(run.info.run_id, run.data.tags, experiments[run.info.experiment_id], wanted):
                if rank > ranks.get(step.step_id, -1):
                    found[step.step_id], ranks[step.step_id] = step, rank
        spooled = {e.step_id: e.committed() for e in self._spool.entries() if e.step_id in wanted}
        return found | spooled

    def intact(self, step_ids: Collection[str]) -> dict[str, Committed]:
        """Those of the steps that are done and whose artifacts are there."""
        return {step: committed for step, committed in self.known(step_ids).items() if self.verify(committed)}

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

    def open_study(
        self,
        study: str,
        *,
        definition: str,
        resolved: dict,
        environment: Mapping[str, Any],
        metrics: Sequence[str] = ("perplexity",),
    ) -> None:
        """Create or reopen the study's experiment and parent run, close what a killed driver left open, send the spool.

        From here to `close` no other driver can open it. `environment` is recorded whole in `environment.json` and its
        plain values as tags; `git_commit` and `user` also under MLflow's own names; `metrics` are the columns of the
        saved view. Raises RecordError if the store does not answer, the experiment was deleted, or another driver runs
        the study."""
        definition, resolved, environment = redacted([definition, resolved, dict(environment)])
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
                "environment.json": environment,
                f"invocations/{self._invocation}.json": invocation,
            }.items()
        }
        experiment = self._store.open_experiment(study, self._artifact_location, metrics)
        self._lease = Lease(self._store, experiment, study)
        self._lease.take()
        self._study = study
        self._runs.load(experiment)
        run = self._runs.use(parent)
        for name, value in list(run.tags.items()):
            if name.startswith(INVOCATION) and value == "RUNNING":
                self._runs.tag(run, {name: "KILLED"})
        for path, text in texts.items():
            self._store.write_text(run.run_id, path, text)
        self._runs.tag(run, {INVOCATION + self._invocation: "RUNNING"})
        self._spool.sweep()
        self._pending = {entry.folder_name: entry for entry in self._spool.entries(study)}
        self._drain(force=True)

    # ---- writing

    def commit(
        self, key: RunKey, step_id: str, step_name: str, *,
        metrics: Mapping[str, float], frames: Mapping[str, "pandas.DataFrame"],
        documents: Mapping[str, dict | list | str], files: Mapping[str, bytes] = NOTHING,
        tags: Mapping[str, str] = NOTHING,
        series: Mapping[str, Mapping[int, float]] = NOTHING,
    ) -> Committed:  # fmt: skip
        """Record a finished step: on disk at once, in MLflow as soon as it answers.

        Raises ValueError, before anything is written, for a name or value that MLflow would refuse or change, and
        RecordError for a param that has another value on the run, or where the disk takes no more. `metrics` are
        logged at step 0, `series` ({metric: {step: value}}, other names) at theirs; only `metrics` are read back with
        the step."""
        payload = encode(frames=frames, documents=redacted(dict(documents)), files=files)
        return self._commit(key, step_id, step_name, payload, metrics, redacted(dict(tags)), series=series)

    def adopt(self, key: RunKey, committed: Committed) -> Committed:
        """Put a step found elsewhere onto this study's run for `key`, with everything it recorded and `adopted_from`.

        A step that already stands on that run stays as it is (or is mended, if damaged there), and the run becomes the
        current one again if it was superseded; so a driver may adopt every cached step, for every run that shares it.
        RecordError if an artifact is missing or changed."""
        key, study = check_key(key), self._opened()
        source = committed.run_id or self._landed.get(committed.step_id, "")
        if (run := self._runs.find(key)) is not None:
            stamp = {name: run.tags[name] for name in [STEP + committed.step_name] if name in run.tags}
            for own in self._store.steps(run.run_id, stamp, study, {committed.step_id}):
                if own.run_id == source or self.verify(own):
                    self._later["use", place_of(key)] = lambda: self._runs.use(key, running=False)
                    self._drain()
                    return own
        for entry in self._pending.values():
            if entry.step_id == committed.step_id and place_of(entry.key) == place_of(key):
                return entry.committed()
        payload = {path: self._read(committed, path) for path in committed.artifacts}
        return self._commit(
            key, committed.step_id, committed.step_name, payload, committed.metrics, committed.tags,
            adopted_from=source or "the spool",
        )  # fmt: skip

    def _commit(
        self, key: RunKey, step_id: str, step_name: str, payload: Mapping[str, bytes], metrics: Mapping[str, float],
        tags: Mapping[str, str], adopted_from: str = "",
        series: Mapping[str, Mapping[int, float]] = NOTHING,
    ) -> Committed:  # fmt: skip
        key = check_key(key)
        check_name("step", STEP + step_name)
        metrics = check_metrics(metrics)
        pairs = {
            name: [(int(step), check_metrics({name: value})[name]) for step, value in sorted(values.items())]
            for name, values in series.items()
        }
        for name in [*metrics, *pairs]:
            if name.startswith(PROGRESS) or name in key.params:
                raise ValueError(f"metric {name!r}: the name is that of a param, or of progress shown by `live`")
        if (run := self._runs.find(key)) is not None:
            new_params(run, key)
        entry = Entry(
            study=self._opened(), key=key, step_id=step_id, step_name=step_name, metrics=metrics,
            series=pairs, tags=check_texts("tag", tags, MAX_TAG), written_ns=time.time_ns(),
            digests={path: digest(content) for path, content in payload.items()}, adopted_from=adopted_from,
        )  # fmt: skip
        try:
            self._spool.write(entry, payload)
        except OSError as error:
            raise RecordError(
                f"cannot write in {self._spool.folder}: {error.strerror}; make room and run the study again, what was "
                "committed is kept"
            ) from error
        name = entry.folder_name
        self._pending.pop(name, None)
        self._refused.pop(name, None)
        self._pending[name] = entry
        self._later.pop(place_of(key), None)
        self._drain()
        return entry.committed("" if name in self._pending else self._landed[step_id])

    def _upload(self, entry: Entry) -> None:
        """Send one entry: run and params, artifacts read back, metrics, tags, and last the step's own tag."""
        run = self._runs.use(entry.key)
        for path, sha256 in entry.digests.items():
            if self._spool.read(entry, path) is None:
                raise RecordError(
                    f"{self._spool.file(entry, path)} is missing or changed since it was spooled; "
                    "delete its folder to have the step recomputed"
                )
            self._store.put(run.run_id, self._spool.file(entry, path), path, sha256)
        date = entry.written_ns // 1_000_000
        values = list(entry.metrics.items())
        for start in range(0, len(values), METRICS_PER_BATCH):
            batch = dict(values[start : start + METRICS_PER_BATCH])
            self._store.log_metrics(run.run_id, batch, date_ms=date, step=0)
        for name, pairs in entry.series.items():
            for start in range(0, len(pairs), METRICS_PER_BATCH):
                self._store.log_series(run.run_id, name, pairs[start : start + METRICS_PER_BATCH], date_ms=date)
        self._runs.tag(run, {**entry.tags, **({ADOPTED: entry.adopted_from} if entry.adopted_from else {})})
        self._runs.tag(run, {STEP + entry.step_name: self._store.stamp(run.run_id, entry)})
        self._landed[entry.step_id] = run.run_id
        self._spool.remove(entry)

    def live(self, key: RunKey, metrics: Mapping[str, float], step: int) -> None:
        """Show progress under `progress/<name>` while a step runs; with no metrics it only shows the run as running.

        Lost if MLflow does not answer, which is logged once an outage together with how many values were lost."""
        key, metrics = check_key(key), check_metrics({PROGRESS + name: value for name, value in metrics.items()})
        self._opened()
        self._later.pop(place_of(key), None)
        if time.monotonic() < self._retry_at:
            self._unseen += len(metrics)
            return
        try:
            date = time.time_ns() // 1_000_000
            self._store.log_metrics(self._runs.use(key).run_id, metrics, date_ms=date, step=step)
            if not self._pending:
                self._back()
        except Unreachable as error:
            self._unseen += len(metrics)
            self._lost(error)

    def note(self, text: str) -> None:
        """Set the description that MLflow shows on the parent run (Markdown)."""
        tags, parent = check_texts("tag", {"mlflow.note.content": redacted(text)}, MAX_TAG), self._parent
        self._later["note"] = lambda: self._runs.tag(parent, tags)
        self._drain()

    def finish(self, key: RunKey, status: str) -> None:
        """Close a run as FINISHED or FAILED. A later commit opens it again."""
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"run status {status!r}: allowed are 'FINISHED', 'FAILED' and 'KILLED'")
        key, _ = check_key(key), self._opened()
        self._later[place_of(key)] = lambda: self._runs.terminate(self._runs.find(key) or self._runs.use(key), status)
        self._drain()

    def renew(self) -> None:
        """Keep the study this driver's, now and then. RecordError where another has taken it over meanwhile."""
        self._opened()
        self._lease.renew()

    def flush(self) -> int:
        """Send what waits, now; returns how many entries still wait."""
        self._drain(force=True)
        return len(self._pending) + len(self._refused)

    def close(self, status: str) -> int:
        """Close the parent and all runs still open with this status and send what waits, with a few attempts.

        Returns how many entries stay in the spool; the next `open_study` sends them."""
        if self._lease.lost:  # the runs are another driver's now; what waits in the spool is sent by the next here
            self._study = ""
            return len(self._pending) + len(self._refused)
        self._later["close"] = partial(self._close, self._parent, status)
        for attempt in range(CLOSING_ATTEMPTS):
            time.sleep(CLOSING_PAUSE_S if attempt else 0)
            self._drain(force=True)
            if not self._later:
                break
        self._lease.give_up()
        self._study = ""
        return len(self._pending) + len(self._refused)

    def _close(self, parent: Run, status: str) -> None:
        for run in self._runs.running():
            if run is not parent:
                self._runs.terminate(run, status)
        self._runs.tag(parent, {INVOCATION + self._invocation: status})
        self._runs.terminate(parent, status)

    # ---- links

    def ui_command(self) -> str:
        """The shell command that opens MLflow on this store (a password left out), or the address of its server."""
        return self._store.ui_command()

    def ui_link(self) -> str:
        """The address of this study, opened on a table of its conditions; good while `ui_command` runs."""
        return self._store.ui_link(self._runs.experiment)

    # ---- the open study

    @property
    def _parent(self) -> Run:
        self._opened()
        return self._runs.parent

    def _opened(self) -> str:
        if not self._study:
            raise RecordError("no study is open; call open_study first")
        return self._study

    # ---- outages

    def _drain(self, *, force: bool = False) -> None:
        """Send what waits, oldest first, then the statuses and the note; not within a pause, unless forced.

        What MLflow refuses for good is set aside, so that it blocks nothing, and raised at the end."""
        if not (self._pending or self._later) or (time.monotonic() < self._retry_at and not force):
            return
        refusals: list[str] = []
        try:
            for name, entry in list(self._pending.items()):
                try:
                    self._upload(entry)
                except Unreachable:
                    raise
                except RecordError as error:
                    refusals.append(f"{error} (kept in {self._spool.folder / name})")
                    self._refused[name] = entry
                del self._pending[name]
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


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RecordError(f"cannot write in {folder}: {error.strerror}") from error
