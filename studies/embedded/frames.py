"""Frames: how words are combined into the sentences of a minimal pair.

Owns the two mechanisms of all constructions. `deal` combines lists of words, every entry equally often and nothing at
random; `contrast` fills the gap `_` of a sentence with the right one of two words and with the wrong one. Knows no
words itself. Constructions rely on both being plain functions of their arguments, so that the same pairs come out on
every machine. A construction that fills the same two words into a second sentence, where the other one is right, has
each of them as often right as wrong.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

Forms = tuple[str, str]
"""Two forms of a word, or two words, of which a frame wants one: singular and plural, mostly."""
NUMBERS = (0, 1)
"""Singular, plural: indices into the forms of a noun or verb."""

Contrast = tuple[str, str]
"""A good sentence and a bad one."""
Constructions = Mapping[str, Callable[[], Iterator[Contrast]]]
"""{name of a construction, within its phenomenon: its contrasts}."""


def forms(*entries: str) -> tuple[Forms, ...]:
    """`is/are tall` -> `("is tall", "are tall")`."""
    table = []
    for entry in entries:
        word, space, rest = entry.partition(" ")
        first, second = word.split("/")
        table.append((first + space + rest, second + space + rest))
    return tuple(table)


def deal(heads: Sequence[Any], predicates: Sequence[Any], *tables: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Every head with every predicate, and one entry of each further table. Entries are of any type.

    The product of all tables is thinned by dealing out the further ones along diagonals of the head x predicate grid:
    the first moves on with every head, the second with every second head, and so on, so that they do not move together.
    Every entry is dealt equally often, as long as table lengths divide the number of heads or predicates.
    """
    for (row, head), (column, predicate) in product(enumerate(heads), enumerate(predicates)):
        dealt = (table[(row // slot + column) % len(table)] for slot, table in enumerate(tables, start=1))
        yield head, predicate, *dealt


def contrast(frame: str, critical: Forms, right: int) -> Contrast:
    """The frame with form number `right` in its gap, and with the other form; both begin with a capital letter."""
    good, bad = (frame.replace("_", critical[form]) for form in (right, 1 - right))
    return good[0].upper() + good[1:], bad[0].upper() + bad[1:]
