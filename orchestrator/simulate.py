"""The scheduler driven by estimated or recorded durations instead of actors: what a study would take on some cluster.

Owns the simulated clock and the lower bound that a makespan is held against. Pure: no Ray, thousands of steps and
hundreds of nodes in seconds. An actor answers a request when the time of all its steps has passed, after it has opened.
"""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from orchestrator.board import Board, Lane, State
from orchestrator.placement import Placement
from orchestrator.scheduler import Cluster, Evict, Fail, Lack, Resident, Skip, Start, Stop, decide
from orchestrator.steps import Role, Step

RELOAD = 0.2
"""Exchanging a checkpoint's weights, as a share of opening an actor (measured: a seventh of an actor's whole time)."""


class Span(NamedTuple):
    """One request on one actor."""

    actor: str
    lane: Lane
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
        mine = (span for span in self.spans if span.lane.model == model)
        return sum(_size(cluster, span.lane) * (span.end - span.start) for span in mine)


def simulate(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> Simulation:
    """Run the steps that `states` does not say have ended; costs: seconds by step id."""
    board, residents = Board(steps, costs, states), {}
    events: list[tuple[float, int, Span]] = []
    serial, now, spans, lacking = count(), 0.0, [], {}
    while True:
        for decision in (decisions := decide(board, residents, cluster)):
            match decision:
                case Stop():
                    return Simulation(now, lower_bound(steps, costs, cluster, states), tuple(spans), lacking)
                case Skip(step, _):
                    board.set(step, State.SKIPPED)
                case Fail(step, _):
                    board.set(step, State.FAILED)
                case Lack(lane, demand):
                    lacking[lane.model] = str(demand)
                    for step in board.ready_in(lane):
                        board.set(step, State.FAILED)
                case Evict(actor):
                    del residents[actor]
                case Start(Role.DRIVER, members):
                    for step in members:
                        board.set(step, State.DONE)
                case Start():
                    span = _begin(decision, residents, cluster, costs, now)
                    for step in decision.steps:
                        board.set(step, State.RUNNING)
                    spans.append(span)
                    heapq.heappush(events, (span.end, next(serial), span))
        if not decisions:
            now, _, span = heapq.heappop(events)
            residents[span.actor] = replace(residents[span.actor], busy=False, ahead=False)
            for step in span.steps:
                board.set(step, State.DONE)


def _begin(start: Start, residents: dict[str, Resident], cluster: Cluster, costs: Mapping[str, float], now: float):
    """Make the actor busy; returns the span of the request."""
    opening = 0.0
    if start.actor not in residents:
        opening = cluster.opening.get(start.model, 0.0)
    elif start.takes:
        opening = RELOAD * cluster.opening.get(start.model, 0.0)
    before = residents.get(start.actor)
    placement = before.placement if before else start.placement
    residents[start.actor] = Resident(
        actor=start.actor,
        model=start.model,
        role=start.role,
        busy=True,
        ahead=not start.steps,
        placement=placement,
    )
    end = now + opening + sum(costs.get(step, 0.0) for step in start.steps)
    return Span(start.actor, Lane(start.model, start.role), now, now + opening, end, start.steps, placement)


def lower_bound(
    steps: Mapping[str, Step], costs: Mapping[str, float], cluster: Cluster, states: Mapping[str, State] = {}
) -> float:
    """Seconds below which no schedule can come: the longest path, with one opening before it, and all the work, with
    one opening a model (a series of checkpoints), spread evenly over all devices."""
    board = Board(steps, costs, states)
    left = [step for step in steps.values() if board.states[step.id] is State.PENDING and step.role is not Role.DRIVER]
    path = max((board.urgency[one.id] + cluster.opening.get(one.model, 0.0) for one in left), default=0.0)
    devices = sum(node.gpus for node in cluster.nodes) or sum(node.cpus for node in cluster.nodes)
    seats = {cluster.seat(lane): lane for lane in map(board.lane, (one.id for one in left))}
    work = sum(_size(cluster, board.lane(one.id)) * costs.get(one.id, 0.0) for one in left)
    work += sum(_size(cluster, lane) * cluster.opening.get(lane.model, 0.0) for lane in seats.values())
    return max(path, work / devices if devices else 0.0)


def _size(cluster: Cluster, lane: Lane) -> float:
    """Devices of one actor: GPUs where the cluster has any, else CPUs."""
    demand = cluster.demands[lane]
    return demand.copies * (demand.gpus if any(node.gpus for node in cluster.nodes) else demand.cpus)
