"""Where every step of a study stands, indexed so that a turn of the scheduler costs what changed and not what there is.

Owns states, attempts and what follows from them: which steps are ready, in which queue and how urgent, which will be
when what runs now has ended, which can never run, what is left to do for each model. Knows nothing of devices, actors
and time. Invariant: every change goes through `set` or `lose`, so the queues agree with the states.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State, Step

MAX_ATTEMPTS = 4
"""A step whose actor died this often has failed."""
SINGLE_AFTER = 2
"""After this many crashes a step runs alone, until the culprit is found."""


class ActorKind(NamedTuple):
    """What one kind of actor of one model can be asked."""

    model: str
    role: Role


class Skip(NamedTuple):
    """This step can never run, because of `culprit`."""

    step: str
    culprit: str


class _Queue:
    """The ready steps of a lane, by group; the group with the most urgent step first."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, None]] = {}
        self.cost, self.size = 0.0, 0
        self._urgency: dict[str, float] = {}
        self._heap: list[tuple[float, int, str]] = []

    def add(self, group: str, step: str, urgency: float, cost: float, serial: int) -> None:
        self.groups.setdefault(group, {})[step] = None
        self.cost, self.size = self.cost + cost, self.size + 1
        if urgency > self._urgency.get(group, -1.0):
            self._urgency[group] = urgency
            heapq.heappush(self._heap, (-urgency, serial, group))

    def remove(self, group: str, step: str, cost: float) -> None:
        del self.groups[group][step]
        self.cost, self.size = self.cost - cost, self.size - 1
        if not self.groups[group]:
            del self.groups[group], self._urgency[group]

    def first(self) -> str:
        """The most urgent group. A group that lost its most urgent step keeps its place."""
        while self._heap[0][2] not in self.groups or -self._heap[0][0] != self._urgency[self._heap[0][2]]:
            heapq.heappop(self._heap)
        return self._heap[0][2]

    def urgency(self) -> float:
        return self._urgency[self.first()]


