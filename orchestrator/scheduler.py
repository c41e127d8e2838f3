"""Pure scheduling: decide(steps, states, residents, capacity) -> decisions. No clock, no Ray, no I/O.

Owns the policy: critical path first, resident models preferred, ready steps of one model and group coalesced into one
request, a step alone after two crashes. The score actor and the ablation actor of one model share its resources in
turn; different models run side by side when the capacity allows. The caller applies decisions and calls again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from orchestrator.steps import Role, Step

MAX_ATTEMPTS = 4
"""A step whose actor died this often has failed."""
SINGLE_AFTER = 2
"""After this many crashes a step runs alone, until the culprit is found."""


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    CACHED = "cached"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


FINISHED = {State.CACHED, State.DONE}
BROKEN = {State.FAILED, State.SKIPPED}
TERMINAL = FINISHED | BROKEN


class Demand(NamedTuple):
    """Resources of one model's actor."""

    cpus: float
    gpus: float

    def fits(self, free: "Demand") -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An actor that holds a model now."""

    model: str
    role: Role
    busy: bool


class Start(NamedTuple):
    """Send these steps to the model's actor (created if absent) or run them in the driver."""

    role: Role
    model: str
    steps: tuple[str, ...]
    takes: str = ""
    """The model whose idle actor becomes this one's: another checkpoint, whose weights are exchanged in place."""


class Evict(NamedTuple):
    """Close this model's idle actor."""

    model: str


class Skip(NamedTuple):
    """This step can never run, because of `culprit`."""

    step: str
    culprit: str


class Fail(NamedTuple):
    """This step cannot run."""

    step: str
    reason: str


class Stop(NamedTuple):
    """Every step is in a terminal state."""


Decision = Start | Evict | Skip | Fail | Stop


def decide(
    steps: Mapping[str, Step],
    states: Mapping[str, State],
    attempts: Mapping[str, int],
    residents: Mapping[str, Resident],
    demands: Mapping[str, Demand],
    capacity: Demand,
    series: Mapping[str, str],
) -> list[Decision]:
    """What to do now.

    steps: by id, every input of a step among them; attempts: crashes so far; residents: by model; demands: by model;
    capacity: what the cluster has in all; series: of the models that are checkpoints, whose actors can take each
    other's place. An empty list means: wait for an event.
    """
    skips = _skips(steps, states)
    if skips:
        return list(skips)
    if all(state in TERMINAL for state in states.values()):
        return [Stop()]
    worn = [step for step, count in attempts.items() if count >= MAX_ATTEMPTS and states[step] is State.PENDING]
    if worn:
        return [Fail(step, f"its actor died {attempts[step]} times") for step in worn]

    ready = [
        step
        for step in steps.values()
        if states[step.id] is State.PENDING and all(states[source] in FINISHED for source in step.inputs.values())
    ]
    driver = [Start(Role.DRIVER, "", (step.id,)) for step in ready if step.role is Role.DRIVER]
    if driver:
        return driver

    decisions: list[Decision] = []
    needed = {(_seat(s.model, series), s.role) for s in steps.values() if states[s.id] not in TERMINAL}
    held = dict(residents)
    for model, resident in residents.items():
        if not resident.busy and (_seat(model, series), resident.role) not in needed:
            decisions.append(Evict(model))
            del held[model]
    free = _free(held, demands, capacity)
    waiting = False
    at_home = {(step.model, step.role) for step in ready}
    for request in _requests(ready, attempts, _remaining_work(steps, states), residents, series):
        resident = held.get(request.model)
        if resident is None:
            takes = _vacant(request, held, at_home, series)
            if takes:
                del held[takes]
                request = request._replace(takes=takes)
            elif not demands[request.model].fits(free):
                waiting = True
                continue
            else:
                free = Demand(free.cpus - demands[request.model].cpus, free.gpus - demands[request.model].gpus)
        elif resident.busy:
            continue
        elif resident.role is not request.role:
            decisions.append(Evict(request.model))
            free = Demand(free.cpus + demands[request.model].cpus, free.gpus + demands[request.model].gpus)
            del held[request.model]
            waiting = True
            continue
        held[request.model] = Resident(model=request.model, role=request.role, busy=True)
        decisions.append(request)
    if waiting and not decisions:
        idle = [model for model, resident in held.items() if not resident.busy]
        if idle:
            return [Evict(idle[0])]
        if not any(resident.busy for resident in held.values()):
            return [
                Fail(step.id, f"{step.model} needs {demands[step.model]}, the cluster has {capacity}") for step in ready
            ]
    return decisions


def _seat(model: str, series: Mapping[str, str]) -> tuple[str, str]:
    """What an actor can serve: the checkpoints of a series, or one model."""
    return ("series", series[model]) if model in series else ("model", model)


def _vacant(
    request: Start, held: Mapping[str, Resident], at_home: set[tuple[str, Role]], series: Mapping[str, str]
) -> str:
    """An idle actor of the request's series and role that has nothing to do for its own checkpoint; '' = none."""
    for model, resident in held.items():
        same = request.model in series and _seat(model, series) == _seat(request.model, series)
        if same and resident.role is request.role and not resident.busy and (model, resident.role) not in at_home:
            return model
    return ""


def _skips(steps: Mapping[str, Step], states: Mapping[str, State]) -> list[Skip]:
    skips = []
    for step in steps.values():
        if states[step.id] is State.PENDING:
            broken = [source for source in step.inputs.values() if states[source] in BROKEN]
            if broken:
                skips.append(Skip(step.id, broken[0]))
    return skips


def _free(held: Mapping[str, Resident], demands: Mapping[str, Demand], capacity: Demand) -> Demand:
    cpus = capacity.cpus - sum(demands[model].cpus for model in held)
    return Demand(cpus, capacity.gpus - sum(demands[model].gpus for model in held))


def _remaining_work(steps: Mapping[str, Step], states: Mapping[str, State]) -> dict[str, float]:
    """Work on the longest path from each unfinished step to the end."""
    dependents: dict[str, list[str]] = {}
    for step in steps.values():
        for source in step.inputs.values():
            dependents.setdefault(source, []).append(step.id)
    remaining: dict[str, float] = {}
    for step in reversed(list(steps.values())):  # steps stand in topological order
        own = 0.0 if states[step.id] in TERMINAL else step.work
        remaining[step.id] = own + max((remaining[later] for later in dependents.get(step.id, ())), default=0.0)
    return remaining


def _requests(
    ready: list[Step],
    attempts: Mapping[str, int],
    remaining: Mapping[str, float],
    residents: Mapping[str, Resident],
    series: Mapping[str, str],
) -> list[Start]:
    """Ready steps as coalesced requests, most urgent first; at most the first of each model can start."""
    seats = {(_seat(model, series), resident.role) for model, resident in residents.items()}
    groups: dict[tuple[str, Role, str], list[Step]] = {}
    for step in ready:
        alone = step.id if attempts.get(step.id, 0) >= SINGLE_AFTER or not step.group else step.group
        groups.setdefault((step.model, step.role, alone), []).append(step)

    def urgency(item: tuple[tuple[str, Role, str], list[Step]]) -> tuple:
        (model, role, _), members = item
        resident = residents.get(model)
        at_home = resident is not None and resident.role is role
        seated = (_seat(model, series), role) in seats
        return (not at_home, not seated, -max(remaining[step.id] for step in members))

    ordered = sorted(groups.items(), key=urgency)
    return [Start(role, model, tuple(step.id for step in members)) for (model, role, _), members in ordered]
