"""What holds for every construction of the embedded pairs: size, spelling, balance, absence of lexical shortcuts.

Reads the sentences only, never the lexicon, so that a wrong table cannot vouch for itself. What a phenomenon is about
is tested in a module of its own.
"""

import hashlib
import itertools
import random
import re
import string
from collections import Counter, defaultdict

import pytest

from studies.embedded.pairs import minimal_pairs
from tests.unit.studies.embedded.examples import EXAMPLES
from tests.unit.studies.embedded.sentences import BY_UID, PAIRS, is_plural_noun, words

UIDS = sorted(BY_UID)
PHENOMENA = {
    "agreement": 10,
    "argument_structure": 7,
    "case": 7,
    "determiner_noun_agreement": 8,
    "filler_gap": 7,
    "npi": 8,
    "reflexives": 9,
    "verb_form": 8,
}
"""{phenomenon: number of constructions}."""

WITH_A_WORD_SHORTCUT = {"npi_simple": 'its licensor "No" is always good; test_npi.py says what is balanced instead'}
"""{construction: why the words of its good sentences are not those of its bad ones}."""

WITHOUT_BOTH_NUMBERS = {
    "determiner_noun_agreement_much_and_many": "the number of the goods is the contrast",
    "determiner_noun_agreement_with_irregular_noun": "has nouns of its own, see test_determiners.py",
    "filler_gap_subject": "the gap is the subject",
    "npi_few_and_many": '"few" and "many" go with a plural',
    "reflexives_across_subject_relative": "has nouns of its own, see test_reflexives.py",
    "reflexives_in_vp_coordination": "has nouns of its own, see test_reflexives.py",
    "reflexives_gender": "gender in place of number",
    "reflexives_gender_across_prepositional_phrase": "gender in place of number",
    "reflexives_gender_in_infinitival_complement": "gender in place of number",
    "reflexives_of_pronoun": "no noun",
    "verb_form_in_coordination": 'plural heads could "steal" without the auxiliary',
}
"""{construction: why its heads are not as often singular as plural}."""

ANIMATE = [
    "artist",
    "athlete",
    "author",
    "client",
    "dentist",
    "editor",
    "guest",
    "journalist",
    "patient",
    "singer",
    "student",
    "tourist",
]
INANIMATE = ["article", "book", "essay", "movie", "novel", "poem", "report", "song"]
PEOPLE = ["banker", "captain", "clerk", "critic", "mayor", "professor", "reporter", "scientist"]

FIRST_SENTENCES = {
    "agreement_across_object_relative": "5eb2e33edbb98e1c70ac8e11f2430bb444bb5d6542143c58d2a303b9e3c1fe0f",
    "agreement_across_object_relative_no_that": "c3e52fcdb0eee316702d86ce1805c8a0b2cc0fdcea64191285f558a20d7eaf3f",
    "agreement_across_prepositional_phrase": "79af34475c15bba226ab1b18b945faf3624dfa47c4649a1f1f6010662dc202d4",
    "agreement_across_subject_relative": "1ccba34453827df88d658f5c0b048b81b40e97437c60edf9930e7e7c54858ae3",
    "agreement_in_long_vp_coordination": "6300f248bd6d060989590e0c11a934fb8a5bbdef243673d42c4069040bc45797",
    "agreement_in_sentential_complement": "e37f0f3c301d5bb5006cad6d99ba5981eccf045617e1aed324f02d931403fe5e",
    "agreement_in_short_vp_coordination": "0990ce1459cdd776c64923bcbea95654c74928de1137df80b13c667ce639c0c2",
    "agreement_simple": "5b0ed043ea78e00e2cbcfe0de092d4b5298000f60ca50bc59ff463437e5d3bf0",
    "agreement_within_object_relative": "9e2cb30603b2ecbf1a3b096336c1382dc5bc2cccdd6f4a4f8e5ba6a2c5d0e9d6",
    "agreement_within_object_relative_no_that": "bc47bd75851dd4f8502b32529c002cfcaef0b54aebdc0109119bd15cc8571343",
    "npi_across_object_relative": "0e8addba25661883fc7805de6d89c5370080bf6bd5bf98ace6820e7aa8017659",
    "npi_simple": "cab86dfeb4d049d106091d847ef5315b673d98dcd743f2cae990908366d508a5",
    "reflexives_across_object_relative": "de18aa1640129417daa2fc9021129f5d733dd1fd5b9f68488d5f251b89898b7a",
    "reflexives_in_sentential_complement": "9955b2107202370f1bbcb6b897dbafde58e69febf51768045e8e2336cdeabe74",
    "reflexives_simple": "3113f91d59f7f4ad1bd3c4eda1dd8ea112c802a1bbe92285359d6cab2d55bddb",
}
"""sha256 of the constructions that the set began with: results on them stay comparable only with the same sentences."""


