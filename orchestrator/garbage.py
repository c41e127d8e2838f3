"""What a store and a working folder hold that no study needs any more: the work behind `halfwave gc`.

Garbage is: superseded runs (hidden by their tag and MLflow's stage "deleted") with their artifacts, spool folders that
a dead driver left half written or half removed, and remembered digests of files that are gone or have changed. A
superseded run stays while a run that stays rests on it: while it alone holds an input of one of that run's steps.
Complete spool entries are results that were never sent, so they are never garbage.
Invariant: `survey` changes nothing; `collect` removes what a survey found, and may be run again after a kill. A
study that a driver runs, or may run on another machine, blocks `collect` unless it is forced.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.planning.digest_cache import DigestCache
from orchestrator.record.keys import Committed
from orchestrator.record.lease import is_held
from orchestrator.record.mlflow_store import SUPERSEDED, RecordError, Store, Unreachable, locate
from orchestrator.record.outbox import Spool, size_of
from studies.errors import StudyError, did_you_mean


class StoredRun(NamedTuple):
    """A run and the steps that stand on it."""

    run_id: str
    study: str
    name: str
    steps: tuple[Committed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What `survey` found."""

    runs: tuple[StoredRun, ...]
    """Superseded runs that nothing rests on."""
    kept: tuple[StoredRun, ...]
    """Superseded runs, old enough, on whose steps a run that stays rests."""
    num_lost: int
    """Steps that stand on `runs` alone; going back to their definitions computes them again."""
    running: tuple[str, ...]
    """Studies of the store that a driver runs, as far as their leases tell."""
    leftovers: tuple[Path, ...]
    """Spool folders that a dead driver left incomplete."""
    num_waiting: int
    """Complete spool entries, which the next run of their study sends."""
    digests: tuple[str, ...]
    """Entries of `digests.json` whose file is gone or has changed."""
    bytes_runs: int | None
    """Of the runs' artifacts; None where they do not lie on this machine."""
    bytes_leftovers: int
    server: str
    """The tracking server, if there is one: no client can remove a run from it for good."""

    @property
    def is_empty(self) -> bool:
        return not (self.runs or self.leftovers or self.digests)


class GarbageCollector:
    """A store and the working folder beside it, opened for `survey` and `collect`."""

    def __init__(self, tracking_uri: str, workdir: Path) -> None:
        """StudyError if there is no such store; none is made."""
        database = locate(tracking_uri)[1]
        if database is not None and not database.is_file():
            raise StudyError(f"there is no MLflow store at {database}; name its place with --workdir or --tracking-uri")
        self._store = Store(tracking_uri)
        self._spool = Spool(workdir / "spool")
        self._cache = DigestCache(workdir / "digests.json")

    def survey(self, *, study: str | None = None, older_than: timedelta | None = None) -> Garbage:
        """Find the garbage of one study, or of the whole store; runs only if superseded for longer than `older_than`.

        StudyError if the store has no such study, or is a server and `older_than` is given."""
        store, experiments = self._store, self._store.experiments()
        if study is not None and study not in experiments.values():
            has = did_you_mean(study, experiments.values())
            raise StudyError(f"MLflow at {store.place} has no study {study!r}{has}")
        old = store.deleted_runs(older_than)
        found, staying, ours = [], [], set()
        for run in store.runs(list(experiments)) if experiments else ():
            owner = experiments[run.info.experiment_id]
            ours.add(run.info.experiment_id)
            steps = tuple(store.steps(run.info.run_id, run.data.tags, owner))
            one = StoredRun(run.info.run_id, owner, run.info.run_name, steps)
            hidden = SUPERSEDED in run.data.tags and run.info.lifecycle_stage == "deleted"
            chosen = hidden and study in (None, owner) and (old is None or run.info.run_id in old)
            (found if chosen else staying).append(one)
        kept = self._needed(found, staying)
        runs = [run for run in found if run.run_id not in kept]
        elsewhere = {step.step_id for run in [*staying, *found] if run not in runs for step in run.steps}
        sizes = [self._store.size(run.run_id) for run in runs]
        leftovers = self._spool.leftovers()
        return Garbage(
            runs=tuple(runs),
            kept=tuple(run for run in found if run.run_id in kept),
            num_lost=len({step.step_id for run in runs for step in run.steps} - elsewhere),
            running=tuple(sorted(experiments[number] for number in ours if is_held(store, number))),
            leftovers=tuple(leftovers),
            num_waiting=len(self._spool.entries()),
            digests=tuple(self._cache.stale()),
            bytes_runs=None if None in sizes else sum(sizes),
            bytes_leftovers=sum(map(size_of, leftovers)),
            server="" if store.removes_runs else store.place,
        )

    def collect(self, garbage: Garbage, *, force: bool = False) -> None:
        """Remove it; on a server the runs stay. StudyError if a driver runs a study, unless forced."""
        if garbage.running and not force:
            raise StudyError(
                f"{' and '.join(garbage.running)} is being run; wait for its driver, or, if that was killed on another "
                "machine, run the study again or add --force"
            )
        for run in () if garbage.server else garbage.runs:
            self._store.erase(run.run_id)
        self._spool.sweep()
        if garbage.digests:
            self._cache.forget(garbage.digests)
            self._cache.save()

    def _needed(self, found: Sequence[StoredRun], staying: Sequence[StoredRun]) -> set[str]:
        """Ids of those of the found runs on whose steps the staying ones rest, directly or not."""
        if not found:
            return set()
        have = {step.step_id for run in staying for step in run.steps}
        holders: dict[str, list[StoredRun]] = {}
        for run in found:
            for step in run.steps:
                holders.setdefault(step.step_id, []).append(run)
        needed: set[str] = set()
        todo = [step for run in staying for step in run.steps]
        while todo:
            for wanted in self._inputs(todo.pop()):
                for run in holders.get(wanted, ()) if wanted not in have else ():
                    if run.run_id not in needed:
                        needed.add(run.run_id)
                        todo += run.steps
        return needed

    def _inputs(self, step: Committed) -> Iterable[str]:
        """Ids of the steps that a step was made from; none of a damaged one, which counts as not done."""
        path = f"identity/{step.step_name}.json"
        if path not in step.artifacts:
            return ()
        try:
            return json.loads(self._store.read(step.run_id, path, step.artifacts[path]))["inputs"].values()
        except Unreachable:
            raise
        except RecordError:
            return ()


