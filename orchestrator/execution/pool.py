"""Resident actors by name: opened, streamed from, closed; every event comes back as plain data.

Owns all contact with Ray's nodes and, from the outside, with its actors. An actor is a `Host`; it runs where the
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

from actors.messages.model import ModelSource
from actors.messages.stream import ActorLost, Finished, OutOfMemory, RequestFailed
from orchestrator.execution.head import Head, HeadLost
from orchestrator.execution.host import Host
from orchestrator.scheduling.cluster import Resident
from orchestrator.scheduling.decisions import Start
from orchestrator.scheduling.placement import Demand, Devices, Node, Placement
from orchestrator.steps.step import Role
from studies.errors import first_line

log = logging.getLogger(__name__)

ACTOR_CLASSES = {Role.SCORE: "actors.scoring.actor:ScoreActor", Role.ABLATION: "actors.ablation.actor:AblationActor"}
NO_RETRIES: Mapping[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
"""Ray's options without retries: only the scheduler restarts what is lost."""
CLOSE_SECONDS = 20.0
END_SECONDS = 1.0
"""How long the end of an answer may come after its last message."""
DEAF_SECONDS = 5.0
"""Longest time between two waits, beyond their timeout, that counts as the silence of an actor."""
OTHERS_SECONDS = 30.0
"""Seconds to wait for room that others hold before a warning; devices that this driver releases are free sooner."""
NODES_SECONDS = 2.0
"""Age at which the list of nodes is read again."""

GPU_GIB = {
    "T4": 15, "V100": 16, "A10G": 22, "L4": 22, "A100": 39, "L40S": 44, "H100": 79, "H20": 95, "RTX-PRO-6000": 95,
    "H200": 140, "B200": 178, "GB200": 184, "B300": 268, "GB300": 277,
}  # fmt: skip
"""{Ray's name of an accelerator: its memory, GiB}; an A100 comes in two sizes, and the smaller one counts."""


@dataclass(slots=True, kw_only=True)
class _Hosted:
    """One actor, as the pool keeps it."""

    model: str
    role: Role
    placement: Placement
    handle: Any
    group: Any
    """The placement group of an actor on several nodes or with siblings; else None."""
    stream: Any = None
    """Ray's generator of messages; None while the actor is idle."""
    prewarming: bool = False
    """Whether it is only being opened, without a request."""
    last_event: float = 0.0
    """When its last message came, on the pool's clock `_listened`."""


