"""Findings -> the evidence that a scorecard judges: which condition plays which role in the claims.

Owns which results of the conditions with a role (`planning.roles`) are evidence; knows neither the claims nor the rules
by which they are judged.
"""

import logging
from collections.abc import Sequence

import pandas as pd

from orchestrator.planning.conditions import Condition
from orchestrator.planning.models import ResolvedModel
from orchestrator.planning.plan import Plan
from orchestrator.planning.roles import margins, roles
from orchestrator.review.findings import Findings, Matching
from orchestrator.steps.step import BASELINE
from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence, Scaffolding
from studies.claims.power import DIFFICULTY, DIFFICULTY_RANDOM, MATCHED, POSRELU, RANDOM, SIGNFLIP, TREATED
from studies.statistics.items import BenchmarkItems
from studies.statistics.scaffolding import (
    adjusted_contrast,
    class_contrast,
    class_mean,
    contrast_over_randoms,
)

log = logging.getLogger(__name__)


def claims_evidence(findings: Findings, model: ResolvedModel) -> Evidence | None:
    """The evidence for one model; None, with a warning, where no condition clamps top neurons.

    Results that cannot be compared with the baseline's are absent, as if they had not finished.
    """
    by_role = roles(findings.plan, model)
    if by_role is None:
        log.warning("claims need a condition that puts the negative clamp on top neurons; there is none")
        return None

    def items(role: str) -> BenchmarkItems | None:
        name = by_role.conditions.get(role)
        return findings.comparable(model, name) if name else None

    randoms, difficulty_randoms = (by_role.randoms[role] for role in (RANDOM, DIFFICULTY_RANDOM))
    treated, conditions = by_role.conditions[TREATED], findings.plan.conditions[model.label]
    matched = next((c for c in conditions if c.name == by_role.conditions.get(MATCHED)), None)
    control = matched if matched and findings.comparable(model, matched.name) else None
    matching = findings.matching(control) if control and model.selects_itself else None
    structure = findings.structure(model)
    # Several on a ReLU model, where a condition that does not apply stays whole.
    fraction = findings.plan.study.spec.conditions[treated].fraction
    return Evidence(
        model=model.label,
        relu=model.architecture.is_relu,
        baseline=findings.comparable(model, BASELINE),
        treated=findings.comparable(model, treated),
        randoms={name: findings.comparable(model, name) for name in randoms},
        matched=findings.comparable(model, control.name) if control else None,
        matched_fraction=matching.fraction if matching else None,
        treated_fraction=None if isinstance(fraction, tuple) else fraction,
        match_losses=_search_losses(findings, control) if control and matching else None,
        searched_windows=_searched(matching) if matching else frozenset(),
        why_no_neighbour=matching.why_no_neighbour if matching else "",
        neighbour=_neighbour_items(findings, model, control) if control else None,
        perplexity=perplexity_name(findings.plan),
        syntactic=graded_benchmarks(findings.plan, syntactic=True),
        non_syntactic=graded_benchmarks(findings.plan, syntactic=False),
        by_difficulty=items(DIFFICULTY),
        difficulty_randoms={name: findings.comparable(model, name) for name in difficulty_randoms},
        correlation=structure.overall_correlation if structure else None,
        difficulty_reliability=structure.difficulty_reliability if structure else None,
        signflip=items(SIGNFLIP),
        posrelu=items(POSRELU),
        negative_share=structure.share if structure else None,
        scaffolding=_scaffolding(findings, model, treated, randoms, control.name if control else None),
        margins=margins(findings.plan),
    )


def perplexity_name(plan: Plan) -> str:
    """The name of the study's perplexity benchmark; `perplexity` where it has none, for the verdicts that say so."""
    perplexity = plan.study.perplexity
    return PERPLEXITY.name if perplexity is None else perplexity.name


def graded_benchmarks(plan: Plan, *, syntactic: bool) -> tuple[str, ...]:
    """Names of the benchmarks of grammar, or of other skills, that are right or wrong on an item."""
    return tuple(b.name for b in plan.study.benchmarks if b.is_syntactic is syntactic and b.measure.is_graded)


def _search_losses(findings: Findings, control: Condition) -> pd.DataFrame | None:
    """The losses of the windows on which a search measured; None in a record of an earlier version."""
    losses = findings.matching_losses(control)
    return None if losses is None else losses[losses["windows"] == "search"]


def _searched(matching: Matching) -> frozenset[int] | None:
    """The windows of the evidence that a search used; None = all of them."""
    if matching.searched is None or matching.held_out is None:  # a record of an earlier version
        return None
    if matching.is_disjoint:
        return frozenset()
    searched = frozenset(matching.searched)
    return None if set(matching.held_out) <= searched else searched


def _neighbour_items(findings: Findings, model: ResolvedModel, control: Condition) -> BenchmarkItems | None:
    """The items of the control's neighbour; None where it has none, or nothing of it can be compared."""
    neighbour = findings.neighbour(model, control)
    return (findings.comparable(model, neighbour.name) or None) if neighbour else None


def _scaffolding(
    findings: Findings, model: ResolvedModel, treated: str, randoms: Sequence[str], matched: str | None
) -> dict[str, Scaffolding | None]:
    """{annotated benchmark: where the treated condition's excess sits, over the baseline and over each control}."""
    by_benchmark: dict[str, Scaffolding | None] = {}
    for name, annotation in findings.plan.annotations.items():
        roles = (BASELINE, treated, *randoms, *([matched] if matched else []))
        scored = [condition for condition in roles if name in findings.comparable(model, condition)]
        by_benchmark[name] = None
        if BASELINE in scored and treated in scored:
            excess = findings.excess(model, name, treated, BASELINE)
            over = {c: findings.excess(model, name, treated, c).items for c in scored if c not in (BASELINE, treated)}
            of_randoms = {condition: items for condition, items in over.items() if condition != matched}
            tested = excess.contrast()
            by_benchmark[name] = Scaffolding(
                contrast=class_contrast(excess.items).effect,
                content=class_mean(excess.items).effect,
                over_randoms=contrast_over_randoms(of_randoms) if of_randoms else None,
                over_matched=class_contrast(over[matched]).effect if matched in over else None,
                adjusted=adjusted_contrast(
                    excess.items, annotation.words, annotation.documents, findings.word_frequencies
                ),
                num_documents=tested.num_documents,
                num_items=tested.num_items,
                unscored=next((condition for condition in randoms if condition not in scored), ""),
            )
    return by_benchmark
