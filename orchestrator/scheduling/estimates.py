"""Estimated resources and durations: memory and devices of a model's actors, seconds of a step.

Owns the rules by which a model gets its devices where the study file does not say, and the rates that turn work into
seconds. Pure: nodes come in as data. Invariant: no number in a study's results depends on an estimate.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from actors.ablation.memory import engine_bytes
from actors.messages.model import DTYPE_BYTES, LOADED_WEIGHTS
from actors.scoring.memory import profile_bytes
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.scheduling.cluster import ActorKind, Cluster
from orchestrator.scheduling.placement import Demand, Node
from orchestrator.steps.profile import BATCH_TOKENS, num_pairs
from orchestrator.steps.step import Role
from orchestrator.study_file.spec import ProfileSpec

USABLE = 0.9
"""Fraction of a GPU's memory that an actor may count on."""
MOST_RANKS = 64
SHARES = (0.25, 0.5)
"""Shares of one GPU that a small model may get where there are more models than GPUs."""


class Rates(NamedTuple):
    """Throughput of one device. The defaults are cautious guesses, to be replaced by measurements."""

    gpu: Mapping[str, float] = {"float32": 20e12, "float16": 200e12, "bfloat16": 200e12}
    """Floating-point operations a second of one GPU, by dtype."""
    cpu: float = 60e9
    """Floating-point operations a second of one core; SmolLM2 in float32 on two cores of an AMD EPYC: 133e9."""
    loading: float = 1e9
    """Bytes of weights a second, from disk to an engine that can answer."""
    start: float = 30.0
    """Seconds until an actor begins to load: process, imports, engine."""
    step: float = 1.0
    """Seconds of a step besides its work: clamps, receipts, the record."""


RATES = Rates()


def flops(model: ResolvedModel, work: float) -> float:
    """Floating-point operations for `work` tokens: 2 per parameter and token, without attention's quadratic part."""
    return 2.0 * model.num_parameters * work


def memory_need(model: ResolvedModel, profile: ProfileSpec, ranks: int, nodes: Sequence[Node]) -> int:
    """Bytes of a GPU that the model's actors need: the larger of its engine's, on each of `ranks` GPUs, and its score
    actor's, which is spread over as many of one of its nodes at most."""
    scoring = profile_bytes(
        model.architecture,
        model.dtype,
        model.num_parameters,
        min(ranks, _gpus_of_a_node(_suited(model, nodes)) or ranks),
        num_bins=profile.bins,
        num_pairs=num_pairs(profile),
        batch_tokens=max(BATCH_TOKENS, profile.window),
    )
    return max(engine_memory(model, ranks), scoring)


def engine_memory(model: ResolvedModel, ranks: int) -> int:
    """Bytes that an engine of this model needs of each of `ranks` GPUs."""
    return engine_bytes(model.architecture, model.dtype, model.num_parameters, ranks, model.spec.engine)