@pytest.mark.parametrize("uid", FIRST_SENTENCES)
def test_the_first_constructions_keep_their_sentences(uid: str) -> None:
    text = "\n".join("\t".join(pair) for pair in BY_UID[uid])
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST_SENTENCES[uid]


def nouns_of(sentence: str) -> list[str]:
    """The heads and people of a sentence, without objects such as "a poem"."""
    found = words(sentence)
    nouns = {*ANIMATE, *INANIMATE, *PEOPLE}
    return [w for before, w in itertools.pairwise(found) if w.removesuffix("s") in nouns and before != "a"]


def test_every_phenomenon_has_units_enough() -> None:
    """A claim's spread is that of constructions within phenomena, with n - 1 degrees of freedom each."""
    constructions = {pair.uid: pair.phenomenon for pair in PAIRS}
    assert Counter(constructions.values()) == PHENOMENA
    assert len(PHENOMENA) >= 7 and min(PHENOMENA.values()) >= 6 and len(constructions) >= 44


@pytest.mark.parametrize("uid", UIDS)
def test_size(uid: str) -> None:
    assert 64 <= len(BY_UID[uid]) <= 512 and len(BY_UID[uid]) % 4 == 0


def test_every_call_gives_the_same_fresh_list() -> None:
    again = minimal_pairs()
    assert again == PAIRS
    again.clear()
    assert minimal_pairs() == PAIRS


def test_sorted_by_construction() -> None:
    assert [pair.uid for pair in PAIRS] == sorted(pair.uid for pair in PAIRS)


def test_phenomenon_is_the_stem_of_the_uid() -> None:
    assert {pair.phenomenon for pair in PAIRS} == set(PHENOMENA)
    assert all(pair.uid.startswith(pair.phenomenon + "_") for pair in PAIRS)


@pytest.mark.parametrize("uid", UIDS)
def test_sentences_are_unique_within_a_construction(uid: str) -> None:
    pairs = BY_UID[uid]
    assert len({pair.good for pair in pairs}) == len({pair.bad for pair in pairs}) == len(pairs)


def test_nothing_is_good_here_and_bad_there() -> None:
    assert not {pair.good for pair in PAIRS} & {pair.bad for pair in PAIRS}


