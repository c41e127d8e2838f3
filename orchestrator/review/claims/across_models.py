"""What a claim comes to over the models of a study: how many support it and, from five on, a summary of its effects.

Owns which models count, and to which family each belongs. Checkpoints of one training run are one model: that at which
the neurons are selected. A family is a model's name up to its first digit or word of size, so that pythia-70m and
pythia-12b are one, and so are Qwen2.5-7B and Qwen3-8B: later generations of one house are no independent models either.
Names say nothing of a model that another one was made from; the report names its families for that reason.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.planning.models import ResolvedModel
from studies.reporting.records import across_models_record
from studies.statistics.across_models import ModelEffect, summarise

_SIZES = ("nano", "tiny", "mini", "small", "base", "medium", "large", "xl", "xxl")
_NO_NAME = re.compile(r"(step|checkpoint|epoch)?[-_]?\d+|main")
"""The last part of a path that names a checkpoint, not a model."""
NOT_APPLICABLE = "not applicable"


def family(model: ResolvedModel) -> str:
    """`pythia` of EleutherAI/pythia-1.4b, `llama` of meta-llama/Llama-3.1-8B, `gpt` of gpt2-xl; in small letters."""
    parts = [part for part in re.split(r"[/\\]", model.spec.name or model.path) if part]
    named = [part for part in parts if not _NO_NAME.fullmatch(part.lower())]
    name = (named or parts)[-1].lower()
    words = re.split(r"\d", name, maxsplit=1)[0] or name
    kept: list[str] = []
    for word in re.split(r"[-_. ]+", words):
        if word in _SIZES:
            break
        kept.append(word)
    found = "-".join(filter(None, kept)) or name
    return found.removeprefix("meta-") or found  # Meta-Llama-3-8B is a Llama


def record_across_models(models: Sequence[ResolvedModel], parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per claim, as plain JSON; empty with fewer than two models. parts: the models' parts of the report."""
    families = {model.label: family(model) for model in models if model.selects_itself}
    by_claim: dict[str, dict[str, Mapping[str, Any]]] = {}
    for part in parts:
        for verdict in part["verdicts"] if part["label"] in families else ():
            by_claim.setdefault(verdict["claim"], {})[part["label"]] = verdict
    if sum(bool(part["verdicts"]) for part in parts if part["label"] in families) < 2:
        return []
    entries = []
    for claim, verdicts in by_claim.items():
        statuses = {model: verdict["status"] for model, verdict in verdicts.items()}
        effects = [
            effect
            for model, verdict in verdicts.items()
            if verdict["status"] != NOT_APPLICABLE
            for effect in [_effect(model, families[model], verdict)]
            if effect is not None
        ]
        entries.append(across_models_record(claim, statuses, summarise(effects), [effect.model for effect in effects]))
    return entries


def _effect(model: str, of_family: str, verdict: Mapping[str, Any]) -> ModelEffect | None:
    """A verdict's effect; None where it has none, or one whose standard error is not known."""
    effect, error, df = verdict["effect"], verdict["standard_error"], verdict["df"]
    if effect is None or effect["estimate"] is None or not error:
        return None
    return ModelEffect(model, of_family, effect["estimate"], error, float("inf") if df is None else df)
