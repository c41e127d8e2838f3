"""The paper's claims on one model: what each says, and how its items decide it.

Owns the claims' words and the effect and contrast of each; `scorecard` has the rule, `evidence` the items and whether
they suffice. Callers rely on: no claim is ever left out (syntax_loss has one verdict per syntactic benchmark,
scaffolding one per surprisal benchmark), and conditions with different item sets raise ValueError. Callers leave out
results that were computed differently.
"""

from collections.abc import Mapping

from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence, Scaffolding, sample
from studies.claims.scorecard import (
    Claim,
    ClaimSet,
    Draft,
    Verdict,
    format_interval,
    judge,
    not_applicable,
    undecided,
    verdicts,
    weakest,
)
from studies.statistics.comparisons import interaction, mcnemar
from studies.statistics.excess_surprisal import MIN_DOCUMENTS
from studies.statistics.intervals import Interval, contrast_of_differences, difference
from studies.statistics.items import BenchmarkItems, Items, pool

MIN_NEURONS = 30
"""Fewest of the most entangled neurons that can decide a claim."""

_CLAIMS = {
    "perplexity_cost": Claim(
        "The negative clamp of the top neurons raises perplexity, and more than that of as many random neurons for"
        " every seed.",
        "A top-1 % negative clamp raises perplexity far more than a random 1 %; perplexity doubles at about 2 % clamped"
        " in Llama 3.1 8B and Mistral 7B, about 5 % in Qwen3 8B.",
    ),
    "matched_cost": Claim(
        "More low-score neurons than top neurons must be clamped to reach the same perplexity.",
        "To match the top-1 % perplexity 35 % (Llama), 50 % (Mistral), 20 % (Qwen) of low-score neurons are needed.",
    ),
    "syntax_loss": Claim(
        "At matched perplexity accuracy on {benchmark} drops under the clamp of the top neurons, and more than under"
        " the matched control.",
        "At matched perplexity BLiMP and TSE drop sharply for the top neurons and hardly for the matched control.",
    ),
    "knowledge_spared": Claim(
        "At matched perplexity non-syntactic accuracy drops under the matched control, and more than under the clamp"
        " of the top neurons.",
        "Non-syntactic error: about +4 % for the top neurons, about +11 % for the matched control.",
    ),
    "double_dissociation": Claim(
        "The accuracy difference of top neurons minus matched control is lower on syntactic than on non-syntactic"
        " items (interaction).",
        "Clamping the top 1 % hurts grammar badly and other skills little; a perplexity-matched clamp of many ordinary"
        " neurons does the opposite.",
    ),
    "negative_mass": Claim(
        "More than half of the most entangled neurons' distance to N(0, 1) lies below zero, and a larger share than of"
        " the other neurons'.",
        "The odd mass sits in the negative half; ReLU models (OPT) show a much weaker negative structure.",
    ),
    "difficulty_agrees": Claim(
        "The negative clamp of the top neurons by mapping difficulty raises perplexity, and more than that of as many"
        " random neurons for every seed.",
        "Selecting by mapping difficulty gives the same picture: the two scores correlate.",
    ),
    "scaffolding": Claim(
        "The negative clamp of the top neurons adds more surprisal to determiners, punctuation, auxiliaries and"
        " particles than to nouns, verbs, adjectives and adverbs, also over as many random neurons for every seed.",
        "Excess surprisal sits on determiners, punctuation, auxiliaries and particles; on nouns, verbs, adjectives and"
        " adverbs it is near zero.",
    ),
    "sign_not_magnitude": Claim(
        "Syntactic accuracy drops under the negative clamp, and more than under a ceiling that takes as much magnitude"
        " from the positive half of the same neurons.",
        "It is the sign that matters, not the magnitude.",
    ),
}


def double_dissociation(evidence: Evidence) -> list[Verdict]:
    """Verdicts on perplexity_cost, matched_cost, syntax_loss (per benchmark), knowledge_spared, double_dissociation."""
    return verdicts(evidence.model, _CLAIMS, _dissociation(evidence))


def paper(evidence: Evidence) -> list[Verdict]:
    """`double_dissociation`'s verdicts, then negative_mass, difficulty_agrees, sign_not_magnitude and scaffolding."""
    if evidence.relu:
        others = not_applicable(("difficulty_agrees", "sign_not_magnitude"))
    else:
        others = [_difficulty_agrees(evidence), _sign_not_magnitude(evidence)]
    drafts = [*_dissociation(evidence), _negative_mass(evidence), *others, *_scaffoldings(evidence)]
    return verdicts(evidence.model, _CLAIMS, drafts)


