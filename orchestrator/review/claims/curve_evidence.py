"""Findings -> the evidence of the claims on depth and dose: which conditions form the curves that they judge.

Owns the choice: of each kind, the conditions that put the negative clamp on top neurons, first those that a random
control refers to. Knows neither the claims' effects nor the rule by which they are judged.
"""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.planning.conditions import Condition, is_treated
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.roles import margins
from orchestrator.review.claims.evidence import graded_benchmarks, perplexity_name
from orchestrator.review.findings import Findings
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ConditionSpec, LayerGroupsSpec
from studies.claims import depth, dose
from studies.claims.depth import DepthEvidence, depth_drafts
from studies.claims.dose import DoseEvidence, dose_drafts
from studies.claims.scorecard import Claim, Draft
from studies.neurons.clamps import NAMED_CLAMPS
from studies.neurons.layer_groups import LayerGroup
from studies.statistics.items import BenchmarkItems

CURVE_CLAIMS: Mapping[str, Claim] = {**depth.CLAIMS, **dose.CLAIMS}
"""The words of every claim that `curve_drafts` names."""


def curve_drafts(findings: Findings, model: ResolvedModel) -> list[Draft]:
    """The drafts on depth and dose of one model: of the study's own set of claims, and of whatever curves it has."""
    claims = findings.plan.study.spec.claims
    return [
        *depth_drafts(depth_evidence(findings, model), asked=claims == depth.CLAIM_SET),
        *dose_drafts(dose_evidence(findings, model), asked=claims == dose.CLAIM_SET),
    ]


def depth_evidence(findings: Findings, model: ResolvedModel) -> DepthEvidence:
    """The evidence over the layers of one model; results that cannot be compared with the baseline's are absent."""
    specs = findings.plan.study.spec.conditions
    single, cumulative = (_chosen(specs, _spreads(kind)) for kind in ("single", "cumulative"))
    conditions = [c for c in findings.plan.conditions[model.label] if c.group is not None]
    by_group = {
        name: {c.group: c for c in conditions if c.base == name and c.group} for name in (single, cumulative) if name
    }
    return DepthEvidence(
        model=model.label,
        relu=model.architecture.is_relu,
        num_layers=model.architecture.num_layers,
        benchmarks=_scored(findings, model, conditions),
        baseline=findings.comparable(model, BASELINE),
        single=_by_group(findings, model, by_group[single]) if single else None,
        first_randoms=_first_randoms(findings, model, conditions, single, cumulative),
        cumulative=_by_group(findings, model, by_group[cumulative]) if cumulative else None,
        cumulative_randoms={
            curve: _by_group(findings, model, {c.group: c for c in controls if c.group})
            for curve, controls in _controls(conditions, cumulative).items()
        },
        margins=margins(findings.plan),
    )


def dose_evidence(findings: Findings, model: ResolvedModel) -> DoseEvidence:
    """The evidence at several fractions; results that cannot be compared with the baseline's are absent."""
    treated = _chosen(findings.plan.study.spec.conditions, lambda spec: bool(spec.doses))
    conditions = [c for c in findings.plan.conditions[model.label] if c.dose is not None]
    own = [c for c in conditions if c.base == treated]
    return DoseEvidence(
        model=model.label,
        relu=model.architecture.is_relu,
        perplexity=perplexity_name(findings.plan),
        baseline=findings.comparable(model, BASELINE),
        treated=_by_dose(findings, model, own) if treated else None,
        randoms={
            curve: _by_dose(findings, model, controls) for curve, controls in _controls(conditions, treated).items()
        },
        margins=margins(findings.plan),
    )


def _chosen(specs: Mapping[str, ConditionSpec], fits: Callable[[ConditionSpec], bool]) -> str | None:
    """The first condition that clamps the negative half of top neurons and fits, those with random controls first."""
    with_controls = {spec.like for spec in specs.values()}
    fitting = [name for name, spec in specs.items() if is_treated(spec) and fits(spec)]
    return min(fitting, key=lambda name: name not in with_controls, default=None)


def _spreads(kind: str) -> Callable[[ConditionSpec], bool]:
    """Whether a condition is spread over groups of layers in a schedule of this kind."""
    return lambda spec: isinstance(spec.layers, LayerGroupsSpec) and spec.layers.schedule == kind


def _controls(conditions: Sequence[Condition], treated: str | None) -> dict[str, list[Condition]]:
    """{control, with its seed: its conditions}, of the random controls of a condition that clamp the same half.

    Of controls that share their neurons, the first: a set of neurons counts once."""
    by_curve: dict[str, list[Condition]] = {}
    for condition in conditions:
        if treated and condition.spec.like == treated and condition.clamp == NAMED_CLAMPS["negative"]:
            by_curve.setdefault(condition.curve, []).append(condition)
    by_neurons: dict[tuple[str | None, ...], str] = {}
    for curve, controls in by_curve.items():
        by_neurons.setdefault(tuple(control.neurons for control in controls), curve)
    return {curve: by_curve[curve] for curve in by_neurons.values()}


def _first_randoms(
    findings: Findings,
    model: ResolvedModel,
    conditions: Sequence[Condition],
    single: str | None,
    cumulative: str | None,
) -> dict[str, BenchmarkItems]:
    """{condition: its items}, of the random controls of the first single group.

    Where both schedules have the same groups and neurons, the first cumulative group is the first single one, so that
    its controls serve both.
    """
    groups = [c.group for c in conditions if c.base == single and c.group]
    if not groups:
        return {}
    layers = min(group.layers for group in groups)
    named = _controls(conditions, single)
    if not named and single and cumulative:
        specs = findings.plan.study.spec.conditions
        first, other = specs[single], specs[cumulative]
        if first.model_copy(update={"layers": None}) == other.model_copy(update={"layers": None}):
            named = _controls(conditions, cumulative)
    controls = (c for of_curve in named.values() for c in of_curve if c.group and c.group.layers == layers)
    return {c.name: findings.comparable(model, c.name) for c in controls}


def _scored(findings: Findings, model: ResolvedModel, conditions: Sequence[Condition]) -> tuple[str, ...]:
    """Perplexity and the graded benchmarks that any of the conditions is scored on; all where there are none."""
    plan = findings.plan
    grades = {*graded_benchmarks(plan, syntactic=True), *graded_benchmarks(plan, syntactic=False)}
    wanted = grades | {perplexity_name(plan)}
    planned = {name for c in conditions for name in plan.evaluations.get((model.label, c.name), {})} or wanted
    return tuple(b.name for b in plan.study.benchmarks if b.name in wanted & planned)


def _by_group(
    findings: Findings, model: ResolvedModel, conditions: Mapping[LayerGroup, Condition]
) -> dict[LayerGroup, BenchmarkItems]:
    return {group: findings.comparable(model, condition.name) for group, condition in conditions.items()}


def _by_dose(findings: Findings, model: ResolvedModel, conditions: Sequence[Condition]) -> dict[float, BenchmarkItems]:
    return {c.dose: findings.comparable(model, c.name) for c in conditions if c.dose is not None}
