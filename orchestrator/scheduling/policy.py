"""The scheduling policy: decide(queues, residents, cluster) -> decisions. No clock, no Ray, no I/O.

The most urgent step, by critical path, goes first, and actors that hold a model are preferred over new ones. Ready
steps of one model and group form one request, cut into parts where several actors of the model could share them. Every
model with ready steps gets an actor before any model gets a replica; a replica is opened where its share of the queue
takes longer than opening it. Devices that are free after that prewarm actors for steps that will be ready soon. The
score and the ablation actor of a model are opened when needed, side by side where there is room. An actor that nothing
needs any more, or that keeps a waiting model out, is evicted. The caller applies the decisions and calls again.

The other order (`Cluster.longest_first`) suits few long steps on many devices: first actors and replicas alike go to
the kind that would take longest, and devices are reserved for long steps that will be ready soon.
"""

import math
from collections import Counter
from collections.abc import Mapping

from orchestrator.scheduling.cluster import ActorGroup, ActorKind, Cluster, Resident
from orchestrator.scheduling.decisions import Decision, Evict, Fail, NoRoom, Start, Stop
from orchestrator.scheduling.placement import Demand, Devices, Placement
from orchestrator.scheduling.ready_queues import ReadyQueues
from orchestrator.steps.step import Role

PARTS = 4
"""An actor takes its share of a queue in this many parts, where others might take over the later ones."""
LEAST_OPENINGS = 4
"""No part is shorter than this many openings of an actor: conditions that are scored together share layers."""
LONG = 0.5
"""A step is long if it, with the path after it, takes this share of the seconds that all work would take when spread
evenly over all devices: a device that gets two such steps takes longer than that."""


def decide(
    queues: ReadyQueues, residents: Mapping[str, Resident], cluster: Cluster, *, draining: bool = False
) -> list[Decision]:
    """The decisions to apply now; an empty list means that there is nothing to do before the next event.

    residents: {name of the actor: actor}. draining: start nothing more, stop when nothing runs.
    """
    if draining:
        return [] if any(resident.busy for resident in residents.values()) else [Stop()]
    if skips := queues.skips():
        return list(skips)
    if queues.ended:
        return [Stop()]
    if exhausted := queues.retries_exhausted():
        return [Fail(step, f"given up after {queues.num_attempts(step)} attempts") for step in exhausted]
    if driver_steps := queues.driver_steps():
        return [Start(Role.DRIVER, (step,)) for step in driver_steps]
    turn = _Turn(queues, residents, cluster)
    decision = turn.evict_unneeded() or turn.reserve_for_long() or turn.use_idle() or turn.reload_reusable()
    decision = decision or (turn.open_longest() if cluster.longest_first else turn.open_first() or turn.open_replica())
    decision = decision or turn.prewarm()
    return [decision] if decision else turn.no_room()