def token_surprisal(evidence: Evidence) -> list[Verdict]:
    """Verdicts on perplexity_cost and scaffolding (per surprisal benchmark)."""
    first = not_applicable(("perplexity_cost",)) if evidence.relu else [_perplexity_cost(evidence)]
    return verdicts(evidence.model, _CLAIMS, [*first, *_scaffoldings(evidence)])


CLAIM_SETS: Mapping[str, ClaimSet[Evidence]] = {
    "double_dissociation": double_dissociation,
    "paper": paper,
    "token_surprisal": token_surprisal,
}


def _dissociation(evidence: Evidence) -> list[Draft]:
    syntax_losses: dict[str, tuple[str, ...]] = {f"syntax_loss/{name}": (name,) for name in evidence.syntactic}
    syntax_losses = syntax_losses or {"syntax_loss": ()}
    if evidence.relu:
        claims = ("perplexity_cost", "matched_cost", *syntax_losses, "knowledge_spared", "double_dissociation")
        return not_applicable(claims)
    return [
        _perplexity_cost(evidence),
        _matched_cost(evidence),
        *(_syntax_loss(evidence, claim, benchmark) for claim, benchmark in syntax_losses.items()),
        _knowledge_spared(evidence),
        _interaction(evidence),
    ]


def _perplexity_cost(evidence: Evidence) -> Draft:
    claim = "perplexity_cost"
    compared = sample(
        {"baseline": evidence.baseline, "treated": evidence.treated, **evidence.randoms}, (evidence.perplexity,)
    )
    problem = compared.problem or ("" if evidence.randoms else "no random control")
    if problem:
        return undecided(claim, problem, compared.num_items)
    effect, contrast, detail = _costs(evidence, evidence.treated, evidence.randoms)
    return Draft(claim, judge(+1, effect, contrast), detail, compared.num_items, effect, contrast)


def _costs(
    evidence: Evidence, treated: BenchmarkItems, randoms: Mapping[str, BenchmarkItems]
) -> tuple[Interval, Interval, str]:
    """In log-perplexity: the rise over the baseline, that over the costliest random control, and both in words."""
    name = evidence.perplexity
    effect, *contrasts = (difference(treated[name], items[name]) for items in (evidence.baseline, *randoms.values()))
    control, contrast = weakest(dict(zip(randoms, contrasts, strict=True)))
    detail = (
        f"log-perplexity {format_interval(effect)} over baseline; {format_interval(contrast)} over {control}, the"
        f" weakest of {len(randoms)} random controls"
    )
    return effect, contrast, detail


def _matched_cost(evidence: Evidence) -> Draft:
    """The one claim whose interval is no confidence interval: it is the bracket of the search for the match."""
    claim = "matched_cost"
    compared = sample({"treated": evidence.treated, "matched": evidence.matched}, (evidence.perplexity,))
    num_items = compared.num_items
    if compared.problem is not None:
        return undecided(claim, compared.problem, num_items)
    if evidence.matched_fraction is None:
        return undecided(claim, "no matched fraction", num_items)
    if evidence.treated_fraction is None:
        return undecided(claim, "no treated fraction", num_items)
    if evidence.match_bracket is None:
        return undecided(claim, "no match bracket", num_items)
    matched, treated, (low, high) = evidence.matched_fraction, evidence.treated_fraction, evidence.match_bracket
    effect = Interval(matched - treated, low - treated, high - treated)
    detail = (
        f"fraction {matched:.4g} matched, between the evaluated {low:.4g} and {high:.4g} (the search's bracket, not a"
        f" confidence interval), over {treated:.4g} treated{_match_quality(evidence)}"
    )
    return Draft(claim, judge(+1, effect), detail, num_items, effect)


