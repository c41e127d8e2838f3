"""The scheduler driven by estimated or recorded durations instead of actors: how long a study takes on some cluster.

Owns the simulated clock, and the lower bound that a makespan is compared with. Pure: no Ray; thousands of steps on
hundreds of nodes take seconds. A request ends when its actor is open and the seconds of all its steps have passed.
"""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from orchestrator.scheduling.cluster import ActorKind, Cluster, Resident
from orchestrator.scheduling.decisions import Decision, Evict, Fail, NoRoom, Skip, Start, Stop
from orchestrator.scheduling.placement import ROUNDING, Placement
from orchestrator.scheduling.policy import decide
from orchestrator.scheduling.ready_queues import ReadyQueues
from orchestrator.steps.step import Role, State, Step

RELOAD = 0.2
"""Time to exchange a checkpoint's weights, as a fraction of opening an actor (measured: a seventh of an actor's whole
time)."""
NEAR = 1.05
"""The other order is not tried if the makespan is at most this multiple of the bound."""
MOMENTS = 32
"""At most twice this many moments are tried for a bound."""


class Span(NamedTuple):
    """One request on one actor; times in seconds after the start of the study."""

    actor: str
    actor_kind: ActorKind
    start: float
    opened: float
    """When the actor held its model; `start` if it held it before."""
    end: float
    steps: tuple[str, ...]
    placement: Placement


class Simulation(NamedTuple):
    """One simulated run of a study."""

    makespan: float
    """Seconds."""
    bound: float
    """Seconds; no schedule is faster: see `lower_bound`."""
    spans: tuple[Span, ...]
    lacking: Mapping[str, str]
    """{model: the demand that no node of the cluster meets}."""

    def device_seconds(self, cluster: Cluster, model: str) -> float:
        """GPU-seconds of a model's requests, or CPU-seconds where there are no GPUs."""
        spans = (span for span in self.spans if span.actor_kind.model == model)
        return sum(cluster.size(span.actor_kind) * (span.end - span.start) for span in spans)


def simulate(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> Simulation:
    """Run all steps that have not ended according to `states`; costs: seconds by step id."""
    run = _Run(steps, costs, cluster, states)
    while Stop() not in (decisions := decide(run.queues, run.residents, cluster)):
        for decision in decisions:
            run.apply(decision)
        if not decisions:
            run.finish_next()
    return Simulation(run.now, lower_bound(steps, costs, cluster, states), tuple(run.spans), run.lacking)


class _Run:
    """The clock, the actors and the steps of one simulated run."""

    def __init__(
        self, steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State]
    ):
        self.queues = ReadyQueues(steps, costs, states)
        self.residents: dict[str, Resident] = {}
        self.now = 0.0
        self.spans: list[Span] = []
        self.lacking: dict[str, str] = {}
        self._costs, self._cluster = costs, cluster
        self._ends: list[tuple[float, int, Span]] = []
        self._serial = count()

    def apply(self, decision: Decision) -> None:
        match decision:
            case Skip(step, _):
                self.queues.set(step, State.SKIPPED)
            case Fail(step, _):
                self.queues.set(step, State.FAILED)
            case NoRoom(actor_kind, demand):
                self.lacking[actor_kind.model] = str(demand)
                for step in self.queues.ready_steps(actor_kind):
                    self.queues.set(step, State.FAILED)
            case Evict(actor):
                del self.residents[actor]
            case Start(Role.DRIVER, members):
                for step in members:
                    self.queues.set(step, State.DONE)
            case Start():
                self._begin(decision)

    def _begin(self, start: Start) -> None:
        """Make the actor busy with the request."""
        opening = 0.0
        if start.actor not in self.residents:
            opening = self._cluster.opening.get(start.model, 0.0)
        elif start.reload:
            opening = RELOAD * self._cluster.opening.get(start.model, 0.0)
        before = self.residents.get(start.actor)
        placement = before.placement if before else start.placement
        self.residents[start.actor] = Resident(
            actor=start.actor,
            model=start.model,
            role=start.role,
            busy=True,
            prewarming=not start.steps,
            placement=placement,
        )
        for step in start.steps:
            self.queues.set(step, State.RUNNING)
        opened = self.now + opening
        end = opened + sum(self._costs.get(step, 0.0) for step in start.steps)
        actor_kind = ActorKind(start.model, start.role)
        span = Span(start.actor, actor_kind, self.now, opened, end, start.steps, placement)
        self.spans.append(span)
        heapq.heappush(self._ends, (end, next(self._serial), span))

    def finish_next(self) -> None:
        """Move the clock to the end of the next request."""
        self.now, _, span = heapq.heappop(self._ends)
        self.residents[span.actor] = replace(self.residents[span.actor], busy=False, prewarming=False)
        for step in span.steps:
            self.queues.set(step, State.DONE)


