"""The embedded minimal pairs: size, balance, absence of lexical shortcuts, grammar of the critical words.

Reads the sentences only, never the lexicon tables, so that a wrong table cannot vouch for itself.
"""

import hashlib
import random
import string
from collections import Counter, defaultdict

import pytest

from studies.embedded.pairs import MinimalPair, minimal_pairs

NUM_PAIRS = {
    "agreement_across_object_relative": 512,
    "agreement_across_object_relative_no_that": 512,
    "agreement_across_prepositional_phrase": 512,
    "agreement_across_subject_relative": 512,
    "agreement_in_long_vp_coordination": 192,
    "agreement_in_sentential_complement": 512,
    "agreement_in_short_vp_coordination": 256,
    "agreement_simple": 256,
    "agreement_within_object_relative": 512,
    "agreement_within_object_relative_no_that": 512,
    "npi_across_object_relative": 512,
    "npi_simple": 256,
    "reflexives_across_object_relative": 384,
    "reflexives_in_sentential_complement": 384,
    "reflexives_simple": 192,
}
NUMBER_UIDS = [uid for uid in NUM_PAIRS if not uid.startswith("npi")]
ATTRACTOR_UIDS = [uid for uid in NUMBER_UIDS if "across" in uid or "within" in uid or "complement" in uid]
ACROSS_UIDS = [uid for uid in NUMBER_UIDS if "across" in uid]

SINGULAR_FORMS = {"is", "has", "himself", "herself"}
PLURAL_FORMS = {"are", "have", "themselves"}
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

PAIRS = minimal_pairs()
BY_UID: dict[str, list[MinimalPair]] = defaultdict(list)
for _pair in PAIRS:
    BY_UID[_pair.uid].append(_pair)


def words(sentence: str) -> list[str]:
    return sentence.removesuffix(".").split()


def critical_index(pair: MinimalPair) -> int:
    """The index of the one word in which good and bad differ; fails unless there is exactly one."""
    good, bad = words(pair.good), words(pair.bad)
    assert len(good) == len(bad), pair
    (index,) = [i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b]
    return index


def critical_words(pair: MinimalPair) -> tuple[str, str]:
    index = critical_index(pair)
    return words(pair.good)[index], words(pair.bad)[index]


def is_plural_noun(noun: str) -> bool:
    return noun.endswith("s")


def is_plural_form(form: str) -> bool:
    """Of a present-tense verb or a reflexive."""
    return form in PLURAL_FORMS or (form not in SINGULAR_FORMS and not form.endswith("s"))


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


def test_counts() -> None:
    assert Counter(pair.uid for pair in PAIRS) == NUM_PAIRS
    assert len(PAIRS) >= 4000
    assert min(NUM_PAIRS.values()) >= 150


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
"""sha256 of the constructions that the set began with: whoever compares with results on them relies on their sentences."""


@pytest.mark.parametrize("uid", FIRST_SENTENCES)
def test_the_first_constructions_keep_their_sentences(uid: str) -> None:
    text = "\n".join("\t".join(pair) for pair in BY_UID[uid])
    assert hashlib.sha256(text.encode()).hexdigest() == FIRST_SENTENCES[uid]


def test_every_call_gives_the_same_fresh_list() -> None:
    again = minimal_pairs()
    assert again == PAIRS
    again.clear()
    assert minimal_pairs() == PAIRS


def test_sorted_by_construction() -> None:
    assert [pair.uid for pair in PAIRS] == sorted(pair.uid for pair in PAIRS)


def test_phenomenon_is_the_stem_of_the_uid() -> None:
    assert {pair.phenomenon for pair in PAIRS} == {"agreement", "reflexives", "npi"}
    assert all(pair.uid.startswith(pair.phenomenon + "_") for pair in PAIRS)


def test_sentences_are_unique_within_a_construction() -> None:
    assert len({(pair.good, pair.bad) for pair in PAIRS}) == len(PAIRS)
    for uid, pairs in BY_UID.items():
        assert len({pair.good for pair in pairs}) == len(pairs), uid
        assert len({pair.bad for pair in pairs}) == len(pairs), uid


def test_nothing_is_good_here_and_bad_there() -> None:
    assert not {pair.good for pair in PAIRS} & {pair.bad for pair in PAIRS}


def test_spelling_of_sentences() -> None:
    allowed = set(string.ascii_letters + " ")
    for sentence in (sentence for pair in PAIRS for sentence in (pair.good, pair.bad)):
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        assert set(sentence[:-1]) <= allowed, sentence
        assert sentence == " ".join(sentence.split()), sentence
        assert [word for word in words(sentence)[1:] if not word.islower()] in ([], ["Italy"]), sentence


@pytest.mark.parametrize("uid", [*NUMBER_UIDS, "npi_simple"])
def test_good_and_bad_differ_in_one_word(uid: str) -> None:
    for pair in BY_UID[uid]:
        good, bad = critical_words(pair)
        assert good != bad


@pytest.mark.parametrize("uid", NUMBER_UIDS)
def test_critical_word_agrees_on_the_good_side_only(uid: str) -> None:
    for pair in BY_UID[uid]:
        good, bad = critical_words(pair)
        plural = is_plural_noun(controller(pair))
        assert is_plural_form(good) == plural, pair
        assert is_plural_form(bad) != plural, pair
        assert lemmas(pair.good) == lemmas(pair.bad), pair


@pytest.mark.parametrize("uid", [uid for uid in NUM_PAIRS if "relative" in uid])
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


