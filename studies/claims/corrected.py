"""The verdict of a claim with many parts, whose contradiction is corrected for their number.

A claim is SUPPORTED only if every part is shown, so more parts make that rarer; but one of many parts that are 0 lies
below 0 by chance more often than one alone, so CONTRADICTED needs Bonferroni's correction. In all else the rules are
the scorecard's.
"""

from collections.abc import Sequence

from studies.claims.scorecard import SIGNIFICANCE, Draft, Part, Status, judged, undecided_after_all


def judged_among(
    claim: str, parts: Sequence[Part], num_parts: int, *, margin: float, detail: str, num_items: int
) -> Draft:
    """As `judged`; num_parts: among how many parts these are the ones that decide. All are stated to be above 0."""
    draft = judged(claim, parts, margin=margin, detail=detail, num_items=num_items)
    if draft.status is not Status.CONTRADICTED:
        return draft
    refuting = [part for part in parts if part.is_refuted]
    lowest = min(refuting, key=lambda part: part.effect.p_value(-1))
    if lowest.effect.p_value(-1) * num_parts < SIGNIFICANCE:
        return draft
    missing = f"{lowest.label} is below 0, which one of {num_parts} intervals may be by chance"
    return undecided_after_all(draft, parts, missing)
