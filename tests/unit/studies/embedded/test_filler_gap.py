"""Fillers and gaps: `what` and `who` stand before a clause that lacks a noun phrase, and only there."""

from collections import Counter

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_index, critical_words, of_phenomenon, words

FILLERS = {"what", "who"}
OTHERS = {"that", "when", "where"}
THINGS = {"box", "fence", "statue", "clock", "letter", "house", "cave", "accident"}
PEOPLE = {"banker", "captain", "clerk", "critic", "mayor", "professor", "reporter", "scientist"}
BEFORE_TAIL = {"before", "during", "near", "after"}


def has_gap(uid: str, sentence: str) -> bool:
    """Whether the clause lacks an object, or in `subject` its subject."""
    found = words(sentence)
    if uid == "filler_gap_subject":
        return found[4] != "the"
    end = next((i for i, word in enumerate(found) if word in BEFORE_TAIL), len(found))
    return found[end - 1].removesuffix("s") not in THINGS | PEOPLE


@pytest.mark.parametrize("uid", of_phenomenon("filler_gap"))
def test_a_filler_stands_before_a_gap_only(uid: str) -> None:
    fillers: Counter[str] = Counter()
    for pair in BY_UID[uid]:
        good, bad = (word.lower() for word in critical_words(pair))
        assert (good in FILLERS) == has_gap(uid, pair.good) == (bad in OTHERS), pair
        assert (good in OTHERS) != (good in FILLERS), pair
        fillers[good] += 1
    assert len(fillers) == 2 and len(set(fillers.values())) == 1


def test_the_gap_may_be_far_away() -> None:
    distances = {
        uid: min(len(words(p.good)) - critical_index(p) for p in BY_UID[uid])
        for uid in ("filler_gap_object", "filler_gap_across_clause", "filler_gap_across_infinitive")
    }
    assert distances["filler_gap_object"] + 2 <= distances["filler_gap_across_infinitive"]
    assert distances["filler_gap_object"] + 3 <= distances["filler_gap_across_clause"]
