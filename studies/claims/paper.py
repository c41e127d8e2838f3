"""The scorecard: which of the paper's claims hold for a model, given its item frames.

The rule: a claim HOLDS when the 95 % bootstrap interval of its signed effect excludes 0 in the stated direction AND the
interval of its contrast with the control does; otherwise it DOES_NOT_HOLD. It is NOT_DECIDABLE, with n and the reason,
when a control or a benchmark is missing, values are not finite, or items are too few, and NOT_APPLICABLE to a ReLU
model, where the negative clamp is the identity. Published magnitudes are shown beside, never tested.

Callers rely on: no verdict is ever left out (one per claim, syntax_loss one per syntactic benchmark); conditions with
different item sets raise ValueError; McNemar p values are shown Holm-corrected over all such tests of the model's
scorecard and decide nothing. Refuse mixed comparability keys first (`dissociation.require_same`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from studies.statistics.comparisons import interaction
from studies.statistics.excess_surprisal import MIN_DOCUMENTS, Contrast
from studies.statistics.intervals import (
    Interval,
    McNemar,
    accuracy_difference,
    contrast_of_differences,
    holm,
    log_perplexity_difference,
    mcnemar,
    pool,
)
from studies.statistics.neuron_table import NegativeShare

MIN_WINDOWS = 6
"""Fewest perplexity windows: 6 paired differences share a sign by chance with 2^-6 < 2.5 %, 5 with more."""
MIN_NEURONS = 30
"""Fewest neurons among the most entangled."""
MIN_DECISIONS = 100
"""Fewest pairs or choices on each side of a test (pooled benchmarks count together)."""

Frames = Mapping[str, pd.DataFrame]
"""Item frames of one condition, by benchmark."""


class Scaffolding(NamedTuple):
    """Where the treated condition's excess surprisal sits, on one benchmark."""

    contrast: Contrast
    """Determiners, punctuation, auxiliaries and particles over nouns, verbs, adjectives and adverbs."""
    content: Interval
    """Mean excess on the latter."""
    over_randoms: Mapping[str, Interval | None]
    """The contrast with each random control in the baseline's place; None where that was not scored."""


class Status(StrEnum):
    """What the evidence says of one claim on one model."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_DECIDABLE = "not decidable"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One row of the scorecard."""

    claim: str
    """Short id, unique on a scorecard: "perplexity_cost", "syntax_loss/blimp"."""
    statement: str
    """What is tested, in one sentence."""
    model: str
    status: Status
    effect: Interval | None
    """Signed effect; None where it was not computed."""
    contrast: Interval | None
    """Effect minus that of the control (the weakest of several); None where the effect is itself the contrast."""
    num_items: int
    """Windows, pairs or choices that the verdict rests on."""
    detail: str
    """The numbers, or the reason for none, on one line."""
    published: str
    """What the paper found; shown beside, never tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything measured on one model; frames by benchmark, perplexity windows under "perplexity"."""

    model: str
    relu: bool
    """Whether the model's activation is ReLU."""
    baseline: Frames
    treated: Frames
    """Negative clamp of the top neurons."""
    randoms: Mapping[str, Frames]
    """Negative clamp of as many random neurons, by condition name, one per seed."""
    matched: Frames | None
    """Negative clamp of low-score neurons, as many as raise perplexity as much; None where there is no match."""
    matched_fraction: float | None
    treated_fraction: float | None
    match_bracket: tuple[float, float] | None
    """The evaluated fractions of low-score neurons just below and just above the treated perplexity."""
    syntactic: tuple[str, ...]
    """Benchmark names, one syntax_loss verdict each."""
    non_syntactic: tuple[str, ...]
    by_difficulty: Frames | None = None
    """Negative clamp of as many neurons, those with the highest mapping difficulty."""
    difficulty_randoms: Mapping[str, Frames] = field(default_factory=dict)
    """Random controls of their number: those of the treated condition, if as many."""
    correlation: float | None = None
    """Spearman's, of the two scores over all neurons."""
    magnitude: Frames | None = None
    """The treated neurons under a ceiling that takes as much magnitude from the positive half."""
    negative_share: NegativeShare | None = None
    scaffolding: Mapping[str, Scaffolding | None] = field(default_factory=dict)
    """Of every surprisal benchmark; None where the baseline or the treated condition was not scored on it."""


