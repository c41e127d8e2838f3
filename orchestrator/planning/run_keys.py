"""The MLflow runs of a plan: one per (model, condition identity), and one profile run per model.

Owns the identities, params and tags of these runs. Params are written once, so whatever may be corrected later is a
tag.
"""

from collections.abc import Mapping

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import RunKey
from orchestrator.steps.evaluate import clamp_params
from orchestrator.steps.identity import identify
from orchestrator.study_file.spec import StudySpec
from studies.neurons.layer_groups import layer_ranges


def profile_run(model: ResolvedModel, profile: str) -> RunKey:
    """The run of a model's profile; `profile` is the id of its step."""
    return _run_key("profile", model, "", identity=profile, params={})


def condition_run(spec: StudySpec, model: ResolvedModel, condition: Condition) -> RunKey:
    """The run of one condition of a model."""
    of_file = condition.spec
    identity = identify(
        {
            "model": model.digest,
            "dtype": model.spec.dtype,
            "neurons": condition.neurons,
            "clamp": clamp_params(of_file.clamp) if of_file else None,
        }
    )
    selection, score, fraction, intervention, source = "none", "", "", "none", of_file
    if of_file is not None:
        selection = of_file.select if of_file.match is None else f"bottom, matched to {of_file.match.perplexity_of}"
        score = of_file.score if of_file.select in ("top", "bottom") else ""
        source = spec.conditions[of_file.reference] if of_file.reference else of_file
        share = condition.dose or source.fraction
        fraction = "" if of_file.match or share is None else f"{share:g}"
        intervention = of_file.clamp.display
    layers = condition.layers(source)
    return _run_key(
        "condition",
        model,
        condition.name,
        identity=identity,
        params={
            "condition": condition.name,
            "selection": selection,
            "score": score,
            "fraction": fraction,
            "intervention": intervention,
            "layers": "all" if layers is None else layer_ranges(layers),
            "schedule": condition.group.schedule if condition.group else "",
            "seed": "" if condition.seed is None else str(condition.seed),
        },
    )


def _run_key(kind: str, model: ResolvedModel, condition: str, *, identity: str, params: Mapping[str, str]) -> RunKey:
    of_model = {"model": model.label, "revision": model.revision or "local", "dtype": model.spec.dtype}
    tags = {"model.note": model.note} if model.note else {}
    if model.checkpoint is not None:
        tags["training_step"] = str(model.checkpoint.step)
    return RunKey(
        kind=kind,
        model=model.label,
        name=f"{condition or 'neuron profile'} · {model.label}",
        condition=condition,
        identity=identity,
        params={**of_model, **params},
        tags=tags,
    )
