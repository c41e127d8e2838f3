"""The embedded pairs by construction, and how tests read them: as words, never by the lexicon that they are made of."""

from collections import defaultdict

from studies.embedded.pairs import MinimalPair, minimal_pairs

PAIRS = minimal_pairs()
BY_UID: dict[str, list[MinimalPair]] = defaultdict(list)
for _pair in PAIRS:
    BY_UID[_pair.uid].append(_pair)

SINGULAR_FORMS = {"is", "has", "himself", "herself"}
PLURAL_FORMS = {"are", "have", "themselves"}
IRREGULAR_PLURALS = {"calves", "children", "geese", "men", "mice", "thieves", "wolves", "women"}


def of_phenomenon(phenomenon: str) -> list[str]:
    """The constructions of a phenomenon."""
    return sorted({pair.uid for pair in PAIRS if pair.phenomenon == phenomenon})


def words(sentence: str) -> list[str]:
    return sentence.rstrip(".?").split()


def critical_index(pair: MinimalPair) -> int:
    """The index of the one word in which good and bad differ; fails unless there is exactly one."""
    good, bad = words(pair.good), words(pair.bad)
    assert len(good) == len(bad), pair
    (index,) = [i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b]
    return index


def critical_words(pair: MinimalPair) -> tuple[str, str]:
    index = critical_index(pair)
    return words(pair.good)[index], words(pair.bad)[index]


def is_plural_noun(noun: str) -> bool:
    return noun in IRREGULAR_PLURALS or (noun.endswith("s") and not noun.endswith("ss"))


def is_plural_form(form: str) -> bool:
    """Of a present-tense verb or a reflexive."""
    return form in PLURAL_FORMS or (form not in SINGULAR_FORMS and not form.endswith("s"))