def _syntax_loss(evidence: Evidence, claim: str, benchmark: tuple[str, ...]) -> Draft:
    """`benchmark` holds one name, or none where the study has no syntactic benchmark."""
    compared = sample(_matched_roles(evidence), benchmark)
    if compared.problem is not None:
        return undecided(claim, compared.problem, compared.num_items)
    baseline, treated, matched = (items[benchmark[0]] for items in compared.conditions.values())
    effect, contrast = difference(treated, baseline), difference(treated, matched)
    detail = (
        f"accuracy {format_interval(effect)} over baseline; {format_interval(contrast)} over the matched"
        f" control{_match_quality(evidence)}"
    )
    tests = {"treated/baseline": mcnemar(treated, baseline), "treated/matched": mcnemar(treated, matched)}
    return Draft(claim, judge(-1, effect, contrast), detail, compared.num_items, effect, contrast, tests)


def _knowledge_spared(evidence: Evidence) -> Draft:
    claim, benchmarks = "knowledge_spared", evidence.non_syntactic
    compared = sample(_matched_roles(evidence), benchmarks)
    if compared.problem is not None:
        return undecided(claim, compared.problem, compared.num_items)
    baseline, treated, matched = (_pooled(items, benchmarks) for items in compared.conditions.values())
    effect, contrast = difference(matched, baseline), difference(matched, treated)
    detail = (
        f"accuracy of the matched control {format_interval(effect)} over baseline; {format_interval(contrast)} over the"
        f" top neurons, pooled over {', '.join(benchmarks)}{_match_quality(evidence)}"
    )
    tests = {"matched/baseline": mcnemar(matched, baseline), "matched/treated": mcnemar(matched, treated)}
    return Draft(claim, judge(-1, effect, contrast), detail, compared.num_items, effect, contrast, tests)


def _interaction(evidence: Evidence) -> Draft:
    claim = "double_dissociation"
    roles = {"treated": evidence.treated, "matched": evidence.matched}
    kinds = {"syntactic": evidence.syntactic, "non-syntactic": evidence.non_syntactic}
    samples = {kind: sample(roles, benchmarks) for kind, benchmarks in kinds.items()}
    num_items = sum(compared.num_items for compared in samples.values())
    for kind, compared in samples.items():
        if compared.problem is not None:
            return undecided(claim, f"{kind}: {compared.problem}", num_items)
    treated, matched = samples["syntactic"].conditions.values()
    syntactic, non_syntactic = (
        (_pooled(treated, benchmarks), _pooled(matched, benchmarks)) for benchmarks in kinds.values()
    )
    effect = contrast_of_differences(*syntactic, *non_syntactic)
    model = interaction(_by_kind(treated, evidence), _by_kind(matched, evidence))
    if model is None:
        fitted = "too few paradigms"
    else:
        fitted = f"the log-odds ratio is {format_interval(Interval(*model[:3]))}, p = {model.p_value:.2g}"
    detail = (
        f"interaction {format_interval(effect)} (logistic model, GEE: {fitted}): top neurons over matched control"
        f" {format_interval(difference(*syntactic))} on {samples['syntactic'].num_items} syntactic,"
        f" {format_interval(difference(*non_syntactic))} on {samples['non-syntactic'].num_items} non-syntactic"
        f" items{_match_quality(evidence)}"
    )
    return Draft(claim, judge(-1, effect), detail, num_items, effect)


def _by_kind(items: BenchmarkItems, evidence: Evidence) -> tuple[BenchmarkItems, BenchmarkItems]:
    """(Syntactic, non-syntactic) items of one condition."""
    syntactic, non_syntactic = (
        {name: items[name] for name in benchmarks} for benchmarks in (evidence.syntactic, evidence.non_syntactic)
    )
    return syntactic, non_syntactic


def _negative_mass(evidence: Evidence) -> Draft:
    claim, share = "negative_mass", evidence.negative_share
    if share is None:
        return undecided(claim, "no neuron table", 0)
    if share.num_top < MIN_NEURONS:
        return undecided(claim, f"too few neurons, at least {MIN_NEURONS} needed", share.num_top)
    effect = Interval(*(bound - 0.5 for bound in share.top))
    detail = (
        f"negative share {format_interval(share.top)} among the {share.num_top} most entangled neurons,"
        f" {format_interval(share.rest)} among the other {share.num_rest}"
    )
    return Draft(claim, judge(+1, effect, share.difference), detail, share.num_top, effect, share.difference)


