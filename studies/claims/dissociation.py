"""The claims of the double dissociation: the effects and contrasts of each.

A claim "at matched perplexity" compares with the matched control of `matched`. What several benchmarks measure is the
mean over them.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from studies.benchmarks.measures import PERPLEXITY
from studies.claims.evidence import Evidence, Sample, sample
from studies.claims.matched import MatchedControl
from studies.claims.scorecard import Denial, Draft, Part, format_interval, judged, not_applicable, undecided
from studies.claims.wording import error_increase, random_sets, shown
from studies.statistics.crossing import crossing
from studies.statistics.effects import Effect, contrast, effect, mean_difference, mean_effect
from studies.statistics.intervals import Interval, difference
from studies.statistics.items import BenchmarkItems
from studies.statistics.random_controls import over_randoms


def dissociation_drafts(evidence: Evidence) -> list[Draft]:
    """perplexity_cost, matched_cost, syntax_loss and syntax_spared (both per benchmark), knowledge_loss and
    knowledge_spared, double_dissociation."""
    benchmarks = evidence.syntactic
    if evidence.relu:
        syntax = [f"{claim}/{name}" for name in benchmarks for claim in ("syntax_loss", "syntax_spared")]
        syntax = syntax or ["syntax_loss", "syntax_spared"]
        rest = ("knowledge_loss", "knowledge_spared", "double_dissociation")
        return not_applicable(("perplexity_cost", "matched_cost", *syntax, *rest))
    return [
        perplexity_cost(evidence),
        _matched_cost(evidence),
        *(draft for name in benchmarks or ("",) for draft in _syntax(evidence, name)),
        _knowledge_loss(evidence),
        _knowledge_spared(evidence),
        _dissociation(evidence),
    ]


def perplexity_cost(evidence: Evidence) -> Draft:
    claim, randoms = "perplexity_cost", evidence.randoms
    roles = {"baseline": evidence.baseline, "treated": evidence.treated, **randoms}
    compared = sample(roles, (evidence.perplexity,))
    if problem := compared.problem or ("" if randoms else "no random control"):
        return undecided(claim, problem, compared.num_items)
    return _cost(evidence, claim, evidence.treated, randoms, compared.num_items)


def difficulty_agrees(evidence: Evidence) -> Draft:
    claim, randoms, selected = "difficulty_agrees", evidence.difficulty_randoms, evidence.by_difficulty
    compared = sample(
        {"baseline": evidence.baseline, "mapping-difficulty": selected, **randoms}, (evidence.perplexity,)
    )
    problem = compared.problem or ("" if randoms else "no random control of as many neurons")
    if problem or selected is None:
        return undecided(claim, problem, compared.num_items)
    notes = []
    if evidence.correlation is not None:
        notes.append(f"Spearman correlation of the two scores {evidence.correlation:.2f}")
    if evidence.difficulty_reliability is not None:
        notes.append(f"reliability of mapping difficulty {evidence.difficulty_reliability:.2f} (median layer)")
    return _cost(evidence, claim, selected, randoms, compared.num_items, *notes)


def _cost(
    evidence: Evidence,
    claim: str,
    treated: BenchmarkItems,
    randoms: Mapping[str, BenchmarkItems],
    num_items: int,
    *notes: str,
) -> Draft:
    """The rise of log-perplexity over the baseline, and over the mean of the random controls."""
    name = evidence.perplexity
    rise = effect(treated[name], evidence.baseline[name])
    over = over_randoms(treated[name], {random: items[name] for random, items in randoms.items()})
    parts = [
        Part("log-perplexity over baseline", rise, +1),
        Part(f"log-perplexity over {random_sets(randoms)}", over.effect, +1, True, over.rank_p_value(+1)),
    ]
    detail = "; ".join([*map(shown, parts), *notes])
    return judged(claim, parts, margin=evidence.margins.log_perplexity, detail=detail, num_items=num_items)


def _matched_cost(evidence: Evidence) -> Draft:
    """That more neurons are needed; the margin of other claims does not apply to a fraction."""
    claim = "matched_cost"
    compared = sample({"treated": evidence.treated, "matched": evidence.matched}, (evidence.perplexity,))
    fraction, treated, losses = evidence.matched_fraction, evidence.treated_fraction, evidence.match_losses
    problem = (
        compared.problem
        or ("no matched fraction" if fraction is None else "")
        or ("no treated fraction" if treated is None else "")
        or ("the search did not record the losses of its windows (an earlier version)" if losses is None else "")
    )
    if problem or fraction is None or treated is None or losses is None:
        return undecided(claim, problem, compared.num_items)
    found, num_windows = _crossing(losses), losses["window"].nunique()
    if num_windows < PERPLEXITY.fewest:
        return undecided(claim, f"too few windows of the search, at least {PERPLEXITY.fewest} needed", num_windows)
    more = Part("fraction matched over treated", Effect(found.value - treated, found.components), +1)
    detail = (
        f"fraction {fraction:.4g} matched over {treated:.4g} treated, the crossing of the search's curve"
        f" {format_interval(found.interval())} over {found.basis};"
        f" {MatchedControl(evidence, compared.conditions['matched']).quality}"
    )
    draft = judged(claim, [more], margin=None, detail=detail, num_items=num_windows)
    return draft._replace(effect=_possible(more.effect.interval(), treated))


def _possible(found: Interval, treated: float) -> Interval:
    """Of an interval of the difference of a fraction to the treated one, what fractions from 0 to 1 leave; where the
    curve of a search is nearly flat, that is all of it."""
    return Interval(found.estimate, max(found.low, -treated), min(found.high, 1 - treated))


def _crossing(losses: pd.DataFrame) -> Effect:
    """The fraction at which the curve of a search meets the treated condition; losses: as `Evidence.match_losses`."""
    tries = losses[losses["role"] == "try"].pivot(index="fraction", columns="window", values="nll")
    baseline_W, treated_W = (
        losses[losses["role"] == role].set_index("window")["nll"].reindex(tries.columns).to_numpy(np.float64)
        for role in ("baseline", "treated")
    )
    return crossing(baseline_W, treated_W, tries.index.to_numpy(np.float64), tries.to_numpy(np.float64))


def _syntax(evidence: Evidence, name: str) -> list[Draft]:
    """syntax_loss and syntax_spared on one benchmark; `name` is empty where the study has no syntactic benchmark."""
    suffix, benchmark = (f"/{name}", (name,)) if name else ("", ())
    claims = [f"syntax_loss{suffix}", f"syntax_spared{suffix}"]
    compared = sample(_matched_roles(evidence), benchmark)
    control, problem = _matched_control(evidence, compared)
    if control is None:
        return [undecided(claim, problem, compared.num_items) for claim in claims]
    margin, num_items = evidence.margins.accuracy, compared.num_items
    baseline, treated = evidence.baseline[name], evidence.treated[name]
    parts = [
        Part("accuracy over baseline", effect(treated, baseline), -1),
        Part("accuracy over the matched control", control.under(evidence.treated, benchmark), -1, True),
    ]
    detail = "; ".join(
        [
            f"{shown(parts[0])}, over items {format_interval(difference(treated, baseline))}",
            error_increase(parts[0].effect, _mean_accuracy(evidence.baseline, benchmark)),
            shown(parts[1]),
            control.quality,
        ]
    )
    denial = Denial("the matched control's accuracy over baseline", control.over(evidence.baseline, benchmark))
    over_items = format_interval(difference(compared.conditions["matched"][name], baseline))
    spared = f"{shown(denial)}, over items {over_items}; {control.quality}"
    return [
        judged(claims[0], parts, margin=margin, detail=detail, num_items=num_items),
        judged(claims[1], [], [denial], margin=margin, detail=spared, num_items=num_items),
    ]


def _knowledge_loss(evidence: Evidence) -> Draft:
    claim, benchmarks = "knowledge_loss", evidence.non_syntactic
    compared = sample(_matched_roles(evidence), benchmarks)
    control, problem = _matched_control(evidence, compared)
    if control is None:
        return undecided(claim, problem, compared.num_items)
    parts = [
        Part("accuracy of the matched control over baseline", control.over(evidence.baseline, benchmarks), -1),
        Part("accuracy over the top neurons", control.over(evidence.treated, benchmarks), -1, True),
    ]
    baseline = _mean_accuracy(evidence.baseline, benchmarks)
    detail = "; ".join([shown(parts[0]), error_increase(parts[0].effect, baseline), shown(parts[1]), control.quality])
    return judged(claim, parts, margin=evidence.margins.accuracy, detail=detail, num_items=compared.num_items)


def _knowledge_spared(evidence: Evidence) -> Draft:
    claim, benchmarks = "knowledge_spared", evidence.non_syntactic
    compared = sample({"baseline": evidence.baseline, "treated": evidence.treated}, benchmarks)
    if compared.problem is not None:
        return undecided(claim, compared.problem, compared.num_items)
    change = mean_effect([effect(evidence.treated[name], evidence.baseline[name]) for name in benchmarks])
    denial = Denial("the top neurons' accuracy over baseline", change)
    detail = f"{shown(denial)}; {error_increase(change, _mean_accuracy(evidence.baseline, benchmarks))}"
    return judged(claim, [], [denial], margin=evidence.margins.accuracy, detail=detail, num_items=compared.num_items)


def _dissociation(evidence: Evidence) -> Draft:
    """Both simple effects, in opposite directions, and the interaction."""
    claim = "double_dissociation"
    roles = {role: items for role, items in _matched_roles(evidence).items() if role != "baseline"}
    kinds = {"syntactic": evidence.syntactic, "non-syntactic": evidence.non_syntactic}
    samples = {kind: sample(roles, benchmarks) for kind, benchmarks in kinds.items()}
    num_items = sum(compared.num_items for compared in samples.values())
    for kind, compared in samples.items():
        if compared.problem is not None:
            return undecided(claim, f"{kind}: {compared.problem}", num_items)
    control, problem = _matched_control(evidence, samples["syntactic"])
    if control is None:
        return undecided(claim, problem, num_items)
    on_syntax = control.under(evidence.treated, evidence.syntactic)
    on_rest = control.over(evidence.treated, evidence.non_syntactic)
    interaction = replace(contrast(on_syntax, on_rest.times(-1)), notes=())  # they stand beside the simple effects
    parts = [
        Part("syntactic accuracy of the top neurons over the matched control", on_syntax, -1),
        Part("non-syntactic accuracy of the matched control over the top neurons", on_rest, -1),
        Part("their interaction", interaction, -1, True),
    ]
    detail = "; ".join([*map(shown, parts), control.quality])
    return judged(claim, parts, margin=evidence.margins.accuracy, detail=detail, num_items=num_items)


def _mean_accuracy(items: BenchmarkItems, benchmarks: tuple[str, ...]) -> float:
    """The mean over benchmarks, each with the weights of its effects."""
    return mean_effect([mean_difference(items[name].values, items[name]) for name in benchmarks]).value


def _matched_roles(evidence: Evidence) -> dict[str, BenchmarkItems | None]:
    """The conditions of a claim at matched perplexity."""
    roles = {"baseline": evidence.baseline, "treated": evidence.treated, "matched": evidence.matched}
    return roles | ({} if evidence.neighbour is None else {"matched/neighbour": evidence.neighbour})


def _matched_control(evidence: Evidence, compared: Sample) -> tuple[MatchedControl | None, str]:
    """The matched control, or None and why a claim cannot be judged with it."""
    if compared.problem is not None:
        return None, compared.problem
    control = MatchedControl(evidence, compared.conditions["matched"])
    return (None, control.problem) if control.problem else (control, "")
