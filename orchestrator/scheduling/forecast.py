"""What a study would take on a cluster that need not exist: which models fit, what runs side by side, and the hours.

Owns the notation for such a cluster (`4x8@80`), the summary of a simulated run by model, and its JSON form. Pure: the
nodes come in as data. Invariant: times follow from `estimates` and `simulation` alone, so a forecast repeats exactly.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.cluster import ActorKind, Cluster
from orchestrator.scheduling.estimates import Rates, cluster_of, costs, host_memory_need, memory_need, tensor_parallel
from orchestrator.scheduling.placement import Node
from orchestrator.scheduling.simulation import Simulation, simulate_best_order
from orchestrator.steps.step import Role, State
from studies.errors import StudyError

GPU_GIB = 80
"""Memory of one GPU in GiB, unless the notation gives it."""


class Fit(NamedTuple):
    """One model on the cluster."""

    model: str
    dtype: str
    demand: str
    """Resources of one of its ablation actors, in words."""
    need: int
    """Bytes needed on each GPU, or on the node of an actor without a GPU."""
    available: int
    """Bytes on the largest GPU or node; 0 = unknown."""
    lacking: str
    """Resources that no node has for it; '' if it can be placed."""
    actors: int
    """Largest number of its actors that work at the same time."""
    begins: float
    """Seconds after the start of the study."""
    ends: float
    """Seconds after the start of the study."""
    device_hours: float
    on_gpu: bool = False

    @property
    def fits(self) -> bool:
        return not self.lacking and (self.need <= self.available or not self.available)

    def as_json(self) -> dict[str, object]:
        """The keys of `plan --json`, which do not follow the names of the fields."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            "takes": self.demand,
            "need": self.need,
            "available": self.available,
            "lacking": self.lacking,
            "actors": self.actors,
            "begins": self.begins,
            "ends": self.ends,
            "device_hours": self.device_hours,
            "fits": self.fits,
        }


class Forecast(NamedTuple):
    """A study on a cluster, by estimated rates."""

    where: str
    """The cluster, as the user wrote it or in words."""
    device: str
    """GPU or CPU: what `device_hours` counts."""
    models: tuple[Fit, ...]
    makespan: float
    """Seconds from the first step to the last."""
    bound: float
    """Seconds; no schedule is faster."""
    float32_factor: float = 1.0
    """How many times as long as 16 bits float32 takes on a GPU."""

    @property
    def in_float32(self) -> list[str]:
        """The models that compute in float32 on GPUs."""
        return [model.model for model in self.models if model.on_gpu and model.dtype == "float32"]

    @property
    def device_hours(self) -> float:
        return sum(model.device_hours for model in self.models)

    def as_json(self) -> dict[str, object]:
        """The keys of `plan --json`, which do not follow the names of the fields."""
        return {
            "where": self.where,
            "device": self.device,
            "models": [model.as_json() for model in self.models],
            "makespan": self.makespan,
            "bound": self.bound,
            "device_hours": self.device_hours,
        }


def parse_nodes(text: str) -> list[Node]:
    """`4x8@80` -> four nodes with eight GPUs of 80 GiB each; 16 CPUs a GPU. Raises StudyError for any other form."""
    parts = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,2})(?:@([1-9]\d{0,3}))?", text)
    if parts is None:
        raise StudyError(f"--on: {text!r} is not a cluster; write NODESxGPUS or NODESxGPUS@GIB, as in 4x8 or 4x8@80")
    nodes, gpus, gib = int(parts[1]), int(parts[2]), int(parts[3] or GPU_GIB)
    return [Node(f"{i}", cpus=16.0 * gpus, gpus=gpus, gpu_bytes=gib * 2**30) for i in range(nodes)]


def forecast(
    plan: Plan, done: Iterable[str], nodes: Sequence[Node], rates: Rates, *, where: str, memory: int = 0
) -> Forecast:
    """Simulate what is left of a study on these nodes.

    done: ids of recorded steps, which take no time. where: a name for the nodes. memory: bytes of a node, for models
    without a GPU; 0 = unknown.
    """
    cluster = cluster_of(plan, nodes, rates)
    states: Mapping[str, State] = {step: State.CACHED for step in done if step in plan.steps}
    cluster, simulation = simulate_best_order(plan.steps, costs(plan, cluster, rates), cluster, states)
    fits = tuple(_fit(plan, model, nodes, cluster, simulation, memory) for model in plan.study.models)
    device = "GPU" if any(node.gpus for node in nodes) else "CPU"
    factor = rates.gpu["bfloat16"] / rates.gpu["float32"]
    return Forecast(where, device, fits, simulation.makespan, simulation.bound, factor)


def _fit(
    plan: Plan, model: ResolvedModel, nodes: Sequence[Node], cluster: Cluster, simulation: Simulation, node_memory: int
) -> Fit:
    demand, profile = cluster.demands[ActorKind(model.label, Role.ABLATION)], plan.study.spec.profile
    need, available = host_memory_need(model), node_memory
    if demand.gpus:
        need = memory_need(model, profile, tensor_parallel(model, nodes, profile), nodes)
        gpu_bytes = (node.gpu_bytes for node in nodes if node.gpus and node.suits(demand.labels))
        available = int(max(gpu_bytes, default=0) * min(1.0, demand.gpus))
    spans = [span for span in simulation.spans if span.actor_kind.model == model.label]
    concurrent = (sum(other.start <= span.start < other.end for other in spans) for span in spans)
    return Fit(
        model=model.label,
        dtype=model.dtype,
        demand=str(demand),
        need=need,
        available=available,
        lacking=simulation.lacking.get(model.label, ""),
        actors=max(concurrent, default=0),
        begins=min((span.start for span in spans), default=0.0),
        ends=max((span.end for span in spans), default=0.0),
        device_hours=simulation.device_seconds(cluster, model.label) / 3600,
        on_gpu=demand.gpus > 0,
    )
