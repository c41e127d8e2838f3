"""Findings -> the evidence that a scorecard judges: which condition plays which role in the claims.

Owns the roles (treated, random controls, matched control, selection by mapping difficulty, matched magnitude); knows
neither the claims nor the rule by which they are judged.
"""

import logging
from collections.abc import Mapping
from typing import Any

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.review.findings import Findings, Matching
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec
from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence, Scaffolding
from studies.neurons.clamps import MAGNITUDE_MATCHED

log = logging.getLogger(__name__)


def claims_evidence(findings: Findings, model: ResolvedModel) -> Evidence | None:
    """The evidence for one model; None, with a warning, where no condition selects top neurons.

    Results that cannot be compared with the baseline's are absent, as if they had not finished.
    """
    conditions = findings.plan.conditions[model.label]
    specs = findings.plan.study.spec.conditions
    treated = treated_condition(findings, model)
    if treated is None:
        log.warning("claims need a condition that selects top neurons; there is none")
        return None
    whole = {condition.base: condition.spec for condition in conditions if condition.is_whole}
    by_difficulty = _variant(whole, specs[treated], score="mapping_difficulty")
    magnitude = _variant(whole, specs[treated], clamp=MAGNITUDE_MATCHED)
    randoms = _random_controls(conditions, treated)
    difficulty_randoms = _random_controls(conditions, by_difficulty)
    matched = next((c for c in conditions if c.spec.match and c.reference == treated), None)
    control = matched if matched and findings.comparable(model, matched.name) else None
    matching = findings.matching(control) if control and model.selects_itself else None
    level, structure = findings.perplexity(model, treated), findings.structure(model)
    fraction = specs[treated].fraction  # several on a ReLU model, where a condition that does not apply stays whole
    return Evidence(
        model=model.label,
        relu=model.architecture.is_relu,
        baseline=findings.comparable(model, BASELINE),
        treated=findings.comparable(model, treated),
        randoms={name: findings.comparable(model, name) for name in randoms},
        matched=findings.comparable(model, control.name) if control else None,
        matched_fraction=matching.fraction if matching else None,
        treated_fraction=None if isinstance(fraction, tuple) else fraction,
        match_bracket=None if matching is None or level is None else _bracket(level, matching),
        perplexity=perplexity_name(findings.plan),
        syntactic=graded_benchmarks(findings.plan, syntactic=True),
        non_syntactic=graded_benchmarks(findings.plan, syntactic=False),
        by_difficulty=findings.comparable(model, by_difficulty) if by_difficulty else None,
        difficulty_randoms={name: findings.comparable(model, name) for name in difficulty_randoms or randoms},
        correlation=structure.overall_correlation if structure else None,
        difficulty_reliability=structure.difficulty_reliability if structure else None,
        magnitude=findings.comparable(model, magnitude) if magnitude else None,
        negative_share=structure.share if structure else None,
        scaffolding=_scaffolding(findings, model, treated, randoms),
    )


def perplexity_name(plan: Plan) -> str:
    """The name of the study's perplexity benchmark; `perplexity` where it has none, for the verdicts that say so."""
    perplexity = plan.study.perplexity
    return PERPLEXITY.name if perplexity is None else perplexity.name


def graded_benchmarks(plan: Plan, *, syntactic: bool) -> tuple[str, ...]:
    """Names of the benchmarks of grammar, or of other skills, that are right or wrong on an item."""
    return tuple(b.name for b in plan.study.benchmarks if b.is_syntactic is syntactic and b.measure.is_graded)


def treated_condition(findings: Findings, model: ResolvedModel) -> str | None:
    """The first whole condition of top neurons that controls refer to, else the first one; None where there is none."""
    specs = findings.plan.study.spec.conditions
    whole = [condition for condition in findings.plan.conditions[model.label] if condition.is_whole]
    references = [condition.reference for condition in whole if condition.reference]
    candidates = [name for name in (*references, *(c.base for c in whole)) if specs[name].select == "top"]
    return candidates[0] if candidates else None


def _random_controls(conditions: tuple[Condition, ...], treated: str | None) -> list[str]:
    """The random controls of a condition, one per seed."""
    return [
        condition.name
        for condition in conditions
        if treated and condition.spec.like == treated and not condition.not_applicable
    ]


def _scaffolding(
    findings: Findings, model: ResolvedModel, treated: str, randoms: list[str]
) -> dict[str, Scaffolding | None]:
    """{annotated benchmark: where the treated condition's excess sits, over the baseline and over random controls}."""
    by_benchmark: dict[str, Scaffolding | None] = {}
    for benchmark in findings.plan.annotations:
        scored = [name for name in (BASELINE, treated, *randoms) if benchmark in findings.comparable(model, name)]
        by_benchmark[benchmark] = None
        if BASELINE in scored and treated in scored:
            excess = findings.excess(model, benchmark, treated, BASELINE)
            over_randoms = {
                name: findings.excess(model, benchmark, treated, name).contrast().interval if name in scored else None
                for name in randoms
            }
            by_benchmark[benchmark] = Scaffolding(excess.contrast(), excess.content_excess(), over_randoms)
    return by_benchmark


def _variant(specs: Mapping[str, ConditionSpec], treated: ConditionSpec, **changes: Any) -> str | None:
    """The condition that differs from the treated one in these fields alone."""
    fields = ("select", "score", "fraction", "clamp", "layers")
    wanted = treated.model_copy(update=changes)
    same = (name for name, spec in specs.items() if all(getattr(spec, f) == getattr(wanted, f) for f in fields))
    return next(same, None)


def _bracket(level: float, matching: Matching) -> tuple[float, float] | None:
    """The evaluated fractions next below and above the treated perplexity; None where no fraction matched.

    A search that is repeated may fail although the control's evaluations are recorded from an earlier one.
    """
    if matching.fraction is None:
        return None
    below = [fraction for fraction, perplexity in matching.curve if perplexity < level]
    above = [fraction for fraction, perplexity in matching.curve if perplexity >= level]
    return max(below, default=0.0), min(above, default=matching.fraction)
