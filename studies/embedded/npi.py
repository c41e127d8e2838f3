"""Negative polarity items: `ever` and `any` need a negation, a question, `only` or `few` that takes scope over them.

Owns eight constructions in the manner of Marvin & Linzen (2018) and BLiMP (Warstadt et al. 2020). In all but `simple`
both sentences hold the same words in another order, apart from one capital letter. `simple` keeps a shortcut, as its
licensor is always on the good side: "No" is paired with "The" in half of the pairs and with the rarer "Every", "Each",
"Most" and "Many" in the other half, so word frequency alone (the > no > the rest) scores 50 %, but a mere preference
for "No" scores 100 %. Callers rely on frames that come in all their number combinations, except in `few_and_many`,
whose nouns are plural.
"""

from collections.abc import Iterator
from itertools import product

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal
from studies.embedded.lexicon import ANIMATE, NOUN_CLASSES, OBJECT_VERBS, PEOPLE, RELATIVE_CLAUSE_VERBS

HAS = ("has", "have")
# Determiners that do not license "ever". Half are "The", more frequent than "No"; half are rarer (module docstring).
NON_LICENSORS = (("The", "The"), ("Every", "Most"), ("The", "The"), ("Each", "Many"))
PARTICIPLES = ("met", "praised", "helped", "visited")
"""Participles with a person as object."""


def _simple() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, experience, non_licensor in deal(nouns.heads, nouns.experiences, NON_LICENSORS):
            for n in NUMBERS:
                yield contrast(f"_ {head[n]} {HAS[n]} ever {experience}.", ("No", non_licensor[n]), 0)


def _across_object_relative() -> Iterator[Contrast]:
    """The licensor on the head, against an intrusive one in the relative clause, which does not license `ever`."""
    for nouns in NOUN_CLASSES:
        for head, experience, person, verb in deal(nouns.heads, nouns.experiences, PEOPLE, OBJECT_VERBS):
            for n, p in product(NUMBERS, NUMBERS):
                relative, rest = f"{person[p]} {verb[p]}", f"{HAS[n]} ever {experience}."
                yield f"No {head[n]} that the {relative} {rest}", f"The {head[n]} that no {relative} {rest}"


def _across_subject_relative() -> Iterator[Contrast]:
    for head, experience, person, verb in deal(ANIMATE.heads, ANIMATE.experiences, PEOPLE, RELATIVE_CLAUSE_VERBS):
        for n, p in product(NUMBERS, NUMBERS):
            related, rest = f"{head[n]} that {verb[n]}", f"{person[p]} {HAS[n]} ever {experience}."
            yield f"No {related} the {rest}", f"The {related} no {rest}"


def _negation_across_object_relative() -> Iterator[Contrast]:
    """`not` beside `ever`, against `not` in the relative clause."""
    for head, experience, person, met in deal(ANIMATE.heads, ANIMATE.experiences, PEOPLE, PARTICIPLES):
        for n, p in product(NUMBERS, NUMBERS):
            start, rest = f"The {head[n]} that the {person[p]} {HAS[p]}", f"ever {experience}."
            yield f"{start} {met} {HAS[n]} not {rest}", f"{start} not {met} {HAS[n]} {rest}"


def _any_across_subject_relative() -> Iterator[Contrast]:
    """`any of the` after a negated verb, against one after a negated relative clause; never "any" of free choice."""
    for head, experience, person, met in deal(ANIMATE.heads, ANIMATE.experiences, PEOPLE, PARTICIPLES):
        for n in NUMBERS:
            start, rest = f"The {head[n]} that {HAS[n]}", f"{met} any of the {person[1]}."
            yield f"{start} {experience} {HAS[n]} not {rest}", f"{start} not {experience} {HAS[n]} {rest}"


def _in_question() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, experience in deal(nouns.heads, nouns.experiences):
            for n in NUMBERS:
                rest = f"ever {experience}?"
                yield f"{HAS[n].capitalize()} the {head[n]} {rest}", f"The {head[n]} {HAS[n]} {rest}"


def _only() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, experience in deal(nouns.heads, nouns.experiences):
            for n in NUMBERS:
                rest = f"{head[n]} {HAS[n]} ever {experience}."
                yield f"Only the {rest}", f"The only {rest}"


def _few_and_many() -> Iterator[Contrast]:
    for nouns in NOUN_CLASSES:
        for head, experience in deal(nouns.heads, nouns.experiences):
            rest = f"{head[1]} have ever {experience}."
            yield f"Few of the many {rest}", f"Many of the few {rest}"


CONSTRUCTIONS: Constructions = {
    "simple": _simple,
    "across_object_relative": _across_object_relative,
    "across_subject_relative": _across_subject_relative,
    "negation_across_object_relative": _negation_across_object_relative,
    "any_across_subject_relative": _any_across_subject_relative,
    "in_question": _in_question,
    "only": _only,
    "few_and_many": _few_and_many,
}
