"""The runs of one study in MLflow: which there are, which are current, and what each holds.

One run per slot (kind, model, condition) and identity; where the answer to a request for one was lost and a second was
created, `twins` says which of them counts. Owns a copy of each run's status, params and tags, so that
nothing is read or written twice, and the whole lifecycle: created, reopened, superseded, restored, closed. Refuses to
know of steps, artifacts and outages: a call that MLflow does not answer raises `Unreachable`, and may be repeated as it
is. Invariant: after `ensure(key)` the key's run is the only current one in its slot.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.keys import RunKey, Slot
from orchestrator.record.mlflow_store import Store
from orchestrator.record.pages.run_page import RunPage, difference
from orchestrator.record.tags import (
    KIND,
    NOTE,
    STEP,
    SUPERSEDED,
    invocation_names,
    invocation_started,
    place_of,
    run_tags,
    slot_of,
)


@dataclass(slots=True, kw_only=True)
class Run:
    """A run and what it holds."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    """As they were when the runs were loaded, and what `show` has logged since; other metrics are not followed."""
    inputs: set[tuple[str, str]] = field(default_factory=set)
    """(name, digest) of each, as MLflow has them; followed like the metrics."""

    @property
    def is_superseded(self) -> bool:
        return SUPERSEDED in self.tags


class Runs:
    """The runs of the study whose experiment was loaded last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.experiment = ""
        """Id of the experiment; empty before `load`."""
        self._by_slot: dict[Slot, dict[str, Run]] = {}
        """{slot: {identity: run}}"""
        self._doubtful: set[tuple[Slot, str]] = set()
        """Slot and identity of the runs that were asked for without an answer: they may exist."""

    @property
    def parent(self) -> Run:
        """The study's own run. KeyError before `ensure` has made it."""
        return self._by_slot[Slot("study", "", "")][""]

    def current(self) -> list[Run]:
        """The runs that are not superseded, as they were last read or written."""
        return [run for runs in self._by_slot.values() for run in runs.values() if not run.is_superseded]

    def running(self) -> list[Run]:
        """The runs still open, the parent among them."""
        return [run for runs in self._by_slot.values() for run in runs.values() if run.status == "RUNNING"]

    def load(self, experiment: str) -> None:
        """Read the runs of a study's experiment id.

        Closes the runs that a killed driver left open, hides superseded runs that a kill or a restore left visible, and
        supersedes the twins of others."""
        self.experiment = experiment
        self._by_slot.clear()
        stored_runs = list(self._store.runs([experiment]))
        others = twins(stored_runs)
        for stored in stored_runs:
            run, is_active = held(stored), stored.info.lifecycle_stage == "active"
            if is_active and run.status == "RUNNING" and run.tags[KIND] != "study":
                self.terminate(run, "KILLED")
            if is_active and run.is_superseded:
                self._store.call("delete_run", run.run_id)
            if run.run_id in others:
                self._supersede(run, others[run.run_id])
            slot, identity = place_of(run.tags)
            runs = self._by_slot.setdefault(slot, {})
            if identity not in runs or (runs[identity].is_superseded and not run.is_superseded):
                runs[identity] = run

    def find(self, key: RunKey) -> Run | None:
        """The run of this key, superseded or not, if there is one."""
        return self._by_slot.get(key.slot, {}).get(key.identity)

    def ensure(self, key: RunKey, *, running: bool = True) -> Run:
        """The run of this key, created or restored if need be, with the key's name, params and tags, and the only
        current one in its slot. It is open (RUNNING) afterwards, unless `running` is false: then only a run that is
        created now is open. RecordError if a param has another value on the run."""
        tags = run_tags(key, "" if key.kind == "study" else self.parent.run_id)
        run = self.find(key)
        if run is None:
            run = self._create(key, tags)
        elif run.is_superseded:
            self._store.call("restore_run", run.run_id)
            self._store.remove_tag(run.run_id, SUPERSEDED)
            del run.tags[SUPERSEDED]
        if params := new_params(run, key):
            self._store.log_params(run.run_id, params)
            run.params |= params
        self.tag(run, {name: value for name, value in tags.items() if run.tags.get(name) != value})
        if run.name != key.name:
            self._store.call("update_run", run.run_id, name=key.name)
            run.name = key.name
        for other in self._by_slot[key.slot].values():
            if other is not run and not other.is_superseded:
                self._supersede(other, run.run_id)
        if running and run.status != "RUNNING":
            self._store.call("update_run", run.run_id, status="RUNNING")
            run.status = "RUNNING"
        return run

    def _create(self, key: RunKey, tags: dict[str, str]) -> Run:
        """A request without an answer may have created the run all the same, so it is looked for before another."""
        place = key.slot_and_identity
        run = self._look_up(key) if place in self._doubtful else None
        if run is None:
            try:
                created = self._store.call("create_run", self.experiment, run_name=key.name, tags=tags)
                run = Run(run_id=created.info.run_id, name=key.name, status="RUNNING", params={}, tags=tags)
            except Unreachable:
                self._doubtful.add(place)
                if (run := self._look_up(key)) is None:
                    raise
        self._doubtful.discard(place)
        self._by_slot.setdefault(key.slot, {})[key.identity] = run
        return run

    def _look_up(self, key: RunKey) -> Run | None:
        """The current run of this key in the store."""
        for stored in current(self._store.runs([self.experiment])):
            if place_of(stored.data.tags) == key.slot_and_identity:
                return held(stored)
        return None

    def _supersede(self, old: Run, new_id: str) -> None:
        if old.status == "RUNNING":  # a deleted run cannot be closed
            self.terminate(old, "KILLED")
        self._store.call("set_tag", old.run_id, SUPERSEDED, new_id)
        self._store.call("delete_run", old.run_id)
        old.tags[SUPERSEDED] = new_id

    def place_of(self, run_id: str) -> tuple[Slot, str] | None:
        """Slot and identity of one of this study's runs, by its id; None for a run of another."""
        places = ((slot, identity, run) for slot, runs in self._by_slot.items() for identity, run in runs.items())
        return next(((slot, identity) for slot, identity, run in places if run.run_id == run_id), None)

    def untag(self, place: tuple[Slot, str], name: str) -> None:
        """Remove a tag of the run at a slot and identity, if the run has it."""
        slot, identity = place
        run = self._by_slot[slot][identity]
        self._store.remove_tag(run.run_id, name)
        run.tags.pop(name, None)

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        if tags:
            self._store.log_tags(run.run_id, tags)
            run.tags |= tags

    def show(self, key: RunKey, page: RunPage) -> None:
        """Bring the page of the key's run up to date; nothing is written that it shows already.

        Does nothing where there is no current run of this key."""
        run = self.find(key)
        if run is None or run.is_superseded:
            return
        found = difference(page, NOTE, run.tags, run.metrics, run.inputs)
        for name in found.removed:
            self._store.remove_tag(run.run_id, name)
            del run.tags[name]
        self.tag(run, found.tags)
        if found.new_metrics:
            self._store.log_metrics(run.run_id, found.new_metrics, date_ms=int(time.time() * 1000))
            run.metrics |= found.new_metrics
        for name, value in found.changed_metrics.items():
            self._store.restore_metric(run.run_id, name, value)
            run.metrics[name] = value
        if found.inputs:
            self._store.log_inputs(run.run_id, found.inputs)
            run.inputs |= {(one.name, one.short_digest) for one in found.inputs}

    def terminate(self, run: Run, status: str) -> None:
        """Close a run with a status, unless it has that status already."""
        if run.status != status:
            self._store.call("set_terminated", run.run_id, status)
            run.status = status


