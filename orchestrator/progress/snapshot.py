"""How far a run was at one moment: plain values, and the text of a tag that stores them.

The text is read by other versions and other machines, so every key is written here and nowhere else. It always fits
into a tag: where a study is large, requests and failures are cut and counted, then the steps are counted by kind.
Anything that is not such a text is read as None.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.record.limits import MAX_TAG
from orchestrator.steps.step import TERMINAL, Role, State
from studies.errors import one_line

VERSION = 1
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""The statuses of a run, in MLflow's words."""


class Failure(NamedTuple):
    """A step that failed."""

    title: str
    reason: str


class Opening(NamedTuple):
    """An actor that loads a model."""

    role: Role
    model: str
    since: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Steps of one name and model that an actor works on together, or one step of the driver."""

    name: str
    """Of its steps: `evaluate.blimp`."""
    model: str
    conditions: tuple[str, ...]
    """In the order of the plan; all empty for a profile."""
    since: float
    """Seconds since 1970."""
    done: int = 0
    total: int = 0
    """Of its units; 0 until the actor has sent a report."""
    unit: str = ""
    """`packs`, `windows`."""
    rate: float | None = None
    """Units a second; None until two reports show it."""
    seconds_left: float | None = None
    conditions_left_out: int = 0
    """Conditions that the stored form had no room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How far a run was when this was taken."""

    status: str
    """One of the statuses above."""
    began: float
    taken: float
    """Seconds since 1970; so is `began`."""
    host: str
    """The machine of the driver."""
    counts: Mapping[str, Mapping[State, int]]
    """{name of steps: how many are in each state}, without zeros."""
    openings: tuple[Opening, ...] = ()
    requests: tuple[Request, ...] = ()
    """What is computed."""
    failures: tuple[Failure, ...] = ()
    error: str = ""
    """What ended the run as a whole; empty where nothing did."""
    seconds_left: float | None = None
    """None while that cannot be estimated."""
    requests_left_out: int = 0
    failures_left_out: int = 0
    """How many the stored form had no room for."""

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return max(0.0, self.taken - self.began)

    @property
    def num_steps(self) -> int:
        return sum(sum(of_name.values()) for of_name in self.counts.values())

    @property
    def num_ended(self) -> int:
        """Steps with nothing left to do, well or not."""
        return sum(count for of_name in self.counts.values() for state, count in of_name.items() if state in TERMINAL)


# ---- stored


class _Room(NamedTuple):
    """How much of a snapshot is stored."""

    entries: int
    """Requests, and failures."""
    conditions: int
    """Of each request."""
    reason: int
    """Characters of each."""
    is_by_kind: bool
    """Whether `evaluate.blimp` and `evaluate.tse` are counted as `evaluate`."""


ROOMS = (
    _Room(40, 8, 400, False),
    _Room(16, 4, 200, False),
    _Room(8, 3, 120, False),
    _Room(8, 3, 120, True),
    _Room(2, 1, 80, True),
    _Room(0, 0, 80, True),
)
"""The first that fits is taken."""


def encode(snapshot: Snapshot, limit: int = MAX_TAG) -> str:
    """The snapshot as a tag holds it, in at most `limit` characters. ValueError where not even the counts fit."""
    for room in ROOMS:
        text = json.dumps(_document(snapshot, room), separators=(",", ":"))
        if len(text) <= limit:
            return text
    raise ValueError(f"the counts of {snapshot.num_steps} steps take more than {limit} characters")


def _document(snapshot: Snapshot, room: _Room) -> dict[str, Any]:
    requests, failures = snapshot.requests[: room.entries], snapshot.failures[: room.entries]
    return {
        "version": VERSION,
        "status": snapshot.status,
        "began": snapshot.began,
        "taken": snapshot.taken,
        "host": one_line(snapshot.host, 200),
        "steps": {
            name: {str(state): count for state, count in of_name.items()}
            for name, of_name in (_by_kind(snapshot.counts) if room.is_by_kind else snapshot.counts).items()
        },
        "seconds_left": snapshot.seconds_left,
        "opening": [
            {"role": str(role), "model": model, "since": since}
            for role, model, since in snapshot.openings[: room.entries]
        ],
        "running": [_request_document(request, room.conditions) for request in requests],
        "running_left_out": snapshot.requests_left_out + len(snapshot.requests) - len(requests),
        "failures": [{"step": title, "reason": one_line(reason, room.reason)} for title, reason in failures],
        "failures_left_out": snapshot.failures_left_out + len(snapshot.failures) - len(failures),
        "error": one_line(snapshot.error, room.reason),
    }


def _request_document(request: Request, num_conditions: int) -> dict[str, Any]:
    conditions = request.conditions[:num_conditions]
    return {
        "name": request.name,
        "model": request.model,
        "conditions": list(conditions),
        "conditions_left_out": request.conditions_left_out + len(request.conditions) - len(conditions),
        "since": request.since,
        "done": request.done,
        "total": request.total,
        "unit": request.unit,
        "rate": request.rate,
        "seconds_left": request.seconds_left,
    }


def _by_kind(counts: Mapping[str, Mapping[State, int]]) -> Mapping[str, Mapping[State, int]]:
    kinds: dict[str, Counter[State]] = {}
    for name, of_name in counts.items():
        kinds.setdefault(name.partition(".")[0], Counter()).update(of_name)
    return kinds


def decode(text: str) -> Snapshot | None:
    """The snapshot in a tag; None for anything else, such as the empty text that a new run leaves."""
    try:
        content = json.loads(text)
        if content["version"] != VERSION:
            return None
        return Snapshot(
            status=str(content["status"]),
            began=_finite(content["began"]),
            taken=_finite(content["taken"]),
            host=str(content["host"]),
            counts={
                str(name): {State(state): int(count) for state, count in of_name.items()}
                for name, of_name in content["steps"].items()
            },
            openings=tuple(
                Opening(Role(one["role"]), str(one["model"]), _finite(one["since"])) for one in content["opening"]
            ),
            requests=tuple(map(_request, content["running"])),
            failures=tuple(Failure(str(one["step"]), str(one["reason"])) for one in content["failures"]),
            error=str(content["error"]),
            seconds_left=_optional(content["seconds_left"]),
            requests_left_out=int(content["running_left_out"]),
            failures_left_out=int(content["failures_left_out"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _request(content: Mapping[str, Any]) -> Request:
    conditions: Sequence[Any] = content["conditions"]
    return Request(
        name=str(content["name"]),
        model=str(content["model"]),
        conditions=tuple(map(str, conditions)),
        since=_finite(content["since"]),
        done=int(content["done"]),
        total=int(content["total"]),
        unit=str(content["unit"]),
        rate=_optional(content["rate"]),
        seconds_left=_optional(content["seconds_left"]),
        conditions_left_out=int(content["conditions_left_out"]),
    )


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{number} is not finite")
    return number


def _optional(value: Any) -> float | None:
    return None if value is None else _finite(value)
