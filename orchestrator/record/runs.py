"""The runs of one study in MLflow: which there are, which are current, and what each holds.

One run per slot (kind, model, condition) and identity. Owns a copy of each run's status, params and tags, so that
nothing is read or written twice, and the whole lifecycle: created, reopened, superseded, restored, closed. Refuses to
know of steps, artifacts and outages: a call that MLflow does not answer raises `Unreachable`, and may be repeated as it
is. Invariant: after `ensure(key)` the key's run is the only current one in its slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.record.keys import RunKey, Slot
from orchestrator.record.mlflow_store import RecordError, Store
from orchestrator.record.tags import IDENTITY, KIND, SUPERSEDED, run_tags, slot_of


@dataclass(slots=True, kw_only=True)
class Run:
    """A run and what it holds."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]

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

    @property
    def parent(self) -> Run:
        """The study's own run. KeyError before `ensure` has made it."""
        return self._by_slot[Slot("study", "", "")][""]

    def running(self) -> list[Run]:
        """The runs still open, the parent among them."""
        return [run for runs in self._by_slot.values() for run in runs.values() if run.status == "RUNNING"]

    def load(self, experiment: str) -> None:
        """Read the runs of a study's experiment id.

        Closes the runs that a killed driver left open, and hides superseded runs that a kill or a restore left
        visible."""
        self.experiment = experiment
        self._by_slot.clear()
        for stored in self._store.runs([experiment]):
            tags, is_active = dict(stored.data.tags), stored.info.lifecycle_stage == "active"
            run = Run(
                run_id=stored.info.run_id,
                name=stored.info.run_name,
                status=stored.info.status,
                params=dict(stored.data.params),
                tags=tags,
            )
            if is_active and run.status == "RUNNING" and tags[KIND] != "study":
                self.terminate(run, "KILLED")
            if is_active and run.is_superseded:
                self._store.call("delete_run", run.run_id)
            runs, identity = self._by_slot.setdefault(slot_of(tags), {}), tags.get(IDENTITY, "")
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
            self._store.call("delete_tag", run.run_id, SUPERSEDED)
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
                self._supersede(other, run)
        if running and run.status != "RUNNING":
            self._store.call("update_run", run.run_id, status="RUNNING")
            run.status = "RUNNING"
        return run

    def _create(self, key: RunKey, tags: dict[str, str]) -> Run:
        created = self._store.call("create_run", self.experiment, run_name=key.name, tags=tags)
        run = Run(run_id=created.info.run_id, name=key.name, status="RUNNING", params={}, tags=tags)
        self._by_slot.setdefault(key.slot, {})[key.identity] = run
        return run

    def _supersede(self, old: Run, new: Run) -> None:
        if old.status == "RUNNING":  # a deleted run cannot be closed
            self.terminate(old, "KILLED")
        self._store.call("set_tag", old.run_id, SUPERSEDED, new.run_id)
        self._store.call("delete_run", old.run_id)
        old.tags[SUPERSEDED] = new.run_id

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set tags on a run."""
        if tags:
            self._store.log_tags(run.run_id, tags)
            run.tags |= tags

    def terminate(self, run: Run, status: str) -> None:
        """Close a run with a status, unless it has that status already."""
        if run.status != status:
            self._store.call("set_terminated", run.run_id, status)
            run.status = status


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
