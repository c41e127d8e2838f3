"""Which condition of a study plays which role in the paper's claims, as far as the plan alone says it.

Owns the roles, and the effects that a study calls too small to matter; knows neither results nor what a claim makes of
them. Callers rely on: a condition with a role is whole; it applies to the model, unless that is a ReLU model, to which
no claim about the negative half does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.planning.conditions import Condition, is_treated
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec
from studies.claims.power import DIFFICULTY, DIFFICULTY_RANDOM, MATCHED, POSRELU, RANDOM, SIGNFLIP, TREATED
from studies.claims.scorecard import Margins
from studies.neurons.clamps import Clamp

_SAME = ("select", "score", "fraction", "clamp", "layers")
"""Fields in which conditions on the same neurons agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The conditions of one model by their roles."""

    conditions: Mapping[str, str]
    """{role: name of its condition}; the baseline is one."""
    randoms: Mapping[str, tuple[str, ...]]
    """{`random`, `difficulty random`: names of the random controls, one per seed}."""


def roles(plan: Plan, model: ResolvedModel) -> Roles | None:
    """The roles of a model's conditions; None where none of them puts the negative clamp on top neurons."""
    conditions = plan.conditions[model.label]
    whole = {condition.base: condition for condition in conditions if condition.is_whole}
    treated = _treated(whole)
    if treated is None:
        return None
    spec = whole[treated].spec
    difficulty = _variant(whole, spec, score="mapping_difficulty")
    matched = next(
        (c.name for c in conditions if c.spec.match and c.reference == treated and c.clamp == spec.clamp), None
    )
    named = {
        BASELINE: BASELINE,
        TREATED: treated,
        MATCHED: matched,
        DIFFICULTY: difficulty if spec.score != "mapping_difficulty" else None,
        SIGNFLIP: _variant(whole, spec, clamp=Clamp("signflip")),
        POSRELU: _variant(whole, spec, clamp=Clamp("posrelu")),
    }
    randoms = _randoms(conditions, treated, spec.clamp)
    of_difficulty = _randoms(conditions, difficulty, spec.clamp) or randoms
    return Roles(
        conditions={role: name for role, name in named.items() if name is not None},
        randoms={RANDOM: randoms, DIFFICULTY_RANDOM: of_difficulty},
    )


def _treated(whole: Mapping[str, Condition]) -> str | None:
    """The first condition with the negative clamp of top neurons that controls refer to, else the first one."""
    references = [condition.reference for condition in whole.values() if condition.reference]
    return next((name for name in (*references, *whole) if name in whole and is_treated(whole[name].spec)), None)


def _variant(whole: Mapping[str, Condition], treated: ConditionSpec, **changes: Any) -> str | None:
    """The condition that differs from the treated one in these fields alone."""
    wanted = treated.model_copy(update=changes)
    same = (n for n, c in whole.items() if all(getattr(c.spec, f) == getattr(wanted, f) for f in _SAME))
    return next(same, None)


def _randoms(conditions: Sequence[Condition], treated: str | None, clamp: Clamp) -> tuple[str, ...]:
    """The random controls of a condition, one per seed; of conditions that share a neuron set, the first."""
    controls = [
        c for c in conditions if treated and c.spec.like == treated and c.clamp == clamp and not c.not_applicable
    ]
    by_neurons: dict[str | None, str] = {}
    for condition in controls:
        by_neurons.setdefault(condition.neurons, condition.name)
    return tuple(by_neurons.values())


def margins(plan: Plan) -> Margins:
    """The effects that the study calls too small to matter."""
    spec = plan.study.spec.margins
    return Margins(accuracy=spec.accuracy, log_perplexity=spec.perplexity, surprisal=spec.surprisal)
