"""Verb forms: which form of a verb an auxiliary, a negation or another verb asks for.

Owns eight constructions: `had eaten` and not `had ate`, `must eat` and not `must eaten`. Two forms of one verb stand in
two contexts, each of which accepts one of them, so that each form is as often right as wrong. The participle of every
verb differs from its past tense and its base form; verbs with which many confuse them are left out ("had drank", "had
came", "I seen"). Callers rely on frames of four, both contexts with a singular and a plural head, except in
`in_coordination`, whose heads are singular.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal
from studies.embedded.lexicon import ANIMATE, PLACES_AND_TIMES


class Verb(NamedTuple):
    """The forms of a verb, and an object."""

    base: str
    past: str
    participle: str
    progressive: str
    object: str


VERBS = (
    Verb("eat", "ate", "eaten", "eating", "bread"),
    Verb("steal", "stole", "stolen", "stealing", "coat"),
    Verb("drive", "drove", "driven", "driving", "truck"),
    Verb("ride", "rode", "ridden", "riding", "horse"),
    Verb("wear", "wore", "worn", "wearing", "hat"),
    Verb("take", "took", "taken", "taking", "train"),
    Verb("shake", "shook", "shaken", "shaking", "tree"),
    Verb("grow", "grew", "grown", "growing", "corn"),
)
MODALS = ("will", "must", "should", "could")
WAS = ("was", "were")
TO_INFINITIVE_OR_GERUND = (
    ("wanted to", "enjoyed"),
    ("hoped to", "kept"),
    ("refused to", "stopped"),
    ("tried to", "avoided"),
)
"""(before a base form, before an -ing form)."""


def _past_or_perfect() -> Iterator[Contrast]:
    for head, verb in deal(ANIMATE.heads, VERBS):
        for n in NUMBERS:
            critical = (verb.past, verb.participle)
            yield contrast(f"The {head[n]} _ the {verb.object}.", critical, 0)
            yield contrast(f"The {head[n]} had _ the {verb.object}.", critical, 1)


def _modal_or_perfect() -> Iterator[Contrast]:
    for head, verb, modal in deal(ANIMATE.heads, VERBS, MODALS):
        for n in NUMBERS:
            critical = (verb.base, verb.participle)
            yield contrast(f"The {head[n]} {modal} _ the {verb.object}.", critical, 0)
            yield contrast(f"The {head[n]} had already _ the {verb.object}.", critical, 1)


def _modal_or_progressive() -> Iterator[Contrast]:
    for head, verb, modal, place in deal(ANIMATE.heads, VERBS, MODALS, PLACES_AND_TIMES):
        for n in NUMBERS:
            critical = (verb.base, verb.progressive)
            yield contrast(f"The {head[n]} {modal} _ the {verb.object} {place}.", critical, 0)
            yield contrast(f"The {head[n]} {WAS[n]} _ the {verb.object} {place}.", critical, 1)


def _under_negation() -> Iterator[Contrast]:
    for head, verb in deal(ANIMATE.heads, VERBS):
        for n in NUMBERS:
            critical = (verb.base, verb.participle)
            yield contrast(f"The {head[n]} did not _ the {verb.object}.", critical, 0)
            yield contrast(f"The {head[n]} had not _ the {verb.object}.", critical, 1)


def _in_question() -> Iterator[Contrast]:
    """With "already": "had the artist eat" can mean that somebody made the artist eat."""
    for head, verb in deal(ANIMATE.heads, VERBS):
        for n in NUMBERS:
            critical = (verb.base, verb.participle)
            yield contrast(f"Did the {head[n]} already _ the {verb.object}?", critical, 0)
            yield contrast(f"Had the {head[n]} already _ the {verb.object}?", critical, 1)


def _in_passive() -> Iterator[Contrast]:
    for head, verb in deal(ANIMATE.heads, VERBS):
        for n in NUMBERS:
            critical = (verb.past, verb.participle)
            yield contrast(f"The {verb.object} that the {head[n]} _ was old.", critical, 0)
            yield contrast(f"The {verb.object} was _ by the {head[n]}.", critical, 1)


def _in_complement() -> Iterator[Contrast]:
    for head, verb, matrix in deal(ANIMATE.heads, VERBS, TO_INFINITIVE_OR_GERUND):
        for n, form in product(NUMBERS, (0, 1)):
            critical = (verb.base, verb.progressive)
            yield contrast(f"The {head[n]} {matrix[form]} _ the {verb.object}.", critical, form)


def _in_coordination() -> Iterator[Contrast]:
    """The second of two verbs under one auxiliary. Heads are singular: plural ones could "steal" without it."""
    others = VERBS[3:] + VERBS[:3]
    for head, (verb, other), modal in deal(ANIMATE.heads, tuple(zip(VERBS, others, strict=True)), MODALS):
        critical = (verb.base, verb.participle)
        after = f"the {other.object} and _ the {verb.object}."
        yield contrast(f"The {head[0]} {modal} {other.base} {after}", critical, 0)
        yield contrast(f"The {head[0]} had {other.participle} {after}", critical, 1)


CONSTRUCTIONS: Constructions = {
    "past_or_perfect": _past_or_perfect,
    "modal_or_perfect": _modal_or_perfect,
    "modal_or_progressive": _modal_or_progressive,
    "under_negation": _under_negation,
    "in_question": _in_question,
    "in_passive": _in_passive,
    "in_complement": _in_complement,
    "in_coordination": _in_coordination,
}
