"""The words that several phenomena share.

Owns nouns, the verb phrases that go with them, and the reasons for their choice. Words of a single phenomenon stand in
its module. Callers rely on two nouns of one sentence to come from different tables, and on every noun to be regular,
countable and without a gender.
"""

from typing import NamedTuple

from studies.embedded.frames import Forms, forms


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
    heads=forms(
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
    predicates=forms(
        "laughs/laugh",
        "swims/swim every morning",
        "works/work hard",
        "lives/live nearby",
        "is/are tall",
        "has/have become famous",
        "seems/seem tired",
        "sings/sing well",
    ),
    first_conjuncts=forms("smiles/smile a lot", "dances/dance every day", "looks/look young", "travels/travel often"),
    prepositions=("near", "behind", "next to", "in front of"),
    subject_verbs=forms("likes/like", "admires/admire", "knows/know", "avoids/avoid"),
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
    heads=forms(
        "article/articles",
        "book/books",
        "essay/essays",
        "movie/movies",
        "novel/novels",
        "poem/poems",
        "report/reports",
        "song/songs",
    ),
    predicates=forms("is/are popular", "seems/seem too long", "has/have become famous", "comes/come from Italy"),
    first_conjuncts=forms("sounds/sound strange", "ends/end badly", "looks/look interesting", "starts/start slowly"),
    prepositions=("by", "about"),
    subject_verbs=forms("mentions/mention", "praises/praise", "describes/describe", "insults/insult"),
    experiences=("been popular", "won a prize", "been translated", "made people laugh"),
)
NOUN_CLASSES = (ANIMATE, INANIMATE)

# The second noun of a sentence: an attractor or an embedded subject. No person is a head, so the two nouns differ.
PEOPLE = forms(
    "banker/bankers",
    "captain/captains",
    "clerk/clerks",
    "critic/critics",
    "mayor/mayors",
    "professor/professors",
    "reporter/reporters",
    "scientist/scientists",
)
OBJECT_VERBS = forms("likes/like", "admires/admire", "remembers/remember", "recommends/recommend")
SPEECH_VERBS = ("said", "claimed", "admitted", "mentioned")  # not "saw" or "insisted": "saw the artist laugh" is good

# None takes a clause, in which "that knows the captains embarrassed themselves" would be good.
RELATIVE_CLAUSE_VERBS = forms("likes/like", "admires/admire", "avoids/avoid", "helps/help")

# (base form, past tense). None takes a clause, of which "remembered that artists" could be the start; none is without
# its object, as in "the artist that visited, he fell asleep".
TRANSITIVE_VERBS = forms("greet/greeted", "invite/invited", "praise/praised", "thank/thanked")
BASE, PAST = 0, 1

PLACES_AND_TIMES = ("before lunch", "during the party", "near the station", "after the concert")
"""Neither a possible object ("found yesterday") nor begun by a particle ("brought in the garden")."""
