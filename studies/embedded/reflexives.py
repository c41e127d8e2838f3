"""Reflexives: `himself`, `herself` or `themselves` refers to the subject of its own clause, in number and gender.

Owns nine constructions. Three are in the manner of Marvin & Linzen (2018) and have heads without a gender: speakers
with a singular "themselves" accept both sentences of a singular head there, as in the original. In the other six the
head has a gender or is a pronoun, and no such reading is left. Callers rely on every frame to come in all its number or
gender combinations.
"""

from collections.abc import Iterator
from itertools import product

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal, forms
from studies.embedded.lexicon import (
    ANIMATE,
    OBJECT_VERBS,
    PEOPLE,
    PLACES_AND_TIMES,
    RELATIVE_CLAUSE_VERBS,
    SPEECH_VERBS,
)

VERBS = ("blamed", "defended", "disguised", "embarrassed", "injured", "introduced", "praised", "surprised")
REFLEXIVES = forms("himself/themselves", "herself/themselves")

# No "actor" or "waiter", who may be women.
MEN = forms(
    "boy/boys",
    "father/fathers",
    "king/kings",
    "man/men",
    "nephew/nephews",
    "prince/princes",
    "son/sons",
    "uncle/uncles",
)
WOMEN = forms(
    "girl/girls",
    "mother/mothers",
    "queen/queens",
    "woman/women",
    "niece/nieces",
    "princess/princesses",
    "daughter/daughters",
    "aunt/aunts",
)
GENDERED_HEADS = tuple((noun, REFLEXIVES[gender]) for gender, nouns in enumerate((MEN, WOMEN)) for noun in nouns)
"""((singular, plural), (reflexive of the singular, of the plural))."""

GENDERS = (0, 1)
"""Male, female: indices into the next three."""
MEN_AND_WOMEN = tuple((man[0], woman[0]) for man, woman in zip(MEN, WOMEN, strict=True))
OTHER_MEN_AND_WOMEN = forms("brother/sister", "grandfather/grandmother", "husband/wife", "monk/nun")
OF_EITHER_GENDER = ("himself", "herself")

FIRST_CONJUNCTS = ("stood up", "came back", "ran outside", "looked around")
OBJECT_CONTROL_VERBS = ("wanted", "told", "expected", "encouraged")  # not "asked": one may ask a person to be let go
COMPLEMENT_VERBS = ("blame", "defend", "describe", "embarrass", "forgive", "introduce", "praise", "protect")

PRONOUNS = (
    (("he", "they"), ("himself", "themselves")),
    (("she", "they"), ("herself", "themselves")),
    (("she", "we"), ("herself", "ourselves")),
    (("I", "we"), ("myself", "ourselves")),
)
"""Like `GENDERED_HEADS`. "Myself" is wrong only after "we": after "they" it could pass for "me"."""


def _simple() -> Iterator[Contrast]:
    for head, verb, reflexive in deal(ANIMATE.heads, VERBS, REFLEXIVES):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} {verb} _.", reflexive, n)


def _in_sentential_complement() -> Iterator[Contrast]:
    for head, verb, person, reflexive, said in deal(ANIMATE.heads, VERBS, PEOPLE, REFLEXIVES, SPEECH_VERBS):
        for n, p in product(NUMBERS, NUMBERS):
            yield contrast(f"The {person[p]} {said} the {head[n]} {verb} _.", reflexive, n)


def _across_object_relative() -> Iterator[Contrast]:
    for head, verb, person, reflexive, relation in deal(ANIMATE.heads, VERBS, PEOPLE, REFLEXIVES, OBJECT_VERBS):
        for n, p in product(NUMBERS, NUMBERS):
            yield contrast(f"The {head[n]} that the {person[p]} {relation[p]} {verb} _.", reflexive, n)


def _across_subject_relative() -> Iterator[Contrast]:
    for (head, reflexive), relation, verb, person in deal(GENDERED_HEADS, RELATIVE_CLAUSE_VERBS, VERBS, PEOPLE):
        for n, p in product(NUMBERS, NUMBERS):
            yield contrast(f"The {head[n]} that {relation[n]} the {person[p]} {verb} _.", reflexive, n)


def _in_vp_coordination() -> Iterator[Contrast]:
    for (head, reflexive), verb, first in deal(GENDERED_HEADS, VERBS, FIRST_CONJUNCTS):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} {first} and {verb} _.", reflexive, n)


def _of_pronoun() -> Iterator[Contrast]:
    for (pronoun, reflexive), verb, place in deal(PRONOUNS, VERBS, PLACES_AND_TIMES):
        for n in NUMBERS:
            yield contrast(f"{pronoun[n]} {verb} _ {place}.", reflexive, n)


def _gender() -> Iterator[Contrast]:
    for head, verb in deal(MEN_AND_WOMEN, VERBS):
        for g in GENDERS:
            yield contrast(f"The {head[g]} {verb} _.", OF_EITHER_GENDER, g)


def _gender_across_prepositional_phrase() -> Iterator[Contrast]:
    for head, verb, other, preposition in deal(MEN_AND_WOMEN, VERBS, OTHER_MEN_AND_WOMEN, ANIMATE.prepositions):
        for g, o in product(GENDERS, GENDERS):
            yield contrast(f"The {head[g]} {preposition} the {other[o]} {verb} _.", OF_EITHER_GENDER, g)


def _gender_in_infinitival_complement() -> Iterator[Contrast]:
    """The subject of the infinitive, not the nearest subject to the left of a finite verb."""
    for head, verb, other, told in deal(MEN_AND_WOMEN, COMPLEMENT_VERBS, OTHER_MEN_AND_WOMEN, OBJECT_CONTROL_VERBS):
        for g, o in product(GENDERS, GENDERS):
            yield contrast(f"The {other[o]} {told} the {head[g]} to {verb} _.", OF_EITHER_GENDER, g)


CONSTRUCTIONS: Constructions = {
    "simple": _simple,
    "in_sentential_complement": _in_sentential_complement,
    "across_object_relative": _across_object_relative,
    "across_subject_relative": _across_subject_relative,
    "in_vp_coordination": _in_vp_coordination,
    "of_pronoun": _of_pronoun,
    "gender": _gender,
    "gender_across_prepositional_phrase": _gender_across_prepositional_phrase,
    "gender_in_infinitival_complement": _gender_in_infinitival_complement,
}