class Claim(NamedTuple):
    """What a scorecard tests, in words."""

    statement: str
    """With `{benchmark}` where there is one verdict a benchmark."""
    published: str


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


class _Draft(NamedTuple):
    """A verdict whose detail still lacks the Holm-corrected p values of its McNemar tests."""

    verdict: Verdict
    tests: Mapping[str, McNemar]


class _Supply(NamedTuple):
    """How many items there are for a test, and why that does not do (None: it does)."""

    num_items: int
    problem: str | None


def double_dissociation(evidence: Evidence) -> list[Verdict]:
    """Verdicts on perplexity_cost, matched_cost, syntax_loss (per benchmark), knowledge_spared, double_dissociation."""
    return _with_p_values(_dissociation_drafts(evidence))


def paper(evidence: Evidence) -> list[Verdict]:
    """`double_dissociation`'s verdicts, then negative_mass, difficulty_agrees, sign_not_magnitude and scaffolding."""
    tests = {"difficulty_agrees": _difficulty_agrees, "sign_not_magnitude": _sign_not_magnitude}
    others = _not_applicable(evidence, tests) if evidence.relu else [test(evidence) for test in tests.values()]
    parts = [*_dissociation_drafts(evidence), _negative_mass(evidence), *others, *_scaffolding_drafts(evidence)]
    return _with_p_values(parts)


def token_surprisal(evidence: Evidence) -> list[Verdict]:
    """Verdicts on perplexity_cost and scaffolding (per surprisal benchmark)."""
    first = _not_applicable(evidence, ("perplexity_cost",)) if evidence.relu else [_perplexity_cost(evidence)]
    return _with_p_values([*first, *_scaffolding_drafts(evidence)])


def _scaffolding_drafts(evidence: Evidence) -> list[_Draft]:
    found = {f"scaffolding/{name}": one for name, one in evidence.scaffolding.items()} or {"scaffolding": None}
    if evidence.relu:
        return _not_applicable(evidence, found)
    return [_scaffolding(evidence, name, one) for name, one in found.items()]


def _scaffolding(evidence: Evidence, name: str, found: Scaffolding | None) -> _Draft:
    if found is None:
        problem = "no surprisal benchmark" if name == "scaffolding" else "not scored on it"
        return _undecided(evidence, name, _Supply(0, problem))
    contrast = found.contrast
    if contrast.num_documents < MIN_DOCUMENTS:
        problem = f"too few documents with both classes, at least {MIN_DOCUMENTS} needed"
        return _undecided(evidence, name, _Supply(contrast.num_documents, problem))
    if not found.over_randoms:
        return _undecided(evidence, name, _Supply(contrast.num_items, "no random control"))
    if missing := [name for name, over in found.over_randoms.items() if over is None]:
        return _undecided(evidence, name, _Supply(contrast.num_items, f"{missing[0]} was not scored on it"))
    weakest = min(found.over_randoms, key=lambda random: found.over_randoms[random].low)
    over = found.over_randoms[weakest]
    detail = (
        f"excess surprisal {shown(contrast.interval)} nats over content words, Wilcoxon p = {contrast.p_value:.2g} over"
        f" {contrast.num_documents} documents; {shown(over)} with {weakest} in the baseline's place, the weakest of"
        f" {len(found.over_randoms)} random controls; content words themselves {shown(found.content)}"
    )
    return _decided(evidence, name, +1, contrast.interval, over, contrast.num_items, detail)


def _dissociation_drafts(evidence: Evidence) -> list[_Draft]:
    syntax_losses = {f"syntax_loss/{name}": (name,) for name in evidence.syntactic} or {"syntax_loss": ()}
    if evidence.relu:
        names = ("perplexity_cost", "matched_cost", *syntax_losses, "knowledge_spared", "double_dissociation")
        return _not_applicable(evidence, names)
    return [
        _perplexity_cost(evidence),
        _matched_cost(evidence),
        *(_syntax_loss(evidence, name, benchmark) for name, benchmark in syntax_losses.items()),
        _knowledge_spared(evidence),
        _interaction(evidence),
    ]


def _not_applicable(evidence: Evidence, names: Iterable[str]) -> list[_Draft]:
    reason = "ReLU model: the negative clamp is the identity"
    return [_Draft(_verdict(evidence, name, Status.NOT_APPLICABLE, None, None, 0, reason), {}) for name in names]


