"""Resident actors by name: created, streamed from, evicted; every event comes back as plain data.

Owns all contact with Ray's nodes, and with its actors from the outside. An actor is a `Host`; it lies where the
scheduler placed it, on one node or, in a placement group, on several. Closing is orderly first (engines shut their
worker processes down), then the actor is killed. An actor that dies or falls silent becomes an `ActorLost` event, never
an exception.
"""

import contextlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.autoscaler.sdk import request_resources
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.messages import ActorLost, Finished, ModelSource, OutOfMemory, RequestFailed
from orchestrator.execution.host import Host, one_line
from orchestrator.scheduling.placement import Demand, Devices, Node, Placement
from orchestrator.scheduling.policy import Resident, Start
from orchestrator.steps.step import Role

log = logging.getLogger(__name__)

ACTOR_CLASSES = {Role.SCORE: "actors.scoring.actor:ScoreActor", Role.ABLATION: "actors.ablation.actor:AblationActor"}
ONCE: Mapping[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
"""What is lost is started again by the scheduler alone."""
CLOSE_SECONDS = 20.0
OTHERS_SECONDS = 30.0
"""How long to wait in silence for room that others hold; what we gave up ourselves is free sooner."""
NODES_SECONDS = 2.0
"""How old the list of nodes may be."""

GPU_GIB = {
    "T4": 15, "V100": 16, "A10G": 22, "L4": 22, "A100": 39, "L40S": 44, "H100": 79, "H20": 95, "RTX-PRO-6000": 95,
    "H200": 140, "B200": 178, "GB200": 184, "B300": 268, "GB300": 277,
}  # fmt: skip
"""{Ray's word for an accelerator: its memory}; of an A100, which comes in two sizes, the smaller."""


@dataclass(slots=True, kw_only=True)
class _Hosted:
    model: str
    role: Role
    placement: Placement
    handle: Any
    group: Any
    """The placement group of an actor on several nodes, or with others beside it; else None."""
    stream: Any = None
    prewarming: bool = False
    """Whether it streams no request but its opening."""
    last_event: float = 0.0


class Pool:
    """Resident actors of one driver; use as a context manager, so that no process outlives it."""

    def __init__(
        self,
        sources: Mapping[str, ModelSource],
        *,
        silence_seconds: float = 1800.0,
        patience_seconds: float = 0.0,
    ):
        """sources: by model; silence_seconds: after so long without a message (loading a model sends none) an actor
        counts as hanging; patience_seconds: how long to wait for a node that holds what none that is there would."""
        self.sources = sources
        self._silence_seconds, self._patience_seconds = silence_seconds, patience_seconds
        self._hosted: dict[str, _Hosted] = {}
        self._nodes: list[Node] = []
        self._whole: list[Node] = []
        self._nodes_at = -math.inf
        self._lacking: dict[Demand, float] = {}
        self._waiting: dict[Demand, float] = {}
        self._wanted: list[Demand] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exception) -> None:
        for actor in list(self._hosted):
            self.evict(actor)
        self.want([])

    # -- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """The living nodes, at most a few seconds old, without what others have taken of them."""
        if time.monotonic() - self._nodes_at > NODES_SECONDS:
            self._whole, self._nodes_at = [_node(one) for one in ray.nodes() if one["Alive"]], time.monotonic()
            free, ours = available_resources_per_node(), self._ours()
            self._nodes = [
                _without_others(one, free.get(one.id, {}), ours.get(one.id, (0.0, 0.0))) for one in self._whole
            ]
        return self._nodes

    def want(self, demands: Sequence[Demand]) -> None:
        """Tell an autoscaler, where there is one, which actors should find room side by side."""
        if not self._patience_seconds or (wanted := sorted(demands)) == self._wanted:
            return
        self._wanted = wanted
        request_resources(
            bundles=[_resources(one.cpus, one.gpus) for one in wanted for _ in range(one.copies)],
            bundle_label_selectors=[dict(one.labels) for one in wanted for _ in range(one.copies)],
        )

    def _ours(self) -> dict[str, tuple[float, float]]:
        """{node: (CPUs, GPUs) of our actors}."""
        found: dict[str, tuple[float, float]] = {}
        for hosted in self._hosted.values():
            for bundle in hosted.placement:
                cpus, gpus = found.get(bundle.node, (0.0, 0.0))
                found[bundle.node] = cpus + bundle.cpus, gpus + sum(share for _, share in bundle.gpus)
        return found

    def why_unplaceable(self, demand: Demand) -> str:
        """Why waiting for room for this demand is of no use; '' while others have what it needs, or a node may come."""
        if Devices(self._whole).place(demand) is not None:
            if time.monotonic() > self._waiting.setdefault(demand, time.monotonic()) + OTHERS_SECONDS:
                log.warning("waiting for %s, which others on this cluster hold", demand)
                self._waiting[demand] = math.inf
            return ""
        if demand not in self._lacking:
            self._lacking[demand] = time.monotonic()
            if self._patience_seconds:
                log.warning("no node has %s; waiting for one up to %.0f s", demand, self._patience_seconds)
        if time.monotonic() - self._lacking[demand] < self._patience_seconds:
            return ""
        sizes = sorted({f"{node.gpus} GPUs, {node.cpus:g} CPUs" for node in self._whole})
        return f"it needs {demand}; the nodes have: {' or '.join(sizes) or 'nothing'}"

    # -- actors ------------------------------------------------------------------------------------------------------

    def residents(self) -> dict[str, Resident]:
        """What the scheduler needs to know, by actor."""
        return {
            actor: Resident(
                actor=actor,
                model=hosted.model,
                role=hosted.role,
                busy=hosted.stream is not None,
                prewarming=hosted.stream is not None and hosted.prewarming,
                placement=hosted.placement,
            )
            for actor, hosted in self._hosted.items()
        }

    def start(self, start: Start, method: str = "", request: Any = None) -> None:
        """Stream a request from the actor, which is opened where it was placed, or takes another checkpoint's place.

        Without a method it is only opened.
        """
        if start.actor not in self._hosted:
            self._hosted[start.actor] = _open(start)
        hosted = self._hosted[start.actor]
        hosted.model = start.model
        source, several = self.sources[start.model], hosted.group is not None
        if start.role is Role.ABLATION:
            source = replace(source, over_nodes=several)
        elif source.threads is not None:
            source = replace(source, threads=int(hosted.placement[0].cpus))
        hosted.stream = hosted.handle.stream.options(num_returns="streaming").remote(source, method, request)
        hosted.prewarming, hosted.last_event = not method, time.monotonic()

    def wait(self, timeout: float) -> list[tuple[str, Any]]:
        """(actor, message) pairs; empty after `timeout` seconds without any."""
        streams = {hosted.stream: actor for actor, hosted in self._hosted.items() if hosted.stream is not None}
        if not streams:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=timeout)
        events = [(streams[stream], self._next(streams[stream])) for stream in ready]
        for actor, hosted in list(self._hosted.items()):
            if hosted.stream is not None and time.monotonic() - hosted.last_event > self._silence_seconds:
                self.evict(actor)
                events.append((actor, ActorLost(reason=f"no sign of life for {self._silence_seconds:g} s")))
        return events

    def evict(self, actor: str) -> None:
        """Close the actor in order, then kill it."""
        hosted = self._hosted.pop(actor)
        if hosted.stream is None:
            with contextlib.suppress(ray.exceptions.RayError):  # it is killed next, whatever it says
                ray.get(hosted.handle.close.remote(), timeout=CLOSE_SECONDS)
        _kill(hosted)

    def _next(self, actor: str) -> Any:
        hosted = self._hosted[actor]
        hosted.last_event = time.monotonic()
        try:
            message = ray.get(next(hosted.stream))
        except StopIteration:
            hosted.stream = None
            return Finished()
        except ray.exceptions.RayError as error:  # it died, its node died, it cannot be placed, its message was lost
            _kill(self._hosted.pop(actor))  # out of reach, it may still hold its memory
            self._nodes_at = -math.inf
            return ActorLost(reason=one_line(str(error).strip().split("\n")[0]))
        if isinstance(message, RequestFailed | OutOfMemory | ActorLost):
            hosted.stream = None
            self.evict(actor)
        return message


