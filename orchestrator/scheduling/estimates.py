"""What models and steps will take: memory, devices, seconds. Estimates only: no number of a study depends on them.

Owns the rules by which a model gets its devices where the study file says nothing, and the rates that turn work into
seconds. Pure: nodes come in as data.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from actors.messages import DTYPE_BYTES
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.scheduling.policy import Cluster
from orchestrator.scheduling.ready_queues import ActorKind
from orchestrator.steps.step import Role

USABLE = 0.9
"""Share of a GPU's memory that an actor may count on."""
SHARES = (0.25, 0.5)
"""Of one GPU, for small models where there are more models than GPUs."""


class Rates(NamedTuple):
    """What one device does. The defaults are cautious guesses, to be replaced by what was measured."""

    gpu: Mapping[str, float] = {"float32": 20e12, "float16": 200e12, "bfloat16": 200e12}
    """Floating-point operations a second of one GPU, by dtype."""
    cpu: float = 60e9
    """Of one core; SmolLM2 in float32 on two cores of an AMD EPYC: 133e9."""
    loading: float = 1e9
    """Bytes of weights a second, from disk to an engine that answers."""
    start: float = 30.0
    """Seconds until an actor begins to load: a process, its imports, its engine."""
    step: float = 1.0
    """Seconds of a step beside its work: clamps, receipts, the record."""


RATES = Rates()


def flops(model: ResolvedModel, work: float) -> float:
    """Floating-point operations of `work` tokens: 2 a parameter and token (attention's quadratic part left out)."""
    return 2.0 * model.num_parameters * work


def memory_need(model: ResolvedModel, *, on_gpu: bool) -> int:
    """Bytes one actor of this model takes: weights, and working memory for activations, logits and the runtime.

    1.2 x weights + 1.5 GiB was measured on SmolLM2 in float32 (README, Numbers): 0.5 GiB of weights, 2.0 GiB resident.
    A checkpoint's actor holds a second one on the host, to compare weights and to prove a reload.
    """
    copies = 2.2 if model.checkpoint and not on_gpu else 1.2
    return int(copies * weight_bytes(model) + 1.5 * 2**30)


def weight_bytes(model: ResolvedModel) -> int:
    return model.num_parameters * DTYPE_BYTES[model.spec.dtype]


def cluster_of(plan: Plan, nodes: Sequence[Node], rates: Rates = RATES) -> Cluster:
    """What the scheduler needs to know of a plan's models on these nodes."""
    models = plan.study.models
    wanted = demands(models, nodes)
    return Cluster(
        nodes=nodes,
        demands=wanted,
        opening={model.label: rates.start + weight_bytes(model) / rates.loading for model in models},
        series={model.label: model.checkpoint.series for model in models if model.checkpoint},
    )


def costs(plan: Plan, cluster: Cluster, rates: Rates = RATES) -> dict[str, float]:
    """{step id: seconds on an actor of its model}."""
    models = {model.label: model for model in plan.study.models}
    found = {}
    for step in plan.steps.values():
        if step.role is Role.DRIVER:
            continue
        model, demand = models[step.model], cluster.demands[ActorKind(step.model, step.role)]
        rate = rates.gpu[model.spec.dtype] * demand.gpus if demand.gpus else rates.cpu * demand.cpus
        shards = demand.copies if step.kind == "profile" else 1
        found[step.id] = rates.step + flops(model, step.work) / rate / shards
    return found


def demands(models: Sequence[ResolvedModel], nodes: Sequence[Node]) -> dict[ActorKind, Demand]:
    """The resources of every model's actors, as the study file says, else by rule.

    On GPUs: `tensor_parallel` of them, by default the fewest that hold the model, and as many CPUs. Where there are
    more models than GPUs, those that need no more share one. Without GPUs the CPUs are shared evenly, so that the
    models run side by side; the checkpoints of a series have one share, in turn. Nodes that have neither are the head
    of a cluster that has yet to grow: one of GPUs. Score actors load a model over the GPUs of one node at most, each
    shard of the corpus a model of its own.
    """
    num_gpus = sum(node.gpus for node in nodes)
    on_gpus = num_gpus > 0 or not any(node.cpus >= 1 for node in nodes)
    beside = len({model.checkpoint.series if model.checkpoint else model.label for model in models})
    largest = max((node.cpus for node in nodes), default=0.0)
    share = max(1, min(int(sum(node.cpus for node in nodes)) // max(1, beside), int(largest)))
    found = {}
    for model in models:
        ranks, spec = tensor_parallel(model, nodes), model.spec
        labels = tuple(sorted(spec.labels.items()))
        suited = [node for node in nodes if node.suits(labels)]
        gpus = spec.gpus
        if gpus is None:
            gpus = float(ranks) if on_gpus else 0.0
            if gpus == 1 and beside > num_gpus > 0 and spec.tensor_parallel is None:
                gpus = _share_of_a_gpu(model, suited)
        cpus = float(spec.cpus or (max(1, ranks) if gpus else max(share, ranks)))
        one_node = max((node.gpus for node in suited), default=0)
        for role in (Role.SCORE, Role.ABLATION):
            spread = role is Role.SCORE and gpus > one_node > 0
            shards = spec.shards if role is Role.SCORE else 1
            each = max(1.0, cpus // shards) if not gpus and spec.cpus is None else cpus
            found[ActorKind(model.label, role)] = Demand(each, float(one_node) if spread else gpus, labels, shards)
    return found


def tensor_parallel(model: ResolvedModel, nodes: Sequence[Node]) -> int:
    """Into how many ranks an engine is cut: as the file says, else the least power of two whose parts fit a GPU.

    1 where no node says how much memory its GPUs have, or where no cut would do.
    """
    if model.spec.tensor_parallel is not None:
        return model.spec.tensor_parallel
    if model.spec.gpus is not None:
        return max(1, int(model.spec.gpus))
    memory = max((node.gpu_bytes for node in nodes if node.gpus and node.suits(model.spec.labels.items())), default=0)
    need, ranks = memory_need(model, on_gpu=True), 1
    while memory and need / ranks > USABLE * memory and not model.architecture.d_mlp % (2 * ranks) and ranks < 64:
        ranks *= 2
    return ranks if memory and need / ranks <= USABLE * memory else 1


def _share_of_a_gpu(model: ResolvedModel, suited: Sequence[Node]) -> float:
    memory = min((node.gpu_bytes for node in suited if node.gpus), default=0)
    need = memory_need(model, on_gpu=True)
    return next((share for share in SHARES if need <= share * USABLE * memory), 1.0)
