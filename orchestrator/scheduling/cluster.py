"""The scheduler's picture of a cluster: its nodes, what each kind of actor needs, and the actors that hold a model now.

Plain data, handed in by the caller at every turn. Knows neither steps nor Ray. Invariant: actors of one actor group,
and no others, can stand in for each other, because their weights can be exchanged in place.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.scheduling.placement import Demand, Node, Placement
from orchestrator.steps.step import Role

ActorGroup = tuple[str, str, Role]
"""("series", its name, role) or ("model", its label, role)."""


class ActorKind(NamedTuple):
    """One model in one role: all actors of a kind can run the same steps."""

    model: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An actor that holds a model now."""

    actor: str
    """Its name."""
    model: str
    role: Role
    busy: bool
    prewarming: bool = False
    """Whether it is only being opened, before its first steps are ready."""
    placement: Placement = ()

    @property
    def actor_kind(self) -> ActorKind:
        return ActorKind(self.model, self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The nodes, and what the scheduler must know about the study's actors."""

    nodes: Collection[Node]
    demands: Mapping[ActorKind, Demand]
    """Resources of one actor of each kind."""
    opening: Mapping[str, float]
    """{model: estimated seconds until a new actor of it can answer}."""
    series: Mapping[str, str]
    """{model: its series}, for models that are checkpoints of a training run; others are absent."""
    longest_first: bool = False
    """Which of the scheduler's two orders to use; see `policy`."""

    @property
    def num_devices(self) -> float:
        """GPUs, or CPUs where no node has a GPU."""
        return sum(node.gpus for node in self.nodes) or sum(node.cpus for node in self.nodes)

    def size(self, actor_kind: ActorKind) -> float:
        """Devices that one actor of this kind occupies, in the unit of `num_devices`."""
        demand = self.demands[actor_kind]
        return demand.copies * (demand.gpus if any(node.gpus for node in self.nodes) else demand.cpus)

    def wanted(self, num_unfinished: Mapping[ActorKind, int]) -> list[Demand]:
        """Resources for one actor per role of every unfinished model or series, for an autoscaler.

        num_unfinished: steps without a terminal state, by kind of actor.
        """
        one_per_group = {
            self.actor_group(actor_kind): actor_kind
            for actor_kind, count in num_unfinished.items()
            if count and actor_kind in self.demands
        }
        return [self.demands[actor_kind] for actor_kind in one_per_group.values()]

    def actor_group(self, actor_kind: ActorKind) -> ActorGroup:
        """The interchangeable actors that this kind belongs to: those of a series, or of one model, in one role."""
        model, role = actor_kind
        return ("series", self.series[model], role) if model in self.series else ("model", model, role)
