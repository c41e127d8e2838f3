"""Which devices an actor gets: nodes with labels, whole GPUs or a share of one. Pure accounting, no Ray.

Owns what is free and where the next actor goes: to the fullest node that has room, so that large nodes stay empty. An
actor with several GPUs goes to one node if any node is that large, otherwise to several. Invariant: the shares of one
GPU never sum to more than 1, nor the CPUs on a node to more than it has. Ray assigns the devices of a node by the same
rule, best fit; here they are only counted.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

ROUNDING = 1e-9
MANY = 10**6
"""How many actors without any demand fit one node."""


class Node(NamedTuple):
    """One machine of the cluster, less what others use of it."""

    id: str
    cpus: float
    gpus: int = 0
    labels: Mapping[str, str] = {}
    gpu_bytes: int = 0
    """Memory of one of its GPUs; 0 = unknown."""

    def suits(self, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether the node carries all of these labels."""
        return all(self.labels.get(name) == value for name, value in labels)


class Demand(NamedTuple):
    """Resources of one actor."""

    cpus: float
    gpus: float
    """A share of one GPU, below 1, or a whole number of GPUs."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that every node of the actor must carry."""
    copies: int = 1
    """Number of processes with these resources, each on one node: a score actor whose corpus is cut into shards."""

    def __str__(self) -> str:
        parts = [f"{self.gpus:g} GPUs"] if self.gpus else []
        parts += [f"{self.cpus:g} CPUs", *(f"{name}: {value}" for name, value in self.labels)]
        return ", ".join(parts) if self.copies == 1 else f"{self.copies} times ({', '.join(parts)})"


class Bundle(NamedTuple):
    """An actor's part of one node."""

    node: str
    cpus: float
    gpus: tuple[tuple[int, float], ...] = ()
    """(device, share) pairs."""


Placement = tuple[Bundle, ...]
"""One bundle; one for each node of an actor that no single node holds; or one for each copy, which may share nodes."""


class Devices:
    """The free devices of some nodes while some actors hold theirs."""

    def __init__(self, nodes: Iterable[Node], held: Iterable[Placement] = ()):
        self._nodes = {node.id: node for node in nodes}
        self._cpus = {node.id: node.cpus for node in self._nodes.values()}
        self._gpus = {node.id: [1.0] * node.gpus for node in self._nodes.values()}
        """{node: free share of each of its GPUs}."""
        for placement in held:
            self.take(placement)

    def take(self, placement: Placement) -> None:
        """Mark a placement as held. Its bundles on nodes that are gone are ignored."""
        self._add(placement, -1.0)

    def give_back(self, placement: Placement) -> None:
        """Mark a placement as free again."""
        self._add(placement, 1.0)

    def _add(self, placement: Placement, sign: float) -> None:
        for bundle in placement:
            if bundle.node in self._nodes:
                self._cpus[bundle.node] += sign * bundle.cpus
                for device, share in bundle.gpus:
                    self._gpus[bundle.node][device] += sign * share

    def place(self, demand: Demand, *, without: frozenset[str] = frozenset()) -> Placement | None:
        """Where an actor would go now; None where there is no room. `without`: nodes that are reserved for others."""
        if demand.copies > 1:
            return self._place_copies(demand, without)
        suited = [node for node in self._suited(demand) if node.id not in without]
        candidates = ((self._room(node), bundle) for node in suited if (bundle := self._bundle_on(node, demand)))
        best = min(candidates, key=lambda candidate: candidate[0], default=None)
        if best is not None:
            return (best[1],)
        return self._spread(suited, demand) if self.must_spread(demand) else None

    def _place_copies(self, demand: Demand, without: frozenset[str]) -> Placement | None:
        copy = demand._replace(copies=1)
        placed: list[Placement] = []
        while len(placed) < demand.copies and (placement := self.place(copy, without=without)) is not None:
            self.take(placement)
            placed.append(placement)
        for placement in placed:
            self.give_back(placement)
        if len(placed) < demand.copies:
            return None
        return tuple(bundle for placement in placed for bundle in placement)

    def must_spread(self, demand: Demand) -> bool:
        """Whether no single node has that many GPUs, even when empty."""
        return demand.gpus > 1 and not any(node.gpus >= demand.gpus for node in self._suited(demand))

    def count(self, demand: Demand) -> int:
        """How many such actors have room now; actors that spread over nodes are not counted."""
        return sum(self._count_on(node, demand) for node in self._suited(demand)) // demand.copies

    def _count_on(self, node: Node, demand: Demand) -> int:
        free, limits = self._gpus[node.id], [MANY]
        if demand.gpus >= 1:
            limits.append(sum(share > 1 - ROUNDING for share in free) // int(demand.gpus))
        elif demand.gpus:
            limits.append(sum(int((share + ROUNDING) / demand.gpus) for share in free))
        if demand.cpus:
            limits.append(int((self._cpus[node.id] + ROUNDING) / demand.cpus))
        return min(limits)

    def roomiest(self, demand: Demand) -> str | None:
        """The node to reserve for an actor that waits: the freest one now, of those that hold it when empty."""
        large_enough = [node for node in self._suited(demand) if node.cpus >= demand.cpus and node.gpus >= demand.gpus]
        return max(((self._room(node), node.id) for node in large_enough), default=(None, None))[1]

    def _suited(self, demand: Demand) -> list[Node]:
        return [node for node in self._nodes.values() if node.suits(demand.labels)]

    def _bundle_on(self, node: Node, demand: Demand) -> Bundle | None:
        """The demand on this one node, if it has room."""
        if demand.cpus > self._cpus[node.id] + ROUNDING:
            return None
        free = self._gpus[node.id]
        if 0 < demand.gpus < 1:
            best = min(((share, i) for i, share in enumerate(free) if share + ROUNDING >= demand.gpus), default=None)
            return best and Bundle(node.id, demand.cpus, ((best[1], demand.gpus),))
        whole = self._whole_gpus(node)[: int(demand.gpus)]
        if len(whole) < demand.gpus:
            return None
        return Bundle(node.id, demand.cpus, tuple((device, 1.0) for device in whole))

    def _whole_gpus(self, node: Node) -> list[int]:
        """GPUs of which no share is held."""
        return [device for device, share in enumerate(self._gpus[node.id]) if share > 1 - ROUNDING]

    def _room(self, node: Node) -> tuple[float, float]:
        """Sorts nodes from full to empty."""
        return sum(self._gpus[node.id]), self._cpus[node.id]

    def _spread(self, suited: list[Node], demand: Demand) -> Placement | None:
        """Whole GPUs on as few nodes as possible; the CPUs follow in proportion."""
        whole = {node.id: self._whole_gpus(node) for node in suited}
        cpus_per_gpu, left = demand.cpus / demand.gpus, int(demand.gpus)
        bundles = []
        for node in sorted(suited, key=lambda node: -len(whole[node.id])):
            room = int((self._cpus[node.id] + ROUNDING) / cpus_per_gpu) if cpus_per_gpu else left
            if devices := whole[node.id][: min(left, room)]:
                cpus = cpus_per_gpu * len(devices)
                bundles.append(Bundle(node.id, cpus, tuple((device, 1.0) for device in devices)))
                left -= len(devices)
        return tuple(bundles) if not left else None