class _Turn:
    """Finds the one decision about actors of a turn; its public methods are called in the order of `decide`."""

    def __init__(self, queues: ReadyQueues, residents: Mapping[str, Resident], cluster: Cluster):
        self._queues, self._cluster = queues, cluster
        self._residents = list(residents.values())
        self._idle = [resident for resident in self._residents if not resident.busy]
        self._devices = Devices(cluster.nodes, [resident.placement for resident in self._residents])
        self._empty_cluster = Devices(cluster.nodes)
        self._num_actors = Counter(resident.actor_kind for resident in self._residents)
        self._num_spare = Counter(
            resident.actor_kind for resident in self._residents if resident.prewarming or not resident.busy
        )
        """Actors that are idle or being prewarmed."""
        self._ready = queues.ready_kinds()
        self._starved: ActorKind | None = None
        """The most urgent kind that waits for room."""
        self._waiting: set[Demand] = set()
        """Demands of the kinds that wait for room."""
        self._reserved_nodes: set[str] = set()
        """Nodes kept free for kinds that wait for more room than there is now."""
        self._on_reserved: set[ActorKind] = set()
        """Kinds of the actors on those nodes."""
        self._too_large: set[Demand] = set()
        """Demands for which there is no room now."""
        self._long = self._long_upcoming() if cluster.longest_first else {}
        """{kind: its long steps that will be ready soon}."""

    # -- what can be decided -----------------------------------------------------------------------------------------

    def evict_unneeded(self) -> Evict | None:
        """An idle actor whose actor group has no pending step left, if each idle actor before it gets one."""
        if not self._idle:
            return None
        num_pending: Counter[ActorGroup] = Counter()
        for actor_kind, num_steps in self._queues.num_pending.items():
            num_pending[self._cluster.actor_group(actor_kind)] += num_steps
        for resident in self._idle:
            actor_group = self._cluster.actor_group(resident.actor_kind)
            if not num_pending[actor_group]:
                return Evict(resident.actor)
            num_pending[actor_group] -= 1
        return None

    def reserve_for_long(self) -> Start | None:
        """An actor for every long step that will be ready soon, before shorter steps take the devices."""
        for actor_kind, steps in self._long.items():
            if self._num_spare[actor_kind] < len(steps) and (start := self._prewarm(actor_kind)):
                return start
        return None

    def use_idle(self) -> Start | None:
        """A request for an idle actor from the most urgent kind that has one."""
        idle = {resident.actor_kind: resident.actor for resident in reversed(self._idle)}
        for actor_kind in self._ready:
            if actor_kind in idle:
                steps = self._queues.request(actor_kind, self._share(actor_kind))
                return Start(actor_kind.role, steps, actor_kind.model, idle[actor_kind])
        return None

    def reload_reusable(self) -> Start | None:
        """A reload for the most urgent kind without an actor for which an idle actor of its series can be reused."""
        for actor_kind in self._ready:
            if actor_kind not in self._num_actors and (actor := self._reusable(actor_kind)):
                return self._reload(actor_kind, actor)
        return None

    def open_first(self) -> Start | Evict | None:
        """The first actor of the most urgent kind that has none; actor groups that have one come after the others."""
        present = {self._cluster.actor_group(resident.actor_kind) for resident in self._residents}
        for actor_kind in sorted(self._ready, key=lambda actor_kind: self._cluster.actor_group(actor_kind) in present):
            if actor_kind not in self._num_actors and (decision := self._first(actor_kind)):
                return decision
        return None

    def open_replica(self) -> Start | None:
        """Another actor, if it pays, of the kind that would take longest even with one more."""
        for actor_kind in sorted(self._ready, key=self._remaining, reverse=True):
            if actor_kind in self._num_actors and (decision := self._replica(actor_kind)):
                return decision
        return None

    def open_longest(self) -> Start | Evict | None:
        """The first or another actor, of the kind that would take longest even with one more."""
        for actor_kind in sorted(self._ready, key=self._remaining, reverse=True):
            if decision := self._replica(actor_kind) if actor_kind in self._num_actors else self._first(actor_kind):
                return decision
        return None

    def prewarm(self) -> Start | None:
        """An actor for steps that will be ready soon, on devices that nothing else wants."""
        if self._starved:
            return None
        for actor_kind in self._queues.upcoming_kinds():
            steps = self._upcoming_soon(actor_kind)
            seconds = sum(self._queues.costs.get(step, 0.0) for step in steps)
            gain = self._gain(actor_kind, len(steps), seconds, self._work(actor_kind) + seconds)
            pays = gain > (self._opening(actor_kind) if actor_kind in self._num_actors else 0.0)
            if pays and (start := self._prewarm(actor_kind)):
                return start
        return None

    def no_room(self) -> list[Decision]:
        """The demand that the cluster cannot meet, if nothing runs and nothing could be opened."""
        if any(resident.busy for resident in self._residents) or self._starved is None:
            return []
        return [NoRoom(self._starved, self._cluster.demands[self._starved])]

    # -- actors and room for them ------------------------------------------------------------------------------------

    def _first(self, actor_kind: ActorKind) -> Start | Evict | None:
        demand = self._cluster.demands[actor_kind]
        if demand in self._waiting:
            return None
        placement = self._devices.place(demand, without=frozenset(self._reserved_nodes))
        if placement is not None:
            return self._open(actor_kind, placement)
        self._starved = self._starved or actor_kind
        self._waiting.add(demand)
        if eviction := self._make_room(demand):
            return eviction
        if (node := self._devices.roomiest(demand)) is not None:  # else less urgent actors could keep it out forever
            self._reserved_nodes.add(node)
            self._on_reserved |= {
                resident.actor_kind
                for resident in self._residents
                if any(bundle.node == node for bundle in resident.placement)
            }
        return None

    def _replica(self, actor_kind: ActorKind) -> Start | None:
        """While a kind waits for room, replicas only of the kinds that hold its node: they finish sooner with them."""
        if self._starved and actor_kind not in self._on_reserved:
            return None
        num_ready, seconds_ready = self._queues.num_ready(actor_kind), self._queues.seconds_ready(actor_kind)
        if self._gain(actor_kind, num_ready, seconds_ready, self._work(actor_kind)) <= self._opening(actor_kind):
            return None
        if actor := self._reusable(actor_kind):
            return self._reload(actor_kind, actor)
        placement = self._place(self._cluster.demands[actor_kind])
        return self._open(actor_kind, placement) if placement else None

    def _prewarm(self, actor_kind: ActorKind) -> Start | None:
        """None where there is no room, or where an idle actor of the series can be reused."""
        if self._reusable(actor_kind):
            return None
        placement = self._place(self._cluster.demands[actor_kind])
        if not placement:
            return None
        return Start(actor_kind.role, (), actor_kind.model, self._new_name(actor_kind), placement)

    def _reload(self, actor_kind: ActorKind, actor: str) -> Start:
        steps = self._queues.request(actor_kind, self._share(actor_kind, num_new=1))
        return Start(actor_kind.role, steps, actor_kind.model, actor, reload=True)

    def _open(self, actor_kind: ActorKind, placement: Placement) -> Start:
        steps = self._queues.request(actor_kind, self._share(actor_kind, num_new=1))
        return Start(actor_kind.role, steps, actor_kind.model, self._new_name(actor_kind), placement)

    def _new_name(self, actor_kind: ActorKind) -> str:
        names = {resident.actor for resident in self._residents}
        candidates = (f"{actor_kind.model} {actor_kind.role} {i}" for i in range(len(names) + 1))
        return next(name for name in candidates if name not in names)

    def _place(self, demand: Demand) -> Placement | None:
        if demand in self._too_large:
            return None
        placement = self._devices.place(demand)
        if placement is None:
            self._too_large.add(demand)
        return placement

    def _make_room(self, demand: Demand) -> Evict | None:
        """Evict the first idle actor, if the demand would have room without it and some of the next idle ones."""
        idle = [resident for resident in self._idle if resident.actor_kind not in self._long]
        for i, resident in enumerate(idle):
            self._devices.give_back(resident.placement)
            if self._devices.place(demand) is not None:
                for freed in idle[: i + 1]:
                    self._devices.take(freed.placement)
                return Evict(resident.actor)
        for resident in idle:
            self._devices.take(resident.placement)
        return None

    def _reusable(self, actor_kind: ActorKind) -> str:
        """An idle actor of another checkpoint of the series, in the same role; '' if there is none.

        It has no ready steps of its own, because `use_idle` comes first.
        """
        if actor_kind.model not in self._cluster.series:
            return ""
        group_of = self._cluster.actor_group
        idle = (resident for resident in self._idle if group_of(resident.actor_kind) == group_of(actor_kind))
        return next((resident.actor for resident in idle), "")

    # -- seconds -----------------------------------------------------------------------------------------------------

    def _remaining(self, actor_kind: ActorKind) -> float:
        """Seconds until the end of the study that this kind accounts for, with one more actor."""
        shared = self._queues.seconds_unfinished[actor_kind] / (self._num_actors[actor_kind] + 1)
        return max(self._queues.urgency_of(actor_kind), shared)

    def _share(self, actor_kind: ActorKind, num_new: int = 0) -> float:
        """Seconds of work for one request: a part of one actor's share of the queue.

        The queue is shared among the present actors, `num_new` new ones, and as many further ones as would pay and find
        room. An actor gets a part at a time, so that the later parts go to whichever actor is free. It gets everything
        (infinity) where even the empty cluster has no room for a second actor of this kind.
        """
        work, opening = self._work(actor_kind), self._opening(actor_kind)
        num_actors = self._num_actors[actor_kind] + num_new
        num_paying = int(work / opening) if opening else self._queues.num_ready(actor_kind)
        if num_paying > num_actors:
            room = self._devices.count(self._cluster.demands[actor_kind]) // len(self._ready)
            num_actors = max(num_actors, min(num_actors - num_new + room, num_paying))
        if num_actors == 1 and self._empty_cluster.count(self._cluster.demands[actor_kind]) <= 1:
            return math.inf
        return max(work / num_actors / PARTS, LEAST_OPENINGS * opening)

    def _gain(self, actor_kind: ActorKind, num_steps: int, seconds: float, work: float) -> float:
        """Seconds that one more actor would take over from the others.

        num_steps, seconds: of the steps to be shared, of which each spare actor gets one anyway. work: seconds of all
        steps that wait or run.
        """
        for_spare = min(1.0, self._num_spare[actor_kind] / num_steps) if num_steps else 0.0
        return min(seconds * (1 - for_spare), work / (self._num_actors[actor_kind] + 1))

    def _opening(self, actor_kind: ActorKind) -> float:
        """Estimated seconds until a new actor can answer."""
        return self._cluster.opening.get(actor_kind.model, 0.0)

    def _work(self, actor_kind: ActorKind) -> float:
        """Seconds of the steps that are ready or run."""
        return self._queues.seconds_ready(actor_kind) + self._queues.seconds_running[actor_kind]

    def _upcoming_soon(self, actor_kind: ActorKind) -> list[str]:
        return self._queues.upcoming_within(actor_kind, LEAST_OPENINGS * self._opening(actor_kind))

    def _long_upcoming(self) -> dict[ActorKind, list[str]]:
        """Long steps that will be ready soon, by kind, the most urgent kind first; see `LONG`."""
        work = sum(
            self._cluster.size(actor_kind) * seconds
            for actor_kind, seconds in self._queues.seconds_unfinished.items()
            if actor_kind in self._cluster.demands
        )
        least = LONG * work / (self._cluster.num_devices or 1.0)
        by_kind = {}
        for actor_kind in self._queues.upcoming_kinds():
            if long := [step for step in self._upcoming_soon(actor_kind) if self._queues.urgency[step] > least]:
                by_kind[actor_kind] = long
        return by_kind
