"""The MLflow record of a study: written while the study runs, read back as its memory.

Experiment = study; one parent run per study; under it one run per (model, condition identity) and one profile run per
model, reopened by later invocations. A step is committed artifacts first and, last of all, by the tag `step.<name>`
with its id, digests and metrics: what has no tag was never committed, whatever else the run holds. Everything
passes through the outbox, so a server that does not answer costs no result. A run whose definition changed gets
`superseded_by` and MLflow's lifecycle stage "deleted", which hides it in the interface and in plain searches and loses
nothing (before `halfwave gc`): `known` and `adopt` still find it, and going back to its definition restores it.
One driver writes, from one thread, through MlflowClient with explicit run ids. No secret is written (`redaction`).
Refuses to know what a step computes.
"""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict, Unpack

from orchestrator.record.client.failures import RecordError, UnrecordableError
from orchestrator.record.commits import committed_steps, edits_line
from orchestrator.record.driver.lease import Lease
from orchestrator.record.driver.progress_tag import TAG as PROGRESS
from orchestrator.record.driver.progress_tag import ProgressTag
from orchestrator.record.encoding import Document, digest, encode, encode_json
from orchestrator.record.entry import Entry, check_entry
from orchestrator.record.keys import Committed, RunKey
from orchestrator.record.limits import check_key, check_series
from orchestrator.record.local_store import ARTIFACTS, locate
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.pages.writer import Pages
from orchestrator.record.reader import Reader
from orchestrator.record.runs import Run, Runs, new_params
from orchestrator.record.sender import Sender, withdrawal
from orchestrator.record.tags import (
    ADOPTED_FROM_OUTBOX,
    DEFINITION,
    INVOCATION,
    REPORTED,
    STEP,
    Definition,
    definition_tags,
    environment_tags,
    invocation_name,
)
from orchestrator.redaction import redacted
from studies.errors import one_line

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)

CLOSING_ATTEMPTS = 3
CLOSING_PAUSE_S = 2.0
"""Pause between two attempts of `Record.close` to reach a store that does not answer."""


class Results(TypedDict, total=False):
    """What a finished step hands over to `Record.commit`."""

    metrics: Required[Mapping[str, float]]
    """Logged at step 0, and read back with the step."""
    frames: Required[Mapping[str, "pandas.DataFrame"]]
    """{artifact path: table}, written as .parquet."""
    documents: Required[Mapping[str, Document]]
    """{artifact path: document}, written as JSON where the path ends in .json, else as a text."""
    files: Mapping[str, bytes]
    """{artifact path: content}."""
    tags: Mapping[str, str]
    series: Mapping[str, Mapping[int, float]]
    """{metric: {step: value}}, under other names than `metrics`; shown in MLflow's charts, not read back."""


