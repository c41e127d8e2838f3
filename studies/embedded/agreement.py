"""Agreement: a present-tense verb and its subject, alone, beside another noun, or far away.

Owns ten constructions in the manner of Marvin & Linzen (2018). Callers rely on every frame to come in all its number
combinations, 2, or 4 with a second noun.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal, forms
from studies.embedded.lexicon import ANIMATE, NOUN_CLASSES, OBJECT_VERBS, PEOPLE, SPEECH_VERBS

LONG_FIRST_CONJUNCTS = forms(
    "speaks/speak several foreign languages",
    "owns/own a small house near the sea",
    "knows/know many people in the capital",
    "writes/write long letters to old friends",
)
LONG_PREDICATES = forms(
    "enjoys/enjoy cooking for large groups",
    "prefers/prefer tea without milk",
    "collects/collect stamps from other countries",
    "teaches/teach history at a local school",
    "avoids/avoid crowded places in the summer",
    "spends/spend every weekend in the garden",
    "rides/ride a bicycle through the forest",
    "takes/take photographs of wild birds",
)


def _simple() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate in deal(nouns.heads, nouns.predicates):
            for n in NUMBERS:
                yield contrast(f"The {head[n]} _.", predicate, n)


def _across_prepositional_phrase() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, preposition in deal(nouns.heads, nouns.predicates, PEOPLE, nouns.prepositions):
            for n, p in product(NUMBERS, NUMBERS):
                yield contrast(f"The {head[n]} {preposition} the {person[p]} _.", predicate, n)


def _across_subject_relative() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in deal(nouns.heads, nouns.predicates, PEOPLE, nouns.subject_verbs):
            for n, p in product(NUMBERS, NUMBERS):
                yield contrast(f"The {head[n]} that {verb[n]} the {person[p]} _.", predicate, n)


def _across_object_relative(complementiser: str) -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in deal(nouns.heads, nouns.predicates, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield contrast(f"The {head[n]}{complementiser} the {person[p]} {verb[p]} _.", predicate, n)


def _within_object_relative(complementiser: str) -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, verb in deal(nouns.heads, nouns.predicates, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield contrast(f"The {head[n]}{complementiser} the {person[p]} _ {predicate[n]}.", verb, p)


def _in_short_vp_coordination() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, first in deal(nouns.heads, nouns.predicates, nouns.first_conjuncts):
            for n in NUMBERS:
                yield contrast(f"The {head[n]} {first[n]} and _.", predicate, n)


def _in_long_vp_coordination() -> Iterator[Contrast]:
    for head, predicate, first in deal(ANIMATE.heads, LONG_PREDICATES, LONG_FIRST_CONJUNCTS):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} {first[n]} and _.", predicate, n)


def _in_sentential_complement() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, predicate, person, said in deal(nouns.heads, nouns.predicates, PEOPLE, SPEECH_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                yield contrast(f"The {person[p]} {said} the {head[n]} _.", predicate, n)


CONSTRUCTIONS: Constructions = {
    "simple": _simple,
    "across_prepositional_phrase": _across_prepositional_phrase,
    "across_subject_relative": _across_subject_relative,
    "across_object_relative": partial(_across_object_relative, " that"),
    "across_object_relative_no_that": partial(_across_object_relative, ""),
    "within_object_relative": partial(_within_object_relative, " that"),
    "within_object_relative_no_that": partial(_within_object_relative, ""),
    "in_short_vp_coordination": _in_short_vp_coordination,
    "in_long_vp_coordination": _in_long_vp_coordination,
    "in_sentential_complement": _in_sentential_complement,
}
