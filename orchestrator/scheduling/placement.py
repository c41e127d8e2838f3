"""Which devices an actor gets: nodes with labels, whole GPUs or a share of one. Pure accounting, no Ray.

Owns what is free and where the next actor goes: on the fullest node that has room, so that large ones stay whole. An
actor of several GPUs lies on one node where any node is that large, else over several. Invariant: the shares of one GPU
never sum to more than 1, nor the CPUs on a node to more than it has. Ray numbers the devices of a node by the same
rule, best fit; here they are only counted.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

ROUNDING = 1e-9
MANY = 10**6
"""Actors that take nothing, on one node."""


class Node(NamedTuple):
    """One machine of the cluster: what of it is ours to give."""

    id: str
    cpus: float
    gpus: int = 0
    labels: Mapping[str, str] = {}
    gpu_bytes: int = 0
    """Memory of one of its GPUs; 0 = not known."""

    def suits(self, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether it carries all of these labels."""
        return all(self.labels.get(name) == value for name, value in labels)


class Demand(NamedTuple):
    """What one actor takes."""

    cpus: float
    gpus: float
    """A share of one GPU, below 1, or whole ones."""
    labels: tuple[tuple[str, str], ...] = ()
    """What every node that it lies on must be labelled with."""
    copies: int = 1
    """All of the above so many times, each on one node: a score actor whose corpus is cut into shards."""

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
"""One bundle; one a node for an actor that no single node holds; one a copy, which may share nodes."""


class Devices:
    """What is free on some nodes while some actors hold their places."""

    def __init__(self, nodes: Iterable[Node], held: Iterable[Placement] = ()):
        self._nodes = {node.id: node for node in nodes}
        self._cpus = {node.id: node.cpus for node in self._nodes.values()}
        self._gpus = {node.id: [1.0] * node.gpus for node in self._nodes.values()}
        for placement in held:
            self.take(placement)

    def take(self, placement: Placement) -> None:
        """Count a placement as held; what lies on a node that is gone holds nothing."""
        self._add(placement, -1.0)

    def give_back(self, placement: Placement) -> None:
        self._add(placement, 1.0)

    def _add(self, placement: Placement, sign: float) -> None:
        for bundle in placement:
            if bundle.node in self._nodes:
                self._cpus[bundle.node] += sign * bundle.cpus
                for device, share in bundle.gpus:
                    self._gpus[bundle.node][device] += sign * share

    def place(self, demand: Demand, *, without: frozenset[str] = frozenset()) -> Placement | None:
        """Where an actor would go now; None where there is no room. `without`: nodes that are kept for another."""
        if demand.copies > 1:
            return self._place_copies(demand, without)
        suited = [node for node in self._suited(demand) if node.id not in without]
        found = ((self._room(node), bundle) for node in suited if (bundle := self._on(node, demand)))
        best = min(found, key=lambda one: one[0], default=None)
        if best is not None:
            return (best[1],)
        return self._spread(suited, demand) if self.must_spread(demand) else None

    def _place_copies(self, demand: Demand, without: frozenset[str]) -> Placement | None:
        one, placed = demand._replace(copies=1), []
        while len(placed) < demand.copies and (found := self.place(one, without=without)) is not None:
            self.take(found)
            placed.append(found)
        for found in placed:
            self.give_back(found)
        return tuple(bundle for found in placed for bundle in found) if len(placed) == demand.copies else None

    def must_spread(self, demand: Demand) -> bool:
        """Whether no single node would hold it, even an empty one."""
        return demand.gpus > 1 and not any(node.gpus >= demand.gpus for node in self._suited(demand))

    def count(self, demand: Demand) -> int:
        """How many such actors would find room now, each on one node."""
        return sum(self._count_on(node, demand) for node in self._suited(demand)) // demand.copies

    def _count_on(self, node: Node, demand: Demand) -> int:
        free = self._gpus[node.id]
        if demand.gpus < 1:
            by_gpu = sum(int((share + ROUNDING) / demand.gpus) for share in free) if demand.gpus else None
        else:
            by_gpu = sum(share > 1 - ROUNDING for share in free) // int(demand.gpus)
        by_cpu = int((self._cpus[node.id] + ROUNDING) / demand.cpus) if demand.cpus else None
        return min(found for found in (by_gpu, by_cpu, MANY) if found is not None)

    def roomiest(self, demand: Demand) -> str | None:
        """The node to keep for an actor that waits: of those that would hold it when empty, the one freest now."""
        whole = [node for node in self._suited(demand) if node.cpus >= demand.cpus and node.gpus >= demand.gpus]
        free = ((self._room(node), node.id) for node in whole)
        return max(free, default=(None, None))[1]

    def _suited(self, demand: Demand) -> list[Node]:
        return [node for node in self._nodes.values() if node.suits(demand.labels)]

    def _on(self, node: Node, demand: Demand) -> Bundle | None:
        """The demand on this one node, if it has room."""
        if demand.cpus > self._cpus[node.id] + ROUNDING:
            return None
        free = self._gpus[node.id]
        if 0 < demand.gpus < 1:
            best = min(((share, i) for i, share in enumerate(free) if share + ROUNDING >= demand.gpus), default=None)
            return best and Bundle(node.id, demand.cpus, ((best[1], demand.gpus),))
        whole = [i for i, share in enumerate(free) if share > 1 - ROUNDING][: int(demand.gpus)]
        if len(whole) < demand.gpus:
            return None
        return Bundle(node.id, demand.cpus, tuple((device, 1.0) for device in whole))

    def _room(self, node: Node) -> tuple[float, float]:
        return sum(self._gpus[node.id]), self._cpus[node.id]

    def _spread(self, suited: list[Node], demand: Demand) -> Placement | None:
        """Whole GPUs over as few nodes as possible, each with its share of the CPUs."""
        free = {node.id: [i for i, share in enumerate(self._gpus[node.id]) if share > 1 - ROUNDING] for node in suited}
        each, left, bundles = demand.cpus / demand.gpus, int(demand.gpus), []
        for node in sorted(suited, key=lambda node: -len(free[node.id])):
            room = int((self._cpus[node.id] + ROUNDING) / each) if each else left
            if devices := free[node.id][: min(left, room)]:
                bundles.append(Bundle(node.id, each * len(devices), tuple((device, 1.0) for device in devices)))
                left -= len(devices)
        return tuple(bundles) if not left else None
