"""The MLflow run of every step: kinds, identities and params."""

from collections.abc import Mapping

from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import RunKey


def _run_key(kind: str, model: ResolvedModel, condition: str, *, identity: str, params: Mapping[str, str]) -> RunKey:
    facts = {"model": model.label, "revision": model.revision or "local", "dtype": model.spec.dtype}
    tags = {"model.note": model.note} if model.note else {}
    if model.checkpoint is not None:  # no param: those are written once, and a step may be corrected
        tags["training_step"] = str(model.checkpoint.step)
    return RunKey(
        kind=kind,
        model=model.label,
        name=f"{condition or 'neuron profile'} · {model.label}",
        condition=condition,
        identity=identity,
        params={**facts, **params},
        tags=tags,
    )
