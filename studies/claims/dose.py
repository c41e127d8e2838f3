"""The claim on doses: perplexity doubles at a smaller fraction of top neurons than of random ones.

Owns its words, evidence, effect and contrasts; `scorecard` has the rules, `statistics.doses` the order of the doubling
points. Where both curves double between the same two doses, the order there is that of straight lines; the treated one
must then lie above the random ones at both of these doses too. Knows no plan.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from studies.claims.corrected import judged_among
from studies.claims.evidence import sample
from studies.claims.scorecard import (
    Claim,
    Draft,
    Margins,
    Part,
    Status,
    Unit,
    not_applicable,
    undecided,
    undecided_after_all,
)
from studies.claims.wording import random_sets, shown
from studies.statistics.doses import DoublingOrder, doubling_fraction, doubling_order
from studies.statistics.items import BenchmarkItems, Items
from studies.statistics.random_controls import over_randoms

CLAIM_SET = "dose_response"
"""What a study file calls these claims."""
FIRST = "treated_doubles_first"

CLAIMS: Mapping[str, Claim] = {
    FIRST: Claim(
        "Perplexity doubles at a smaller fraction of neurons under the negative clamp of the top neurons than under"
        " that of random ones.",
        "Perplexity doubles at about 2 % clamped in Llama 3.1 8B and Mistral 7B, about 5 % in Qwen3 8B.",
        Unit.LOG_PERPLEXITY,
    )
}

Doses = Mapping[float, BenchmarkItems]
"""{fraction: items}: every dose of a condition, without items where it has not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseEvidence:
    """Everything measured on one model at several fractions."""

    model: str
    relu: bool
    """Whether the model's activation is ReLU."""
    perplexity: str
    """Name of the perplexity benchmark; a study without one has no items of this name."""
    baseline: BenchmarkItems
    treated: Doses | None
    """Negative clamp of the top neurons; None where the study has no such doses."""
    randoms: Mapping[str, Doses]
    """Negative clamp of as many random neurons, by condition name, one per seed."""
    margins: Margins = field(default_factory=Margins)


def dose_drafts(evidence: DoseEvidence, *, asked: bool = False) -> list[Draft]:
    """The draft of `treated_doubles_first`; none where the study neither has doses nor asks for it."""
    if evidence.treated is None and not asked:
        return []
    return not_applicable((FIRST,)) if evidence.relu else [_first(evidence)]


def _first(evidence: DoseEvidence) -> Draft:
    name, doses, randoms = evidence.perplexity, evidence.treated, evidence.randoms
    if doses is None:
        return undecided(FIRST, "no condition puts the negative clamp on several fractions of top neurons", 0)
    curves = {"treated": doses, **randoms}
    finished = [fraction for fraction in doses if all(name in curve.get(fraction, {}) for curve in curves.values())]
    roles = {
        f"{curve} at {fraction:g}": of_curve[fraction] for curve, of_curve in curves.items() for fraction in finished
    }
    compared = sample({"baseline": evidence.baseline, **roles}, (name,))
    problem = (
        compared.problem
        or ("" if randoms else "no random control of as many neurons")
        or ("" if finished else f"no dose at which all have {name} items")
    )
    if problem:
        return undecided(FIRST, problem, compared.num_items)
    baseline = evidence.baseline[name]
    treated, *of_randoms = ({f: curve[f][name] for f in sorted(finished)} for curve in curves.values())
    by_random = dict(zip(randoms, of_randoms, strict=True))
    order = doubling_order(baseline, treated, by_random)
    missing = len(doses) - len(finished)
    unfinished = f"; {missing} of {len(doses)} doses have not finished" if missing else ""
    if order is None:
        reason = f"{name} doubles neither for top nor for random neurons, up to {max(finished):g} of them{unfinished}"
        return undecided(FIRST, reason, compared.num_items)
    parts = _parts(order, treated, by_random)
    _, low, high = doubling_fraction(baseline, treated)
    point, mean, *by_set = (
        _point(at, max(finished)) for at in (order.treated, order.randoms, *order.by_random.values())
    )
    detail = (
        f"{name} doubles at the fraction {point} [{low:.4g}, {high:.4g}] of top neurons and at {mean} for"
        f" {random_sets(randoms)} ({', '.join(by_set)}){_ratio(order, max(finished))};"
        f" {'; '.join(map(shown, parts))}{unfinished}"
    )
    margin = evidence.margins.log_perplexity
    draft = judged_among(FIRST, parts, len(parts), margin=margin, detail=detail, num_items=compared.num_items)
    if draft.status is Status.CONTRADICTED and parts[0].effect.value > 0:
        crossed = "the curves cross between two doses, more doses between them would decide"
        return undecided_after_all(draft, parts, crossed)
    return draft


def _parts(
    order: DoublingOrder, treated: Mapping[float, Items], randoms: Mapping[str, Mapping[float, Items]]
) -> list[Part]:
    """The gap where the first curve doubles; and at the doses on both sides, where both double between the same two."""
    over = f"log-perplexity over {random_sets(randoms)} at the fraction"
    gap = order.gap
    parts = [Part(f"{over} {min(order.treated, order.randoms):.4g}", gap.effect, +1, False, gap.rank_p_value(+1))]
    doses = list(treated)
    after, *others = {bisect_left(doses, point) for point in (order.treated, order.randoms)}
    for dose in [] if others else doses[max(after - 1, 0) : after + 1]:
        at_dose = over_randoms(treated[dose], {name: curve[dose] for name, curve in randoms.items()})
        parts.append(Part(f"{over} {dose:g}", at_dose.effect, +1, True, at_dose.rank_p_value(+1)))
    return parts


def _point(fraction: float, largest: float) -> str:
    return f"more than {largest:g}" if math.isinf(fraction) else f"{fraction:.4g}"


def _ratio(order: DoublingOrder, largest: float) -> str:
    """How many times as many random neurons it takes, at least."""
    if math.isinf(order.treated):
        return ""
    bound = "at least " if math.isinf(order.randoms) else ""
    return f", {bound}{min(order.randoms, largest) / order.treated:.3g} times as many"
