"""How far recorded studies are: running, interrupted, failed or finished. The work behind `status`.

Needs the record alone, so it answers in another terminal and on another machine. The lease says whether a driver runs,
the last invocation how it ended, the tag of the progress how far it came; of a study that earlier versions ran, the
record knows the state and what is recorded. Writes nothing.
"""

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.named_study import NamedStudy, named_study
from orchestrator.progress.snapshot import Opening, Request, Snapshot, decode
from orchestrator.record.client.failures import RecordError, Unreachable
from orchestrator.record.driver.lease import Holder
from orchestrator.record.driver.progress_tag import TAG as PROGRESS
from orchestrator.record.keys import RecordedRun
from orchestrator.record.reader import Reader
from orchestrator.record.recorded_study import REPORT
from orchestrator.record.tags import (
    DEFINITION,
    INVOCATION,
    REPORTED,
    Definition,
    invocation_names,
    invocation_started,
    tagged_definition,
)
from orchestrator.redaction import redacted
from orchestrator.steps.artifacts import ENGINE_PROBE
from orchestrator.steps.step import REVIEW_VERSIONS, State


class RunState(StrEnum):
    """How a study stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Stopped by a signal, or its driver is gone."""
    FAILED = "failed"
    """A step or the whole run failed."""
    FINISHED = "finished"
    NOT_RUN = "not run"
    """The store knows its name alone."""


class Next(NamedTuple):
    """What to do next."""

    command: str
    why: str
    """What that does: `to resume it`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the last report says."""

    headline: tuple[str, ...]
    """Empty where a report of another version cannot be read."""
    verdicts: Mapping[str, int]
    """{verdict: how many claims have it}, in the order of the rules, without zeros."""
    unfinished: tuple[str, ...]
    """What failed or was skipped, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """How far one study is."""

    study: str
    state: RunState
    now: datetime
    """When this was asked."""
    started: datetime | None
    """When its last run began."""
    ended: datetime | None
    """When that ended, where its driver could say so."""
    last_sign: datetime | None
    """When its driver was last heard of, where it has not said how it ended."""
    host: str
    """The machine of that driver; empty where it is not known."""
    progress: Snapshot | None
    """What that driver has left; None where it left nothing, as earlier versions do."""
    recorded: Mapping[str, int]
    """{name of steps: how many are recorded on its current runs}."""
    finding: Finding | None
    """Of the report of its last run; None where that has none."""
    next: Next

    @property
    def elapsed(self) -> float | None:
        """Seconds from the beginning to the end of the last run, or to the last that is known of it."""
        until = self.ended or (self.now if self.state is RunState.RUNNING else self.last_sign)
        return None if until is None or self.started is None else max(0.0, (until - self.started).total_seconds())


class StoreStatus(NamedTuple):
    """How far the studies of a store are, as far as they were asked for."""

    store: str
    """Its tracking URI, without a password."""
    studies: list[StudyStatus]


def statuses(
    file: Path | None,
    name: str | None,
    *,
    workdir: Path | None = None,
    tracking_uri: str | None = None,
    artifact_root: str | None = None,
) -> StoreStatus:
    """How far the study of a file or of this name is, or all studies of a store, the last one that was run first.

    Arguments and errors as `named_study`; RecordError where the store does not know the study.
    """
    named = named_study(file, name, workdir=workdir, tracking_uri=tracking_uri, artifact_root=artifact_root)
    options = {"--workdir": workdir, "--tracking-uri": tracking_uri, "--artifact-root": artifact_root}
    where = [word for option, value in options.items() if value for word in (option, redacted(str(value)))]
    names = sorted(named.reader.studies()) if named.name is None else [named.name]
    found = [_status(named, one, where) for one in names]
    never = datetime.min.replace(tzinfo=UTC)
    return StoreStatus(named.reader.uri, sorted(found, key=lambda one: one.started or never, reverse=True))


def _status(named: NamedStudy, study: str, where: Sequence[str]) -> StudyStatus:
    reader, now = named.reader, datetime.now(UTC)
    runs, holder = reader.recorded_runs(study), reader.driver(study)
    own = next((run for run in runs if run.slot.kind == "study"), None)
    tags: Mapping[str, str] = own.tags if own else {}
    started, ended_as = _last_invocation(tags)
    state = _state(holder, ended_as)
    progress = _without_secrets(decode(tags.get(PROGRESS, "")))
    has_said_how = progress is not None and progress.status != "RUNNING"
    signs = [progress.taken] if progress else []
    signs += [holder.renewed] if holder else []
    if progress is not None and state is not RunState.RUNNING:
        progress = _stopped(progress)
    definition = tagged_definition(tags, DEFINITION)
    return StudyStatus(
        study=study,
        state=state,
        now=now,
        started=started,
        ended=_moment(progress.taken) if progress and has_said_how else None,
        last_sign=_moment(max(signs)) if signs and not has_said_how else None,
        host=progress.host if progress else holder.host if holder else "",
        progress=progress,
        recorded=_recorded(runs),
        finding=_finding(reader, own) if own and state in (RunState.FINISHED, RunState.FAILED) else None,
        next=_next(state, named, study, definition, where),
    )


def _last_invocation(tags: Mapping[str, str]) -> tuple[datetime | None, str]:
    """When the last run began and its status, by the tags of the study's own run."""
    names = invocation_names(tags)
    return (invocation_started(names[-1]), tags[INVOCATION + names[-1]]) if names else (None, "")


def _state(holder: Holder | None, ended_as: str) -> RunState:
    if holder is not None and holder.is_alive:
        return RunState.RUNNING
    states = {"FINISHED": RunState.FINISHED, "FAILED": RunState.FAILED, "": RunState.NOT_RUN}
    return states.get(ended_as, RunState.INTERRUPTED)


