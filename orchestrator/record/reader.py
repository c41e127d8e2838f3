"""The record as a memory: which steps are done, in any study of the store, and what they recorded.

Reads MLflow and, before it, the outbox, so that a result can be used before it has reached MLflow. Artifacts are
verified when read. Writes nothing. Raises `Unreachable` if the store does not answer; within `waiting` every read waits
for it first (`client.patience`).
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.record.client.failures import DamagedArtifact, RecordError, Unreachable
from orchestrator.record.client.patience import Patience
from orchestrator.record.commits import Edit, committed_steps, edits, edits_line
from orchestrator.record.driver.lease import Holder, holder
from orchestrator.record.encoding import decode_document, decode_frame
from orchestrator.record.entry import Entry
from orchestrator.record.keys import NOTHING, Committed, EarlierRuns, RecordedRun, Slot
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox
from orchestrator.record.pages import links
from orchestrator.record.runs import Run, current, held, invocations, left_by, twins
from orchestrator.record.tags import (
    DEFINITION,
    REPORTED,
    STEP,
    SUPERSEDED,
    Definition,
    place_of,
    slot_of,
    tagged_definition,
)

if TYPE_CHECKING:
    import pandas

log = logging.getLogger(__name__)


class Reader:
    """Finished steps and their artifacts."""

    def __init__(self, store: Store, outbox: Outbox | None, sent: Mapping[str, str] = NOTHING) -> None:
        """`outbox`: None where only the store is read. `sent`: {step id: run id} of the steps sent from the outbox so
        far, looked up again at every call."""
        self._store, self._outbox, self._sent = store, outbox, sent
        self._experiment = ""
        """Id of the experiment whose own copies of a step are preferred."""
        self._patiently = Patience()
        self.reads_back = False
        """Whether `verify` downloads the artifacts of a server; else only their names are looked up there."""

    def waiting(self, stop: Callable[[], bool]) -> AbstractContextManager[None]:
        """Within, reads wait for a store that does not answer, to the limit of `client.patience` or until `stop`."""
        return self._patiently.waiting(stop)

    def known(self, step_ids: Collection[str]) -> dict[str, Committed]:
        """{step id: step} for those of the steps that are done, in any study of the store or in the outbox.

        One paged search, whatever the number of steps. Of several copies the one on this study's own run is preferred,
        then that of any current run, then that of a superseded one. Does not look at artifacts: see `verify`."""
        return self._patiently(lambda: self._known(step_ids))

    def _known(self, step_ids: Collection[str]) -> dict[str, Committed]:
        wanted = set(step_ids)
        known: dict[str, Committed] = {}
        ranks: dict[str, int] = {}
        experiments = self._store.experiments()
        runs = list(self._store.runs(experiments))
        others = twins(runs)
        for run in runs:
            tags, experiment_id = run.data.tags, run.info.experiment_id
            is_current = SUPERSEDED not in tags and run.info.run_id not in others
            rank = 2 * is_current + (experiment_id == self._experiment)
            for step in committed_steps(self._store, run.info.run_id, tags, experiments[experiment_id], wanted):
                if rank > ranks.get(step.step_id, -1):
                    known[step.step_id], ranks[step.step_id] = step, rank
        waiting = {entry.step_id: entry.committed() for entry in self._waiting() if entry.step_id in wanted}
        return known | waiting

    def named(self, step_name: str) -> dict[str, Committed]:
        """{step id: step} of all steps of this name, in any study of the store or in the outbox; one paged search."""
        return self._patiently(lambda: self._named(step_name))

    def _named(self, step_name: str) -> dict[str, Committed]:
        experiments = self._store.experiments()
        tag = STEP + step_name
        done = {
            step.step_id: step
            for run in self._store.runs(experiments)
            if tag in run.data.tags
            for step in committed_steps(
                self._store, run.info.run_id, {tag: run.data.tags[tag]}, experiments[run.info.experiment_id]
            )
        }
        waiting = [entry.committed() for entry in self._waiting() if entry.step_name == step_name]
        return done | {step.step_id: step for step in waiting}

    def last_of_studies(self, step_name: str) -> list[tuple[str, Committed]]:
        """(when its study was last reported or run, in ISO 8601; step) of this name on the parent runs of all studies
        of the store, newest first. One search for parent runs alone; what waits in the outbox is not among them."""
        return self._patiently(lambda: self._last_of_studies(step_name))

    def _last_of_studies(self, step_name: str) -> list[tuple[str, Committed]]:
        experiments, tag = self._store.experiments(), STEP + step_name
        found = []
        for run in self._store.runs(experiments, kind="study"):
            tags, experiment = run.data.tags, experiments[run.info.experiment_id]
            noted = tagged_definition(tags, REPORTED)
            began = datetime.fromtimestamp(run.info.start_time / 1000, UTC).isoformat()
            only = {name: tags[name] for name in (tag,) if name in tags}
            steps = committed_steps(self._store, run.info.run_id, only, experiment)
            found += [(noted.started if noted else began, step) for step in steps]
        return sorted(found, key=lambda dated: dated[0], reverse=True)

    def intact(self, step_ids: Collection[str]) -> dict[str, Committed]:
        """{step id: step} for those of the steps that are done and whose artifacts are there."""
        return {step_id: step for step_id, step in self.known(step_ids).items() if self.verify(step)}

    def latest(self, study: str) -> dict[tuple[str, str, str], Committed]:
        """{(model, condition, step name): step} on a study's current runs; empty if there is no such study."""
        return self._patiently(lambda: self._latest(study))

    def _latest(self, study: str) -> dict[tuple[str, str, str], Committed]:
        return {
            (slot.model, slot.condition, step.step_name): step
            for run in self._current(study)
            for slot in [slot_of(run.data.tags)]
            for step in committed_steps(self._store, run.info.run_id, run.data.tags, study)
        }

    def _current(self, study: str) -> list[Any]:
        """MLflow's current runs of a study; none if there is no such study."""
        experiment = self._store.experiment(study)
        return [] if experiment is None else list(current(self._store.runs([experiment.experiment_id])))

    def studies(self) -> set[str]:
        """Names of the studies that have a run of their own, or something in the outbox."""
        return self._patiently(self._studies)

    def _studies(self) -> set[str]:
        experiments = self._store.experiments()
        parents = current(self._store.runs(experiments, kind="study"))
        return {experiments[run.info.experiment_id] for run in parents} | {entry.study for entry in self._waiting()}

    def recorded_runs(self, study: str) -> list[RecordedRun]:
        """A study's current runs, oldest first, with what each has recorded; what waits in the outbox is among it.

        RecordError, with the nearest name that there is, where nothing is known of such a study."""
        runs = self._patiently(lambda: self._recorded_runs(study))
        if not runs and self._store.experiment(study) is None:
            raise self._store.unknown_study(study)
        return runs

    def _recorded_runs(self, study: str) -> list[RecordedRun]:
        found: dict[tuple[Slot, str], RecordedRun] = {}
        for run in self._current_runs(study):
            slot, identity = place_of(run.tags)
            steps = {step.step_name: step for step in committed_steps(self._store, run.run_id, run.tags, study)}
            found[slot, identity] = RecordedRun(slot, run.run_id, run.name, run.status, run.params, steps, run.tags)
        for entry in self._waiting(study):
            key = entry.key
            for other in [place for place in found if place[0] == key.slot and place != key.slot_and_identity]:
                del found[other]  # the entry's run will supersede it
            known = found.get(key.slot_and_identity) or RecordedRun(key.slot, "", key.name, "", key.params, {})
            steps = {**known.steps, entry.step_name: entry.committed()}
            found[key.slot_and_identity] = known._replace(params={**known.params, **key.params}, steps=steps)
        return list(found.values())

    def earlier_runs(self, study: str, number: int) -> EarlierRuns:
        """What a study's runs held when its invocation of this number ended, counted from 1.

        Results that were computed again under the same definition have replaced the older ones; what waits in the
        outbox belongs to the last invocation. RecordError, with the invocations that there are, for another number."""
        return self._patiently(lambda: self._earlier_runs(study, number))

    def _earlier_runs(self, study: str, number: int) -> EarlierRuns:
        experiment = self._store.experiment(study)
        runs = [] if experiment is None else list(self._store.runs([experiment.experiment_id]))
        began = invocations(runs)
        if not 1 <= number <= len(began):
            known = ", ".join(f"{i} ({date:%Y-%m-%d %H:%M} UTC)" for i, date in enumerate(began, 1)) or "none"
            raise RecordError(f"{study} has no invocation {number}; recorded: {known}")
        if number == len(began):
            return EarlierRuns(self._recorded_runs(study), {})
        ended = began[number]
        earlier = left_by(runs, began[number - 1], ended)
        lost = {
            (slot_of(run.tags), step.step_name): "an older definition was gone back to, and nothing says when"
            for run in map(held, earlier.doubtful)
            for step in committed_steps(self._store, run.run_id, run.tags, study)
        }
        found = []
        for run in map(held, earlier.runs):
            steps = {}
            for step in committed_steps(self._store, run.run_id, run.tags, study):
                if self._was_logged(step, ended):
                    steps[step.step_name] = step
                else:
                    lost[slot_of(run.tags), step.step_name] = f"it was computed again after invocation {number}"
            found.append(RecordedRun(slot_of(run.tags), run.run_id, run.name, run.status, run.params, steps, run.tags))
        return EarlierRuns(found, lost)

    def _was_logged(self, step: Committed, before: datetime) -> bool:
        """Whether what a step recorded is from before a time, as MLflow dates its metrics; true for one without any."""
        name = next(iter(step.metrics), None)
        history = self._store.call("get_metric_history", step.run_id, name) if name else ()
        return all(metric.timestamp / 1000 < before.timestamp() for metric in history)

    def _current_runs(self, study: str) -> Iterable[Run]:
        """The current runs of a study that MLflow has."""
        return map(held, self._current(study))

    def _waiting(self, study: str | None = None) -> list[Entry]:
        """What waits in the outbox, of one study or of all, oldest first."""
        return [] if self._outbox is None else self._outbox.entries(study)

    def _waiting_copies(self, committed: Committed) -> Iterator[Callable[[str], bytes | None]]:
        """Of each entry of the outbox that holds this step: what reads its artifacts, as `Outbox.read`."""
        if self._outbox is not None:
            for entry in self._outbox.holding(committed):
                yield partial(self._outbox.read, entry)

    def warn_of_edits(self, study: str) -> None:
        """Log one line if metrics of a study's current runs are not what was recorded."""
        if found := self._patiently(lambda: self._edits(study)):
            log.warning(edits_line(found, self._store.safe_uri, "what was recorded is used"))

    def _edits(self, study: str) -> list[Edit]:
        found = []
        for run in self._current(study):
            found += edits(run, committed_steps(self._store, run.info.run_id, run.data.tags, study))
        return found

    def last_run(self, study: str) -> Definition | None:
        """The study file that a study was last run from; None where nobody has noted it."""
        return tagged_definition(self.own_tags(study), DEFINITION)

    def own_tags(self, study: str) -> Mapping[str, str]:
        """The tags of a study's own run; empty where it has none."""
        tags = [run.data.tags for run in self._patiently(lambda: self._current(study))]
        return next((of_run for of_run in tags if slot_of(of_run).kind == "study"), NOTHING)

    def driver(self, study: str) -> Holder | None:
        """The driver whose lease stands on a study, alive or not; None where it was released, or there never was
        one."""
        experiment = self.experiment_id(study)
        return self._patiently(lambda: holder(self._store, experiment)) if experiment else None

    def recorded_at(self, committed: Committed) -> datetime | None:
        """When a step was recorded on its run, by its metrics; without any, when the run was created. None while it
        waits in the outbox."""
        run_id, name = self._run_id(committed), min(committed.metrics, default="")
        if not run_id:
            return None
        if name and (history := self._patiently(lambda: self._store.call("get_metric_history", run_id, name))):
            return datetime.fromtimestamp(history[0].timestamp / 1000, UTC)
        return datetime.fromtimestamp(
            self._patiently(lambda: self._store.call("get_run", run_id)).info.start_time / 1000, UTC
        )

    def verify(self, committed: Committed) -> bool:
        """Whether the artifacts are there and intact. On a server only names are looked up, or see `reads_back`."""
        return self._patiently(lambda: self._verify(committed))

    def _verify(self, committed: Committed) -> bool:
        for read in self._waiting_copies(committed):
            if all(read(path) is not None for path in committed.artifacts):
                return True
        run_id = self._run_id(committed)
        if not run_id:
            return False
        try:
            if self._store.folder(run_id) is None and not self.reads_back:
                return not self._store.missing(run_id, committed.artifacts)
            for path, sha256 in committed.artifacts.items():
                self._store.read(run_id, path, sha256)
            return True
        except Unreachable:
            raise
        except RecordError:
            return False

    def frame(self, committed: Committed, path: str) -> "pandas.DataFrame":
        """A recorded table. DamagedArtifact if it is missing or changed."""
        return decode_frame(self._read(committed, path))

    def document(self, committed: Committed, path: str) -> Any:
        """A recorded document: decoded JSON, or a text, by suffix. DamagedArtifact if it is missing or changed."""
        return decode_document(path, self._read(committed, path))

    def content(self, committed: Committed, path: str) -> bytes:
        """A recorded file as it is. DamagedArtifact if it is missing or changed."""
        return self._read(committed, path)

    def attachment(self, run_id: str, path: str) -> str:
        """A text that lies on a run without a digest, such as the study file; empty where there is none."""
        content = self._patiently(lambda: self._store.fetch(run_id, path)) if run_id else None
        return (content or b"").decode(errors="replace")

    def addresses(self, experiment_id: str, run_id: str) -> dict[str, str]:
        """{what: where MLflow's interface shows it}, of a study's runs and of its own one."""
        own = links.printed(self._store.server_uri, links.artifacts_address(experiment_id, run_id))
        return {"All runs": self._store.ui_link(experiment_id), "Tables and figures": own}

    def run_address(self, experiment_id: str, run_id: str) -> str:
        """Where MLflow's interface shows a run."""
        return links.printed(self._store.server_uri, links.run_address(experiment_id, run_id))

    @property
    def uri(self) -> str:
        """The tracking URI of the store, without a password."""
        return self._store.safe_uri

    @property
    def is_server(self) -> bool:
        """Whether the store is reached over HTTP."""
        return self._store.is_server

    def experiment_id(self, study: str) -> str:
        """MLflow's id of a study's experiment; empty where there is none."""
        experiment = self._patiently(lambda: self._store.experiment(study))
        return "" if experiment is None else str(experiment.experiment_id)

    def _read(self, committed: Committed, path: str) -> bytes:
        if path not in committed.artifacts:
            has = ", ".join(sorted(committed.artifacts)) or "none"
            raise RecordError(f"step {committed.step_name} recorded no artifact {path!r}; it has: {has}")
        try:
            return self._patiently(lambda: self._content(committed, path))
        except DamagedArtifact as error:
            raise DamagedArtifact(str(error), committed) from error

    def _content(self, committed: Committed, path: str) -> bytes:
        for read in self._waiting_copies(committed):
            if (content := read(path)) is not None:
                return content
        run_id = self._run_id(committed)
        if not run_id:
            folder = self._outbox.folder if self._outbox else ""
            raise DamagedArtifact(
                f"artifact {path} of step {committed.step_name} is missing from the outbox {folder} or "
                "changed there; put the file back, or delete the folder: its step will be recomputed"
            )
        return self._store.read(run_id, path, committed.artifacts[path])

    def _run_id(self, committed: Committed) -> str:
        """The run that a step is on now; empty while it waits in the outbox."""
        return committed.run_id or self._sent.get(committed.step_id, "")
