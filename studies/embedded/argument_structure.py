"""Argument structure: which complements a verb takes: a noun phrase, two, a clause, an infinitive, an adjective, none.

Owns seven constructions in the manner of BLiMP (Warstadt et al. 2020). Two verbs stand before two complements, each of
which only one of them takes, so that each verb is as often right as wrong. No verb is there that can be used both
ways: "visited" and "won" do without an object, "claimed" and "vanished" with one.
"""

from collections.abc import Iterator

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal, forms
from studies.embedded.lexicon import ANIMATE, PEOPLE, PLACES_AND_TIMES

TRANSITIVE_OR_INTRANSITIVE = (
    ("admired", "arrived"),
    ("blamed", "coughed"),
    ("greeted", "laughed"),
    ("ignored", "yawned"),
    ("invited", "fainted"),
    ("praised", "slept"),
    ("recognized", "smiled"),
    ("thanked", "sneezed"),
)
CLAUSE_OR_OBJECT = (("hoped", "praised"), ("complained", "thanked"), ("insisted", "greeted"), ("agreed", "invited"))
CLAUSE_OR_INFINITIVE = (("hoped", "forced"), ("insisted", "invited"), ("said", "persuaded"), ("agreed", "helped"))
"""(before "that the artist would", before "the artist to")."""
TWO_OBJECTS_OR_ONE = (("gave", "thanked"), ("handed", "greeted"), ("lent", "praised"))
ADJECTIVE_OR_OBJECT = (("seemed", "praised"), ("looked", "thanked"), ("sounded", "greeted"), ("appeared", "invited"))

PAST_PREDICATES = forms("was/were tall", "was/were late", "became/became famous", "seemed/seemed tired")
STATES = ("late", "right", "ready", "alone")
INFINITIVES = ("leave", "sing", "stay", "dance")
GIFTS = ("a letter", "a ticket", "a map", "a photograph")
WAS = ("was", "were")
MOODS = ("angry", "bored", "happy", "hungry", "nervous", "sad", "sleepy", "tired")


def _transitive() -> Iterator[Contrast]:
    for head, admired_or_arrived, person, place in deal(
        ANIMATE.heads, TRANSITIVE_OR_INTRANSITIVE, PEOPLE, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} _ the {person[n]} {place}.", admired_or_arrived, 0)
            yield contrast(f"The {head[n]} _ {place}.", admired_or_arrived, 1)


def _passive() -> Iterator[Contrast]:
    for head, admired_or_arrived, person, place in deal(
        ANIMATE.heads, TRANSITIVE_OR_INTRANSITIVE, PEOPLE, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} {WAS[n]} _ by the {person[0]}.", admired_or_arrived, 0)
            yield contrast(f"The {head[n]} had _ {place}.", admired_or_arrived, 1)


def _relative_clause() -> Iterator[Contrast]:
    for head, admired_or_arrived, person, predicate in deal(
        ANIMATE.heads, TRANSITIVE_OR_INTRANSITIVE, PEOPLE, PAST_PREDICATES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} that the {person[0]} _ {predicate[n]}.", admired_or_arrived, 0)
            yield contrast(f"The {head[n]} that _ {predicate[n]}.", admired_or_arrived, 1)


def _clause_or_object() -> Iterator[Contrast]:
    for head, person, hoped_or_praised, state, place in deal(
        ANIMATE.heads, PEOPLE, CLAUSE_OR_OBJECT, STATES, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} _ that the {person[0]} was {state}.", hoped_or_praised, 0)
            yield contrast(f"The {head[n]} _ the {person[0]} {place}.", hoped_or_praised, 1)


def _clause_or_infinitive() -> Iterator[Contrast]:
    for head, person, hoped_or_forced, leave in deal(ANIMATE.heads, PEOPLE, CLAUSE_OR_INFINITIVE, INFINITIVES):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} _ that the {person[n]} would {leave}.", hoped_or_forced, 0)
            yield contrast(f"The {head[n]} _ the {person[n]} to {leave}.", hoped_or_forced, 1)


def _two_objects_or_one() -> Iterator[Contrast]:
    for head, person, gave_or_thanked, gift, place in deal(
        ANIMATE.heads, PEOPLE, TWO_OBJECTS_OR_ONE, GIFTS, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} _ the {person[1]} {gift}.", gave_or_thanked, 0)
            yield contrast(f"The {head[n]} _ the {person[1]} {place}.", gave_or_thanked, 1)


def _adjective_or_object() -> Iterator[Contrast]:
    for head, mood, seemed_or_praised, person, place in deal(
        ANIMATE.heads, MOODS, ADJECTIVE_OR_OBJECT, PEOPLE, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            yield contrast(f"The {head[n]} _ {mood} {place}.", seemed_or_praised, 0)
            yield contrast(f"The {head[n]} _ the {person[n]} {place}.", seemed_or_praised, 1)


CONSTRUCTIONS: Constructions = {
    "transitive": _transitive,
    "passive": _passive,
    "relative_clause": _relative_clause,
    "clause_or_object": _clause_or_object,
    "clause_or_infinitive": _clause_or_infinitive,
    "two_objects_or_one": _two_objects_or_one,
    "adjective_or_object": _adjective_or_object,
}
