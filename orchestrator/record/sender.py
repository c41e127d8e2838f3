"""The way from the outbox to MLflow: what waits, in which order it is sent, and when to try again.

Entries go first, oldest first; then the changes of runs (statuses, the note), which may depend on them. If MLflow does
not answer, everything stays and is tried again at the first call after a pause, so an outage costs no result. An entry
that MLflow refuses for good is set aside, so that it blocks nothing, and the refusal is raised. An earlier driver's
entry may be sent by another driver of the same outbox meanwhile, and is then forgotten. Used from one thread.
"""

import logging
import time
from collections.abc import Callable, Hashable, Mapping

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.commits import commit_tag
from orchestrator.record.entry import Entry
from orchestrator.record.keys import RunKey, Slot
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.runs import Runs
from orchestrator.record.tags import ADOPTED, shown_tags

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Pauses between two attempts to reach a store that does not answer; each is twice the last."""


class Sender:
    """Sends the entries of an outbox, and changes of runs, to a store."""

    def __init__(self, store: Store, outbox: Outbox, runs: Runs) -> None:
        self._store, self._outbox, self._runs = store, outbox, runs
        self.sent: dict[str, str] = {}
        """{step id: run id} of the entries that have reached MLflow."""
        self._waiting: dict[str, Entry] = {}
        """{name of its folder: entry}, oldest first."""
        self._inherited: dict[str, Entry] = {}
        """{name of its folder: entry}, of entries that an earlier driver left."""
        self._refused: dict[str, Entry] = {}
        """{name of its folder: entry}, of entries that MLflow refused for good; they stay in the outbox."""
        self._changes: dict[Hashable, Callable[[], object]] = {}
        self._pause_s = self._retry_at = 0.0
        self.why_waiting = ""
        """Why the last attempt to reach the store failed; empty if it did not."""

    @property
    def num_unsent(self) -> int:
        """Entries that MLflow does not have."""
        return len(self._waiting) + len(self._refused)

    @property
    def has_changes(self) -> bool:
        """Whether changes of runs wait."""
        return bool(self._changes)

    def load(self, study: str) -> None:
        """Take up what an earlier driver left in the outbox: remove incomplete entries, queue the study's others."""
        self._outbox.sweep()
        self._inherited = {entry.folder_name: entry for entry in self._outbox.entries(study)}
        self._waiting = dict(self._inherited)

    def add(self, entry: Entry, payload: Mapping[str, bytes]) -> None:
        """Queue an entry, on disk first. It replaces an earlier one of the same step and run.

        A change of the run's status that still waits is dropped: sending the entry opens the run. So is the withdrawal
        of an earlier commit of the step. RecordError if the disk refuses the entry."""
        try:
            self._outbox.write(entry, payload)
        except OSError as error:
            raise RecordError(
                f"cannot write in {self._outbox.folder}: {error.strerror}; make room and run the study again, what was "
                "committed is kept"
            ) from error
        name = entry.folder_name
        self._waiting.pop(name, None)
        self._refused.pop(name, None)
        self._waiting[name] = entry
        self._changes.pop(entry.key.slot_and_identity, None)
        self._changes.pop(withdrawal(entry.key.slot_and_identity, entry.step_name), None)

    def is_waiting(self, entry: Entry) -> bool:
        """Whether an entry has yet to be sent."""
        return entry.folder_name in self._waiting

    def find(self, key: RunKey, step_id: str) -> Entry | None:
        """The waiting entry of a step for the run of this key."""
        for entry in self._waiting.values():
            if entry.step_id == step_id and entry.key.slot_and_identity == key.slot_and_identity:
                return entry
        return None

    def change(self, target: Hashable, apply: Callable[[], object]) -> None:
        """Queue a change of runs, in place of an earlier change of the same target.

        The target of a change of a run's status is its key's `slot_and_identity`. `apply` may be called more than
        once."""
        self._changes[target] = apply

    def send(self, *, force: bool = False) -> None:
        """Send what waits, unless a pause lasts; `force` overrides the pause.

        RecordError, once everything else is sent, for what MLflow refuses for good."""
        if not (self._waiting or self._changes) or (time.monotonic() < self._retry_at and not force):
            return
        refusals: list[str] = []
        try:
            self._send_entries(refusals)
            self._apply_changes(refusals)
            self._end_outage()
        except Unreachable as error:
            self._pause(error)
        if refusals:
            raise RecordError("; ".join(refusals))

    def _send_entries(self, refusals: list[str]) -> None:
        for name, entry in list(self._waiting.items()):
            try:
                self._upload(entry)
            except Unreachable:
                raise
            except RecordError as error:
                if not self._is_anothers(entry):
                    refusals.append(f"{error} (kept in {self._outbox.folder / name})")
                    self._refused[name] = entry
            del self._waiting[name]

    def _is_anothers(self, entry: Entry) -> bool:
        """Whether another driver has sent or replaced an entry that an earlier one left."""
        return self._inherited.get(entry.folder_name) is entry and not self._outbox.has(entry)

    def _apply_changes(self, refusals: list[str]) -> None:
        for target, apply in list(self._changes.items()):
            try:
                apply()
            except Unreachable:
                raise
            except RecordError as error:
                refusals.append(str(error))
            del self._changes[target]

    def _upload(self, entry: Entry) -> None:
        """Send one entry: run and params, artifacts (read back), metrics, tags; last the tag that commits the step."""
        run = self._runs.ensure(entry.key)
        for path in entry.digests:
            content = self._outbox.read(entry, path)
            if content is None:
                raise RecordError(
                    f"{self._outbox.file(entry, path)} is missing or changed since it was written; delete its folder "
                    "to have the step recomputed"
                )
            self._store.put(run.run_id, content, path)
        date_ms = entry.written_ns // 1_000_000
        self._store.log_metrics(run.run_id, entry.metrics, date_ms=date_ms)
        for name, pairs in entry.series.items():
            self._store.log_series(run.run_id, name, pairs, date_ms=date_ms)
        adopted = {ADOPTED: entry.adopted_from} if entry.adopted_from else {}
        self._runs.tag(run, {**shown_tags(entry.tags, entry.step_name), **adopted})
        tag = commit_tag(self._store, run.run_id, entry)
        self._runs.tag(run, tag)
        self._store.confirm_tags(run.run_id, tag)
        self.sent[entry.step_id] = run.run_id
        self._outbox.remove(entry)

    def _pause(self, error: Unreachable) -> None:
        if not self._pause_s:
            log.warning("%s; results wait in %s and are sent again later", error, self._outbox.folder)
        self.why_waiting = str(error)
        self._pause_s = min(2 * self._pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._retry_at = time.monotonic() + self._pause_s

    def _end_outage(self) -> None:
        if self._pause_s:
            log.info("MLflow at %s answers again", self._store.safe_uri)
        self._pause_s = self._retry_at = 0.0
        self.why_waiting = ""


def withdrawal(place: tuple[Slot, str], step_name: str) -> Hashable:
    """The target of the change that withdraws a commit. place: slot and identity of its run."""
    return "withdraw", place, step_name
