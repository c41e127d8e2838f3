"""The scheduler driven by estimated or recorded durations instead of actors: what a study would take on some cluster.

Owns the simulated clock and the lower bound that a makespan is held against. Pure: no Ray, thousands of steps and
hundreds of nodes in seconds. An actor answers a request when the time of all its steps has passed, after it has opened.
"""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from orchestrator.scheduling.placement import ROUNDING, Placement
from orchestrator.scheduling.policy import Cluster, Evict, Fail, NoRoom, Resident, Skip, Start, Stop, decide
from orchestrator.scheduling.ready_queues import ActorKind, ReadyQueues
from orchestrator.steps.step import Role, State, Step

RELOAD = 0.2
"""Exchanging a checkpoint's weights, as a share of opening an actor (measured: a seventh of an actor's whole time)."""
NEAR = 1.05
"""Makespan over bound up to which no other order is tried."""
MOMENTS = 32
"""At most twice so many are tried for a bound."""


class Span(NamedTuple):
    """One request on one actor."""

    actor: str
    actor_kind: ActorKind
    start: float
    opened: float
    """When the actor had its model; `start` where it had it before."""
    end: float
    steps: tuple[str, ...]
    placement: Placement


class Simulation(NamedTuple):
    """How a study went."""

    makespan: float
    """Seconds."""
    bound: float
    """No schedule can be faster: see `lower_bound`."""
    spans: tuple[Span, ...]
    lacking: Mapping[str, str]
    """{model: what no node of the cluster has for it}."""

    def device_seconds(self, cluster: Cluster, model: str) -> float:
        """GPU-seconds of a model's requests, CPU-seconds where there are no GPUs."""
        mine = (span for span in self.spans if span.actor_kind.model == model)
        return sum(cluster.size(span.actor_kind) * (span.end - span.start) for span in mine)


def simulate(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> Simulation:
    """Run the steps that `states` does not say have ended; costs: seconds by step id."""
    queues, residents = ReadyQueues(steps, costs, states), {}
    events: list[tuple[float, int, Span]] = []
    serial, now, spans, lacking = count(), 0.0, [], {}
    while True:
        for decision in (decisions := decide(queues, residents, cluster)):
            match decision:
                case Stop():
                    return Simulation(now, lower_bound(steps, costs, cluster, states), tuple(spans), lacking)
                case Skip(step, _):
                    queues.set(step, State.SKIPPED)
                case Fail(step, _):
                    queues.set(step, State.FAILED)
                case NoRoom(actor_kind, demand):
                    lacking[actor_kind.model] = str(demand)
                    for step in queues.ready_in(actor_kind):
                        queues.set(step, State.FAILED)
                case Evict(actor):
                    del residents[actor]
                case Start(Role.DRIVER, members):
                    for step in members:
                        queues.set(step, State.DONE)
                case Start():
                    span = _begin(decision, residents, cluster, costs, now)
                    for step in decision.steps:
                        queues.set(step, State.RUNNING)
                    spans.append(span)
                    heapq.heappush(events, (span.end, next(serial), span))
        if not decisions:
            now, _, span = heapq.heappop(events)
            residents[span.actor] = replace(residents[span.actor], busy=False, prewarming=False)
            for step in span.steps:
                queues.set(step, State.DONE)


def _begin(start: Start, residents: dict[str, Resident], cluster: Cluster, costs: Mapping[str, float], now: float):
    """Make the actor busy; returns the span of the request."""
    opening = 0.0
    if start.actor not in residents:
        opening = cluster.opening.get(start.model, 0.0)
    elif start.reload:
        opening = RELOAD * cluster.opening.get(start.model, 0.0)
    before = residents.get(start.actor)
    placement = before.placement if before else start.placement
    residents[start.actor] = Resident(
        actor=start.actor,
        model=start.model,
        role=start.role,
        busy=True,
        prewarming=not start.steps,
        placement=placement,
    )
    end = now + opening + sum(costs.get(step, 0.0) for step in start.steps)
    return Span(start.actor, ActorKind(start.model, start.role), now, now + opening, end, start.steps, placement)


def lower_bound(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> float:
    """Seconds below which no schedule can come, the largest of three: the longest path, with an opening before it; all
    the work, with one opening a model (a series of checkpoints), spread evenly over all devices; two of the steps for
    which there are too few devices, one after the other (see `_in_turn`)."""
    queues = ReadyQueues(steps, costs, states)
    earliest = _earliest(queues, cluster)
    left = [step for step in steps.values() if step.id in earliest and step.role is not Role.DRIVER]
    path = max((earliest[one.id] + queues.urgency[one.id] for one in left), default=0.0)
    actor_groups = {
        cluster.actor_group(actor_kind): actor_kind for actor_kind in map(queues.actor_kind, (one.id for one in left))
    }
    work = sum(cluster.size(queues.actor_kind(one.id)) * costs.get(one.id, 0.0) for one in left)
    work += sum(
        cluster.size(actor_kind) * cluster.opening.get(actor_kind.model, 0.0) for actor_kind in actor_groups.values()
    )
    even = work / cluster.num_devices if cluster.num_devices else 0.0
    sizes = {one.id: cluster.size(queues.actor_kind(one.id)) for one in left}
    return max(path, even, _in_turn(sizes, costs, earliest, cluster.num_devices))


def _earliest(queues: ReadyQueues, cluster: Cluster) -> dict[str, float]:
    """{pending step: seconds before which it cannot begin}: an actor's opening, and what comes before the step."""
    found: dict[str, float] = {}
    for step in queues.steps.values():
        if queues.states[step.id] is State.PENDING:
            before = (found[one] + queues.costs.get(one, 0.0) for one in step.inputs.values() if one in found)
            found[step.id] = max(before, default=0.0)
            if step.role is not Role.DRIVER:
                found[step.id] = max(found[step.id], cluster.opening.get(step.model, 0.0))
    return found


def _in_turn(
    sizes: Mapping[str, float], costs: Mapping[str, float], earliest: Mapping[str, float], num_devices: float
) -> float:
    """A bound by steps that together take more devices than there are.

    At no instant do all of them run; intervals of which any two overlap have an instant in common (Helly), so some two
    of them run one after the other. They take as long as the two shortest at least, after the earliest beginning. Tried
    with the longest steps of those that begin no earlier than some moment, for a few moments.
    """
    longest = sorted(sizes, key=lambda step: -costs.get(step, 0.0))
    moments = sorted({earliest[step] for step in longest})
    best = 0.0
    for moment in moments[:: max(1, len(moments) // MOMENTS)]:
        taken, before = 0.0, 0.0
        for step in longest:
            if earliest[step] >= moment:
                taken += sizes[step]
                if taken > num_devices + ROUNDING:
                    best = max(best, moment + before + costs.get(step, 0.0))
                    break
                before = costs.get(step, 0.0)
    return best


def in_the_better_order(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> tuple[Cluster, Simulation]:
    """The cluster with the one of the scheduler's two orders in which the study takes less, and how it goes then.

    The second is not tried where the first comes near the bound, as it does unless a device gets only a few steps.
    """
    found = cluster, simulate(steps, costs, cluster, states)
    if found[1].makespan > NEAR * found[1].bound:
        other = replace(cluster, longest_first=not cluster.longest_first)
        found = min(found, (other, simulate(steps, costs, other, states)), key=lambda one: one[1].makespan)
    return found
