"""Negative polarity items: where the licensor stands, and that its words alone do not give it away."""

from collections import Counter

import pytest

from tests.unit.studies.embedded.sentences import (
    BY_UID,
    critical_index,
    critical_words,
    is_plural_form,
    is_plural_noun,
    of_phenomenon,
    words,
)

HAS_EVER = [uid for uid in of_phenomenon("npi") if uid not in ("npi_any_across_subject_relative", "npi_in_question")]


def is_licensed(sentence: str) -> bool:
    """Whether a licensor outside of the relative clause precedes `ever` or `any`."""
    found = words(sentence.lower())
    before = found[: found.index("ever" if "ever" in found else "any")]
    if before[0] in ("no", "only", "few", "has", "have"):
        return True
    return "that" in before and before[-1 - ("any" in found)] == "not"


@pytest.mark.parametrize("uid", of_phenomenon("npi"))
def test_only_the_good_sentence_has_a_licensor_above_the_item(uid: str) -> None:
    for pair in BY_UID[uid]:
        assert is_licensed(pair.good), pair.good
        assert not is_licensed(pair.bad), pair.bad


@pytest.mark.parametrize("uid", of_phenomenon("npi"))
def test_but_for_simple_both_sentences_hold_the_same_words(uid: str) -> None:
    same = {Counter(words(pair.good.lower())) == Counter(words(pair.bad.lower())) for pair in BY_UID[uid]}
    assert same == {uid != "npi_simple"}


@pytest.mark.parametrize("uid", HAS_EVER)
def test_the_auxiliary_agrees_on_both_sides(uid: str) -> None:
    at = {"npi_few_and_many": 4, "npi_only": 2}.get(uid, 1)
    num_plural = 0
    for pair in BY_UID[uid]:
        for sentence in (words(pair.good), words(pair.bad)):
            auxiliary = [word for word in sentence[: sentence.index("ever")] if word in ("has", "have")][-1]
            assert auxiliary == ("have" if is_plural_noun(sentence[at]) else "has"), pair
        num_plural += is_plural_noun(words(pair.good)[at])
    assert 2 * num_plural == len(BY_UID[uid]) * (2 if uid == "npi_few_and_many" else 1)


@pytest.mark.parametrize("uid", ["npi_negation_across_object_relative", "npi_any_across_subject_relative"])
def test_both_auxiliaries_agree(uid: str) -> None:
    for pair in BY_UID[uid]:
        for sentence in (words(pair.good), words(pair.bad)):
            inner, outer = (word for word in sentence if word in ("has", "have"))
            subject = sentence[4] if "object" in uid else sentence[1]
            assert is_plural_form(inner) == is_plural_noun(subject), pair
            assert is_plural_form(outer) == is_plural_noun(sentence[1]), pair


def test_intrusive_licensor_is_a_matter_of_order() -> None:
    combinations: Counter[tuple[bool, bool]] = Counter()
    for pair in BY_UID["npi_across_object_relative"]:
        good, bad = words(pair.good), words(pair.bad)
        assert [i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b] == [0, 3], pair
        assert (good[0], good[3], bad[0], bad[3]) == ("No", "the", "The", "no"), pair
        assert is_plural_noun(good[4]) == is_plural_form(good[5]), pair
        assert Counter(pair.good.lower().split()) == Counter(pair.bad.lower().split())
        combinations[is_plural_noun(good[1]), is_plural_noun(good[4])] += 1
    assert sorted(combinations.values()) == [128] * 4


def test_simple_gives_word_frequency_no_advantage() -> None:
    """Half of the bad determiners are commoner than "No" ("The"), half rarer, in either number."""
    determiners: Counter[tuple[str, bool]] = Counter()
    for pair in BY_UID["npi_simple"]:
        good, bad = critical_words(pair)
        assert critical_index(pair) == 0 and good == "No", pair
        determiners[bad, is_plural_noun(words(pair.good)[1])] += 1
    assert determiners == {
        ("The", False): 64,
        ("Every", False): 32,
        ("Each", False): 32,
        ("The", True): 64,
        ("Most", True): 32,
        ("Many", True): 32,
    }
