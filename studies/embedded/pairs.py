"""Embedded minimal pairs: a targeted syntactic evaluation that needs no download.

Owns a small lexicon and fifteen constructions in the manner of Marvin & Linzen, "Targeted Syntactic Evaluation of
Language Models" (EMNLP 2018); lexicon and sentences are our own. Knows nothing of models, tokens or scoring.
Callers rely on one fixed list, sorted by `uid`. In agreement and reflexives the good and the bad sentence differ in one
word, and every lexical frame appears in all its number combinations (2, or 4 with a second noun), so each critical word
is as often right as wrong: a unigram model scores exactly 50 %. In NPI across a relative clause both sentences hold the
same words in another order, apart from one capital letter. NPI simple keeps a shortcut, as its licensor is always on
the good side: "No" is paired with "The" in half of the pairs and with the rarer "Every", "Each", "Most" and "Many" in
the other half, so word frequency alone (the > no > the rest) scores 50 %, but a mere preference for "No" scores 100 %.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple


class MinimalPair(NamedTuple):
    """Two sentences, of which a speaker accepts only the first."""

    uid: str
    """The construction, e.g. `agreement_across_object_relative`."""
    phenomenon: str
    """`agreement`, `reflexives` or `npi`."""
    good: str
    bad: str


Forms = tuple[str, str]  # (singular, plural), indexed by a grammatical number
NUMBERS = (0, 1)  # singular, plural


def _forms(*entries: str) -> tuple[Forms, ...]:
    """`is/are tall` -> `("is tall", "are tall")`."""
    table = []
    for entry in entries:
        word, space, rest = entry.partition(" ")
        singular, plural = word.split("/")
        table.append((singular + space + rest, plural + space + rest))
    return tuple(table)


class NounClass(NamedTuple):
    """Head nouns, and the words that combine with them."""

    heads: tuple[Forms, ...]
    predicates: tuple[Forms, ...]
    """Verb phrases in the present tense. No plural form is a past tense too ("cost"), and none ends in an object or an
    infinitive to which the bad half of a coordination could attach ("has ideas and laughs", "likes to swim and laugh").
    """
    first_conjuncts: tuple[Forms, ...]
    """Like `predicates`, for the first half of a coordination."""
    prepositions: tuple[str, ...]
    subject_verbs: tuple[Forms, ...]
    """Verbs of a subject relative, whose object is a person."""
    experiences: tuple[str, ...]
    """Participles after `has ever`."""


# Animate heads: number is the only cue to a reflexive, so no noun has a gender or a strong gender stereotype.
ANIMATE = NounClass(
    heads=_forms(
        "artist/artists",
        "athlete/athletes",
        "author/authors",
        "client/clients",
        "dentist/dentists",
        "editor/editors",
        "guest/guests",
        "journalist/journalists",
        "patient/patients",
        "singer/singers",
        "student/students",
        "tourist/tourists",
    ),
    predicates=_forms(
        "laughs/laugh",
        "swims/swim every morning",
        "works/work hard",
        "lives/live nearby",
        "is/are tall",
        "has/have become famous",
        "seems/seem tired",
        "sings/sing well",
    ),
    first_conjuncts=_forms("smiles/smile a lot", "dances/dance every day", "looks/look young", "travels/travel often"),
    prepositions=("near", "behind", "next to", "in front of"),
    subject_verbs=_forms("likes/like", "admires/admire", "knows/know", "avoids/avoid"),
    experiences=(
        "been to Italy",
        "seen a whale",
        "missed a train",
        "won a prize",
        "written a poem",
        "slept outdoors",
        "climbed a mountain",
        "told a lie",
    ),
)
INANIMATE = NounClass(
    heads=_forms(
        "article/articles",
        "book/books",
        "essay/essays",
        "movie/movies",
        "novel/novels",
        "poem/poems",
        "report/reports",
        "song/songs",
    ),
    predicates=_forms("is/are popular", "seems/seem too long", "has/have become famous", "comes/come from Italy"),
    first_conjuncts=_forms("sounds/sound strange", "ends/end badly", "looks/look interesting", "starts/start slowly"),
    prepositions=("by", "about"),
    subject_verbs=_forms("mentions/mention", "praises/praise", "describes/describe", "insults/insult"),
    experiences=("been popular", "won a prize", "been translated", "made people laugh"),
)
NOUN_CLASSES = (ANIMATE, INANIMATE)

# The second noun of a sentence: an attractor or an embedded subject. No person is a head, so the two nouns differ.
PEOPLE = _forms(
    "banker/bankers",
    "captain/captains",
    "clerk/clerks",
    "critic/critics",
    "mayor/mayors",
    "professor/professors",
    "reporter/reporters",
    "scientist/scientists",
)
OBJECT_VERBS = _forms("likes/like", "admires/admire", "remembers/remember", "recommends/recommend")
SPEECH_VERBS = ("said", "claimed", "admitted", "mentioned")  # not "saw" or "insisted": "saw the artist laugh" is good

LONG_FIRST_CONJUNCTS = _forms(
    "speaks/speak several foreign languages",
    "owns/own a small house near the sea",
    "knows/know many people in the capital",
    "writes/write long letters to old friends",
)
LONG_PREDICATES = _forms(
    "enjoys/enjoy cooking for large groups",
    "prefers/prefer tea without milk",
    "collects/collect stamps from other countries",
    "teaches/teach history at a local school",
    "avoids/avoid crowded places in the summer",
    "spends/spend every weekend in the garden",
    "rides/ride a bicycle through the forest",
    "takes/take photographs of wild birds",
)

REFLEXIVE_VERBS = ("blamed", "defended", "disguised", "embarrassed", "injured", "introduced", "praised", "surprised")
# Speakers with a singular "themselves" accept both sentences of a singular head, here as in the original.
REFLEXIVES = _forms("himself/themselves", "herself/themselves")

HAS = ("has", "have")
# Determiners that do not license "ever". Half are "The", more frequent than "No"; half are rarer (module docstring).
NON_LICENSORS = (("The", "The"), ("Every", "Most"), ("The", "The"), ("Each", "Many"))

Contrast = tuple[str, str]  # (good sentence, bad sentence)


def _deal(heads: Sequence[Any], predicates: Sequence[Any], *tables: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Every head with every predicate, and one entry of each further table. Entries are texts or `Forms`.

    The product of all tables is thinned by dealing out the further ones along diagonals of the head x predicate grid:
    the first moves on with every head, the second with every second head, and so on, so that they do not move together.
    Every entry is dealt equally often, as long as table lengths divide the number of heads or predicates.
    """
    for (row, head), (column, predicate) in product(enumerate(heads), enumerate(predicates)):
        dealt = (table[(row // slot + column) % len(table)] for slot, table in enumerate(tables, start=1))
        yield head, predicate, *dealt


def _contrast(before: str, critical: Forms, number: int, after: str = "") -> Contrast:
    """The sentence with the critical form in the right number, and in the wrong one."""
    good, bad = (f"{before} {critical[form]}{after}." for form in (number, 1 - number))
    return good, bad


def _agreement_simple() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate in _deal(nouns.heads, nouns.predicates):
            for n in NUMBERS:
                yield _contrast(f"The {head[n]}", predicate, n)


def _agreement_across_prepositional_phrase() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, preposition in _deal(nouns.heads, nouns.predicates, PEOPLE, nouns.prepositions):
            for n, p in product(NUMBERS, NUMBERS):
                yield _contrast(f"The {head[n]} {preposition} the {person[p]}", predicate, n)


def _agreement_across_subject_relative() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in _deal(nouns.heads, nouns.predicates, PEOPLE, nouns.subject_verbs):
            for n, p in product(NUMBERS, NUMBERS):
                yield _contrast(f"The {head[n]} that {verb[n]} the {person[p]}", predicate, n)


def _agreement_across_object_relative(complementiser: str) -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in _deal(nouns.heads, nouns.predicates, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield _contrast(f"The {head[n]}{complementiser} the {person[p]} {verb[p]}", predicate, n)


def _agreement_within_object_relative(complementiser: str) -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in _deal(nouns.heads, nouns.predicates, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield _contrast(f"The {head[n]}{complementiser} the {person[p]}", verb, p, f" {predicate[n]}")


def _agreement_in_short_vp_coordination() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, first in _deal(nouns.heads, nouns.predicates, nouns.first_conjuncts):
            for n in NUMBERS:
                yield _contrast(f"The {head[n]} {first[n]} and", predicate, n)


def _agreement_in_long_vp_coordination() -> Iterator[Contrast]:
    for head, predicate, first in _deal(ANIMATE.heads, LONG_PREDICATES, LONG_FIRST_CONJUNCTS):
        for n in NUMBERS:
            yield _contrast(f"The {head[n]} {first[n]} and", predicate, n)


def _agreement_in_sentential_complement() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, said in _deal(nouns.heads, nouns.predicates, PEOPLE, SPEECH_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield _contrast(f"The {person[p]} {said} the {head[n]}", predicate, n)


def _reflexives_simple() -> Iterator[Contrast]:
    for head, verb, reflexive in _deal(ANIMATE.heads, REFLEXIVE_VERBS, REFLEXIVES):
        for n in NUMBERS:
            yield _contrast(f"The {head[n]} {verb}", reflexive, n)


def _reflexives_in_sentential_complement() -> Iterator[Contrast]:
    frames = _deal(ANIMATE.heads, REFLEXIVE_VERBS, PEOPLE, REFLEXIVES, SPEECH_VERBS)
    for head, verb, person, reflexive, said in frames:
        for n, p in product(NUMBERS, NUMBERS):
            yield _contrast(f"The {person[p]} {said} the {head[n]} {verb}", reflexive, n)


def _reflexives_across_object_relative() -> Iterator[Contrast]:
    frames = _deal(ANIMATE.heads, REFLEXIVE_VERBS, PEOPLE, REFLEXIVES, OBJECT_VERBS)
    for head, verb, person, reflexive, relation in frames:
        for n, p in product(NUMBERS, NUMBERS):
            yield _contrast(f"The {head[n]} that the {person[p]} {relation[p]} {verb}", reflexive, n)


def _npi_simple() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, experience, non_licensor in _deal(nouns.heads, nouns.experiences, NON_LICENSORS):
            for n in NUMBERS:
                rest = f"{head[n]} {HAS[n]} ever {experience}."
                yield f"No {rest}", f"{non_licensor[n]} {rest}"


def _npi_across_object_relative() -> Iterator[Contrast]:
    """The licensor on the head, against an intrusive one in the relative clause, which does not license `ever`."""
    for nouns in NOUN_CLASSES:
        for head, experience, person, verb in _deal(nouns.heads, nouns.experiences, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                relative, rest = f"{person[p]} {verb[p]}", f"{HAS[n]} ever {experience}."
                yield f"No {head[n]} that the {relative} {rest}", f"The {head[n]} that no {relative} {rest}"


CONSTRUCTIONS: dict[str, tuple[str, Callable[[], Iterator[Contrast]]]] = {
    "agreement_simple": ("agreement", _agreement_simple),
    "agreement_across_prepositional_phrase": ("agreement", _agreement_across_prepositional_phrase),
    "agreement_across_subject_relative": ("agreement", _agreement_across_subject_relative),
    "agreement_across_object_relative": ("agreement", partial(_agreement_across_object_relative, " that")),
    "agreement_across_object_relative_no_that": ("agreement", partial(_agreement_across_object_relative, "")),
    "agreement_within_object_relative": ("agreement", partial(_agreement_within_object_relative, " that")),
    "agreement_within_object_relative_no_that": ("agreement", partial(_agreement_within_object_relative, "")),
    "agreement_in_short_vp_coordination": ("agreement", _agreement_in_short_vp_coordination),
    "agreement_in_long_vp_coordination": ("agreement", _agreement_in_long_vp_coordination),
    "agreement_in_sentential_complement": ("agreement", _agreement_in_sentential_complement),
    "reflexives_simple": ("reflexives", _reflexives_simple),
    "reflexives_in_sentential_complement": ("reflexives", _reflexives_in_sentential_complement),
    "reflexives_across_object_relative": ("reflexives", _reflexives_across_object_relative),
    "npi_simple": ("npi", _npi_simple),
    "npi_across_object_relative": ("npi", _npi_across_object_relative),
}


def minimal_pairs() -> list[MinimalPair]:
    """All pairs, sorted by construction; a new list of the same pairs at every call, without randomness."""
    return [
        MinimalPair(uid, phenomenon, good, bad)
        for uid, (phenomenon, contrasts) in sorted(CONSTRUCTIONS.items())
        for good, bad in contrasts()
    ]