def _without_secrets(progress: Snapshot | None) -> Snapshot | None:
    """Whoever wrote the tag may not have known what is secret here."""
    if progress is None:
        return None
    failures = tuple(failure._replace(reason=redacted(failure.reason)) for failure in progress.failures)
    return replace(progress, failures=failures, error=redacted(progress.error))


def _stopped(progress: Snapshot) -> Snapshot:
    """Without a driver nothing runs: what ran waits again."""
    counts: dict[str, Mapping[State, int]] = {}
    for name, of_name in progress.counts.items():
        waiting = of_name.get(State.PENDING, 0) + of_name.get(State.RUNNING, 0)
        stopped = {**of_name, State.PENDING: waiting, State.RUNNING: 0}
        counts[name] = {state: stopped[state] for state in State if stopped.get(state)}
    return replace(progress, counts=counts, openings=(), requests=(), requests_left_out=0, seconds_left=None)


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # no clock's
        return None


def _recorded(runs: Sequence[RecordedRun]) -> Mapping[str, int]:
    names = Counter(name for run in runs for name in run.steps)
    of_plan = {name: count for name, count in names.items() if name.partition(".")[0] not in REVIEW_VERSIONS}
    of_plan.pop(ENGINE_PROBE, None)
    return dict(sorted(of_plan.items()))


def _finding(reader: Reader, own: RecordedRun) -> Finding | None:
    """What the report of the last run says; None where that run made none."""
    from studies.claims.scorecard import Status  # numpy and pandas come with these
    from studies.reporting.page.headline import headline
    from studies.reporting.records import completed

    shown, last = tagged_definition(own.tags, REPORTED), tagged_definition(own.tags, DEFINITION)
    step = next((step for step in own.steps.values() if REPORT in step.artifacts), None)
    if step is None or (shown is not None and last is not None and shown.started != last.started):
        return None
    try:
        report = completed(reader.document(step, REPORT))
        judged = [verdict for part in (*report["models"], *report["series"]) for verdict in part["verdicts"]]
        counts = Counter(verdict["status"] for verdict in judged)
        ordered = {status: counts[status] for status in map(str, Status) if counts[status]}
        return Finding(headline=tuple(headline(report)), verdicts=ordered, unfinished=tuple(report["unfinished"]))
    except Unreachable:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecordError):  # damaged, or of another shape
        return Finding(headline=(), verdicts={}, unfinished=())


def _next(state: RunState, named: NamedStudy, study: str, definition: Definition | None, where: Sequence[str]) -> Next:
    by_name = [str(named.file)] if named.file else ["--study", study]
    match state:
        case RunState.RUNNING:
            return Next(_command("status", by_name, where), "to see how it goes on")
        case RunState.FINISHED:
            return Next(_command("report", by_name, where), "to read its report")
    why = {RunState.FAILED: "to run again what failed", RunState.INTERRUPTED: "to resume it"}.get(state, "to run it")
    return Next(_command("run", [_study_file(named, definition)], where), why)


def _study_file(named: NamedStudy, definition: Definition | None) -> str:
    """The path of the study file from here, as far as it is known."""
    if named.file is not None:
        return str(named.file)
    if definition is None:
        return "STUDY.yaml"
    here = named.workdir.parent / definition.file
    return os.path.relpath(here) if here.is_file() else definition.file


def _command(verb: str, words: Sequence[str], where: Sequence[str]) -> str:
    return shlex.join(["halfwave", verb, *words, *where])


# ---- as JSON: every key is described in docs/schemas/status.json


def status_json(found: StoreStatus) -> dict[str, Any]:
    """What `status --json` prints."""
    return {"store": found.store, "studies": [_study_json(status) for status in found.studies]}


def _study_json(status: StudyStatus) -> dict[str, Any]:
    progress, finding = status.progress, status.finding
    return {
        "study": status.study,
        "state": str(status.state),
        "started": _iso(status.started),
        "ended": _iso(status.ended),
        "last_sign_of_life": _iso(status.last_sign),
        "host": status.host or None,
        "elapsed_seconds": status.elapsed,
        "error": progress.error or None if progress else None,
        "steps": None if progress is None else _steps_json(progress),
        "opening": [_opening_json(opening) for opening in progress.openings] if progress else [],
        "running": [_request_json(request) for request in progress.requests] if progress else [],
        "running_left_out": progress.requests_left_out if progress else 0,
        "failures": [{"step": one.title, "reason": one.reason} for one in progress.failures] if progress else [],
        "failures_left_out": progress.failures_left_out if progress else 0,
        "recorded": dict(status.recorded),
        "headline": list(finding.headline) if finding else [],
        "verdicts": dict(finding.verdicts) if finding else {},
        "unfinished": list(finding.unfinished) if finding else [],
        "next": {"command": status.next.command, "why": status.next.why},
    }


def _steps_json(progress: Snapshot) -> dict[str, Any]:
    return {
        "total": progress.num_steps,
        "ended": progress.num_ended,
        "seconds_left": progress.seconds_left,
        "by_name": [
            {"name": name, **{state.value.replace(" ", "_"): of_name.get(state, 0) for state in State}}
            for name, of_name in progress.counts.items()
        ],
    }


def _opening_json(opening: Opening) -> dict[str, Any]:
    return {"role": str(opening.role), "model": opening.model, "since": _iso(_moment(opening.since))}


def _request_json(request: Request) -> dict[str, Any]:
    return {
        "name": request.name,
        "model": request.model,
        "conditions": list(request.conditions),
        "conditions_left_out": request.conditions_left_out,
        "since": _iso(_moment(request.since)),
        "done": request.done,
        "total": request.total,
        "unit": request.unit,
        "seconds_left": request.seconds_left,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
