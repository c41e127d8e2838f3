"""Pure scheduling: decide(board, residents, cluster) -> decisions. No clock, no Ray, no I/O.

Owns the policy. Critical path first, resident models preferred; ready steps of one model and group go out as one
request, cut into parts where several actors of the model could work on them. Every model with ready steps gets an actor
before any gets a replica; a replica is opened where its share of the queue takes longer than opening it. On devices
that are then still free, actors are opened ahead of steps that will be ready soon. The score actor and the ablation
actor of a model are opened when they are needed, side by side where there is room. An actor that nothing needs any
more, or that keeps a waiting model out, is closed. The caller applies decisions and calls again.

There is another order, for few long steps on many devices (`Cluster.longest_first`): first actors and replicas alike
go to whatever would take longest, and devices are held free for long steps that will be ready soon.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.scheduling.placement import Demand, Devices, Node, Placement
from orchestrator.scheduling.ready_queues import ActorKind, ReadyQueues, Skip
from orchestrator.steps.step import Role

PARTS = 4
"""Of an actor's share of a queue, it takes one part at a time where others might take the rest."""
LEAST_OPENINGS = 4
"""A part is not shorter than so many openings: conditions that are scored together share layers."""
LONG = 0.5
"""A step is long if it takes this share, with what waits for it, of what all work would take spread evenly over all
devices: a device that gets two such steps takes longer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An actor that holds a model now."""

    actor: str
    model: str
    role: Role
    busy: bool
    prewarming: bool = False
    """Whether it is busy with opening alone, ahead of its first steps."""
    placement: Placement = ()

    @property
    def actor_kind(self) -> ActorKind:
        return ActorKind(self.model, self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What there is to place actors on, and what they take."""

    nodes: Collection[Node]
    demands: Mapping[ActorKind, Demand]
    opening: Mapping[str, float]
    """{model: estimated seconds until a new actor of it answers}."""
    series: Mapping[str, str]
    """{model: series}, of the models that are checkpoints, whose actors can take each other's place."""
    longest_first: bool = False
    """Which of the two orders the scheduler keeps; see the module."""

    @property
    def num_devices(self) -> float:
        """GPUs, or CPUs where there are none."""
        return sum(node.gpus for node in self.nodes) or sum(node.cpus for node in self.nodes)

    def size(self, actor_kind: ActorKind) -> float:
        """Devices of one actor of the lane."""
        demand = self.demands[actor_kind]
        return demand.copies * (demand.gpus if any(node.gpus for node in self.nodes) else demand.cpus)

    def wanted(self, queues: ReadyQueues) -> list[Demand]:
        """What an actor for every seat that still has something to do takes."""
        actor_groups = {
            self.actor_group(actor_kind): actor_kind
            for actor_kind, count in queues.unfinished.items()
            if count and actor_kind in self.demands
        }
        return [self.demands[actor_kind] for actor_kind in actor_groups.values()]

    def actor_group(self, actor_kind: ActorKind) -> tuple[str, str, Role]:
        """What an actor can serve: the checkpoints of a series, or one model; in one role."""
        model = actor_kind.model
        return (
            ("series", self.series[model], actor_kind.role)
            if model in self.series
            else ("model", model, actor_kind.role)
        )


class Start(NamedTuple):
    """Send these steps to an actor, which is opened if there is none of that name; or run them in the driver.

    Without steps the actor is only opened, ahead of steps that will be ready soon.
    """

    role: Role
    steps: tuple[str, ...]
    model: str = ""
    actor: str = ""
    placement: Placement = ()
    """Of an actor that is to be opened."""
    reload: bool = False
    """Whether the actor has another checkpoint's weights, which are exchanged in place."""


class Evict(NamedTuple):
    """Close this idle actor."""

    actor: str


class Fail(NamedTuple):
    """This step cannot run."""

    step: str
    reason: str


class NoRoom(NamedTuple):
    """Nothing runs and nothing can: all that is there would not hold an actor for this lane."""

    actor_kind: ActorKind
    demand: Demand


class Stop(NamedTuple):
    """Every step is in a terminal state, or the study is drained."""


Decision = Start | Evict | Skip | Fail | NoRoom | Stop


def decide(
    queues: ReadyQueues, residents: Mapping[str, Resident], cluster: Cluster, *, draining: bool = False
) -> list[Decision]:
    """What to do now; an empty list means: wait for an event.

    residents: by name of the actor. draining: start nothing more, stop when nothing runs.
    """
    if draining:
        return [] if any(one.busy for one in residents.values()) else [Stop()]
    if skips := queues.skips():
        return list(skips)
    if queues.ended:
        return [Stop()]
    if retries_exhausted := queues.retries_exhausted():
        return [Fail(step, f"its actor died {queues.attempts[step]} times") for step in retries_exhausted]
    if driver := queues.driver_steps():
        return [Start(Role.DRIVER, (step,)) for step in driver]
    turn = _Turn(queues, residents, cluster)
    decision = turn.close_unneeded() or turn.hold_for_long() or turn.use_idle() or turn.reload_reusable()
    decision = decision or (turn.open_longest() if cluster.longest_first else turn.open_first() or turn.open_replica())
    decision = decision or turn.prewarm()
    return [decision] if decision else turn.no_room()


class _Turn:
    """The one decision about actors of a turn."""

    def __init__(self, queues: ReadyQueues, residents: Mapping[str, Resident], cluster: Cluster):
        self._queues, self._cluster = queues, cluster
        self._residents = list(residents.values())
        self._idle = [one for one in self._residents if not one.busy]
        self._devices = Devices(cluster.nodes, [one.placement for one in self._residents])
        self._actors = Counter(one.actor_kind for one in self._residents)
        self._spare = Counter(one.actor_kind for one in self._residents if one.prewarming or not one.busy)
        self._whole = Devices(cluster.nodes)
        self._ready = queues.ready()
        self._starved: ActorKind | None = None
        self._kept: set[str] = set()
        """Nodes that are kept for lanes that wait for more room than there is now."""
        self._in_the_way: set[ActorKind] = set()
        """Of the actors on those nodes."""
        self._waiting: set[Demand] = set()
        """Of the lanes that wait for room."""
        self._full: set[Demand] = set()
        """For which there is no room."""
        self._long = self._long_upcoming() if cluster.longest_first else {}
        """{lane: its long steps that will be ready soon}."""

    def close_unneeded(self) -> Evict | None:
        """An idle actor for which its seat has no step left, beside those that the other idle ones will get."""
        if not self._idle:
            return None
        left: Counter[tuple[str, str, Role]] = Counter()
        for actor_kind, count in self._queues.pending.items():
            left[self._cluster.actor_group(actor_kind)] += count
        for one in self._idle:
            actor_group = self._cluster.actor_group(one.actor_kind)
            if not left[actor_group]:
                return Evict(one.actor)
            left[actor_group] -= 1
        return None

    def use_idle(self) -> Start | None:
        """The most urgent lane with an idle actor of its own."""
        at_home = {one.actor_kind: one.actor for one in reversed(self._idle)}
        for actor_kind in self._ready:
            if actor_kind in at_home:
                steps = self._queues.request(actor_kind, self._share(actor_kind, 0))
                return Start(actor_kind.role, steps, actor_kind.model, at_home[actor_kind])
        return None

    def reload_reusable(self) -> Start | None:
        """The most urgent lane without an actor of which another checkpoint's actor can take the weights."""
        for actor_kind in self._ready:
            if actor_kind not in self._actors and (taken := self._reusable(actor_kind)):
                return self._reload(actor_kind, taken)
        return None

    def hold_for_long(self) -> Start | None:
        """An actor for every long step that will be ready soon, before shorter ones take the devices."""
        for actor_kind, steps in self._long.items():
            if self._spare[actor_kind] < len(steps) and (start := self._prewarm(actor_kind)):
                return start
        return None

    def open_first(self) -> Start | Evict | None:
        """The most urgent lane that has no actor; checkpoints of a series that has one come after the others."""
        present_groups = {self._cluster.actor_group(one.actor_kind) for one in self._residents}
        for actor_kind in sorted(
            self._ready, key=lambda actor_kind: self._cluster.actor_group(actor_kind) in present_groups
        ):
            if actor_kind not in self._actors and (decision := self._first(actor_kind)):
                return decision
        return None

    def open_replica(self) -> Start | None:
        """Another actor, where that pays, for the lane that would take longest with one more."""
        for actor_kind in sorted(self._ready, key=self._remaining, reverse=True):
            if actor_kind in self._actors and (decision := self._replica(actor_kind)):
                return decision
        return None

    def open_longest(self) -> Start | Evict | None:
        """The first or another actor, whichever of all lanes would take longest with it."""
        for actor_kind in sorted(self._ready, key=self._remaining, reverse=True):
            if decision := self._replica(actor_kind) if actor_kind in self._actors else self._first(actor_kind):
                return decision
        return None

    def _remaining(self, actor_kind: ActorKind) -> float:
        """Seconds that the lane would take with one more actor, and what waits for it then."""
        return max(self._queues.urgency_in(actor_kind), self._queues.left[actor_kind] / (self._actors[actor_kind] + 1))

    def _first(self, actor_kind: ActorKind) -> Start | Evict | None:
        demand = self._cluster.demands[actor_kind]
        if demand in self._waiting:
            return None
        placement = self._devices.place(demand, without=frozenset(self._kept))
        if placement is not None:
            return self._open(actor_kind, placement)
        self._starved = self._starved or actor_kind
        self._waiting.add(demand)
        if room := self._make_room(demand):
            return room
        if (node := self._devices.roomiest(demand)) is not None:
            self._kept.add(node)  # what is less urgent must not keep it out for ever
            self._in_the_way |= {
                one.actor_kind for one in self._residents if any(b.node == node for b in one.placement)
            }
        return None

    def _replica(self, actor_kind: ActorKind) -> Start | None:
        """While a lane waits for room, only for those that it waits for: they go on until they have nothing left."""
        if self._starved and actor_kind not in self._in_the_way:
            return None
        gain = self._gain(
            actor_kind, self._queues.num_queued(actor_kind), self._queues.queued(actor_kind), self._work(actor_kind)
        )
        if gain <= self._opening(actor_kind):
            return None
        if taken := self._reusable(actor_kind):
            return self._reload(actor_kind, taken)
        placement = self._place(self._cluster.demands[actor_kind])
        return self._open(actor_kind, placement) if placement else None

    def prewarm(self) -> Start | None:
        """An actor for steps that will be ready soon, on devices that nothing else wants."""
        if self._starved:
            return None
        for actor_kind in self._queues.upcoming():
            steps = self._upcoming_soon(actor_kind)
            seconds = sum(self._queues.costs.get(step, 0.0) for step in steps)
            gain = self._gain(actor_kind, len(steps), seconds, self._work(actor_kind) + seconds)
            worth = gain > (self._opening(actor_kind) if actor_kind in self._actors else 0.0)
            if worth and (start := self._prewarm(actor_kind)):
                return start
        return None

    def _prewarm(self, actor_kind: ActorKind) -> Start | None:
        """None where there is no room, or an idle actor of the series to be had."""
        if self._reusable(actor_kind):
            return None
        placement = self._place(self._cluster.demands[actor_kind])
        return (
            Start(actor_kind.role, (), actor_kind.model, self._new_name(actor_kind), placement) if placement else None
        )

    def _upcoming_soon(self, actor_kind: ActorKind) -> list[str]:
        return self._queues.upcoming_within(actor_kind, LEAST_OPENINGS * self._opening(actor_kind))

    def _long_upcoming(self) -> dict[ActorKind, list[str]]:
        """By lane, the most urgent first."""
        left = (
            (actor_kind, seconds)
            for actor_kind, seconds in self._queues.left.items()
            if actor_kind in self._cluster.demands
        )
        work = sum(self._cluster.size(actor_kind) * seconds for actor_kind, seconds in left)
        least = LONG * work / (self._cluster.num_devices or 1.0)
        found = {}
        for actor_kind in self._queues.upcoming():
            if long := [step for step in self._upcoming_soon(actor_kind) if self._queues.urgency[step] > least]:
                found[actor_kind] = long
        return found

    def _place(self, demand: Demand) -> Placement | None:
        if demand in self._full:
            return None
        found = self._devices.place(demand)
        if found is None:
            self._full.add(demand)
        return found

    def no_room(self) -> list[Decision]:
        """Where nothing runs and nothing could be opened: what the cluster does not have."""
        if any(one.busy for one in self._residents) or self._starved is None:
            return []
        return [NoRoom(self._starved, self._cluster.demands[self._starved])]

    def _reload(self, actor_kind: ActorKind, actor: str) -> Start:
        return Start(
            actor_kind.role,
            self._queues.request(actor_kind, self._share(actor_kind, 1)),
            actor_kind.model,
            actor,
            reload=True,
        )

    def _open(self, actor_kind: ActorKind, placement: Placement) -> Start:
        steps = self._queues.request(actor_kind, self._share(actor_kind, 1))
        return Start(actor_kind.role, steps, actor_kind.model, self._new_name(actor_kind), placement)

    def _new_name(self, actor_kind: ActorKind) -> str:
        names = {one.actor for one in self._residents}
        return next(
            name for i in range(len(names) + 1) if (name := f"{actor_kind.model} {actor_kind.role} {i}") not in names
        )

    def _share(self, actor_kind: ActorKind, new: int) -> float:
        """Seconds of the queue for one of a lane's actors: those it has, `new` ones, and more where they would pay.

        Where there could be others, it takes a part of that at a time, so that the rest waits for whoever is free;
        where not, it takes whatever there is (infinity).
        """
        work, opening = self._work(actor_kind), self._opening(actor_kind)
        actors = self._actors[actor_kind] + new
        worth = int(work / opening) if opening else self._queues.num_queued(actor_kind)
        if worth > actors:
            room = self._devices.count(self._cluster.demands[actor_kind]) // len(self._ready)
            actors = max(actors, min(actors - new + room, worth))
        if actors == 1 and self._whole.count(self._cluster.demands[actor_kind]) <= 1:
            return math.inf
        return max(work / actors / PARTS, LEAST_OPENINGS * opening)

    def _gain(self, actor_kind: ActorKind, num_steps: int, seconds: float, work: float) -> float:
        """Seconds that one more actor would take over: of these steps, without those for actors that are to be had."""
        for_others = min(1.0, self._spare[actor_kind] / num_steps) if num_steps else 0.0
        return min(seconds * (1 - for_others), work / (self._actors[actor_kind] + 1))

    def _opening(self, actor_kind: ActorKind) -> float:
        """Estimated seconds until a new actor answers."""
        return self._cluster.opening.get(actor_kind.model, 0.0)

    def _work(self, actor_kind: ActorKind) -> float:
        """Seconds that wait or run."""
        return self._queues.queued(actor_kind) + self._queues.running[actor_kind]

    def _reusable(self, actor_kind: ActorKind) -> str:
        """An idle actor of the lane's series and role, with nothing ready of its own (see `use_idle`); '' = none."""
        if actor_kind.model not in self._cluster.series:
            return ""
        actor_group = self._cluster.actor_group(actor_kind)
        return next((one.actor for one in self._idle if self._cluster.actor_group(one.actor_kind) == actor_group), "")

    def _make_room(self, demand: Demand) -> Evict | None:
        """Close the first idle actor without which, and those after it, the demand would have room."""
        idle = [one for one in self._idle if one.actor_kind not in self._long]
        for i, one in enumerate(idle):
            self._devices.give_back(one.placement)
            if self._devices.place(demand) is not None:
                for other in idle[: i + 1]:
                    self._devices.take(other.placement)
                return Evict(one.actor)
        for one in idle:
            self._devices.take(one.placement)
        return None
