"""The claims on excess surprisal: on which parts of speech it sits, and on which it does not."""

from studies.claims.evidence import Evidence, Scaffolding
from studies.claims.matched import MatchedControl
from studies.claims.scorecard import Denial, Draft, Part, format_interval, judged, not_applicable, undecided
from studies.claims.wording import random_sets, shown
from studies.statistics.excess_surprisal import MIN_DOCUMENTS


def surprisal_drafts(evidence: Evidence) -> list[Draft]:
    """scaffolding and content_spared of each surprisal benchmark; one of each where there is no such benchmark."""
    claims = ("scaffolding", "content_spared")
    if evidence.relu:
        named = [f"{claim}/{name}" for name in evidence.scaffolding for claim in claims]
        return not_applicable(named or claims)
    if not evidence.scaffolding:
        return [undecided(claim, "no surprisal benchmark", 0) for claim in claims]
    return [
        draft
        for name, found in evidence.scaffolding.items()
        for excess in [_with_match(evidence, found)]
        for draft in (
            _scaffolding(f"scaffolding/{name}", excess, evidence.margins.surprisal),
            _content_spared(f"content_spared/{name}", excess, evidence.margins.surprisal),
        )
    ]


def _with_match(evidence: Evidence, excess: Scaffolding | None) -> Scaffolding | None:
    """With what is known of the match. The control counts at its accepted fraction: nothing is interpolated here."""
    if excess is None or evidence.matched is None:
        return excess
    control = MatchedControl(evidence, evidence.matched)
    return excess._replace(match=control.quality, match_problem=control.problem)


def _scaffolding(claim: str, excess: Scaffolding | None, margin: float) -> Draft:
    if problem := _too_little_text(excess):
        return undecided(claim, problem, excess.num_documents if excess else 0)
    assert excess is not None
    over, matched = excess.over_randoms, excess.over_matched
    if excess.unscored:
        return undecided(claim, f"{excess.unscored} was not scored on it", excess.num_items)
    if over is None or matched is None:
        return undecided(claim, f"no {'random' if over is None else 'matched'} control", excess.num_items)
    if excess.match_problem:
        return undecided(claim, excess.match_problem, excess.num_items)
    parts = [
        Part("excess over content words", excess.contrast, +1),
        Part(
            f"that with {random_sets(over.by_set)} in the baseline's place",
            over.effect,
            +1,
            True,
            over.rank_p_value(+1),
        ),
        Part("that with the matched control in the baseline's place", matched, +1, True),
    ]
    notes = [*map(shown, parts), excess.match]
    if excess.adjusted is not None:
        notes.append(
            f"adjusted for frequency, position and baseline surprisal {format_interval(excess.adjusted.interval)}"
            f" (decides nothing; the classes overlap by {100 * excess.adjusted.overlap:.0f} % in these)"
        )
    return judged(claim, parts, margin=margin, detail="; ".join(notes), num_items=excess.num_items)


def _content_spared(claim: str, excess: Scaffolding | None, margin: float) -> Draft:
    if problem := _too_little_text(excess):
        return undecided(claim, problem, excess.num_documents if excess else 0)
    assert excess is not None
    denial = Denial("excess on content words", excess.content)
    return judged(claim, [], [denial], margin=margin, detail=shown(denial), num_items=excess.num_items)


def _too_little_text(excess: Scaffolding | None) -> str:
    """Why the excess cannot be judged; empty where it can."""
    if excess is None:
        return "not scored on it"
    if excess.num_documents < MIN_DOCUMENTS:
        return f"too few documents with both classes, at least {MIN_DOCUMENTS} needed"
    return ""
