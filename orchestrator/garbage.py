"""What a store and a working folder hold that no study needs any more: the work behind `halfwave gc`.

Garbage is superseded runs (hidden by their tag and MLflow's stage "deleted") with their artifacts, outbox folders that
a dead driver left half written or half removed, and remembered digests of files that are gone or have changed. A
superseded run is kept while a run that stays needs it, that is, while it alone holds an input of one of that run's
steps.
Complete outbox entries are results that were never sent, so they are never garbage; nor is what Halfwave did not write.
Invariant: `survey` changes nothing; `collect` removes what a survey found, and may be run again after a kill. A
study that a driver runs, or may run on another machine, blocks `collect` unless it is forced.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from orchestrator.planning.digest_cache import DigestCache
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.commits import committed_steps
from orchestrator.record.driver.lease import is_held
from orchestrator.record.keys import Committed
from orchestrator.record.local_store import locate
from orchestrator.record.mlflow_store import Store
from orchestrator.record.outbox import Outbox, folder_size
from orchestrator.record.tags import SUPERSEDED
from orchestrator.steps.artifacts import identity_document
from orchestrator.workspace import digests_file, outbox_folder
from studies.errors import StudyError

SHOWN = 5
"""Names of unknown things that a summary shows."""


class StoredRun(NamedTuple):
    """A run and the steps committed on it."""

    run_id: str
    study: str
    name: str
    steps: tuple[Committed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """The result of a survey."""

    runs: tuple[StoredRun, ...]
    """Superseded runs on which nothing depends."""
    kept: tuple[StoredRun, ...]
    """Superseded runs, old enough, on whose steps a run that stays depends."""
    num_lost: int
    """Steps that are on `runs` alone; going back to their definitions computes them again."""
    running: tuple[str, ...]
    """Studies of the store that a driver runs, as far as their leases show."""
    leftovers: tuple[Path, ...]
    """Outbox folders that a dead driver left incomplete."""
    unknown: tuple[Path, ...]
    """What else is in the outbox and was not written by Halfwave, or cannot be read. It is never removed."""
    num_waiting: int
    """Complete outbox entries, which the next run of their study sends."""
    digests: tuple[str, ...]
    """Entries of `digests.json` whose file is gone or has changed."""
    bytes_runs: int | None
    """Bytes of the artifacts of `runs`; None if they do not lie on this machine."""
    bytes_leftovers: int
    server: str
    """The tracking server, if there is one: no client can remove a run from it for good. Else empty."""

    @property
    def is_empty(self) -> bool:
        return not (self.runs or self.leftovers or self.digests)


class GarbageCollector:
    """A store and the working folder beside it, opened for `survey` and `collect`."""

    def __init__(self, tracking_uri: str, workdir: Path, artifact_root: str | None = None) -> None:
        """Raises StudyError if there is no such store; none is created."""
        database = locate(tracking_uri).database
        if database is not None and not database.is_file():
            raise StudyError(f"there is no MLflow store at {database}; name it with --workdir or --tracking-uri")
        self._store = Store(tracking_uri, artifact_root)
        self._outbox = Outbox(outbox_folder(workdir))
        self._cache = DigestCache(digests_file(workdir))

    def survey(self, *, study: str | None = None, older_than: timedelta | None = None) -> Garbage:
        """Find the garbage of one study, or of the whole store; runs only if superseded for longer than `older_than`.

        StudyError if the store has no such study, or is a server and `older_than` is given."""
        store, experiments = self._store, self._store.experiments()
        if study is not None and study not in experiments.values():
            raise store.unknown_study(study)
        old_enough = store.deleted_runs(older_than)
        candidates: list[StoredRun] = []
        staying: list[StoredRun] = []
        experiment_ids: set[str] = set()
        for run in store.runs(experiments):
            experiment_id, run_id, tags = run.info.experiment_id, run.info.run_id, run.data.tags
            owner = experiments[experiment_id]
            experiment_ids.add(experiment_id)
            is_hidden = SUPERSEDED in tags and run.info.lifecycle_stage == "deleted"
            is_chosen = is_hidden and study in (None, owner) and (old_enough is None or run_id in old_enough)
            steps = tuple(committed_steps(store, run_id, tags, owner))
            (candidates if is_chosen else staying).append(StoredRun(run_id, owner, run.info.run_name, steps))
        needed = self._needed(candidates, staying)
        runs = [run for run in candidates if run.run_id not in needed]
        kept = [run for run in candidates if run.run_id in needed]
        leftovers = self._outbox.leftovers()
        return Garbage(
            runs=tuple(runs),
            kept=tuple(kept),
            num_lost=len(_step_ids(runs) - _step_ids([*staying, *kept])),
            running=tuple(sorted(experiments[held] for held in experiment_ids if is_held(store, held))),
            leftovers=tuple(leftovers),
            unknown=tuple(self._outbox.unknown()),
            num_waiting=len(self._outbox.entries()),
            digests=tuple(self._cache.stale()),
            bytes_runs=_total(store.size(run.run_id) for run in runs),
            bytes_leftovers=sum(map(folder_size, leftovers)),
            server="" if store.removes_runs else store.safe_uri,
        )

    def collect(self, garbage: Garbage, *, force: bool = False) -> None:
        """Remove the garbage of a survey; a server keeps its runs. StudyError if a driver runs a study, unless
        forced."""
        if garbage.running and not force:
            raise StudyError(
                f"{' and '.join(garbage.running)} is being run; wait for its driver, or, if that was killed on another "
                "machine, run the study again or add --force"
            )
        self._store.relocate()
        for run in () if garbage.server else garbage.runs:
            self._store.erase(run.run_id)
        self._outbox.sweep()
        if garbage.digests:
            self._cache.forget(garbage.digests)
            self._cache.save()

    def _needed(self, candidates: Sequence[StoredRun], staying: Sequence[StoredRun]) -> set[str]:
        """Ids of the candidates on whose steps the staying runs depend, directly or through other steps."""
        if not candidates:
            return set()
        present = _step_ids(staying)
        holders: dict[str, list[StoredRun]] = {}
        for run in candidates:
            for step in run.steps:
                holders.setdefault(step.step_id, []).append(run)
        needed: set[str] = set()
        to_visit = [step for run in staying for step in run.steps]
        while to_visit:
            for input_id in self._inputs(to_visit.pop()):
                for run in holders.get(input_id, ()) if input_id not in present else ():
                    if run.run_id not in needed:
                        needed.add(run.run_id)
                        to_visit += run.steps
        return needed

    def _inputs(self, step: Committed) -> Iterable[str]:
        """Ids of the steps that a step was made from; none for a damaged step, which counts as not done."""
        path = identity_document(step.step_name)
        if path not in step.artifacts:
            return ()
        try:
            inputs: Mapping[str, str] = json.loads(self._store.read(step.run_id, path, step.artifacts[path]))["inputs"]
        except Unreachable:
            raise
        except RecordError:
            return ()
        return inputs.values()


def _step_ids(runs: Iterable[StoredRun]) -> set[str]:
    return {step.step_id for run in runs for step in run.steps}


def _total(sizes: Iterable[int | None]) -> int | None:
    """The sum; None if a size is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def parse_age(text: str) -> timedelta:
    """`7d`, `12h`, `1d12h30m`; StudyError for anything else."""
    match = re.fullmatch(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?", text, re.ASCII)
    if not text or match is None:
        raise StudyError(f"--older-than: {text!r} is not an age; write days, hours and minutes: 7d, 12h or 1d12h30m")
    days, hours, minutes = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)