CLAIM_SETS: Mapping[str, Callable[[Evidence], list[Verdict]]] = {
    "double_dissociation": double_dissociation,
    "paper": paper,
    "token_surprisal": token_surprisal,
}


def _perplexity_cost(evidence: Evidence) -> _Draft:
    name = "perplexity_cost"
    supply = _supply({"baseline": evidence.baseline, "treated": evidence.treated, **evidence.randoms}, ("perplexity",))
    if supply.problem is None and not evidence.randoms:
        supply = supply._replace(problem="no random control")
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    treated = evidence.treated["perplexity"]
    effect = log_perplexity_difference(treated, evidence.baseline["perplexity"])
    contrast, weakest = _weakest(treated, evidence.randoms)
    detail = f"log-perplexity {shown(effect)} over baseline; {shown(contrast)} over {weakest}"
    return _decided(evidence, name, +1, effect, contrast, supply.num_items, detail)


def _weakest(treated: pd.DataFrame, randoms: Mapping[str, Frames]) -> tuple[Interval, str]:
    """The smallest contrast in log-perplexity to a random control, and which one that was."""
    contrasts = {name: log_perplexity_difference(treated, frames["perplexity"]) for name, frames in randoms.items()}
    name = min(contrasts, key=lambda random: contrasts[random].low)
    return contrasts[name], f"{name}, the weakest of {len(contrasts)} random controls"


def _matched_cost(evidence: Evidence) -> _Draft:
    """The one claim whose interval is no confidence interval: it is the bracket of the search for the match."""
    name = "matched_cost"
    supply = _supply({"treated": evidence.treated, "matched": evidence.matched}, ("perplexity",))
    for fact in ("matched_fraction", "treated_fraction", "match_bracket"):
        if supply.problem is None and getattr(evidence, fact) is None:
            supply = supply._replace(problem=f"no {fact.replace('_', ' ')}")
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    matched, treated, (low, high) = evidence.matched_fraction, evidence.treated_fraction, evidence.match_bracket
    effect = Interval(matched - treated, low - treated, high - treated)
    detail = (
        f"fraction {matched:.4g} matched, between the evaluated {low:.4g} and {high:.4g} (the search's bracket, not a"
        f" confidence interval), over {treated:.4g} treated{_match_quality(evidence)}"
    )
    return _decided(evidence, name, +1, effect, None, supply.num_items, detail)


def _syntax_loss(evidence: Evidence, name: str, benchmark: tuple[str, ...]) -> _Draft:
    """`benchmark` holds one name, or none where the study has no syntactic benchmark."""
    supply = _supply(_three(evidence), benchmark)
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    baseline, treated, matched = (frames[benchmark[0]] for frames in _three(evidence).values())
    effect, contrast = accuracy_difference(treated, baseline), accuracy_difference(treated, matched)
    detail = (
        f"accuracy {shown(effect)} over baseline; {shown(contrast)} over the matched control{_match_quality(evidence)}"
    )
    tests = {"treated/baseline": mcnemar(treated, baseline), "treated/matched": mcnemar(treated, matched)}
    return _decided(evidence, name, -1, effect, contrast, supply.num_items, detail, tests)


def _knowledge_spared(evidence: Evidence) -> _Draft:
    name = "knowledge_spared"
    supply = _supply(_three(evidence), evidence.non_syntactic)
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    baseline, treated, matched = (_pooled(frames, evidence.non_syntactic) for frames in _three(evidence).values())
    effect, contrast = accuracy_difference(matched, baseline), accuracy_difference(matched, treated)
    detail = (
        f"accuracy of the matched control {shown(effect)} over baseline; {shown(contrast)} over the top neurons,"
        f" pooled over {', '.join(evidence.non_syntactic)}{_match_quality(evidence)}"
    )
    tests = {"matched/baseline": mcnemar(matched, baseline), "matched/treated": mcnemar(matched, treated)}
    return _decided(evidence, name, -1, effect, contrast, supply.num_items, detail, tests)