def _open(start: Start) -> _Hosted:
    bundles = start.placement
    whole = [_resources(bundle.cpus, sum(share for _, share in bundle.gpus)) for bundle in bundles]
    options, beside, group = _options(whole[0]), (), None
    if len(bundles) == 1:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(bundles[0].node, soft=False)
    else:
        nodes, parts = [bundle.node for bundle in bundles], whole
        if start.role is Role.ABLATION:  # vLLM's workers are its child tasks, one a GPU
            nodes = [bundle.node for bundle in bundles for _ in bundle.gpus]
            parts = [_resources(bundle.cpus / len(bundle.gpus), 1.0) for bundle in bundles for _ in bundle.gpus]
            options = {**ONCE, "num_cpus": parts[0]["CPU"], "num_gpus": 0}
        else:
            beside = len(bundles) - 1, options
        where = [{"ray.io/node-id": node} for node in nodes]
        group = placement_group(parts, strategy="PACK", bundle_label_selector=where)
        options = options | {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        }
    handle = ray.remote(Host).options(**options).remote(ACTOR_CLASSES[start.role], *beside)
    return _Hosted(model=start.model, role=start.role, placement=bundles, handle=handle, group=group)


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    """As Ray names them."""
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Ray's options of an actor with these resources."""
    gpus = resources.get("GPU", 0.0)
    options: dict[str, Any] = {**ONCE, "num_cpus": resources["CPU"], "num_gpus": gpus}
    if not gpus:  # Ray leaves an actor without GPUs all of the node's
        options["runtime_env"] = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
    return options


def _kill(hosted: _Hosted) -> None:
    ray.kill(hosted.handle, no_restart=True)
    if hosted.group is not None:
        remove_placement_group(hosted.group)


def _node(told: Mapping[str, Any]) -> Node:
    """One of `ray.nodes()`, whole."""
    resources, labels = told["Resources"], told["Labels"]
    return Node(
        id=told["NodeID"],
        cpus=resources.get("CPU", 0.0),
        gpus=int(resources.get("GPU", 0.0)),
        labels=labels,
        gpu_bytes=GPU_GIB.get(labels.get("ray.io/accelerator-type", ""), 0) * 2**30,
    )


def _without_others(node: Node, free: Mapping[str, float], ours: tuple[float, float]) -> Node:
    """What is neither free nor ours belongs to others. Ray tells of what was just taken or given back a little late."""
    cpus = node.cpus - max(0.0, node.cpus - free.get("CPU", 0.0) - ours[0])
    gpus = node.gpus - math.ceil(max(0.0, node.gpus - free.get("GPU", 0.0) - ours[1]) - 1e-6)
    return node._replace(cpus=cpus, gpus=max(gpus, 0))
