"""Which windows of a text a search for a matched control may see, so that others show how well it matched.

Owns the rule; refuses to know tokens and models. Windows are numbered from the start of the text. The evidence is the
first windows of it, those of the study's perplexity; the search takes the ones that follow, where there are enough.
"""

from typing import NamedTuple

LEAST_FURTHER = 6
"""Fewer further windows than this are too few to search on, unless the evidence itself has no more."""


class MatchWindows(NamedTuple):
    """The windows of one search, by their numbers in the text."""

    search: range
    """On these the search measures."""
    held_out: range
    """Windows of the evidence that the search has not seen; all of the evidence where `is_disjoint`, and where there
    is a single window."""
    is_disjoint: bool
    """Whether the search sees no window of the evidence."""


def match_windows(num_evidence: int, num_windows: int, *, num_shared: int = 0) -> MatchWindows:
    """The rule: as many of the next windows as the evidence has, at least half as many and `LEAST_FURTHER`.

    Evidence of fewer than `LEAST_FURTHER` windows needs as many further ones. Where the text has not enough of them,
    the search takes every second window of the evidence (1, 3, 5, ...), and the others are held out; a single window is
    searched itself.

    num_evidence: at least 1; num_windows: of the whole text; num_shared: how many later windows share tokens with a
    window, 0 unless they overlap.
    """
    first = num_evidence + num_shared
    further = max(0, num_windows - first)
    if further >= min(num_evidence, max(LEAST_FURTHER, num_evidence / 2)):
        return MatchWindows(range(first, first + min(num_evidence, further)), range(num_evidence), True)
    if num_evidence == 1:
        return MatchWindows(range(1), range(1), False)
    return MatchWindows(range(1, num_evidence, 2), range(0, num_evidence, 2), False)