def _suited(model: ResolvedModel, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that this model's actors may use."""
    return [node for node in nodes if node.suits(model.spec.labels.items())]


def _gpus_of_a_node(suited: Sequence[Node]) -> int:
    """GPUs of the largest of these nodes."""
    return max((node.gpus for node in suited), default=0)


def host_memory_need(model: ResolvedModel) -> int:
    """Bytes that an actor without a GPU needs: weights, plus working memory for activations, logits and the runtime.

    1.2 x weights + 1.5 GiB was measured on SmolLM2 in float32 (docs/numbers.md): 0.5 GiB of weights, 2.0 GiB resident.
    A checkpoint's actor holds a second copy, to compare weights and to prove a reload.
    """
    copies = LOADED_WEIGHTS + 1 if model.checkpoint else LOADED_WEIGHTS
    return int(copies * weight_bytes(model) + 1.5 * 2**30)


def weight_bytes(model: ResolvedModel) -> int:
    return model.num_parameters * DTYPE_BYTES[model.dtype]


def cluster_of(plan: Plan, nodes: Sequence[Node], rates: Rates = RATES) -> Cluster:
    """What the scheduler must know about these nodes and the plan's models."""
    models = plan.study.models
    return Cluster(
        nodes=nodes,
        demands=demands(models, nodes, plan.study.spec.profile),
        opening={model.label: rates.start + weight_bytes(model) / rates.loading for model in models},
        series={model.label: model.checkpoint.series for model in models if model.checkpoint},
    )


def costs(plan: Plan, cluster: Cluster, rates: Rates = RATES) -> dict[str, float]:
    """{step id: seconds on an actor of its model}; steps of the driver have no entry."""
    models = {model.label: model for model in plan.study.models}
    seconds = {}
    for step in plan.steps.values():
        if step.role is Role.DRIVER:
            continue
        model, demand = models[step.model], cluster.demands[ActorKind(step.model, step.role)]
        rate = rates.gpu[model.dtype] * demand.gpus if demand.gpus else rates.cpu * demand.cpus
        shards = demand.copies if step.kind.is_divided else 1
        seconds[step.id] = rates.step + flops(model, step.work) / rate / shards
    return seconds


def demands(models: Sequence[ResolvedModel], nodes: Sequence[Node], profile: ProfileSpec) -> dict[ActorKind, Demand]:
    """Resources of every model's actors, as the study file says, else by rule.

    On GPUs: `tensor_parallel` of them, by default the fewest that hold the model, and as many CPUs. Where there are
    more models than GPUs, small ones share one. Without GPUs the CPUs are divided evenly, so that the models run side
    by side; the checkpoints of a series take turns on one share. A cluster with neither GPUs nor CPUs is taken for
    the head of a growing cluster of GPUs. Score actors load a model over the GPUs of one node at most, and
    each shard of the corpus loads a model of its own.
    """
    num_gpus = sum(node.gpus for node in nodes)
    on_gpus = num_gpus > 0 or not any(node.cpus >= 1 for node in nodes)
    side_by_side = len({model.checkpoint.series if model.checkpoint else model.label for model in models})
    share_a_gpu = side_by_side > num_gpus > 0
    largest_node = max((node.cpus for node in nodes), default=0.0)
    cpu_share = max(1, min(int(sum(node.cpus for node in nodes)) // max(1, side_by_side), int(largest_node)))
    by_kind = {}
    for model in models:
        ranks, spec = tensor_parallel(model, nodes, profile), model.spec
        labels, suited = tuple(sorted(spec.labels.items())), _suited(model, nodes)
        gpus = spec.gpus
        if gpus is None:
            gpus = float(ranks) if on_gpus else 0.0
            if gpus == 1 and share_a_gpu and spec.tensor_parallel is None:
                gpus = _share_of_a_gpu(model, suited, profile)
        cpus = float(spec.cpus or (max(1, ranks) if gpus else max(cpu_share, ranks)))
        by_kind[ActorKind(model.label, Role.SCORE)] = _score_demand(model, Demand(cpus, gpus, labels), suited)
        by_kind[ActorKind(model.label, Role.ABLATION)] = Demand(cpus, gpus, labels)
    return by_kind


def _score_demand(model: ResolvedModel, demand: Demand, suited: Sequence[Node]) -> Demand:
    """Resources of a model's score actor, from those of its ablation actor."""
    gpus_of_a_node, shards = _gpus_of_a_node(suited), model.spec.shards
    gpus, cpus = demand.gpus, demand.cpus
    if gpus > gpus_of_a_node > 0:  # the CPUs that go with the GPUs of one node
        gpus, cpus = float(gpus_of_a_node), max(1.0, cpus * gpus_of_a_node // gpus)
    elif not gpus and model.spec.cpus is None:
        cpus = max(1.0, cpus // shards)
    return demand._replace(cpus=cpus, gpus=gpus, copies=shards)


def tensor_parallel(model: ResolvedModel, nodes: Sequence[Node], profile: ProfileSpec) -> int:
    """Number of ranks of a model's engine: as the file says, else the least power of two whose parts fit a GPU.

    1 where no node says how much memory its GPUs have, or where no number of ranks would suffice.
    """
    if model.spec.tensor_parallel is not None:
        return model.spec.tensor_parallel
    if model.spec.gpus is not None:
        return max(1, int(model.spec.gpus))
    memory = max((node.gpu_bytes for node in _suited(model, nodes) if node.gpus), default=0)
    ranks = 1
    while memory_need(model, profile, ranks, nodes) > USABLE * memory:
        if ranks == MOST_RANKS or model.architecture.d_mlp % (2 * ranks):
            return 1
        ranks *= 2
    return ranks


def _share_of_a_gpu(model: ResolvedModel, suited: Sequence[Node], profile: ProfileSpec) -> float:
    memory = min((node.gpu_bytes for node in suited if node.gpus), default=0)
    need = memory_need(model, profile, 1, suited)
    return next((share for share in SHARES if need <= share * USABLE * memory), 1.0)
