"""The states of a study's steps, indexed so that the cost of a scheduler's turn follows what changed, not what exists.

Owns states, attempts, and what follows from them: which steps are ready, in which queue and how urgently; which will be
ready when the running steps have finished; which can never run; how much is left for each kind of actor. Knows nothing
of devices, actors or time. Invariant: every change goes through `set` or one of the `lose` methods, so the queues agree
with the states.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from itertools import count
from types import MappingProxyType

from orchestrator.scheduling.cluster import ActorKind
from orchestrator.scheduling.decisions import Skip
from orchestrator.steps.step import BROKEN, FINISHED, TERMINAL, Role, State, Step

MAX_ATTEMPTS = 4
"""A step fails when its actor has died this many times, and so do all of a kind of actor that cannot be opened."""
SINGLE_AFTER = 2
"""After this many crashes a step is sent alone, so that the step that kills actors is found."""


class _Seconds(dict[ActorKind, float]):
    """Seconds by kind of actor; reading an absent kind gives 0 and does not insert it."""

    def __missing__(self, actor_kind: ActorKind) -> float:
        return 0.0


class _Queue:
    """The ready steps of one kind of actor, by request group; the group with the most urgent step comes first."""

    def __init__(self) -> None:
        self.groups: dict[str, dict[str, None]] = {}
        self.seconds, self.size = 0.0, 0
        self._urgency: dict[str, float] = {}
        self._heap: list[tuple[float, int, str]] = []

    def add(self, group: str, step: str, urgency: float, cost: float, serial: int) -> None:
        self.groups.setdefault(group, {})[step] = None
        self.seconds, self.size = self.seconds + cost, self.size + 1
        if urgency > self._urgency.get(group, -1.0):
            self._urgency[group] = urgency
            heapq.heappush(self._heap, (-urgency, serial, group))

    def remove(self, group: str, step: str, cost: float) -> None:
        del self.groups[group][step]
        self.seconds, self.size = self.seconds - cost, self.size - 1
        if not self.groups[group]:
            del self.groups[group], self._urgency[group]

    def first(self) -> str:
        """The most urgent group. A group keeps its rank when its most urgent step leaves."""
        while self._heap[0][2] not in self.groups or -self._heap[0][0] != self._urgency[self._heap[0][2]]:
            heapq.heappop(self._heap)
        return self._heap[0][2]

    def urgency(self) -> float:
        return self._urgency[self.first()]


class ReadyQueues:
    """The steps of one study; see the module. All public attributes are read-only."""

    def __init__(self, steps: Mapping[str, Step], costs: Mapping[str, float], states: Mapping[str, State] = {}):
        """steps: by id, in topological order; costs: estimated seconds by id; states: of steps that have ended."""
        self.steps, self.costs = steps, costs
        self._states = {step: states.get(step, State.PENDING) for step in steps}
        self._attempts: dict[str, int] = {}
        self._failed_openings: Counter[ActorKind] = Counter()
        """Times in a row that an actor of this kind died before it had loaded its model."""
        self.states, self.attempts = MappingProxyType(self._states), MappingProxyType(self._attempts)
        self._dependents: dict[str, list[str]] = {step: [] for step in steps}
        self._num_unfinished_inputs: dict[str, int] = {}
        self._num_stalled_inputs: dict[str, int] = {}
        """{step: its inputs that are not under way}; see `_under_way`."""
        for step in steps.values():
            sources = set(step.inputs.values())
            for source in sources:
                self._dependents[source].append(step.id)
            self._num_unfinished_inputs[step.id] = sum(self._states[source] not in FINISHED for source in sources)
            self._num_stalled_inputs[step.id] = sum(not self._under_way(source) for source in sources)
        self.urgency = self._critical_paths()
        """{step: seconds on the longest path from its beginning to the end of the study}."""
        self.num_unfinished: Counter[ActorKind] = Counter()
        """Steps without a terminal state."""
        self.num_pending: Counter[ActorKind] = Counter()
        self.seconds_unfinished = _Seconds()
        """Of steps without a terminal state; running ones count from their beginning."""
        self.seconds_running = _Seconds()
        """Of running steps, from their beginning."""
        self._upcoming: defaultdict[ActorKind, dict[str, None]] = defaultdict(dict)
        self._never_prewarmed: set[ActorKind] = set()
        self._driver_steps: dict[str, None] = {}
        self._by_kind: dict[ActorKind, _Queue] = {}
        self._skips: deque[Skip] = deque()
        self._retries_exhausted: dict[str, None] = {}
        self._serial = count()
        for name in steps:
            if self._states[name] not in TERMINAL:
                actor_kind = self.actor_kind(name)
                self.num_unfinished[actor_kind] += 1
                self.num_pending[actor_kind] += 1
                self.seconds_unfinished[actor_kind] += costs.get(name, 0.0)
                self._enqueue(name)
                self._update_upcoming(name)
            elif self._states[name] in BROKEN:
                self._skip_dependents(name)

    def _critical_paths(self) -> dict[str, float]:
        """Seconds on the longest path from each step to the end of the study; ended steps take none."""
        longest: dict[str, float] = {}
        for step in reversed(list(self.steps)):
            own = 0.0 if self._states[step] in TERMINAL else self.costs.get(step, 0.0)
            longest[step] = own + max((longest[later] for later in self._dependents[step]), default=0.0)
        return longest

    def actor_kind(self, step: str) -> ActorKind:
        return ActorKind(self.steps[step].model, self.steps[step].role)

    # -- changes -----------------------------------------------------------------------------------------------------

    def set(self, step: str, state: State) -> None:
        """Move a step to another state. A result can be withdrawn (PENDING again); FAILED and SKIPPED are final."""
        before = self._states[step]
        if before is state:
            return
        was_under_way = self._under_way(step)
        if before is State.PENDING:
            self._dequeue(step)
        self._states[step] = state
        self._update_totals(step, before, state)
        if (before in FINISHED) != (state in FINISHED):
            self._propagate_finished(step, finished=state in FINISHED)
        if self._under_way(step) != was_under_way:
            self._propagate_under_way(step, under_way=not was_under_way)
        self._update_upcoming(step)
        if state in BROKEN:
            self._skip_dependents(step)
        if state is State.PENDING:
            self._enqueue(step)
            broken = [source for source in self.steps[step].inputs.values() if self._states[source] in BROKEN]
            self._skips.extend(Skip(step, source) for source in broken[:1])

    def lose(self, step: str) -> None:
        """The actor that ran this step died: the step is pending again, with one more attempt counted."""
        self._attempts[step] = self._attempts.get(step, 0) + 1
        self.set(step, State.PENDING)

    def lose_opening(self, actor_kind: ActorKind, steps: Iterable[str]) -> None:
        """An actor died before it had loaded its model: one more attempt of its whole kind, not of these steps."""
        self._failed_openings[actor_kind] += 1
        for step in steps:
            self.set(step, State.PENDING)
        if self._failed_openings[actor_kind] >= MAX_ATTEMPTS:
            for step in self.ready_steps(actor_kind):
                self._dequeue(step)
                self._enqueue(step)

    def opened(self, actor_kind: ActorKind) -> None:
        """An actor of this kind has loaded its model."""
        self._failed_openings.pop(actor_kind, None)

    def never_prewarm(self, actor_kind: ActorKind) -> None:
        """Opening an actor of this kind before its steps were ready has failed: `upcoming_kinds` omits the kind now."""
        self._never_prewarmed.add(actor_kind)

    def _update_totals(self, step: str, before: State, state: State) -> None:
        actor_kind, cost = self.actor_kind(step), self.costs.get(step, 0.0)
        if State.PENDING in (before, state):
            self.num_pending[actor_kind] += 1 if state is State.PENDING else -1
        if State.RUNNING in (before, state):
            self.seconds_running[actor_kind] += cost * (1 if state is State.RUNNING else -1)
        if (before in TERMINAL) != (state in TERMINAL):
            sign = 1 if before in TERMINAL else -1
            self.num_unfinished[actor_kind] += sign
            self.seconds_unfinished[actor_kind] += sign * cost

    def _propagate_finished(self, step: str, *, finished: bool) -> None:
        """Update the dependents of a step that has just finished, or whose result was withdrawn."""
        for later in self._dependents[step]:
            pending = self._states[later] is State.PENDING
            if pending and not finished:
                self._dequeue(later)
            self._num_unfinished_inputs[later] += -1 if finished else 1
            if pending and finished:
                self._enqueue(later)
            self._update_upcoming(later)

    def _under_way(self, step: str) -> bool:
        """Whether it finishes without a further decision about actors: it has finished, it runs, or it is a driver step
        whose inputs are all under way."""
        if self._states[step] is State.PENDING:
            return self.steps[step].role is Role.DRIVER and not self._num_stalled_inputs[step]
        return self._states[step] in FINISHED or self._states[step] is State.RUNNING

    def _propagate_under_way(self, step: str, *, under_way: bool) -> None:
        """Update the dependents of a step that is under way now, or no longer."""
        for later in self._dependents[step]:
            before = self._under_way(later)
            self._num_stalled_inputs[later] += -1 if under_way else 1
            if self._under_way(later) != before:
                self._propagate_under_way(later, under_way=under_way)
            self._update_upcoming(later)

    def _update_upcoming(self, step: str) -> None:
        if self.steps[step].role is Role.DRIVER:
            return
        upcoming = self._upcoming[self.actor_kind(step)]
        waits_for_running = self._num_unfinished_inputs[step] and not self._num_stalled_inputs[step]
        if self._states[step] is State.PENDING and waits_for_running:
            upcoming[step] = None
        else:
            upcoming.pop(step, None)

    def _skip_dependents(self, step: str) -> None:
        self._skips.extend(Skip(later, step) for later in self._dependents[step])

    def _request_group(self, step: str) -> str:
        """The key of the steps that may share a request with this one; some steps are a group of their own."""
        group = self.steps[step].group
        return step if not group or self._attempts.get(step, 0) >= SINGLE_AFTER else f"+{group}"

    def _enqueue(self, step: str) -> None:
        if self._num_unfinished_inputs[step] or self._states[step] is not State.PENDING:
            return
        if self.num_attempts(step) >= MAX_ATTEMPTS:
            self._retries_exhausted[step] = None
        elif self.steps[step].role is Role.DRIVER:
            self._driver_steps[step] = None
        else:
            queue = self._by_kind.setdefault(self.actor_kind(step), _Queue())
            queue.add(
                self._request_group(step), step, self.urgency[step], self.costs.get(step, 0.0), next(self._serial)
            )

    def _dequeue(self, step: str) -> None:
        self._retries_exhausted.pop(step, None)
        self._driver_steps.pop(step, None)
        queue, group = self._by_kind.get(self.actor_kind(step)), self._request_group(step)
        if queue is not None and step in queue.groups.get(group, ()):
            queue.remove(group, step, self.costs.get(step, 0.0))
            if not queue.groups:
                del self._by_kind[self.actor_kind(step)]

    # -- questions ---------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether every step is in a terminal state."""
        return not any(self.num_unfinished.values())

    def is_ready(self, step: str) -> bool:
        """Whether a step is pending and all of its inputs have finished."""
        return self._states[step] is State.PENDING and not self._num_unfinished_inputs[step]

    def skips(self) -> list[Skip]:
        """One entry for each pending step with a broken input."""
        while self._skips and self._states[self._skips[0].step] is not State.PENDING:
            self._skips.popleft()
        by_step = {skip.step: skip for skip in reversed(self._skips) if self._states[skip.step] is State.PENDING}
        return list(by_step.values())

    def num_attempts(self, step: str) -> int:
        """How often the actor of this step has died, or one of its kind in a row before it could be asked."""
        return max(self._attempts.get(step, 0), self._failed_openings[self.actor_kind(step)])

    def retries_exhausted(self) -> list[str]:
        """Ready steps after `MAX_ATTEMPTS` attempts; they are in no queue."""
        return list(self._retries_exhausted)

    def driver_steps(self) -> list[str]:
        """Ready steps of the driver."""
        return list(self._driver_steps)

    def ready_kinds(self) -> list[ActorKind]:
        """Kinds of actor with ready steps, the most urgent first."""
        return sorted(self._by_kind, key=lambda actor_kind: -self.urgency_of(actor_kind))

    def urgency_of(self, actor_kind: ActorKind) -> float:
        """Urgency of the most urgent ready step of this kind, which must have one."""
        return self._by_kind[actor_kind].urgency()

    def seconds_ready(self, actor_kind: ActorKind) -> float:
        """Seconds of the ready steps of this kind, one after the other."""
        return self._by_kind[actor_kind].seconds if actor_kind in self._by_kind else 0.0

    def num_ready(self, actor_kind: ActorKind) -> int:
        return self._by_kind[actor_kind].size if actor_kind in self._by_kind else 0

    def ready_steps(self, actor_kind: ActorKind) -> list[str]:
        if actor_kind not in self._by_kind:
            return []
        return [step for group in self._by_kind[actor_kind].groups.values() for step in group]

    def upcoming_kinds(self) -> list[ActorKind]:
        """Kinds of actor with steps that will be ready when the running steps have finished, the most urgent first."""
        urgency = {
            actor_kind: max(self.urgency[step] for step in steps)
            for actor_kind, steps in self._upcoming.items()
            if steps and actor_kind not in self._never_prewarmed
        }
        return sorted(urgency, key=lambda actor_kind: (-urgency[actor_kind], actor_kind))

    def upcoming_within(self, actor_kind: ActorKind, seconds: float) -> list[str]:
        """Upcoming steps of this kind whose running inputs take at most `seconds`, counted from their beginning."""
        return [step for step in self._upcoming[actor_kind] if self._longest_input(step) <= seconds]

    def _longest_input(self, step: str) -> float:
        """Seconds of the longest running step that this one waits for, directly or through steps of the driver."""
        seconds = [0.0]
        for source in self.steps[step].inputs.values():
            if self._states[source] is State.RUNNING:
                seconds.append(self.costs.get(source, 0.0))
            elif self._states[source] is State.PENDING:
                seconds.append(self._longest_input(source))
        return max(seconds)

    def request(self, actor_kind: ActorKind, seconds: float) -> tuple[str, ...]:
        """Steps for one request: the most urgent group's, in the order of urgency, as many as fit in `seconds`.

        At least one step. The request ends before a step whose remaining path after it is less than half that of the
        first step, so that much further work need not wait for steps with little. `math.inf` takes the whole group.
        """
        members = self._by_kind[actor_kind].groups[self._by_kind[actor_kind].first()]
        if math.isinf(seconds):
            return tuple(members)
        chosen: list[str] = []
        total = 0.0
        for step in sorted(members, key=lambda step: -self.urgency[step]):
            total += self.costs.get(step, 0.0)
            too_long = total > seconds * (1 + 1e-9)
            if chosen and (too_long or self._path_after(step) < self._path_after(chosen[0]) / 2):
                break
            chosen.append(step)
        return tuple(chosen)

    def _path_after(self, step: str) -> float:
        """Seconds of the longest path that waits for this step."""
        return self.urgency[step] - self.costs.get(step, 0.0)