def test_no_bad_sentence_is_in_two_constructions() -> None:
    """Constructions are the units of a claim, and should err independently."""
    assert len({pair.bad for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize("uid", UIDS)
def test_spelling(uid: str) -> None:
    end = "?" if uid.endswith("_in_question") else "."
    for sentence in (sentence for pair in BY_UID[uid] for sentence in (pair.good, pair.bad)):
        assert sentence[0].isupper() and sentence.endswith(end), sentence
        assert set(sentence[:-1]) <= set(string.ascii_letters + " "), sentence
        assert sentence == " ".join(sentence.split()), sentence
        assert {word for word in words(sentence)[1:] if not word.islower()} <= {"Italy"}, sentence
        assert (
            len({word for word, after in zip(words(sentence), words(sentence)[1:], strict=False) if word == after}) == 0
        )
        assert 3 <= len(words(sentence)) <= 20, sentence


def test_articles_fit_the_next_word() -> None:
    found: Counter[str] = Counter()
    for sentence in (sentence for pair in PAIRS for sentence in (pair.good, pair.bad)):
        for article, word in re.findall(r"\b(an?) (\w)", sentence, re.IGNORECASE):
            assert (article.lower() == "an") == (word in "aeiou"), sentence
            found[article] += 1
    assert found["a"] > 1000


@pytest.mark.parametrize("uid", UIDS)
def test_good_and_bad_have_the_same_length_and_differ_as_little_as_can_be(uid: str) -> None:
    """In one word, or in the order of the same words."""
    for pair in BY_UID[uid]:
        good, bad = words(pair.good.lower()), words(pair.bad.lower())
        assert good != bad and len(good) == len(bad), pair
        num_different = sum(g != b for g, b in zip(good, bad, strict=True))
        assert num_different == 1 or Counter(good) == Counter(bad), pair


@pytest.mark.parametrize("uid", [uid for uid in UIDS if uid not in WITH_A_WORD_SHORTCUT])
def test_four_neighbours_hold_the_same_words_on_both_sides(uid: str) -> None:
    """`embedded_pairs` draws blocks of four, which are whole frames."""
    pairs = BY_UID[uid]
    for block in (pairs[i : i + 4] for i in range(0, len(pairs), 4)):
        good = Counter(word for pair in block for word in words(pair.good.lower()))
        bad = Counter(word for pair in block for word in words(pair.bad.lower()))
        assert good == bad, block


@pytest.mark.parametrize("uid", WITH_A_WORD_SHORTCUT)
def test_a_shortcut_is_listed_only_where_there_is_one(uid: str) -> None:
    good = Counter(word for pair in BY_UID[uid] for word in words(pair.good.lower()))
    bad = Counter(word for pair in BY_UID[uid] for word in words(pair.bad.lower()))
    assert good != bad


@pytest.mark.parametrize("uid", [uid for uid in UIDS if uid not in WITH_A_WORD_SHORTCUT])
@pytest.mark.parametrize("seed", range(3))
def test_any_unigram_model_scores_half(uid: str, seed: int) -> None:
    generator = random.Random(seed)
    weights: dict[str, int] = defaultdict(lambda: generator.getrandbits(40))

    def score(sentence: str) -> int:
        return sum(weights[word] for word in words(sentence.lower()))

    better = sum(score(pair.good) > score(pair.bad) for pair in BY_UID[uid])
    equal = sum(score(pair.good) == score(pair.bad) for pair in BY_UID[uid])
    assert 2 * better + equal == len(BY_UID[uid])


@pytest.mark.parametrize("uid", UIDS)
def test_heads_are_as_often_singular_as_plural(uid: str) -> None:
    heads = [noun for pair in BY_UID[uid] for noun in nouns_of(pair.good) if noun.removesuffix("s") not in PEOPLE]
    num_plural = sum(map(is_plural_noun, heads))
    assert (2 * num_plural == len(heads) > 0) != (uid in WITHOUT_BOTH_NUMBERS)


@pytest.mark.parametrize("nouns", [ANIMATE, INANIMATE, PEOPLE], ids=["animate", "inanimate", "people"])
@pytest.mark.parametrize("uid", UIDS)
def test_every_noun_of_a_kind_is_equally_frequent(uid: str, nouns: list[str]) -> None:
    counts = Counter(noun.removesuffix("s") for pair in BY_UID[uid] for noun in nouns_of(pair.good))
    assert len({counts[noun] for noun in nouns}) == 1


def test_every_construction_has_hand_written_examples() -> None:
    assert {uid: len(pairs) for uid, pairs in EXAMPLES.items() if len(pairs) < 2} == {}
    assert sorted(EXAMPLES) == UIDS


@pytest.mark.parametrize(
    ("uid", "good", "bad"), [(uid, good, bad) for uid, pairs in EXAMPLES.items() for good, bad in pairs]
)
def test_hand_written_pairs_are_there(uid: str, good: str, bad: str) -> None:
    assert (good, bad) in {(pair.good, pair.bad) for pair in BY_UID[uid]}