class Pool:
    """The resident actors of one driver. Use it as a context manager, so that no process outlives it."""

    def __init__(
        self,
        sources: Mapping[str, ModelSource],
        *,
        silence_seconds: float = 1800.0,
        patience_seconds: float = 0.0,
    ) -> None:
        """sources: by model label. silence_seconds: an actor without a message for this long counts as hanging; loading
        a model sends none. patience_seconds: how long to wait for a node that can hold what no present node can."""
        self.sources = sources
        self._silence_seconds, self._patience_seconds = silence_seconds, patience_seconds
        self._hosted: dict[str, _Hosted] = {}
        self._head = Head(ray.get_runtime_context().gcs_address)
        self._listened = 0.0
        """Seconds so far, without those in which the driver was stopped or busy and could not have heard an actor."""
        self._last_wait = time.monotonic()
        self._nodes: list[Node] = []
        self._whole: list[Node] = []
        self._nodes_at = -math.inf
        self._lacking: dict[Demand, float] = {}
        self._waiting: dict[Demand, float] = {}
        self._wanted: list[Demand] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, HeadLost):  # no call returns; the actors end with their nodes
            self._hosted.clear()
            return
        for actor in list(self._hosted):
            self.evict(actor)
        self.want([])

    # -- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """The living nodes, without what others have taken of them; the list is at most a few seconds old. Raises
        HeadLost."""
        if time.monotonic() - self._nodes_at > NODES_SECONDS:
            found, free = self._head.ask(lambda: (ray.nodes(), available_resources_per_node()))
            self._whole, ours = [_node(entry) for entry in found if entry["Alive"]], self._ours()
            self._nodes_at = time.monotonic()
            self._nodes = [
                _without_others(node, free.get(node.id, {}), ours.get(node.id, (0.0, 0.0))) for node in self._whole
            ]
        return self._nodes

    def want(self, demands: Sequence[Demand]) -> None:
        """Tell the autoscaler, if there is one, which actors should find room side by side."""
        if not self._patience_seconds or (wanted := sorted(demands)) == self._wanted:
            return
        self._wanted = wanted
        bundles = [_resources(demand.cpus, demand.gpus) for demand in wanted for _ in range(demand.copies)]
        labels = [dict(demand.labels) for demand in wanted for _ in range(demand.copies)]
        self._head.ask(lambda: request_resources(bundles=bundles, bundle_label_selectors=labels))

    def _ours(self) -> dict[str, tuple[float, float]]:
        """{node: (CPUs, GPUs) of this driver's actors}."""
        taken: dict[str, tuple[float, float]] = {}
        for hosted in self._hosted.values():
            for bundle in hosted.placement:
                cpus, gpus = taken.get(bundle.node, (0.0, 0.0))
                taken[bundle.node] = cpus + bundle.cpus, gpus + sum(share for _, share in bundle.gpus)
        return taken

    def why_unplaceable(self, demand: Demand) -> str:
        """Why waiting for room is useless; empty while others hold what is needed, or a node may still come."""
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
        """{actor: what the scheduler needs to know about it}."""
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
        """Send a request to an actor, which is opened where it was placed if it is new, and reloads if it holds
        another checkpoint. Without a method the actor is only opened. Raises HeadLost."""
        if start.actor not in self._hosted:
            self._hosted[start.actor] = self._head.ask(lambda: _open(start))
        hosted = self._hosted[start.actor]
        hosted.model = start.model
        source = self.sources[start.model]
        if start.role is Role.ABLATION:
            source = replace(source, over_nodes=hosted.group is not None)
        elif source.threads is not None:
            source = replace(source, threads=int(hosted.placement[0].cpus))
        hosted.stream = hosted.handle.stream.options(num_returns="streaming").remote(source, method, request)
        hosted.prewarming, hosted.last_event = not method, self._listened

    def wait(self, timeout: float) -> list[tuple[str, Any]]:
        """(actor, message) pairs that have arrived; none after `timeout` seconds without any. Raises HeadLost."""
        self._head.answers()
        streams = {hosted.stream: actor for actor, hosted in self._hosted.items() if hosted.stream is not None}
        if not streams:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(list(streams), num_returns=1, timeout=timeout)
        now = time.monotonic()
        self._listened += min(now - self._last_wait, timeout + DEAF_SECONDS)
        self._last_wait = now
        events = [(streams[stream], self._next(streams[stream])) for stream in ready]
        for actor, hosted in list(self._hosted.items()):
            if hosted.stream is not None and self._listened - hosted.last_event > self._silence_seconds:
                self.evict(actor)
                events.append((actor, ActorLost(reason=f"no sign of life for {self._silence_seconds:g} s")))
        return events

    def evict(self, actor: str) -> None:
        """Close an actor in order, then kill it. Raises HeadLost."""
        hosted = self._hosted.pop(actor)
        if _read_to_end(hosted):
            with contextlib.suppress(ray.exceptions.RayError):  # it is killed next in any case
                ray.get(hosted.handle.close.remote(), timeout=CLOSE_SECONDS)
        self._head.ask(lambda: _kill(hosted))

    def _next(self, actor: str) -> Any:
        hosted = self._hosted[actor]
        hosted.last_event = self._listened
        try:
            message = ray.get(next(hosted.stream))
        except StopIteration:
            hosted.stream = None
            return Finished()
        except ray.exceptions.RayError as error:  # it died, its node died, it cannot be placed, its message was lost
            lost = self._hosted.pop(actor)
            self._head.ask(lambda: _kill(lost))  # out of reach, it may still hold its memory
            self._nodes_at = -math.inf
            return ActorLost(reason=first_line(error))
        if isinstance(message, RequestFailed | OutOfMemory | ActorLost):
            hosted.stream = None
            self.evict(actor)
        return message


def _read_to_end(hosted: _Hosted) -> bool:
    """Read the rest of what an actor says; returns whether its answer has ended, so that it can be asked to close."""
    deadline = time.monotonic() + END_SECONDS
    while hosted.stream is not None and (left := deadline - time.monotonic()) > 0:
        if not ray.wait([hosted.stream], timeout=left)[0]:
            break
        try:
            next(hosted.stream)
        except StopIteration:
            hosted.stream = None
        except ray.exceptions.RayError:
            break
    return hosted.stream is None


def _open(start: Start) -> _Hosted:
    """A new actor on its placement: on one node, over several (tensor parallelism), or with siblings (shards)."""
    bundles = start.placement
    whole = [_resources(bundle.cpus, sum(share for _, share in bundle.gpus)) for bundle in bundles]
    options = _options(whole[0])
    siblings: tuple[Any, ...] = ()
    group = None
    if len(bundles) == 1:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(bundles[0].node, soft=False)
    else:
        nodes, parts = [bundle.node for bundle in bundles], whole
        if start.role is Role.ABLATION:  # vLLM's workers are its child tasks, one per GPU
            nodes = [bundle.node for bundle in bundles for _ in bundle.gpus]
            parts = [_resources(bundle.cpus / len(bundle.gpus), 1.0) for bundle in bundles for _ in bundle.gpus]
            options = {**NO_RETRIES, "num_cpus": parts[0]["CPU"], "num_gpus": 0}
        else:
            siblings = len(bundles) - 1, options
        where = [{"ray.io/node-id": node} for node in nodes]
        group = placement_group(parts, strategy="PACK", bundle_label_selector=where)
        options = options | {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        }
    handle = ray.remote(Host).options(**options).remote(ACTOR_CLASSES[start.role], *siblings)
    return _Hosted(model=start.model, role=start.role, placement=bundles, handle=handle, group=group)


def _resources(cpus: float, gpus: float) -> dict[str, float]:
    """Resources under Ray's names."""
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def _options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Ray's options for an actor with these resources."""
    gpus = resources.get("GPU", 0.0)
    options: dict[str, Any] = {**NO_RETRIES, "num_cpus": resources["CPU"], "num_gpus": gpus}
    if not gpus:  # otherwise Ray shows an actor without GPUs all GPUs of the node
        options["runtime_env"] = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
    return options


def _kill(hosted: _Hosted) -> None:
    ray.kill(hosted.handle, no_restart=True)
    if hosted.group is not None:
        remove_placement_group(hosted.group)


def _node(entry: Mapping[str, Any]) -> Node:
    """An entry of `ray.nodes()`, with all that the node has."""
    resources, labels = entry["Resources"], entry["Labels"]
    return Node(
        id=entry["NodeID"],
        cpus=resources.get("CPU", 0.0),
        gpus=int(resources.get("GPU", 0.0)),
        labels=labels,
        gpu_bytes=GPU_GIB.get(labels.get("ray.io/accelerator-type", ""), 0) * 2**30,
    )


def _without_others(node: Node, free: Mapping[str, float], ours: tuple[float, float]) -> Node:
    """A node without what is neither free nor ours. Ray reports what was just taken or given back a little late."""
    cpus = node.cpus - max(0.0, node.cpus - free.get("CPU", 0.0) - ours[0])
    gpus = node.gpus - math.ceil(max(0.0, node.gpus - free.get("GPU", 0.0) - ours[1]) - 1e-6)
    return node._replace(cpus=cpus, gpus=max(gpus, 0))
