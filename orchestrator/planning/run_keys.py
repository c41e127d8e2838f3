"""The MLflow runs of a plan: one per (model, condition identity), and one profile run per model.

Owns the identities, params and tags of these runs. Params are written once, so whatever may be corrected later is a
tag.
"""

from collections.abc import Mapping

from orchestrator.planning.conditions import PARTS, Baseline, Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.record.keys import NOTHING, RunKey
from orchestrator.record.limits import MAX_NAME
from orchestrator.record.pages.views import CONDITIONS, MEMBERS, ORDER, SHOWN
from orchestrator.steps.identity import identify
from orchestrator.study_file.spec import StudySpec
from studies.neurons.layer_groups import layer_ranges


def profile_run(model: ResolvedModel, profile: str) -> RunKey:
    """The run of a model's profile; `profile` is the id of its step."""
    return _run_key("profile", model, "", identity=profile, params={})


def baseline_run(model: ResolvedModel) -> RunKey:
    """The run of a model's baseline."""
    params = {
        "condition": Baseline.name,
        "selection": "none",
        "score": "",
        "fraction": "",
        "intervention": "none",
        "layers": "all",
        "schedule": "",
        "seed": "",
    }
    tags = _view_tags(model, Baseline())
    return _run_key("condition", model, Baseline.name, identity=_identity(model, Baseline()), params=params, tags=tags)


def condition_run(spec: StudySpec, model: ResolvedModel, condition: Condition) -> RunKey:
    """The run of one condition of a model."""
    of_file = condition.spec
    source = spec.conditions[of_file.reference] if of_file.reference else of_file
    share, layers = condition.dose or source.fraction, condition.layers(source)
    selection = of_file.select if of_file.match is None else f"bottom, matched to {of_file.match.perplexity_of}"
    params = {
        "condition": condition.name,
        "selection": f"{selection}, neighbour" if condition.is_neighbour else selection,
        "score": of_file.score if of_file.select in ("top", "bottom") else "",
        "fraction": "" if of_file.match or share is None else f"{share:g}",
        "intervention": of_file.clamp.display,
        "layers": "all" if layers is None else layer_ranges(layers),
        "schedule": condition.group.schedule if condition.group else "",
        "seed": "" if condition.seed is None else str(condition.seed),
    }
    identity, tags = _identity(model, condition), _view_tags(model, condition)
    return _run_key("condition", model, condition.name, identity=identity, params=params, tags=tags)


def _view_tags(model: ResolvedModel, condition: Condition | Baseline) -> dict[str, str]:
    """What a condition is, in which of MLflow's views its run is shown, and where it stands there: by model, then as in
    `PARTS`, then by name and seed."""
    seed = "" if condition.seed is None else f" {condition.seed:010d}"
    name = condition.name if isinstance(condition, Baseline) else condition.without_seed
    return {
        "part": condition.part,
        SHOWN: CONDITIONS if condition.is_whole else MEMBERS,
        ORDER: f"{model.label} {PARTS.index(condition.part)} {name}{seed}",
    }


def _identity(model: ResolvedModel, condition: Condition | Baseline) -> str:
    payload = {
        "model": model.digest,
        "dtype": model.dtype,
        "neurons": condition.neurons,
        "clamp": condition.clamp.payload if condition.clamp else None,
    }
    return identify(payload | {"neighbour": True} if condition.is_neighbour else payload)


def _run_key(
    kind: str,
    model: ResolvedModel,
    condition: str,
    *,
    identity: str,
    params: Mapping[str, str],
    tags: Mapping[str, str] = NOTHING,
) -> RunKey:
    of_model = {"model": model.label, "revision": model.revision or "local", "dtype": model.dtype}
    tags = {**tags, **({"model.note": model.note} if model.note else {})}
    if model.checkpoint is not None:
        tags["training_step"] = str(model.checkpoint.step)
    return RunKey(
        kind=kind,
        model=model.label,
        name=_run_name(condition or "neuron profile", model.label, identity),
        condition=condition,
        identity=identity,
        params={**of_model, **params},
        tags=tags,
    )


def _run_name(condition: str, label: str, identity: str) -> str:
    """`wasserstein · pythia-1.4b`; a condition of many separate layers is cut, and told from others by its identity."""
    room = MAX_NAME - len(f" · {label}")
    shown = condition if len(condition) <= room else f"{condition[: room - 10]}... {identity[:6]}"
    return f"{shown} · {label}"
