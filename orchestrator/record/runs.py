"""The runs of one study in MLflow: which there are, which are current, and what stands on each.

One run per place (kind, model, condition) and identity. Owns what is known of each run, so that nothing is asked or
written twice, and the whole lifecycle: made, reopened, superseded, restored, closed. Refuses to know of steps,
artifacts and outages: a call that MLflow does not answer raises `Unreachable`, and may be made again as it is.
Invariant: after `use(key)` the key's run is the only current one in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.record.keys import RunKey
from orchestrator.record.mlflow_store import CONDITION, IDENTITY, KIND, MODEL, PARENT, SUPERSEDED, RecordError, Store


@dataclass(slots=True, kw_only=True)
class Run:
    """What stands on a run of the study, so that nothing is asked or written twice."""

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]


class Runs:
    """The runs of the study whose experiment was loaded last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.experiment = ""
        """Id of the experiment; empty before `load`."""
        self._by_place: dict[tuple[str, str, str], dict[str, Run]] = {}

    @property
    def parent(self) -> Run:
        """The study's own run. KeyError before it was used."""
        return self._by_place["study", "", ""][""]

    def running(self) -> list[Run]:
        """The runs still open, the parent among them."""
        return [run for place in self._by_place.values() for run in place.values() if run.status == "RUNNING"]

    def load(self, experiment: str) -> None:
        """Learn the runs of a study's experiment; close orphans, and hide superseded runs that a kill or a restore left
        visible."""
        self.experiment = experiment
        self._by_place.clear()
        for found in self._store.runs([experiment]):
            tags, active = dict(found.data.tags), found.info.lifecycle_stage == "active"
            run = Run(
                run_id=found.info.run_id, name=found.info.run_name, status=found.info.status,
                params=dict(found.data.params), tags=tags,
            )  # fmt: skip
            if active and run.status == "RUNNING" and tags[KIND] != "study":
                self.terminate(run, "KILLED")
            if active and SUPERSEDED in tags:
                self._store.ask("delete_run", run.run_id)
            place = self._by_place.setdefault((tags[KIND], tags.get(MODEL, ""), tags.get(CONDITION, "")), {})
            twin = place.setdefault(tags.get(IDENTITY, ""), run)
            if SUPERSEDED in twin.tags and SUPERSEDED not in tags:
                place[tags[IDENTITY]] = run

    def find(self, key: RunKey) -> Run | None:
        """The run of this key, superseded or not, if there is one."""
        place, identity = place_of(key)
        return self._by_place.get(place, {}).get(identity)

    def use(self, key: RunKey, *, running: bool = True) -> Run:
        """The run of this key: made, restored or reopened, carrying the key's params and tags, and the only current one
        in its place."""
        place, identity = place_of(key)
        tags = dict(key.tags) | {"mlflow.source.name": "halfwave", "mlflow.source.type": "LOCAL", KIND: place[0]}
        if key.kind != "study":
            tags |= {MODEL: key.model, CONDITION: key.condition, IDENTITY: identity, PARENT: self.parent.run_id}
        run = self.find(key)
        if run is None:
            made = self._store.ask("create_run", self.experiment, run_name=key.name, tags=tags)
            run = Run(run_id=made.info.run_id, name=key.name, status="RUNNING", params={}, tags=tags)
            self._by_place.setdefault(place, {})[identity] = run
        elif SUPERSEDED in run.tags:
            self._store.ask("restore_run", run.run_id)
            self._store.ask("delete_tag", run.run_id, SUPERSEDED)
            del run.tags[SUPERSEDED]
        self._params(run, new_params(run, key))
        self.tag(run, {name: value for name, value in tags.items() if run.tags.get(name) != value})
        if run.name != key.name:
            self._store.ask("update_run", run.run_id, name=key.name)
            run.name = key.name
        for other in self._by_place[place].values():
            if other is not run and SUPERSEDED not in other.tags:
                if other.status == "RUNNING":  # a deleted run cannot be closed
                    self.terminate(other, "KILLED")
                self._store.ask("set_tag", other.run_id, SUPERSEDED, run.run_id)
                self._store.ask("delete_run", other.run_id)
                other.tags[SUPERSEDED] = run.run_id
        if running and run.status != "RUNNING":
            self._store.ask("update_run", run.run_id, status="RUNNING")
            run.status = "RUNNING"
        return run

    def _params(self, run: Run, params: Mapping[str, str]) -> None:
        if params:
            self._store.log_params(run.run_id, params)
            run.params |= params

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        if tags:
            self._store.log_tags(run.run_id, tags)
            run.tags |= tags

    def terminate(self, run: Run, status: str) -> None:
        if run.status != status:
            self._store.ask("set_terminated", run.run_id, status)
            run.status = status


def place_of(key: RunKey) -> tuple[tuple[str, str, str], str]:
    """Place (kind, model, condition) and identity; there is one study run, whatever its definition."""
    return (("study", "", ""), "") if key.kind == "study" else ((key.kind, key.model, key.condition), key.identity)


def new_params(run: Run, key: RunKey) -> dict[str, str]:
    """The params that the run lacks. MLflow writes a param once; RecordError if the run has another value."""
    for name, value in key.params.items():
        if run.params.get(name, value) != value:
            raise RecordError(
                f"param {name!r} of run {run.name!r} ({run.run_id}) is {run.params[name]!r} in MLflow and {value!r} "
                "now; params are written once, so a changed definition needs another identity"
            )
    return {name: value for name, value in key.params.items() if name not in run.params}
