"""Argument structure: every verb stands before complements of one kind where it is right, and of another where not."""

from collections import defaultdict

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_index, critical_words, of_phenomenon, words

MOODS = {"angry", "bored", "happy", "hungry", "nervous", "sad", "sleepy", "tired"}
PLACES = {"before", "during", "near", "after"}


def complement(sentence: str, at: int) -> str:
    """What kind of complement the verb at a place has."""
    found = words(sentence)
    before, after = found[at - 1], found[at + 1 :]
    if before in ("was", "were"):
        return "passive"
    if "that" in found[:at]:
        return "none" if before == "that" else "object"
    if after[0] == "that":
        return "clause"
    if after[0] in MOODS:
        return "adjective"
    if after[0] in PLACES:
        return "none"
    assert after[0] == "the", sentence
    return {"to": "infinitive", "a": "two objects"}.get(after[2], "object")


@pytest.mark.parametrize("uid", of_phenomenon("argument_structure"))
def test_a_verb_is_right_with_one_kind_of_complement_and_wrong_with_another(uid: str) -> None:
    right: dict[str, set[str]] = defaultdict(set)
    wrong: dict[str, set[str]] = defaultdict(set)
    for pair in BY_UID[uid]:
        at = critical_index(pair)
        good, bad = critical_words(pair)
        right[good].add(complement(pair.good, at))
        wrong[bad].add(complement(pair.bad, at))
    assert set(right) == set(wrong)
    for verb in right:
        assert len(right[verb]) == len(wrong[verb]) == 1 and right[verb] != wrong[verb], verb


KINDS = {
    "transitive": {"object", "none"},
    "passive": {"passive", "none"},
    "relative_clause": {"object", "none"},
    "clause_or_object": {"clause", "object"},
    "clause_or_infinitive": {"clause", "infinitive"},
    "two_objects_or_one": {"two objects", "object"},
    "adjective_or_object": {"adjective", "object"},
}


@pytest.mark.parametrize("name", KINDS)
def test_the_name_of_a_construction_says_what_is_contrasted(name: str) -> None:
    pairs = BY_UID[f"argument_structure_{name}"]
    assert {complement(pair.good, critical_index(pair)) for pair in pairs} == KINDS[name]
