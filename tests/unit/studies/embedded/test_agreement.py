"""Agreement, and reflexives of a head without gender: number alone tells good from bad, and no noun hints at it."""

from collections import Counter, defaultdict

import pytest

from studies.embedded.pairs import MinimalPair
from tests.unit.studies.embedded.sentences import (
    BY_UID,
    critical_index,
    critical_words,
    is_plural_form,
    is_plural_noun,
    of_phenomenon,
    words,
)

NUMBER_UIDS = [
    *of_phenomenon("agreement"),
    "reflexives_simple",
    "reflexives_in_sentential_complement",
    "reflexives_across_object_relative",
]
ATTRACTOR_UIDS = [uid for uid in NUMBER_UIDS if "across" in uid or "within" in uid or "complement" in uid]
ACROSS_UIDS = [uid for uid in NUMBER_UIDS if "across" in uid]

LEMMAS = {
    "is": "be",
    "are": "be",
    "has": "have",
    "teaches": "teach",
    "himself": "self",
    "herself": "self",
    "themselves": "self",
}
PEOPLE = {"banker", "captain", "clerk", "critic", "mayor", "professor", "reporter", "scientist"}


def controller(pair: MinimalPair) -> str:
    """The noun that fixes the number of the critical word, found by position."""
    good = words(pair.good)
    if "complement" in pair.uid:
        return good[4]  # The clerks said the ARTIST ...
    if "within" in pair.uid:
        return good[critical_index(pair) - 1]  # The artist that the CLERK likes ...
    return good[1]  # The ARTIST ...


def attractor(pair: MinimalPair) -> str:
    """The other noun, whose number must not matter."""
    if "complement" in pair.uid or "within" in pair.uid:
        return words(pair.good)[1]
    (person,) = [word for word in words(pair.good) if word.removesuffix("s") in PEOPLE]
    return person


def lemmas(sentence: str) -> str:
    """The sentence without its marks of number."""
    return " ".join(LEMMAS.get(word, word.removesuffix("s")) for word in words(sentence))


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_critical_word_agrees_on_the_good_side_only(uid: str) -> None:
    for pair in BY_UID[uid]:
        good, bad = critical_words(pair)
        plural = is_plural_noun(controller(pair))
        assert is_plural_form(good) == plural, pair
        assert is_plural_form(bad) != plural, pair
        assert lemmas(pair.good) == lemmas(pair.bad), pair


RELATIVE_UIDS = [
    *(uid for uid in NUMBER_UIDS if "relative" in uid),
    "npi_across_object_relative",
    "npi_across_subject_relative",
    "reflexives_across_subject_relative",
]


@pytest.mark.parametrize("uid", RELATIVE_UIDS)
def test_relative_clauses_agree_on_the_good_side(uid: str) -> None:
    """The verb of the relative clause with its own subject, wherever it is not the critical word."""
    for pair in BY_UID[uid]:
        good = words(pair.good)
        if "subject_relative" in uid:
            assert is_plural_noun(good[1]) == is_plural_form(good[3]), pair  # The artist that LIKES the bankers ...
        else:
            person = 3 if uid.endswith("no_that") else 4
            assert is_plural_noun(good[person]) == is_plural_form(good[person + 1]), pair
        if "within" in uid:
            assert is_plural_noun(good[1]) == is_plural_form(good[person + 2]), pair


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_half_of_the_heads_are_singular(uid: str) -> None:
    num_plural = sum(is_plural_noun(controller(pair)) for pair in BY_UID[uid])
    assert 2 * num_plural == len(BY_UID[uid])


@pytest.mark.parametrize("uid", ATTRACTOR_UIDS)
def test_four_number_combinations_are_equally_frequent(uid: str) -> None:
    combinations = Counter((is_plural_noun(controller(p)), is_plural_noun(attractor(p))) for p in BY_UID[uid])
    assert set(combinations.values()) == {len(BY_UID[uid]) // 4}
    assert len(combinations) == 4


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_frames_are_closed_under_exchange_of_number(uid: str) -> None:
    """Sentences that are equal but for number come as a complete set, so each verdict has its mirror image."""
    frames: dict[str, list[MinimalPair]] = defaultdict(list)
    for pair in BY_UID[uid]:
        frames[lemmas(pair.good)].append(pair)
    for frame, pairs in frames.items():
        assert len(pairs) == (4 if uid in ATTRACTOR_UIDS else 2), frame
        verdicts = Counter(critical_words(pair) for pair in pairs)
        assert verdicts == Counter((bad, good) for good, bad in verdicts.elements()), frame


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_critical_words_are_as_often_good_as_bad(uid: str) -> None:
    verdicts = Counter(critical_words(pair) for pair in BY_UID[uid])
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for (good_word, bad_word), count in verdicts.items():
        good[good_word] += count
        bad[bad_word] += count
    assert good == bad
    assert len(good) >= 3  # several forms, or the test says little


@pytest.mark.parametrize("uid", ACROSS_UIDS)
def test_the_preceding_word_tells_nothing(uid: str) -> None:
    """A bigram model scores 50 % as well where something stands between head and critical word."""
    good: Counter[tuple[str, str]] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    for pair in BY_UID[uid]:
        before = words(pair.good)[critical_index(pair) - 1]
        good_word, bad_word = critical_words(pair)
        good[before, good_word] += 1
        bad[before, bad_word] += 1
    assert good == bad


@pytest.mark.parametrize("uid", [uid for uid in NUMBER_UIDS if uid.startswith("reflexives")])
def test_himself_and_herself_are_shared_out_evenly(uid: str) -> None:
    """Over each head, and over each person beside it: neither noun hints at a gender."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in BY_UID[uid]:
        (pronoun,) = set(critical_words(pair)) - {"themselves"}
        nouns = [controller(pair)] + ([attractor(pair)] if uid in ATTRACTOR_UIDS else [])
        for noun in nouns:
            counts[noun][pronoun] += 1
    for noun, pronouns in counts.items():
        assert pronouns["himself"] == pronouns["herself"] > 0, noun
        assert len(pronouns) == 2, noun


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_thinning_keeps_the_nouns_balanced(uid: str) -> None:
    """Every person appears equally often; every head too, among the animate and among the inanimate ones."""
    nouns: Counter[str] = Counter()
    for pair in BY_UID[uid]:
        nouns[controller(pair).removesuffix("s")] += 1
        if uid in ATTRACTOR_UIDS:
            nouns[attractor(pair).removesuffix("s")] += 1
    people = {noun: count for noun, count in nouns.items() if noun in PEOPLE}
    heads = {noun: count for noun, count in nouns.items() if noun not in PEOPLE}
    assert set(people) == (PEOPLE if uid in ATTRACTOR_UIDS else set())
    assert len(set(people.values())) <= 1
    animate_only = uid.startswith("reflexives") or "long" in uid
    assert len(heads) == (12 if animate_only else 20)
    assert len(set(heads.values())) == (1 if animate_only else 2)
