"""Verb forms: which form the words before a verb ask for."""

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_index, critical_words, of_phenomenon, words

BASE = {"eat", "steal", "drive", "ride", "wear", "take", "shake", "grow"}
PAST = {"ate", "stole", "drove", "rode", "wore", "took", "shook", "grew"}
PARTICIPLES = {"eaten", "stolen", "driven", "ridden", "worn", "taken", "shaken", "grown"}
PROGRESSIVES = {"eating", "stealing", "driving", "riding", "wearing", "taking", "shaking", "growing"}
ALL = BASE | PAST | PARTICIPLES | PROGRESSIVES
BEFORE_BASE = {"will", "must", "should", "could", "did", "to"}
BEFORE_PROGRESSIVE = {"enjoyed", "kept", "stopped", "avoided"}


def wanted(uid: str, before: list[str]) -> set[str]:
    """The forms that the words before the verb allow."""
    if "had" in before:
        return PARTICIPLES
    if BEFORE_BASE & set(before):
        return BASE
    if uid.endswith("passive"):
        return PARTICIPLES if "was" in before else PAST
    if {"was", "were"} & set(before) or BEFORE_PROGRESSIVE & set(before):
        return PROGRESSIVES
    return PAST


@pytest.mark.parametrize("uid", of_phenomenon("verb_form"))
def test_the_form_fits_what_stands_before_it_on_the_good_side_only(uid: str) -> None:
    seen = set()
    for pair in BY_UID[uid]:
        before = words(pair.good.lower())[: critical_index(pair)]
        good, bad = critical_words(pair)
        assert good in wanted(uid, before), pair
        assert bad in ALL - wanted(uid, before), pair
        seen.add(good)
    assert len(seen) == 16, "two forms of eight verbs, each right somewhere"


def test_the_first_verb_of_a_coordination_has_its_form() -> None:
    for pair in BY_UID["verb_form_in_coordination"]:
        _, _, auxiliary, verb, *_ = words(pair.good)
        assert verb in (PARTICIPLES if auxiliary == "had" else BASE), pair