def _difficulty_agrees(evidence: Evidence) -> Draft:
    claim, randoms = "difficulty_agrees", evidence.difficulty_randoms
    roles = {"baseline": evidence.baseline, "mapping-difficulty": evidence.by_difficulty, **randoms}
    compared = sample(roles, (evidence.perplexity,))
    problem = compared.problem or ("" if randoms else "no random control of as many neurons")
    if problem:
        return undecided(claim, problem, compared.num_items)
    effect, contrast, detail = _costs(evidence, compared.conditions["mapping-difficulty"], randoms)
    if evidence.correlation is not None:
        detail += f"; Spearman correlation of the two scores {evidence.correlation:.2f}"
    if evidence.difficulty_reliability is not None:
        detail += f"; reliability of mapping difficulty {evidence.difficulty_reliability:.2f} (median layer)"
    return Draft(claim, judge(+1, effect, contrast), detail, compared.num_items, effect, contrast)


def _sign_not_magnitude(evidence: Evidence) -> Draft:
    claim, benchmarks = "sign_not_magnitude", evidence.syntactic
    roles = {"baseline": evidence.baseline, "treated": evidence.treated, "magnitude": evidence.magnitude}
    compared = sample(roles, benchmarks)
    if compared.problem is not None:
        return undecided(claim, compared.problem, compared.num_items)
    baseline, treated, magnitude = (_pooled(items, benchmarks) for items in compared.conditions.values())
    effect, contrast = difference(treated, baseline), difference(treated, magnitude)
    detail = (
        f"accuracy {format_interval(effect)} over baseline; {format_interval(contrast)} over the magnitude-matched"
        " ceiling"
    )
    tests = {"treated/magnitude": mcnemar(treated, magnitude)}
    return Draft(claim, judge(-1, effect, contrast), detail, compared.num_items, effect, contrast, tests)


def _scaffoldings(evidence: Evidence) -> list[Draft]:
    """One draft per surprisal benchmark; one in all where there is no such benchmark."""
    by_claim = {f"scaffolding/{benchmark}": excess for benchmark, excess in evidence.scaffolding.items()}
    if evidence.relu:
        return not_applicable(by_claim or ("scaffolding",))
    if not by_claim:
        return [undecided("scaffolding", "no surprisal benchmark", 0)]
    return [_scaffolding(claim, excess) for claim, excess in by_claim.items()]


def _scaffolding(claim: str, excess: Scaffolding | None) -> Draft:
    if excess is None:
        return undecided(claim, "not scored on it", 0)
    contrast = excess.contrast
    if contrast.num_documents < MIN_DOCUMENTS:
        reason = f"too few documents with both classes, at least {MIN_DOCUMENTS} needed"
        return undecided(claim, reason, contrast.num_documents)
    if not excess.over_randoms:
        return undecided(claim, "no random control", contrast.num_items)
    over_randoms = {random: interval for random, interval in excess.over_randoms.items() if interval is not None}
    if unscored := [random for random in excess.over_randoms if random not in over_randoms]:
        return undecided(claim, f"{unscored[0]} was not scored on it", contrast.num_items)
    control, over = weakest(over_randoms)
    detail = (
        f"excess surprisal {format_interval(contrast.interval)} nats over content words, Wilcoxon p ="
        f" {contrast.p_value:.2g} over {contrast.num_documents} documents; {format_interval(over)} with {control} in"
        f" the baseline's place, the weakest of {len(over_randoms)} random controls; content words themselves"
        f" {format_interval(excess.content)}"
    )
    status = judge(+1, contrast.interval, over)
    return Draft(claim, status, detail, contrast.num_items, contrast.interval, over)


def _matched_roles(evidence: Evidence) -> dict[str, BenchmarkItems | None]:
    """The conditions of a claim at matched perplexity."""
    return {"baseline": evidence.baseline, "treated": evidence.treated, "matched": evidence.matched}


def _pooled(items: BenchmarkItems, benchmarks: tuple[str, ...]) -> Items:
    return pool({benchmark: items[benchmark] for benchmark in benchmarks})


def _match_quality(evidence: Evidence) -> str:
    """How well perplexity was matched, for the details of claims that say "at matched perplexity"."""
    compared = sample({"treated": evidence.treated, "matched": evidence.matched}, (evidence.perplexity,))
    if compared.problem is not None:
        return "; perplexity match not checked"
    windows = (items[evidence.perplexity] for items in compared.conditions.values())
    treated, matched = (PERPLEXITY.summary(items.values.mean()) for items in windows)
    return f"; perplexity {matched:.4g} matched, {treated:.4g} treated"