def summary_lines(garbage: Garbage, *, removed: bool) -> list[str]:
    """The survey as lines of text. `removed`: whether the garbage has been collected."""
    lines = _run_lines(garbage)
    if garbage.leftovers:
        folders = _count(len(garbage.leftovers), "incomplete outbox folder")
        lines.append(f"{folders} of dead drivers, {_size(garbage.bytes_leftovers)}")
    if garbage.unknown:
        names = ", ".join(path.name for path in garbage.unknown[:SHOWN]) + ", ..." * (len(garbage.unknown) > SHOWN)
        things = _count(len(garbage.unknown), "thing")
        lines.append(f"{things} in the outbox that Halfwave did not write, or cannot read: {names}; left as found")
    if garbage.digests:
        lines.append(f"{_count(len(garbage.digests), 'remembered digest')} of files that are gone or have changed")
    if garbage.num_waiting:
        verb = "waits" if garbage.num_waiting == 1 else "wait"
        lines.append(
            f"{_count(garbage.num_waiting, 'step')} {verb} in the outbox for the tracking server: kept, the next run "
            "of their study sends them"
        )
    if garbage.server and garbage.runs:
        ids = ",".join(run.run_id for run in garbage.runs)
        lines.append(
            f"a client cannot remove runs from the server {garbage.server}; on the machine with its database, run: "
            f"mlflow gc --backend-store-uri DATABASE --run-ids {shlex.quote(ids)}"
        )
    if garbage.is_empty:
        lines.append("nothing to remove")
    elif removed:
        lines.append("removed" if not (garbage.server and garbage.runs) else "removed all but the runs")
    else:
        lines.append("nothing was removed; add --delete to remove this")
        if garbage.running:
            lines.append(f"--delete will refuse while {' and '.join(garbage.running)} is being run")
    return lines


def _run_lines(garbage: Garbage) -> list[str]:
    lines = []
    for study in dict.fromkeys(run.study for run in garbage.runs):
        runs = [run for run in garbage.runs if run.study == study]
        lines += [f"  {study}: {run.name} ({run.run_id[:8]}, {_count(len(run.steps), 'step')})" for run in runs]
    if garbage.runs:
        size = "artifacts elsewhere" if garbage.bytes_runs is None else _size(garbage.bytes_runs)
        again = f"going back to their definitions recomputes {_count(garbage.num_lost, 'step')}"
        lines.append(f"{_count(len(garbage.runs), 'superseded run')}, {size}; {again}")
    if garbage.kept:
        verb = "holds" if len(garbage.kept) == 1 else "hold"
        lines.append(f"{_count(len(garbage.kept), 'more superseded run')} {verb} steps that other runs depend on: kept")
    return lines


def survey_json(garbage: Garbage, *, removed: bool) -> dict[str, object]:
    """The survey as plain JSON, for `gc --json`. `removed`: whether the garbage has been collected."""
    return {
        "removed": removed,
        "runs": [
            {"run_id": run.run_id, "study": run.study, "name": run.name, "steps": [step.step_id for step in run.steps]}
            for run in garbage.runs
        ],
        "runs_removable": not garbage.server,
        "bytes": garbage.bytes_runs,
        "steps_lost": garbage.num_lost,
        "runs_kept": [run.run_id for run in garbage.kept],
        "running": list(garbage.running),
        "spool": {"folders": [folder.name for folder in garbage.leftovers], "bytes": garbage.bytes_leftovers},
        "unknown": [path.name for path in garbage.unknown],
        "waiting": garbage.num_waiting,
        "digests": len(garbage.digests),
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"