class ReadyQueues:
    """The steps of one study; see the module. `states` and `attempts` are for reading."""

    def __init__(self, steps: Mapping[str, Step], costs: Mapping[str, float], states: Mapping[str, State] = {}):
        """steps: by id, in topological order; costs: estimated seconds by id; states: of the steps that have ended."""
        self.steps, self.costs = steps, costs
        self._states = {step: states.get(step, State.PENDING) for step in steps}
        self._attempts: dict[str, int] = {}
        self.states, self.attempts = MappingProxyType(self._states), MappingProxyType(self._attempts)
        self._dependents: dict[str, list[str]] = {step: [] for step in steps}
        self._missing: dict[str, int] = {}
        """{step: its inputs that have not finished}."""
        self._blocked: dict[str, int] = {}
        """{step: its inputs that are not under way}."""
        for step in steps.values():
            sources = set(step.inputs.values())
            for source in sources:
                self._dependents[source].append(step.id)
            self._missing[step.id] = sum(self._states[source] not in FINISHED for source in sources)
            self._blocked[step.id] = sum(not self._under_way(source) for source in sources)
        self.urgency = self._critical_paths()
        self.unfinished: Counter[ActorKind] = Counter()
        """{lane: its steps that have not ended}."""
        self.pending: Counter[ActorKind] = Counter()
        """{lane: its steps that neither run nor have ended}."""
        self.left: Counter[ActorKind] = Counter()
        """{lane: seconds of its steps that have not ended}."""
        self.running: Counter[ActorKind] = Counter()
        """{lane: seconds of its steps that run, from their beginning}."""
        self._upcoming: defaultdict[ActorKind, dict[str, None]] = defaultdict(dict)
        self._not_prewarmed: set[ActorKind] = set()
        self._driver: dict[str, None] = {}
        self._queues: dict[ActorKind, _Queue] = {}
        self._skips: deque[Skip] = deque()
        self._retries_exhausted: dict[str, None] = {}
        self._serial = count()
        for step in steps:
            if self._states[step] not in TERMINAL:
                actor_kind = self.actor_kind(step)
                self.unfinished[actor_kind] += 1
                self.pending[actor_kind] += 1
                self.left[actor_kind] += costs.get(step, 0.0)
                self._enqueue(step)
                self._note_upcoming(step)
            elif self._states[step] in BROKEN:
                self._break(step)

    def _critical_paths(self) -> dict[str, float]:
        """Seconds on the longest path from each unfinished step to the end."""
        longest: dict[str, float] = {}
        for step in reversed(list(self.steps)):
            own = 0.0 if self._states[step] in TERMINAL else self.costs.get(step, 0.0)
            longest[step] = own + max((longest[later] for later in self._dependents[step]), default=0.0)
        return longest

    def actor_kind(self, step: str) -> ActorKind:
        return ActorKind(self.steps[step].model, self.steps[step].role)

    # -- changes -----------------------------------------------------------------------------------------------------

    def set(self, step: str, state: State) -> None:
        """A step changed its state. A result can be taken back (PENDING again); FAILED and SKIPPED are final."""
        before = self._states[step]
        if before is state:
            return
        actor_kind, cost = self.actor_kind(step), self.costs.get(step, 0.0)
        was_under_way = self._under_way(step)
        if before is State.PENDING:
            self._dequeue(step)
        if State.PENDING in (before, state):
            self.pending[actor_kind] += 1 if state is State.PENDING else -1
        if State.RUNNING in (before, state):
            self.running[actor_kind] += cost * (1 if state is State.RUNNING else -1)
        self._states[step] = state
        if (before in TERMINAL) != (state in TERMINAL):
            sign = 1 if before in TERMINAL else -1
            self.unfinished[actor_kind] += sign
            self.left[actor_kind] += sign * cost
        if (before in FINISHED) != (state in FINISHED):
            self._tell_dependents(step, finished=state in FINISHED)
        if self._under_way(step) != was_under_way:
            self._tell_under_way(step, under_way=not was_under_way)
        self._note_upcoming(step)
        if state in BROKEN:
            self._break(step)
        if state is State.PENDING:
            self._enqueue(step)
            broken = [source for source in self.steps[step].inputs.values() if self._states[source] in BROKEN]
            self._skips.extend(Skip(step, source) for source in broken[:1])

    def lose(self, step: str) -> None:
        """It ran and its actor died: it waits again, with one more attempt against it."""
        self._attempts[step] = self._attempts.get(step, 0) + 1
        self.set(step, State.PENDING)

    def never_prewarm(self, actor_kind: ActorKind) -> None:
        """Opening an actor ahead of the lane's steps has failed: from now on none of them is `coming`."""
        self._not_prewarmed.add(actor_kind)

    def _tell_dependents(self, step: str, *, finished: bool) -> None:
        for later in self._dependents[step]:
            waits = self._states[later] is State.PENDING
            if waits and not finished:
                self._dequeue(later)
            self._missing[later] += -1 if finished else 1
            if waits and finished:
                self._enqueue(later)
            self._note_upcoming(later)

    def _under_way(self, step: str) -> bool:
        """Whether it runs, has finished, or is the driver's and will run as soon as its inputs have, all under way."""
        if self._states[step] is State.PENDING:
            return self.steps[step].role is Role.DRIVER and not self._blocked[step]
        return self._states[step] not in BROKEN

    def _tell_under_way(self, step: str, *, under_way: bool) -> None:
        """Its dependents learn that it is under way now, or no longer."""
        for later in self._dependents[step]:
            before = self._under_way(later)
            self._blocked[later] += -1 if under_way else 1
            if self._under_way(later) != before:
                self._tell_under_way(later, under_way=under_way)
            self._note_upcoming(later)

    def _note_upcoming(self, step: str) -> None:
        if self.steps[step].role is Role.DRIVER:
            return
        upcoming = self._upcoming[self.actor_kind(step)]
        if self._states[step] is State.PENDING and self._missing[step] and not self._blocked[step]:
            upcoming[step] = None
        else:
            upcoming.pop(step, None)

    def _break(self, step: str) -> None:
        self._skips.extend(Skip(later, step) for later in self._dependents[step])

    def _group(self, step: str) -> str:
        """Steps of a lane that go out together; '' is a group of its own for every step."""
        group = self.steps[step].group
        return step if not group or self._attempts.get(step, 0) >= SINGLE_AFTER else f"+{group}"

    def _enqueue(self, step: str) -> None:
        if self._missing[step] or self._states[step] is not State.PENDING:
            return
        if self._attempts.get(step, 0) >= MAX_ATTEMPTS:
            self._retries_exhausted[step] = None
        elif self.steps[step].role is Role.DRIVER:
            self._driver[step] = None
        else:
            queue = self._queues.setdefault(self.actor_kind(step), _Queue())
            queue.add(self._group(step), step, self.urgency[step], self.costs.get(step, 0.0), next(self._serial))

    def _dequeue(self, step: str) -> None:
        self._retries_exhausted.pop(step, None)
        self._driver.pop(step, None)
        queue, group = self._queues.get(self.actor_kind(step)), self._group(step)
        if queue is not None and step in queue.groups.get(group, ()):
            queue.remove(group, step, self.costs.get(step, 0.0))
            if not queue.groups:
                del self._queues[self.actor_kind(step)]

    # -- questions ---------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether every step is in a terminal state."""
        return not any(self.unfinished.values())

    def skips(self) -> list[Skip]:
        """The pending steps whose inputs are broken, with a culprit each."""
        while self._skips and self._states[self._skips[0].step] is not State.PENDING:
            self._skips.popleft()
        found = {skip.step: skip for skip in reversed(self._skips) if self._states[skip.step] is State.PENDING}
        return list(found.values())

    def retries_exhausted(self) -> list[str]:
        """Ready steps whose actors died too often."""
        return list(self._retries_exhausted)

    def driver_steps(self) -> list[str]:
        """Ready steps of the driver."""
        return list(self._driver)

    def ready(self) -> list[ActorKind]:
        """Lanes with ready steps, the most urgent first."""
        return sorted(self._queues, key=lambda actor_kind: -self.urgency_in(actor_kind))

    def urgency_in(self, actor_kind: ActorKind) -> float:
        """Of the lane's most urgent ready step."""
        return self._queues[actor_kind].urgency()

    def is_ready(self, actor_kind: ActorKind) -> bool:
        return actor_kind in self._queues

    def queued(self, actor_kind: ActorKind) -> float:
        """Seconds of the lane's ready steps, one after the other."""
        return self._queues[actor_kind].cost if actor_kind in self._queues else 0.0

    def ready_in(self, actor_kind: ActorKind) -> list[str]:
        """The lane's ready steps."""
        return (
            [step for group in self._queues[actor_kind].groups.values() for step in group]
            if self.is_ready(actor_kind)
            else []
        )

    def num_queued(self, actor_kind: ActorKind) -> int:
        """How many steps of the lane are ready."""
        return self._queues[actor_kind].size if actor_kind in self._queues else 0

    def upcoming(self) -> list[ActorKind]:
        """Lanes with steps that will be ready when what runs now has finished, the most urgent first."""
        urgency = {
            actor_kind: max(self.urgency[step] for step in steps)
            for actor_kind, steps in self._upcoming.items()
            if steps and actor_kind not in self._not_prewarmed
        }
        return sorted(urgency, key=lambda actor_kind: (-urgency[actor_kind], actor_kind))

    def upcoming_within(self, actor_kind: ActorKind, seconds: float) -> list[str]:
        """The lane's coming steps whose running inputs take so long at most, from their beginning."""
        return [step for step in self._upcoming[actor_kind] if self._wait(step) <= seconds]

    def _wait(self, step: str) -> float:
        """Seconds of the longest input that runs."""
        waits = [0.0]
        for source in self.steps[step].inputs.values():
            if self._states[source] is State.RUNNING:
                waits.append(self.costs.get(source, 0.0))
            elif self._states[source] is State.PENDING:
                waits.append(self._wait(source))
        return max(waits)

    def request(self, actor_kind: ActorKind, seconds: float) -> tuple[str, ...]:
        """Steps of the lane's most urgent group that take so long at most, but at least one.

        Unless they may take for ever, none comes along for which much less waits than for the most urgent one.
        """
        members = self._queues[actor_kind].groups[self._queues[actor_kind].first()]
        if math.isinf(seconds):
            return tuple(members)
        chosen: list[str] = []
        total = 0.0
        for step in sorted(members, key=lambda step: -self.urgency[step]):
            total += self.costs.get(step, 0.0)
            if chosen and (total > seconds * (1 + 1e-9) or self._after(step) < self._after(chosen[0]) / 2):
                break
            chosen.append(step)
        return tuple(chosen)

    def _after(self, step: str) -> float:
        """Seconds of the longest path that waits for it."""
        return self.urgency[step] - self.costs.get(step, 0.0)
