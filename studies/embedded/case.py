"""Case: `he` where a pronoun is a subject, `him` where it is an object.

Owns seven constructions. A pronoun stands in two contexts, a subject's and an object's, so that each form is as often
right as wrong. Left out is whatever speakers disagree on: pronouns in coordinations, after "than" and after "it was".
Callers rely on frames that come with a subject and an object, of a singular and a plural noun.
"""

from collections.abc import Iterator
from itertools import product

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal
from studies.embedded.lexicon import ANIMATE, BASE, PAST, PEOPLE, PLACES_AND_TIMES, SPEECH_VERBS, TRANSITIVE_VERBS

PRONOUNS = (("he", "him"), ("she", "her"), ("we", "us"), ("they", "them"))
SUBJECT, OBJECT = 0, 1
OPENINGS = ("Yesterday", "Today", "Later", "Then")
PAST_PREDICATES = ("smiled", "waited outside", "fell asleep", "became famous")
CLAUSE_OR_PREPOSITION = (
    ("sang while _ danced", "danced with _"),
    ("waited until _ arrived", "waited for _"),
    ("laughed because _ fell", "laughed at _"),
    ("sat down when _ returned", "sat behind _"),
)
FINITE_OR_INFINITIVE = (("hoped", "wanted"), ("said", "told"), ("believed", "expected"), ("thought", "allowed"))
"""(before a finite clause, before an object and an infinitive)."""
INFINITIVES = ("leave", "sing", "win", "stay at home")
TRANSFERS = (("gave", "a ticket"), ("sent", "a letter"), ("showed", "a map"), ("offered", "a chair"))


def _simple() -> Iterator[Contrast]:
    for head, pronoun, verb, opening in deal(ANIMATE.heads, PRONOUNS, TRANSITIVE_VERBS, OPENINGS):
        for n in NUMBERS:
            yield contrast(f"{opening} _ {verb[PAST]} the {head[n]}.", pronoun, SUBJECT)
            yield contrast(f"{opening} the {head[n]} {verb[PAST]} _.", pronoun, OBJECT)


def _after_preposition() -> Iterator[Contrast]:
    for head, pronoun, continuations in deal(ANIMATE.heads, PRONOUNS, CLAUSE_OR_PREPOSITION):
        for n, role in product(NUMBERS, (SUBJECT, OBJECT)):
            yield contrast(f"The {head[n]} {continuations[role]}.", pronoun, role)


def _in_embedded_clause() -> Iterator[Contrast]:
    for head, person, verb, pronoun, said in deal(ANIMATE.heads, PEOPLE, TRANSITIVE_VERBS, PRONOUNS, SPEECH_VERBS):
        for n in NUMBERS:
            yield contrast(f"The {person[0]} {said} that _ {verb[PAST]} the {head[n]}.", pronoun, SUBJECT)
            yield contrast(f"The {person[0]} {said} that the {head[n]} {verb[PAST]} _.", pronoun, OBJECT)


def _in_relative_clause() -> Iterator[Contrast]:
    for head, pronoun, verb, predicate in deal(ANIMATE.heads, PRONOUNS, TRANSITIVE_VERBS, PAST_PREDICATES):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} that _ {verb[PAST]} {predicate}.", pronoun, SUBJECT)
            yield contrast(f"The {head[n]} that {verb[PAST]} _ {predicate}.", pronoun, OBJECT)


def _in_infinitival_complement() -> Iterator[Contrast]:
    for head, pronoun, (hoped, wanted), leave in deal(ANIMATE.heads, PRONOUNS, FINITE_OR_INFINITIVE, INFINITIVES):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} {hoped} _ would {leave}.", pronoun, SUBJECT)
            yield contrast(f"The {head[n]} {wanted} _ to {leave}.", pronoun, OBJECT)


def _in_question() -> Iterator[Contrast]:
    for head, pronoun, verb, place in deal(ANIMATE.heads, PRONOUNS, TRANSITIVE_VERBS, PLACES_AND_TIMES):
        for n in NUMBERS:
            yield contrast(f"Did _ {verb[BASE]} the {head[n]} {place}?", pronoun, SUBJECT)
            yield contrast(f"Did the {head[n]} {verb[BASE]} _ {place}?", pronoun, OBJECT)


def _in_double_object() -> Iterator[Contrast]:
    for head, pronoun, (gave, gift), opening in deal(ANIMATE.heads, PRONOUNS, TRANSFERS, OPENINGS):
        for n in NUMBERS:
            yield contrast(f"{opening} _ {gave} the {head[n]} {gift}.", pronoun, SUBJECT)
            yield contrast(f"{opening} the {head[n]} {gave} _ {gift}.", pronoun, OBJECT)


CONSTRUCTIONS: Constructions = {
    "simple": _simple,
    "after_preposition": _after_preposition,
    "in_embedded_clause": _in_embedded_clause,
    "in_relative_clause": _in_relative_clause,
    "in_infinitival_complement": _in_infinitival_complement,
    "in_question": _in_question,
    "in_double_object": _in_double_object,
}