def _interaction(evidence: Evidence) -> _Draft:
    name = "double_dissociation"
    conditions = {"treated": evidence.treated, "matched": evidence.matched}
    supplies = [_supply(conditions, benchmarks) for benchmarks in (evidence.syntactic, evidence.non_syntactic)]
    num_items = sum(supply.num_items for supply in supplies)
    for side, supply in zip(("syntactic", "non-syntactic"), supplies, strict=True):
        if supply.problem is not None:
            return _undecided(evidence, name, _Supply(num_items, f"{side}: {supply.problem}"))
    syntactic = [_pooled(frames, evidence.syntactic) for frames in conditions.values()]
    non_syntactic = [_pooled(frames, evidence.non_syntactic) for frames in conditions.values()]
    effect = contrast_of_differences(*syntactic, *non_syntactic)
    sides = [
        tuple({name: frames[name] for name in names} for names in (evidence.syntactic, evidence.non_syntactic))
        for frames in conditions.values()
    ]
    model = interaction(*sides)
    fitted = f"the log-odds ratio is {shown(model)}, p = {model.p_value:.2g}" if model else "too few paradigms"
    detail = (
        f"interaction {shown(effect)} (logistic model, GEE: {fitted}): top neurons over matched control"
        f" {shown(accuracy_difference(*syntactic))} on {supplies[0].num_items} syntactic,"
        f" {shown(accuracy_difference(*non_syntactic))} on {supplies[1].num_items} non-syntactic"
        f" items{_match_quality(evidence)}"
    )
    return _decided(evidence, name, -1, effect, None, num_items, detail)


def _negative_mass(evidence: Evidence) -> _Draft:
    name, share = "negative_mass", evidence.negative_share
    if share is None:
        return _undecided(evidence, name, _Supply(0, "no neuron table"))
    if share.num_top < MIN_NEURONS:
        return _undecided(evidence, name, _Supply(share.num_top, f"too few neurons, at least {MIN_NEURONS} needed"))
    effect = Interval(*(bound - 0.5 for bound in share.top))
    detail = (
        f"negative share {shown(share.top)} among the {share.num_top} most entangled neurons, {shown(share.rest)} among"
        f" the other {share.num_rest}"
    )
    return _decided(evidence, name, +1, effect, share.difference, share.num_top, detail)


def _difficulty_agrees(evidence: Evidence) -> _Draft:
    name = "difficulty_agrees"
    conditions = {"baseline": evidence.baseline, "mapping-difficulty": evidence.by_difficulty}
    supply = _supply(conditions | evidence.difficulty_randoms, ("perplexity",))
    if supply.problem is None and not evidence.difficulty_randoms:
        supply = supply._replace(problem="no random control of as many neurons")
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    chosen = evidence.by_difficulty["perplexity"]
    effect = log_perplexity_difference(chosen, evidence.baseline["perplexity"])
    contrast, weakest = _weakest(chosen, evidence.difficulty_randoms)
    detail = f"log-perplexity {shown(effect)} over baseline; {shown(contrast)} over {weakest}"
    if evidence.correlation is not None:
        detail += f"; Spearman correlation of the two scores {evidence.correlation:.2f}"
    return _decided(evidence, name, +1, effect, contrast, supply.num_items, detail)


def _sign_not_magnitude(evidence: Evidence) -> _Draft:
    name = "sign_not_magnitude"
    conditions = {"baseline": evidence.baseline, "treated": evidence.treated, "magnitude": evidence.magnitude}
    supply = _supply(conditions, evidence.syntactic)
    if supply.problem is not None:
        return _undecided(evidence, name, supply)
    baseline, treated, magnitude = (_pooled(frames, evidence.syntactic) for frames in conditions.values())
    effect, contrast = accuracy_difference(treated, baseline), accuracy_difference(treated, magnitude)
    detail = f"accuracy {shown(effect)} over baseline; {shown(contrast)} over the magnitude-matched ceiling"
    tests = {"treated/magnitude": mcnemar(treated, magnitude)}
    return _decided(evidence, name, -1, effect, contrast, supply.num_items, detail, tests)


def _three(evidence: Evidence) -> dict[str, Frames | None]:
    return {"baseline": evidence.baseline, "treated": evidence.treated, "matched": evidence.matched}


