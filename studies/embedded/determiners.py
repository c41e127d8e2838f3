"""Determiners and their nouns: `this artist`, `these artists`; `too much money`, `too many coins`.

Owns eight constructions in the manner of BLiMP (Warstadt et al. 2020). No sentence begins with "that", which would make
it a clause ("That artists laughed ..."), and no verb stands before it that takes one. Callers rely on every frame to
come with both determiners, so that each form of a noun, or each determiner, is as often right as wrong.
"""

from collections.abc import Iterator
from itertools import product

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal, forms
from studies.embedded.lexicon import ANIMATE, PAST, PEOPLE, TRANSITIVE_VERBS

DEMONSTRATIVES = forms("this/these", "that/those")
QUANTIFIERS = (("each", "several"), ("every", "many"), ("one", "two"), ("another", "both"))
"""(of a singular noun, of a plural one)."""

ADJECTIVES = ("young", "famous", "friendly", "tall")
TWO_ADJECTIVES = ("famous old", "friendly young", "tall young", "clever old")

IRREGULAR_NOUNS = forms(
    "calf/calves",
    "child/children",
    "goose/geese",
    "man/men",
    "mouse/mice",
    "thief/thieves",
    "wolf/wolves",
    "woman/women",
)
PURSUIT_VERBS = ("chased", "followed", "fed", "rescued")

# (uncountable noun, plural of a similar countable one)
GOODS = forms(
    "advice/suggestions",
    "clothing/shirts",
    "equipment/tools",
    "furniture/chairs",
    "homework/lessons",
    "jewelry/rings",
    "luggage/bags",
    "money/coins",
)
MUCH_AND_MANY = ("much", "many")
POSSESSION_VERBS = ("had", "got", "received", "wanted")
DEGREES = ("too", "so")


def _simple() -> Iterator[Contrast]:
    for head, person, verb, demonstrative in deal(ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, DEMONSTRATIVES):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {verb[PAST]} {demonstrative[n]} _.", head, n)


def _with_adjective() -> Iterator[Contrast]:
    for head, person, verb, demonstrative, adjective in deal(
        ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, DEMONSTRATIVES, ADJECTIVES
    ):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {verb[PAST]} {demonstrative[n]} {adjective} _.", head, n)


def _with_two_adjectives() -> Iterator[Contrast]:
    for head, person, verb, demonstrative, adjectives in deal(
        ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, DEMONSTRATIVES, TWO_ADJECTIVES
    ):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {verb[PAST]} {demonstrative[n]} {adjectives} _.", head, n)


def _of_subject() -> Iterator[Contrast]:
    """The determiner is wrong, not the noun, and it comes first."""
    for head, person, verb in deal(ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS):
        for n in NUMBERS:
            yield contrast(f"_ {head[n]} {verb[PAST]} the {person[0]}.", DEMONSTRATIVES[0], n)


def _in_coordination() -> Iterator[Contrast]:
    """The second of two noun phrases, whose numbers are independent."""
    for head, person, verb, demonstrative in deal(ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, DEMONSTRATIVES):
        for n, p in product(NUMBERS, NUMBERS):
            first = f"{demonstrative[n]} {head[n]}"
            yield contrast(f"We {verb[PAST]} {first} and {demonstrative[p]} _.", person, p)


def _with_quantifier() -> Iterator[Contrast]:
    for head, person, verb, quantifier in deal(ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, QUANTIFIERS):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {verb[PAST]} {quantifier[n]} _.", head, n)


def _with_irregular_noun() -> Iterator[Contrast]:
    for noun, person, verb, demonstrative in deal(IRREGULAR_NOUNS, PEOPLE, PURSUIT_VERBS, DEMONSTRATIVES):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {verb} {demonstrative[n]} _.", noun, n)


def _much_and_many() -> Iterator[Contrast]:
    for goods, person, verb, degree in deal(GOODS, PEOPLE, POSSESSION_VERBS, DEGREES):
        for kind in range(len(MUCH_AND_MANY)):
            yield contrast(f"The {person[0]} {verb} {degree} _ {goods[kind]}.", MUCH_AND_MANY, kind)


CONSTRUCTIONS: Constructions = {
    "simple": _simple,
    "with_adjective": _with_adjective,
    "with_two_adjectives": _with_two_adjectives,
    "of_subject": _of_subject,
    "in_coordination": _in_coordination,
    "with_quantifier": _with_quantifier,
    "with_irregular_noun": _with_irregular_noun,
    "much_and_many": _much_and_many,
}
