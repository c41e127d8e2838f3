"""Case: nominative pronouns are subjects, accusative ones objects."""

from collections import Counter

import pytest

from tests.unit.studies.embedded.sentences import BY_UID, critical_index, critical_words, of_phenomenon, words

NOMINATIVE = {"he": "him", "she": "her", "we": "us", "they": "them"}
BEFORE_A_SUBJECT = {
    *("yesterday", "today", "later", "then"),
    *("that", "did", "while", "until", "because", "when"),
    *("hoped", "said", "believed", "thought"),
}


@pytest.mark.parametrize("uid", of_phenomenon("case"))
def test_a_pronoun_is_nominative_as_a_subject_only(uid: str) -> None:
    roles: Counter[tuple[str, bool]] = Counter()
    for pair in BY_UID[uid]:
        good, bad = critical_words(pair)
        nominative = words(pair.good.lower())[critical_index(pair) - 1] in BEFORE_A_SUBJECT
        assert (good in NOMINATIVE) == nominative, pair
        assert NOMINATIVE[good if nominative else bad] == (bad if nominative else good), pair
        roles[good, nominative] += 1
    assert len(roles) == 8 and len(set(roles.values())) == 1, "every pronoun equally often, in both roles"


@pytest.mark.parametrize("uid", of_phenomenon("case"))
def test_no_pronoun_stands_in_a_coordination_or_comparison(uid: str) -> None:
    """Speakers disagree on these."""
    assert not [pair for pair in BY_UID[uid] if {"and", "than", "as", "was"} & set(words(pair.good))]