def _pooled(frames: Frames, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    return pool({benchmark: frames[benchmark] for benchmark in benchmarks})


def _supply(conditions: Mapping[str, Frames | None], benchmarks: tuple[str, ...]) -> _Supply:
    """Items of the first condition, and the first reason why the conditions cannot be compared on `benchmarks`."""
    first = next(iter(conditions.values())) or {}
    num_items = sum(len(first[benchmark]) for benchmark in benchmarks if benchmark in first)
    if not benchmarks:
        return _Supply(0, "no benchmark")
    for condition, frames in conditions.items():
        if frames is None:
            return _Supply(num_items, f"no {condition} control")
        for benchmark in benchmarks:
            if benchmark not in frames:
                return _Supply(num_items, f"no {benchmark} items of {condition}")
            values = frames[benchmark]["nll" if benchmark == "perplexity" else "correct"].to_numpy(np.float64)
            num_bad = int((~np.isfinite(values)).sum())
            if num_bad:
                return _Supply(num_items, f"{num_bad} of {len(values)} {benchmark} items of {condition} not finite")
    noun, minimum = ("windows", MIN_WINDOWS) if "perplexity" in benchmarks else ("items", MIN_DECISIONS)
    if num_items < minimum:
        return _Supply(num_items, f"too few {noun}, at least {minimum} needed")
    return _Supply(num_items, None)


def _decided(
    evidence: Evidence,
    name: str,
    direction: int,
    effect: Interval,
    contrast: Interval | None,
    num_items: int,
    detail: str,
    tests: Mapping[str, McNemar] | None = None,
) -> _Draft:
    status = rule(direction, effect, contrast)
    return _Draft(_verdict(evidence, name, status, effect, contrast, num_items, detail), tests or {})


def rule(direction: int, *intervals: Interval | None) -> Status:
    """HOLDS where every interval lies wholly on the stated side (+1 or -1) of 0."""
    sides = [direction * bound > 0 for interval in intervals if interval is not None for bound in interval]
    return Status.HOLDS if all(sides) else Status.DOES_NOT_HOLD


def _undecided(evidence: Evidence, name: str, supply: _Supply) -> _Draft:
    status, detail = Status.NOT_DECIDABLE, f"{supply.problem} (n = {supply.num_items})"
    return _Draft(_verdict(evidence, name, status, None, None, supply.num_items, detail), {})


def _verdict(evidence: Evidence, name: str, *found: Any) -> Verdict:
    return verdict(_CLAIMS, evidence.model, name, *found)


def verdict(
    claims: Mapping[str, Claim],
    model: str,
    name: str,
    status: Status,
    effect: Interval | None,
    contrast: Interval | None,
    num_items: int,
    detail: str,
) -> Verdict:
    """One row of a scorecard. name: a key of `claims`, with `/<benchmark>` where there is one a benchmark."""
    kind, _, benchmark = name.partition("/")
    claim = claims[kind]
    return Verdict(
        claim=name,
        statement=claim.statement.format(benchmark=benchmark or "a syntactic benchmark"),
        model=model,
        status=status,
        effect=effect,
        contrast=contrast,
        num_items=num_items,
        detail=detail,
        published=claim.published,
    )


def _with_p_values(drafts: list[_Draft]) -> list[Verdict]:
    """Correct all McNemar tests of the scorecard as one family and write them into the details."""
    corrected = iter(holm([test.p_value for draft in drafts for test in draft.tests.values()]))
    verdicts = []
    for decided, tests in drafts:
        notes = [
            f"{label} p = {next(corrected):.2g} (lost {test.num_lost}, gained {test.num_gained},"
            f" ties dropped {test.num_dropped_ties})"
            for label, test in tests.items()
        ]
        detail = f"{decided.detail}; McNemar (Holm) {', '.join(notes)}" if notes else decided.detail
        verdicts.append(replace(decided, detail=detail))
    return verdicts


def _match_quality(evidence: Evidence) -> str:
    """How well perplexity was matched, for the details of claims that say "at matched perplexity"."""
    conditions = {"treated": evidence.treated, "matched": evidence.matched}
    if _supply(conditions, ("perplexity",)).problem is not None:
        return "; perplexity match not checked"
    treated, matched = (np.exp(frames["perplexity"]["nll"].mean()) for frames in conditions.values())
    return f"; perplexity {matched:.4g} matched, {treated:.4g} treated"


def shown(interval: Interval, form: str = ".4f") -> str:
    """`+0.1200 [0.1096, 0.1305]`."""
    return f"{interval.estimate:+{form}} [{interval.low:{form}}, {interval.high:{form}}]"
