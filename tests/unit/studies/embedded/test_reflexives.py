"""Reflexives of heads that have a gender or are pronouns: what they refer to, in number and gender."""

from collections import Counter

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_words, is_plural_form, is_plural_noun, words

MEN = {"boy", "father", "king", "man", "nephew", "prince", "son", "uncle", "men"}
WOMEN = {"girl", "mother", "queen", "woman", "niece", "princess", "daughter", "aunt", "women", "princesses"}
OTHER_MEN, OTHER_WOMEN = {"brother", "grandfather", "husband", "monk"}, {"sister", "grandmother", "wife", "nun"}
PRONOUN_OF = {
    "He": "himself",
    "She": "herself",
    "They": "themselves",
    "We": "ourselves",
    "I": "myself",
}


def is_man(noun: str) -> bool:
    """Fails where a noun is neither a man nor a woman."""
    man = bool({noun, noun.removesuffix("s")} & (MEN | OTHER_MEN))
    assert man != bool({noun, noun.removesuffix("s")} & (WOMEN | OTHER_WOMEN)), noun
    return man


@pytest.mark.parametrize(
    "uid",
    [
        "reflexives_gender",
        "reflexives_gender_across_prepositional_phrase",
        "reflexives_gender_in_infinitival_complement",
    ],
)
def test_gender_agrees_with_the_binder_on_the_good_side_only(uid: str) -> None:
    combinations: Counter[tuple[bool, ...]] = Counter()
    for pair in BY_UID[uid]:
        nouns = [word for word in words(pair.good) if word in MEN | WOMEN | OTHER_MEN | OTHER_WOMEN]
        binder = words(pair.good)[4 if "infinitival" in uid else 1]
        assert binder in MEN | WOMEN
        expected = ("himself", "herself") if is_man(binder) else ("herself", "himself")
        assert critical_words(pair) == expected, pair
        combinations[tuple(map(is_man, nouns))] += 1
    assert len(combinations) == (2 if uid == "reflexives_gender" else 4)
    assert len(set(combinations.values())) == 1, "the other noun's gender says nothing"


@pytest.mark.parametrize("uid", ["reflexives_across_subject_relative", "reflexives_in_vp_coordination"])
def test_number_agrees_with_a_head_of_the_right_gender(uid: str) -> None:
    singulars: Counter[tuple[str, bool]] = Counter()
    for pair in BY_UID[uid]:
        head, (good, bad) = words(pair.good)[1], critical_words(pair)
        assert is_plural_form(good) == is_plural_noun(head) != is_plural_form(bad), pair
        (singular,) = {good, bad} - {"themselves"}
        assert singular == ("himself" if is_man(head) else "herself"), pair
        singulars[singular, is_plural_noun(head)] += 1
    assert len(singulars) == 4 and len(set(singulars.values())) == 1


def test_the_attractor_of_a_subject_relative_says_nothing() -> None:
    pairs = BY_UID["reflexives_across_subject_relative"]
    combinations = Counter((is_plural_noun(words(p.good)[1]), is_plural_noun(words(p.good)[5])) for p in pairs)
    assert sorted(combinations.values()) == [len(pairs) // 4] * 4


def test_pronouns_have_their_own_reflexive() -> None:
    wrong: set[tuple[str, str]] = set()
    for pair in BY_UID["reflexives_of_pronoun"]:
        subject, (good, bad) = words(pair.good)[0], critical_words(pair)
        assert good == PRONOUN_OF[subject], pair
        wrong.add((subject, bad))
    assert {subject for subject, bad in wrong if bad == "myself"} == {"We"}
    assert ("They", "themselves") not in wrong and len(wrong) == 8
