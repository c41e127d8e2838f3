"""Determiners: which noun each of them takes, and that it takes no other."""

from collections import Counter
from itertools import takewhile

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_words, is_plural_noun, of_phenomenon, words

SINGULAR = {"this", "that", "each", "every", "one", "another"}
PLURAL = {"these", "those", "several", "many", "two", "both"}
UNCOUNTABLE = {"advice", "clothing", "equipment", "furniture", "homework", "jewelry", "luggage", "money"}
UIDS = [uid for uid in of_phenomenon("determiner_noun_agreement") if not uid.endswith("much_and_many")]


def noun_after(sentence: list[str], determiner: int) -> str:
    """The noun of a determiner: the last word before a verb, a conjunction or the end."""
    phrase = list(takewhile(lambda word: word != "and" and not word.endswith("ed"), sentence[determiner + 1 :]))
    return phrase[-1]


def disagreements(sentence: str) -> int:
    found = words(sentence.lower())
    at = [i for i, word in enumerate(found) if word in SINGULAR | PLURAL]
    assert at, sentence
    return sum(is_plural_noun(noun_after(found, i)) != (found[i] in PLURAL) for i in at)


@pytest.mark.parametrize("uid", UIDS)
def test_determiner_and_noun_agree_on_the_good_side_only(uid: str) -> None:
    for pair in BY_UID[uid]:
        assert disagreements(pair.good) == 0, pair.good
        assert disagreements(pair.bad) == 1, pair.bad


@pytest.mark.parametrize("uid", UIDS)
def test_half_of_the_critical_nouns_are_singular(uid: str) -> None:
    good = [critical_words(pair)[0].lower() for pair in BY_UID[uid]]
    plural = Counter(word in PLURAL or (word not in SINGULAR and is_plural_noun(word)) for word in good)
    assert plural[True] == plural[False] == len(BY_UID[uid]) // 2


def test_much_and_many() -> None:
    for pair in BY_UID["determiner_noun_agreement_much_and_many"]:
        noun = words(pair.good)[-1]
        assert (noun in UNCOUNTABLE) != is_plural_noun(noun), pair
        assert critical_words(pair) == (("much", "many") if noun in UNCOUNTABLE else ("many", "much")), pair


def test_the_first_noun_of_a_coordination_says_nothing_of_the_second() -> None:
    pairs = BY_UID["determiner_noun_agreement_in_coordination"]
    combinations = Counter((is_plural_noun(words(p.good)[3]), is_plural_noun(words(p.good)[-1])) for p in pairs)
    assert sorted(combinations.values()) == [len(pairs) // 4] * 4