def held(stored: Any) -> Run:
    """What one of MLflow's runs holds."""
    inputs = stored.inputs.dataset_inputs if stored.inputs else ()
    return Run(
        run_id=stored.info.run_id,
        name=stored.info.run_name,
        status=stored.info.status,
        params=dict(stored.data.params),
        tags=dict(stored.data.tags),
        metrics=dict(stored.data.metrics),
        inputs={(one.dataset.name, one.dataset.digest) for one in inputs},
    )


def new_params(run: Run, key: RunKey) -> dict[str, str]:
    """The params of the key that the run lacks.

    MLflow writes a param once. RecordError if the run has another value."""
    for name, value in key.params.items():
        if run.params.get(name, value) != value:
            raise RecordError(
                f"param {name!r} of run {run.name!r} ({run.run_id}) is {run.params[name]!r} in MLflow and {value!r} "
                "now; params are written once, so a changed definition needs another identity"
            )
    return {name: value for name, value in key.params.items() if name not in run.params}


def twins(runs: Iterable[Any]) -> dict[str, str]:
    """{id of a run: id of the run that stands for it}, of MLflow's runs, oldest first. Superseded runs have no twin."""
    groups: dict[object, list[Any]] = {}
    for run in runs:
        if SUPERSEDED not in run.data.tags:
            groups.setdefault((run.info.experiment_id, place_of(run.data.tags)), []).append(run)
    found: dict[str, str] = {}
    for group in groups.values():
        kept = next((run for run in group if any(tag.startswith(STEP) for tag in run.data.tags)), group[0])
        found |= {run.info.run_id: kept.info.run_id for run in group if run is not kept}
    return found


def current(runs: Iterable[Any]) -> Iterator[Any]:
    """Those of MLflow's runs, oldest first, that are neither superseded nor the twin of another."""
    runs = list(runs)
    others = twins(runs)
    return (run for run in runs if SUPERSEDED not in run.data.tags and run.info.run_id not in others)


def invocations(runs: Iterable[Any]) -> list[datetime]:
    """When the invocations of a study began, in their order, as its own run among these of MLflow's says."""
    names = {name for run in runs if run.data.tags[KIND] == "study" for name in invocation_names(run.data.tags)}
    return [began for name in sorted(names) if (began := invocation_started(name)) is not None]


class Earlier(NamedTuple):
    """The runs of a study as an earlier invocation left them."""

    runs: list[Any]
    """MLflow's runs, in each slot the newest that was made by then."""
    doubtful: list[Any]
    """Runs in whose slot an older definition was gone back to later, nothing says when."""


def left_by(runs: Iterable[Any], began: datetime, ended: datetime) -> Earlier:
    """The runs that an invocation left, of MLflow's runs, oldest first. ended: when the next one began.

    Superseded runs are all that tells of the past: what `gc` has removed is absent, and a definition that was gone back
    to and left again passes unnoticed."""
    runs = list(runs)
    others, made = twins(runs), {run.info.run_id: run.info.start_time for run in runs}
    newest: dict[Slot, Any] = {}
    for run in runs:
        if run.info.run_id not in others and _seconds(run) < ended.timestamp():
            newest[slot_of(run.data.tags)] = run
    earlier = Earlier([], [])
    for run in newest.values():
        successor = made.get(run.data.tags.get(SUPERSEDED, ""))
        was_restored = successor is not None and successor < run.info.start_time
        is_doubtful = was_restored and _seconds(run) < began.timestamp()
        (earlier.doubtful if is_doubtful else earlier.runs).append(run)
    return earlier


def _seconds(run: Any) -> float:
    """When one of MLflow's runs was made, as Unix time."""
    return float(run.info.start_time) / 1000
