"""What a study would take on a cluster that is described, not there: which models fit, what runs side by side, hours.

Owns the words for such a cluster (`4x8@80`) and the summary of a simulation, model by model. Pure.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orchestrator.planning.plan import Plan
from orchestrator.scheduling.estimates import Rates, cluster_of, costs, memory_need, tensor_parallel
from orchestrator.scheduling.placement import Node
from orchestrator.scheduling.ready_queues import ActorKind
from orchestrator.scheduling.simulation import in_the_better_order
from orchestrator.steps.step import Role, State
from studies.errors import StudyError

GPU_GIB = 80
"""Memory of a GPU, where it is not said."""


class Fit(NamedTuple):
    """One model on the cluster."""

    model: str
    takes: str
    """What one of its actors takes."""
    need: int
    """Bytes of each GPU, or of its node without one."""
    available: int
    """Bytes, of the roomiest; 0 = not known."""
    lacking: str
    """What no node has for it; '' where it can be placed."""
    actors: int
    """At once, at most."""
    begins: float
    """Seconds after the start of the study."""
    ends: float
    device_hours: float

    @property
    def fits(self) -> bool:
        return not self.lacking and (self.need <= self.available or not self.available)


class Forecast(NamedTuple):
    """A study on a cluster, by the rates of the estimates."""

    where: str
    device: str
    """GPU or CPU."""
    models: tuple[Fit, ...]
    makespan: float
    """Seconds."""
    bound: float
    """Seconds; no schedule takes less."""

    @property
    def device_hours(self) -> float:
        return sum(model.device_hours for model in self.models)


def nodes_of(text: str) -> list[Node]:
    """`4x8@80`: four nodes of eight GPUs of 80 GiB each. Raises StudyError."""
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,2})(?:@([1-9]\d{0,3}))?", text)
    if found is None:
        raise StudyError(f"--on: {text!r} is no cluster; write NODESxGPUS, as in 4x8, or NODESxGPUS@GIB, as in 4x8@80")
    nodes, gpus, gib = int(found[1]), int(found[2]), int(found[3] or GPU_GIB)
    return [Node(f"{i}", cpus=16.0 * gpus, gpus=gpus, gpu_bytes=gib * 2**30) for i in range(nodes)]


def forecast(
    plan: Plan, done: Iterable[str], nodes: Sequence[Node], rates: Rates, *, where: str, memory: int = 0
) -> Forecast:
    """done: ids of the steps that are recorded; memory: of a node, for models without a GPU, 0 = not known."""
    cluster = cluster_of(plan, nodes, rates)
    states = {step: State.CACHED for step in done if step in plan.steps}
    cluster, simulation = in_the_better_order(plan.steps, costs(plan, cluster, rates), cluster, states)
    gpus = any(node.gpus for node in nodes)
    fits = []
    for model in plan.study.models:
        demand = cluster.demands[ActorKind(model.label, Role.ABLATION)]
        need = memory_need(model, on_gpu=demand.gpus > 0)
        available = memory
        if demand.gpus:
            need //= tensor_parallel(model, nodes)
            suited = (node.gpu_bytes for node in nodes if node.gpus and node.suits(demand.labels))
            available = int(max(suited, default=0) * min(1.0, demand.gpus))
        mine = [span for span in simulation.spans if span.actor_kind.model == model.label]
        fits.append(
            Fit(
                model=model.label,
                takes=str(demand),
                need=need,
                available=available,
                lacking=simulation.lacking.get(model.label, ""),
                actors=max((sum(o.start <= s.start < o.end for o in mine) for s in mine), default=0),
                begins=min((span.start for span in mine), default=0.0),
                ends=max((span.end for span in mine), default=0.0),
                device_hours=simulation.device_seconds(cluster, model.label) / 3600,
            )
        )
    return Forecast(where, "GPU" if gpus else "CPU", tuple(fits), simulation.makespan, simulation.bound)
