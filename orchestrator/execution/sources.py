"""What each actor loads: a resolved model with the resources of its actor."""

from actors.messages.model import ModelSource
from orchestrator.planning.models import ResolvedModel
from orchestrator.scheduling.estimates import engine_memory
from orchestrator.scheduling.placement import Demand


def model_source(model: ResolvedModel, demand: Demand, ranks: int) -> ModelSource:
    """The model exactly as it was resolved. demand: the actor's resources; ranks: its tensor-parallel ranks."""
    spec = model.spec
    return ModelSource(
        label=model.label,
        path=model.path,
        revision=model.revision,
        files=model.files,
        family=model.architecture.family,
        num_layers=model.architecture.num_layers,
        d_mlp=model.architecture.d_mlp,
        d_model=model.architecture.d_model,
        context=model.architecture.context,
        vocabulary=model.architecture.vocabulary,
        dtype=model.dtype,
        tensor_parallel=ranks,
        threads=None if demand.gpus else int(demand.cpus),
        gpu_bytes=engine_memory(model, ranks) if demand.gpus else 0,
        trust_remote_code=spec.trust_remote_code,
        pickled=model.pickled,
        route=spec.route,
        engine=spec.engine,
    )