def lower_bound(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> float:
    """Seconds that no schedule can undercut, the largest of three bounds.

    The longest path, with an opening before it. All work, with one opening per model (or series of checkpoints), spread
    evenly over all devices. Two steps, one after the other, of those that have too few devices to run side by side: see
    `_two_in_turn`.
    """
    queues = ReadyQueues(steps, costs, states)
    earliest = _earliest_starts(queues, cluster)
    on_actors = [name for name, step in steps.items() if name in earliest and step.role is not Role.DRIVER]
    kinds = {name: queues.actor_kind(name) for name in on_actors}
    sizes = {name: cluster.size(actor_kind) for name, actor_kind in kinds.items()}
    path = max((earliest[name] + queues.urgency[name] for name in kinds), default=0.0)
    opened = {cluster.actor_group(actor_kind): actor_kind for actor_kind in kinds.values()}.values()
    work = sum(sizes[name] * costs.get(name, 0.0) for name in kinds)
    work += sum(cluster.size(actor_kind) * cluster.opening.get(actor_kind.model, 0.0) for actor_kind in opened)
    even = work / cluster.num_devices if cluster.num_devices else 0.0
    return max(path, even, _two_in_turn(sizes, costs, earliest, cluster.num_devices))


def _earliest_starts(queues: ReadyQueues, cluster: Cluster) -> dict[str, float]:
    """{pending step: seconds before which it cannot start}: its actor's opening, and the steps before it."""
    earliest: dict[str, float] = {}
    for name, step in queues.steps.items():
        if queues.states[name] is State.PENDING:
            pending = [source for source in step.inputs.values() if source in earliest]
            seconds = max((earliest[source] + queues.costs.get(source, 0.0) for source in pending), default=0.0)
            opening = 0.0 if step.role is Role.DRIVER else cluster.opening.get(step.model, 0.0)
            earliest[name] = max(seconds, opening)
    return earliest


def _two_in_turn(
    sizes: Mapping[str, float], costs: Mapping[str, float], earliest: Mapping[str, float], num_devices: float
) -> float:
    """A bound by steps that together occupy more devices than there are.

    At no instant can all of them run. Intervals of which any two overlap have an instant in common (Helly's theorem in
    one dimension), so some two of these steps run one after the other: for at least the sum of the two shortest, after
    the earliest start. Tried with the longest steps of those that start no earlier than some moment, for a few moments.
    """
    longest = sorted(sizes, key=lambda step: -costs.get(step, 0.0))
    moments = sorted({earliest[step] for step in longest})
    bound = 0.0
    for moment in moments[:: max(1, len(moments) // MOMENTS)]:
        occupied, previous = 0.0, 0.0
        for step in longest:
            if earliest[step] >= moment:
                occupied += sizes[step]
                if occupied > num_devices + ROUNDING:
                    bound = max(bound, moment + previous + costs.get(step, 0.0))
                    break
                previous = costs.get(step, 0.0)
    return bound


def simulate_best_order(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> tuple[Cluster, Simulation]:
    """The faster of the scheduler's two orders: the cluster that asks for it, and the run.

    The other order is not tried where the first comes near the bound, as it does unless a device gets only a few steps.
    """
    run = simulate(steps, costs, cluster, states)
    if run.makespan <= NEAR * run.bound:
        return cluster, run
    other = replace(cluster, longest_first=not cluster.longest_first)
    other_run = simulate(steps, costs, other, states)
    return (other, other_run) if other_run.makespan < run.makespan else (cluster, run)