class Record(Reader):
    """The record of one study.

    >>> record = Record("sqlite:////home/me/study/mlflow.db", outbox=Path("/home/me/study/spool"))
    >>> record.open_study("dissociation", definition=text, resolved={...}, environment={"git_commit": "4f2a91c"})
    >>> done = record.known(step_ids)
    >>> record.commit(key, "9be1...", "evaluate.blimp", metrics={"blimp/accuracy": 0.81}, frames={...}, documents={})
    >>> record.finish(key, "FINISHED")
    >>> num_unsent = record.close("FINISHED")
    """

    def __init__(self, tracking_uri: str, *, outbox: Path, artifact_root: str | None = None) -> None:
        """`outbox`: a folder, created if need be. The artifacts of a SQLite store lie in the folder `artifacts` beside
        its file, those of any other where its server chooses, if it serves them or the place is below `artifact_root`.

        Raises RecordError if the store cannot be opened or one of the folders is not writable."""
        database = locate(tracking_uri).database
        folders = [outbox] if database is None else [database.parent, database.parent / ARTIFACTS, outbox]
        for folder in folders:
            _make_writable(folder)
        store, entries = Store(tracking_uri, artifact_root), Outbox(outbox)
        self._runs = Runs(store)
        self._sender = Sender(store, entries, self._runs)
        super().__init__(store, entries, self._sender.sent)
        self.study = ""
        """The study that is open; empty before `open_study` and after `close`."""
        self._invocation = ""
        self.pages = Pages(store, self._runs, self._sender)
        """What MLflow's pages show beside what is committed."""
        self._progress = ProgressTag(self._runs)
        self._source: Definition | None = None

    # ---- opening

    def open_study(
        self,
        study: str,
        *,
        definition: str,
        resolved: Mapping[str, object],
        environment: Mapping[str, object],
        metrics: Sequence[str] = ("perplexity",),
        source: Definition | None = None,
        takeover: bool = False,
    ) -> None:
        """Create or reopen the study's experiment and parent run, close what a killed driver left open, and send what
        waits in the outbox.

        From here to `close` no other driver can open it. `definition` is the text of the study file; `environment` is
        recorded whole in `environment.json` and its plain values as tags; `metrics` are the columns of the saved view;
        `source` is noted as what the study was last run from, with the time. `takeover` ends another driver's lease.
        Metrics that were changed in MLflow are logged again as they were recorded.
        Raises RecordError if the store does not answer, the experiment was deleted, or another driver runs the study.
        """
        definition, resolved, environment = redacted(definition), redacted(resolved), redacted(environment)
        started = datetime.now(UTC)
        self._invocation = invocation_name(started)
        parent = check_key(
            RunKey(kind="study", name=study, params={"study": study}, tags=environment_tags(environment))
        )
        invocation = {"started": started.isoformat(), "definition_sha256": digest(definition.encode()), **environment}
        self._source = source and source._replace(started=started.isoformat(timespec="seconds"))
        texts = {
            "study.yaml": definition,
            "resolved.json": encode_json(resolved),
            "environment.json": encode_json(environment),
            f"invocations/{self._invocation}.json": encode_json(invocation),
        }
        self._experiment = self._store.open_experiment(study, metrics)
        self._lease = Lease(self._store, self._experiment, study)
        self._lease.acquire(takeover=takeover)
        self.study = study
        self._store.relocate()
        self._runs.load(self._experiment)
        self.pages.open(study, self._experiment)
        self._open_parent(parent, texts)
        self._sender.load(study)
        self.flush()
        self._restore_metrics()

    def _open_parent(self, key: RunKey, texts: Mapping[str, str]) -> None:
        run = self._runs.ensure(key)
        for name, value in list(run.tags.items()):
            if name.startswith(INVOCATION) and value == "RUNNING":
                self._runs.tag(run, {name: "KILLED"})
        for path, text in texts.items():
            self._store.write_text(run.run_id, path, text)
        source = definition_tags(self._source, DEFINITION) if self._source else {}
        stale = {PROGRESS: ""} if run.tags.get(PROGRESS) else {}
        self._runs.tag(run, {INVOCATION + self._invocation: "RUNNING", **source, **stale})

    def _restore_metrics(self) -> None:
        """Log again what was recorded where MLflow shows other metrics on this study's runs; one line says which."""
        if self._sender.num_unsent:  # a metric whose step waits is not an edit
            return
        if found := self._edits(self.study):
            log.warning(edits_line(found, self._store.safe_uri, "what was recorded is used, and was logged again"))
        for edit in found:
            restore = partial(self._store.restore_metric, edit.run_id, edit.metric, edit.recorded)
            self._sender.change(("metric", edit.run_id, edit.metric), restore)
        self._sender.send()

    def _current_runs(self, study: str) -> Iterable[Run]:
        """Of the study that is open: as this driver left them, whether MLflow answers or not."""
        return self._runs.current() if study == self.study else super()._current_runs(study)

    def experiment_id(self, study: str) -> str:
        """As of any reader; of the study that is open without a question to MLflow."""
        return self._experiment if study == self.study else super().experiment_id(study)

    # ---- writing

    def commit(self, key: RunKey, step_id: str, step_name: str, **results: Unpack[Results]) -> Committed:
        """Record a finished step: on disk at once, in MLflow as soon as it answers.

        Raises UnrecordableError, before anything is written, for a name or value that MLflow would refuse or change,
        and for a param that has another value on the run; RecordError if the disk refuses the step."""
        study = self._opened()
        with _about_result():
            payload = encode(
                frames=results["frames"],
                documents=redacted(dict(results["documents"])),
                files=results.get("files", {}),
            )
            entry = Entry(
                study=study,
                key=key,
                step_id=step_id,
                step_name=step_name,
                metrics=results["metrics"],
                series=check_series(results.get("series", {})),
                tags=redacted(dict(results.get("tags", {}))),
                digests={path: digest(content) for path, content in payload.items()},
                written_ns=time.time_ns(),
            )
        return self._deliver(entry, payload)

    def adopt(self, key: RunKey, committed: Committed) -> Committed:
        """Copy a step that was found elsewhere, with everything it recorded, onto this study's run for `key`.

        A step that is already on that run stays as it is (or is repaired, if damaged there), and the run becomes
        the current one again if it was superseded; so a driver may adopt every cached step, for every run that shares
        it. DamagedArtifact if an artifact is missing or changed."""
        key, study = check_key(key), self._opened()
        source = self._run_id(committed)
        if (own := self._on_run(key, committed, study, source)) is not None:
            self._sender.change(("current", key.slot_and_identity), partial(self._runs.ensure, key, running=False))
            self._sender.send()
            return own
        if (waiting := self._sender.find(key, committed.step_id)) is not None:
            return waiting.committed()
        payload = {path: self._read(committed, path) for path in committed.artifacts}
        entry = Entry(
            study=study,
            key=key,
            step_id=committed.step_id,
            step_name=committed.step_name,
            metrics=committed.metrics,
            series={},
            tags=committed.tags,
            digests={path: digest(content) for path, content in payload.items()},
            written_ns=time.time_ns(),
            adopted_from=source or ADOPTED_FROM_OUTBOX,
        )
        return self._deliver(entry, payload)

    def _on_run(self, key: RunKey, committed: Committed, study: str, source: str) -> Committed | None:
        """The step on the run for `key`, if it is there and intact."""
        run, tag = self._runs.find(key), STEP + committed.step_name
        if run is None or tag not in run.tags:
            return None
        found = {tag: run.tags[tag]}
        wanted = {committed.step_id}
        for own in self._patiently(lambda: list(committed_steps(self._store, run.run_id, found, study, wanted))):
            if own.run_id == source or self.verify(own):
                return own
        return None

    def _deliver(self, entry: Entry, payload: Mapping[str, bytes]) -> Committed:
        with _about_result():
            entry = check_entry(entry)
            if (run := self._runs.find(entry.key)) is not None:
                new_params(run, entry.key)
        self._sender.add(entry, payload)
        self._sender.send()
        return entry.committed("" if self._sender.is_waiting(entry) else self._sender.sent[entry.step_id])

    def withdraw(self, committed: Committed) -> None:
        """Count a step of this study as not done: its results are no longer what was recorded."""
        self._opened()
        if (place := self._runs.place_of(self._run_id(committed))) is not None:
            target = withdrawal(place, committed.step_name)
            self._sender.change(target, partial(self._runs.untag, place, STEP + committed.step_name))
            self._sender.send()

    def begin(self, key: RunKey) -> None:
        """Open the run for `key`, so that MLflow shows it as running while its first step is computed."""
        key, _ = check_key(key), self._opened()
        self._sender.change(key.slot_and_identity, partial(self._runs.ensure, key))
        self._sender.send()

    def finish(self, key: RunKey, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED. A later commit opens it again."""
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"run status {status!r}: allowed are 'FINISHED', 'FAILED' and 'KILLED'")
        key, _ = check_key(key), self._opened()
        self._sender.change(key.slot_and_identity, partial(self._close_run, key, status))
        self._sender.send()

    def reported(self) -> None:
        """Note that the study's last report is of what it is run from now."""
        self._opened()
        if self._source:
            tags = definition_tags(self._source, REPORTED)
            self._sender.change("reported", partial(self._runs.tag, self._runs.parent, tags))
            self._sender.send()

    def _close_run(self, key: RunKey, status: str) -> None:
        self._runs.terminate(self._runs.find(key) or self._runs.ensure(key), status)

    def flush(self) -> int:
        """Send what waits, whatever pause lasts; returns how many entries stay in the outbox.

        RecordError, once everything else is sent, for what MLflow refuses for good."""
        self._sender.send(force=True)
        return self._sender.num_unsent

    @property
    def why_waiting(self) -> str:
        """Why the store could not be reached last; empty if it could."""
        return self._sender.why_waiting

    # ---- closing

    def follow(self, progress: Callable[[str], str]) -> None:
        """From now to `close`, leave on the study's own run how far it is: what `progress` returns for the status of
        the run. A store that is away delays nothing."""
        self._progress.follow(progress)
        self.show_progress()

    def show_progress(self) -> None:
        """Leave how far the study is, at once and not only now and then."""
        self._opened()
        self._progress.write(at_once=True)

    def renew(self) -> None:
        """Renew this driver's lease on the study and leave how far it is, now and then. RecordError if another driver
        has taken it over."""
        self._opened()
        self._lease.renew()
        if self._lease.answers:
            self._progress.write()

    def close(self, status: str) -> int:
        """Close the parent and all runs still open with this status and send what waits, in a few attempts.

        Returns how many entries stay in the outbox; the next `open_study` sends them."""
        self._opened()
        if not self._lease.lost:  # else the runs are another driver's now, and the next driver here sends what waits
            self._sender.change("close", partial(self._close_all, self._runs.parent, status))
            for attempt in range(CLOSING_ATTEMPTS):
                time.sleep(CLOSING_PAUSE_S if attempt else 0)
                self.flush()
                if not self._sender.has_changes:
                    break
            self._lease.release()
        self.study = ""
        return self._sender.num_unsent

    def _close_all(self, parent: Run, status: str) -> None:
        for run in self._runs.running():
            if run is not parent:
                self._runs.terminate(run, status)
        self._runs.tag(parent, {INVOCATION + self._invocation: status, **self._progress.last(status)})
        self._runs.terminate(parent, status)
        self._store.relocate()  # an experiment that others made has its new runs elsewhere

    def _opened(self) -> str:
        if not self.study:
            raise RecordError("no study is open; call open_study first")
        return self.study

    # ---- links

    def ui_command(self) -> str:
        """The shell command that opens MLflow on this store (a password left out), or the address of its server."""
        return self._store.ui_command()

    def ui_link(self) -> str:
        """The address of this study, opened on a table of its conditions; valid while `ui_command` runs."""
        return self._store.ui_link(self._experiment)


@contextlib.contextmanager
def _about_result() -> Iterator[None]:
    """What MLflow would refuse or change is an UnrecordableError."""
    try:
        yield
    except (ValueError, TypeError, RecordError) as error:
        raise UnrecordableError(f"its result cannot be recorded: {one_line(error)}") from error


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RecordError(
            f"cannot write in {folder}: {error.strerror}; choose another working folder with --workdir"
        ) from error
