"""What a study has found, read from the record once; and the claims' roles in it.

Refuses to compare results whose comparability keys differ.
"""

import logging
from collections.abc import Mapping
from typing import Any

from orchestrator.planning.models import ResolvedModel
from orchestrator.review.findings import Findings
from orchestrator.steps.step import BASELINE
from orchestrator.study_file.spec import ClampSpec, ConditionSpec
from studies.benchmarks.choices import ChoiceBenchmark
from studies.benchmarks.lm_eval import TaskBenchmark
from studies.benchmarks.minimal_pairs import PairBenchmark
from studies.benchmarks.protocol import Benchmark
from studies.benchmarks.surprisal import SurprisalBenchmark
from studies.claims.paper import Evidence, Scaffolding

log = logging.getLogger(__name__)


def claims_evidence(findings: Findings, model: ResolvedModel) -> Evidence | None:
    """The claims' roles; None, with a warning, where no condition selects top neurons."""
    conditions = findings.plan.conditions[model.label]
    specs = findings.plan.study.spec.conditions
    whole = {c.base: specs[c.base] for c in conditions if c.is_whole}
    treated = treated_condition(findings, model)
    if treated is None:
        log.warning("claims need a condition that selects top neurons; there is none")
        return None
    by_difficulty = _like(whole, specs[treated], score="mapping_difficulty")
    magnitude = _like(whole, specs[treated], clamp=ClampSpec(kind="magnitude_matched"))
    of_treated, of_difficulty = (
        [c.name for c in conditions if like and c.spec and c.spec.like == like and not c.not_applicable]
        for like in (treated, by_difficulty)
    )
    matched = next((c for c in conditions if c.spec and c.spec.match and c.reference == treated), None)
    control = matched if matched and findings.items(model, matched.name) else None
    used = [BASELINE, treated, by_difficulty, magnitude, matched and matched.name, *of_treated, *of_difficulty]
    findings.require_comparable(model, [name for name in used if name])
    matching = findings.matching(control) if control and model.selects_itself else None
    found = findings.structure(model)
    benchmarks = findings.plan.study.benchmarks
    return Evidence(
        model=model.label,
        relu=model.architecture.is_relu,
        baseline=findings.items(model, BASELINE),
        treated=findings.items(model, treated),
        randoms={name: findings.items(model, name) for name in of_treated},
        matched=findings.items(model, control.name) if control else None,
        matched_fraction=matching["fraction"] if matching else None,
        treated_fraction=specs[treated].fraction,
        match_bracket=_bracket(findings.perplexity(model, treated), matching) if matching else None,
        syntactic=tuple(b.name for b in benchmarks if is_syntactic(b) is True),
        non_syntactic=tuple(b.name for b in benchmarks if is_syntactic(b) is False),
        by_difficulty=findings.items(model, by_difficulty) if by_difficulty else None,
        difficulty_randoms={name: findings.items(model, name) for name in of_difficulty or of_treated},
        correlation=found.overall_correlation if found else None,
        magnitude=findings.items(model, magnitude) if magnitude else None,
        negative_share=found.share if found else None,
        scaffolding=_scaffolding(findings, model, treated, of_treated),
    )


def treated_condition(findings: Findings, model: ResolvedModel) -> str | None:
    """The first whole condition of top neurons that controls refer to, or the first; None where there is none."""
    specs = findings.plan.study.spec.conditions
    whole = [c.base for c in findings.plan.conditions[model.label] if c.is_whole]
    referred = [specs[name].reference for name in whole if specs[name].reference]
    candidates = [name for name in (*referred, *whole) if specs[name].select == "top"]
    return candidates[0] if candidates else None


def _scaffolding(
    findings: Findings, model: ResolvedModel, treated: str, randoms: list[str]
) -> dict[str, Scaffolding | None]:
    """{surprisal benchmark: where the treated condition's excess sits, over the baseline and over random controls}."""
    found = {}
    for benchmark in findings.plan.study.benchmarks:
        if isinstance(benchmark, SurprisalBenchmark):
            scored = [n for n in (BASELINE, treated, *randoms) if benchmark.name in findings.items(model, n)]
            found[benchmark.name] = None
            if BASELINE in scored and treated in scored:
                excess = findings.excess(model, benchmark, treated, BASELINE)
                over = {
                    name: findings.excess(model, benchmark, treated, name).contrast().interval
                    if name in scored
                    else None
                    for name in randoms
                }
                found[benchmark.name] = Scaffolding(excess.contrast(), excess.content_excess(), over)
    return found


def is_syntactic(benchmark: Benchmark) -> bool | None:
    """Whether a benchmark is of grammar; None for perplexity and surprisal, which are on neither side."""
    match benchmark:
        case PairBenchmark():
            return True
        case ChoiceBenchmark():
            return False
        case TaskBenchmark():
            return benchmark.syntactic
    return None


def _like(specs: Mapping[str, ConditionSpec], treated: ConditionSpec, **changes: Any) -> str | None:
    """The condition that differs from the treated one in these fields alone."""
    fields = ("select", "score", "fraction", "clamp", "layers")
    wanted = treated.model_copy(update=changes)
    return next((n for n, spec in specs.items() if all(getattr(spec, f) == getattr(wanted, f) for f in fields)), None)


def _bracket(level: float, matching: Mapping[str, Any]) -> tuple[float, float]:
    """The evaluated fractions next below and above the treated perplexity."""
    below = [fraction for fraction, perplexity in matching["curve"] if perplexity < level]
    above = [fraction for fraction, perplexity in matching["curve"] if perplexity >= level]
    return max(below, default=0.0), min(above, default=matching["fraction"])