@pytest.mark.parametrize("uid", NUMBER_UIDS)
@pytest.mark.parametrize("seed", range(3))
def test_any_unigram_model_scores_half(uid: str, seed: int) -> None:
    generator = random.Random(seed)
    weights: dict[str, int] = defaultdict(lambda: generator.getrandbits(40))

    def score(sentence: str) -> int:
        return sum(weights[word] for word in words(sentence))

    num_correct = sum(score(pair.good) > score(pair.bad) for pair in BY_UID[uid])
    assert 2 * num_correct == len(BY_UID[uid])


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


@pytest.mark.parametrize("uid", ["npi_simple", "npi_across_object_relative"])
def test_npi_auxiliary_agrees_on_both_sides(uid: str) -> None:
    num_plural = 0
    for pair in BY_UID[uid]:
        for sentence in (pair.good, pair.bad):
            auxiliary = words(sentence)[words(sentence).index("ever") - 1]
            assert auxiliary == ("have" if is_plural_noun(words(sentence)[1]) else "has"), pair
        num_plural += is_plural_noun(words(pair.good)[1])
    assert 2 * num_plural == len(BY_UID[uid])


def test_npi_intrusive_licensor_is_a_matter_of_order() -> None:
    combinations: Counter[tuple[bool, bool]] = Counter()
    for pair in BY_UID["npi_across_object_relative"]:
        good, bad = words(pair.good), words(pair.bad)
        assert [i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b] == [0, 3], pair
        assert (good[0], good[3], bad[0], bad[3]) == ("No", "the", "The", "no"), pair
        assert is_plural_noun(good[4]) == is_plural_form(good[5]), pair
        assert Counter(pair.good.lower().split()) == Counter(pair.bad.lower().split())
        combinations[is_plural_noun(good[1]), is_plural_noun(good[4])] += 1
    assert sorted(combinations.values()) == [128] * 4


def test_npi_simple_gives_word_frequency_no_advantage() -> None:
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


EXPECTED = """
agreement_simple
    The artist laughs. | The artist laugh.
    The songs come from Italy. | The songs comes from Italy.
agreement_across_prepositional_phrase
    The artist near the bankers laughs. | The artist near the bankers laugh.
    The songs by the clerk come from Italy. | The songs by the clerk comes from Italy.
agreement_across_subject_relative
    The artist that likes the bankers laughs. | The artist that likes the bankers laugh.
    The songs that describe the clerk come from Italy. | The songs that describe the clerk comes from Italy.
agreement_across_object_relative
    The artist that the bankers like laughs. | The artist that the bankers like laugh.
    The songs that the clerk remembers come from Italy. | The songs that the clerk remembers comes from Italy.
agreement_across_object_relative_no_that
    The artist the bankers like laughs. | The artist the bankers like laugh.
    The songs the clerk remembers come from Italy. | The songs the clerk remembers comes from Italy.
agreement_within_object_relative
    The artist that the bankers like laughs. | The artist that the bankers likes laughs.
    The songs that the clerk remembers come from Italy. | The songs that the clerk remember come from Italy.
agreement_within_object_relative_no_that
    The artist the bankers like laughs. | The artist the bankers likes laughs.
    The songs the clerk remembers come from Italy. | The songs the clerk remember come from Italy.
agreement_in_short_vp_coordination
    The artist smiles a lot and laughs. | The artist smiles a lot and laugh.
    The songs look interesting and come from Italy. | The songs look interesting and comes from Italy.
agreement_in_long_vp_coordination
    The artist speaks several foreign languages and enjoys cooking for large groups. \
| The artist speaks several foreign languages and enjoy cooking for large groups.
    The tourists know many people in the capital and take photographs of wild birds. \
| The tourists know many people in the capital and takes photographs of wild birds.
agreement_in_sentential_complement
    The bankers said the artist laughs. | The bankers said the artist laugh.
    The clerk admitted the songs come from Italy. | The clerk admitted the songs comes from Italy.
reflexives_simple
    The artist blamed himself. | The artist blamed themselves.
    The athlete blamed herself. | The athlete blamed themselves.
    The tourists surprised themselves. | The tourists surprised himself.
reflexives_in_sentential_complement
    The bankers said the artist blamed himself. | The bankers said the artist blamed themselves.
    The clerk admitted the tourists surprised themselves. | The clerk admitted the tourists surprised himself.
reflexives_across_object_relative
    The artist that the bankers like blamed himself. | The artist that the bankers like blamed themselves.
    The tourists that the clerk remembers surprised themselves. \
| The tourists that the clerk remembers surprised himself.
npi_simple
    No artist has ever been to Italy. | The artist has ever been to Italy.
    No athletes have ever been to Italy. | Most athletes have ever been to Italy.
    No song has ever made people laugh. | The song has ever made people laugh.
npi_across_object_relative
    No artist that the bankers like has ever been to Italy. | The artist that no bankers like has ever been to Italy.
    No songs that the clerk remembers have ever made people laugh. \
| The songs that no clerk remembers have ever made people laugh.
"""


def expected_pairs() -> list[tuple[str, str, str]]:
    expected: list[tuple[str, str, str]] = []
    uid = ""
    for line in EXPECTED.strip().splitlines():
        if "|" in line:
            good, bad = line.split("|")
            expected.append((uid, good.strip(), bad.strip()))
        else:
            uid = line
    return expected


def test_every_construction_has_a_hand_written_example() -> None:
    assert {uid for uid, _, _ in expected_pairs()} == set(NUM_PAIRS)


@pytest.mark.parametrize(("uid", "good", "bad"), expected_pairs())
def test_hand_written_pairs_are_there(uid: str, good: str, bad: str) -> None:
    assert (good, bad) in {(pair.good, pair.bad) for pair in BY_UID[uid]}
