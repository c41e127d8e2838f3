"""Embedded minimal pairs: a targeted syntactic evaluation that needs no download.

Owns the list of phenomena, each a module with its constructions in the manner of Marvin & Linzen, "Targeted Syntactic
Evaluation of Language Models" (EMNLP 2018), of BLiMP (Warstadt et al., TACL 2020) and SyntaxGym (Gauthier et al., ACL
2020); lexicon and sentences are our own. Knows nothing of models, tokens or scoring. A claim samples constructions
within phenomena, so every phenomenon has at least six.

Callers rely on one fixed list, sorted by `uid`, in which every four pairs of a construction are whole frames; and on
the absence of shortcuts. In all constructions but one the good and the bad sentences of a frame hold the same words,
apart from a capital letter: each critical word is as often right as wrong, or both sentences of a pair have it, in
different places. A unigram model scores exactly 50 %. The exception is `npi_simple`; the module `npi` says which
shortcut is left. Where the critical word stands beside the word on which it depends ("had eaten"), two words tell good
from bad.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from studies.embedded import (
    agreement,
    argument_structure,
    case,
    determiners,
    filler_gap,
    npi,
    reflexives,
    verb_forms,
)
from studies.embedded.frames import Constructions, Contrast

PHENOMENA: dict[str, Constructions] = {
    "agreement": agreement.CONSTRUCTIONS,
    "argument_structure": argument_structure.CONSTRUCTIONS,
    "case": case.CONSTRUCTIONS,
    "determiner_noun_agreement": determiners.CONSTRUCTIONS,
    "filler_gap": filler_gap.CONSTRUCTIONS,
    "npi": npi.CONSTRUCTIONS,
    "reflexives": reflexives.CONSTRUCTIONS,
    "verb_form": verb_forms.CONSTRUCTIONS,
}

CONSTRUCTIONS: dict[str, tuple[str, Callable[[], Iterator[Contrast]]]] = {
    f"{phenomenon}_{name}": (phenomenon, contrasts)
    for phenomenon, constructions in PHENOMENA.items()
    for name, contrasts in constructions.items()
}
"""{uid: (phenomenon, what makes the pairs)}."""


class MinimalPair(NamedTuple):
    """Two sentences, of which a speaker accepts only the first."""

    uid: str
    """The construction, e.g. `agreement_across_object_relative`."""
    phenomenon: str
    """What the construction tests, a key of `PHENOMENA`."""
    good: str
    bad: str


def minimal_pairs() -> list[MinimalPair]:
    """All pairs, sorted by construction; a new list of the same pairs at every call, without randomness."""
    return [
        MinimalPair(uid, phenomenon, good, bad)
        for uid, (phenomenon, contrasts) in sorted(CONSTRUCTIONS.items())
        for good, bad in contrasts()
    ]
