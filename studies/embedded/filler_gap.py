"""Filler and gap: `what`, `who` or a question word needs a gap that it fills, and a gap needs one of them.

Owns seven constructions in the manner of Wilcox et al., "What do RNN Language Models Learn about Filler-Gap
Dependencies?" (BlackboxNLP 2018). Two fillers stand before a clause with a gap and before one without ("knew what the
artist repaired before lunch", "knew that the artist repaired the clock before lunch"), so that each is as often right
as wrong. All verbs need their object, and no phrase after the gap could be one. Callers rely on frames of four, a gap
and none with a singular and a plural subject, except in `subject`, where the gap is the subject.
"""

from collections.abc import Iterator

from studies.embedded.frames import NUMBERS, Constructions, Contrast, contrast, deal
from studies.embedded.lexicon import ANIMATE, PEOPLE, PLACES_AND_TIMES

DEEDS = (
    ("carry", "carried", "box"),
    ("damage", "damaged", "fence"),
    ("destroy", "destroyed", "statue"),
    ("repair", "repaired", "clock"),
    ("receive", "received", "letter"),
    ("describe", "described", "house"),
    ("discover", "discovered", "cave"),
    ("mention", "mentioned", "accident"),
)
"""(base form, past tense, object) of verbs that are never without an object ("saw", "lost") nor with two ("found")."""
PREPOSITIONAL_VERBS = (
    "danced with",
    "waited for",
    "talked to",
    "agreed with",
    "listened to",
    "cared for",
    "relied on",
    "argued with",
)
"""No preposition among them is an adverb too ("sat behind")."""
FACTIVE_VERBS = ("knew", "remembered", "noticed", "revealed")
BRIDGE_VERBS = ("said", "claimed", "thought", "believed")
CONTROL_VERBS = ("wanted", "hoped", "tried", "decided")

WHAT_OR_THAT = ("what", "that")
WHO_OR_THAT = ("who", "that")
WHAT_OR_WHEN = ("what", "when")
WHAT_OR_WHERE = ("what", "where")
GAP, NO_GAP = 0, 1
"""Which of two fillers is right."""


def _object() -> Iterator[Contrast]:
    for head, (_, repaired, thing), person, knew, place in deal(
        ANIMATE.heads, DEEDS, PEOPLE, FACTIVE_VERBS, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            clause = f"The {person[0]} {knew} _ the {head[n]} {repaired}"
            yield contrast(f"{clause} {place}.", WHAT_OR_THAT, GAP)
            yield contrast(f"{clause} the {thing} {place}.", WHAT_OR_THAT, NO_GAP)


def _subject() -> Iterator[Contrast]:
    for head, (_, repaired, thing), person, knew, place in deal(
        ANIMATE.heads, DEEDS, PEOPLE, FACTIVE_VERBS, PLACES_AND_TIMES
    ):
        rest = f"{repaired} the {thing} {place}."
        yield contrast(f"The {person[1]} {knew} _ {rest}", WHO_OR_THAT, GAP)
        yield contrast(f"The {person[1]} {knew} _ the {head[0]} {rest}", WHO_OR_THAT, NO_GAP)


def _object_of_preposition() -> Iterator[Contrast]:
    for head, verb, person, knew, place in deal(
        ANIMATE.heads, PREPOSITIONAL_VERBS, PEOPLE, FACTIVE_VERBS, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            clause = f"We {knew} _ the {head[n]} {verb}"
            yield contrast(f"{clause} {place}.", WHO_OR_THAT, GAP)
            yield contrast(f"{clause} the {person[n]} {place}.", WHO_OR_THAT, NO_GAP)


def _across_clause() -> Iterator[Contrast]:
    for head, (_, repaired, thing), person, said, place in deal(
        ANIMATE.heads, DEEDS, PEOPLE, BRIDGE_VERBS, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            clause = f"We knew _ the {person[0]} {said} the {head[n]} {repaired}"
            yield contrast(f"{clause} {place}.", WHAT_OR_THAT, GAP)
            yield contrast(f"{clause} the {thing} {place}.", WHAT_OR_THAT, NO_GAP)


def _across_infinitive() -> Iterator[Contrast]:
    for head, (repair, _, thing), person, wanted, place in deal(
        ANIMATE.heads, DEEDS, PEOPLE, CONTROL_VERBS, PLACES_AND_TIMES
    ):
        for n in NUMBERS:
            clause = f"The {person[0]} knew _ the {head[n]} {wanted} to {repair}"
            yield contrast(f"{clause} {place}.", WHAT_OR_THAT, GAP)
            yield contrast(f"{clause} the {thing} {place}.", WHAT_OR_THAT, NO_GAP)


def _in_question() -> Iterator[Contrast]:
    for head, (repair, _, thing), place in deal(ANIMATE.heads, DEEDS, PLACES_AND_TIMES):
        for n in NUMBERS:
            yield contrast(f"_ did the {head[n]} {repair} {place}?", WHAT_OR_WHERE, GAP)
            yield contrast(f"_ did the {head[n]} {repair} the {thing}?", WHAT_OR_WHERE, NO_GAP)


def _of_adjunct() -> Iterator[Contrast]:
    """A question word for a time leaves no gap in the place of the object."""
    for head, (_, repaired, thing), knew, place in deal(ANIMATE.heads, DEEDS, FACTIVE_VERBS, PLACES_AND_TIMES):
        for n in NUMBERS:
            clause = f"We {knew} _ the {head[n]} {repaired}"
            yield contrast(f"{clause} {place}.", WHAT_OR_WHEN, GAP)
            yield contrast(f"{clause} the {thing} {place}.", WHAT_OR_WHEN, NO_GAP)


CONSTRUCTIONS: Constructions = {
    "object": _object,
    "subject": _subject,
    "object_of_preposition": _object_of_preposition,
    "across_clause": _across_clause,
    "across_infinitive": _across_infinitive,
    "in_question": _in_question,
    "of_adjunct": _of_adjunct,
}