def parse_age(text: str) -> timedelta:
    """`7d`, `12h`, `1d12h30m`; StudyError for anything else."""
    found = re.fullmatch(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?", text, re.ASCII)
    if not text or found is None:
        raise StudyError(f"--older-than: {text!r} is no age; write days, hours and minutes: 7d, 12h or 1d12h30m")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes)


def summary_lines(garbage: Garbage, *, removed: bool) -> list[str]:
    """The survey in lines; `removed`: whether it has been collected."""
    lines = []
    for study in dict.fromkeys(run.study for run in garbage.runs):
        runs = [run for run in garbage.runs if run.study == study]
        lines += [f"  {study}: {run.name} ({run.run_id[:8]}, {_count(len(run.steps), 'step')})" for run in runs]
    if garbage.runs:
        size = "artifacts elsewhere" if garbage.bytes_runs is None else _size(garbage.bytes_runs)
        again = f"going back to their definitions recomputes {_count(garbage.num_lost, 'step')}"
        lines.append(f"{_count(len(garbage.runs), 'superseded run')}, {size}; {again}")
    if garbage.kept:
        lines.append(f"{_count(len(garbage.kept), 'superseded run')} more hold steps that other runs rest on: kept")
    if garbage.leftovers:
        what = _count(len(garbage.leftovers), "incomplete spool folder")
        lines.append(f"{what} of dead drivers, {_size(garbage.bytes_leftovers)}")
    if garbage.digests:
        what = _count(len(garbage.digests), "remembered digest")
        lines.append(f"{what} of files that are gone or have changed")
    if garbage.num_waiting:
        what = _count(garbage.num_waiting, "step")
        lines.append(f"{what} wait in the spool for the tracking server: kept, the next run of their study sends them")
    if garbage.server and garbage.runs:
        ids = ",".join(run.run_id for run in garbage.runs)
        lines.append(
            f"a client cannot remove runs from the server {garbage.server}; where its database is, type: "
            f"mlflow gc --backend-store-uri DATABASE --run-ids {ids}"
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


def facts(garbage: Garbage, *, removed: bool) -> dict[str, Any]:
    """The survey as plain JSON."""
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
        "waiting": garbage.num_waiting,
        "digests": len(garbage.digests),
    }


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(number: int) -> str:
    return f"{number / 2**20:.1f} MiB"
