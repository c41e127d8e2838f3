"""The words of the embedded pairs: every entry of every table is in some sentence, and no table is a leftover."""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest

from studies.embedded import (
    agreement,
    argument_structure,
    case,
    determiners,
    filler_gap,
    lexicon,
    npi,
    reflexives,
    verb_forms,
)
from studies.embedded.frames import deal
from studies.embedded.pairs import CONSTRUCTIONS, PHENOMENA, minimal_pairs
from tests.unit.studies.embedded.sentences import PAIRS, words

MODULES = (agreement, argument_structure, case, determiners, filler_gap, lexicon, npi, reflexives, verb_forms)
TEXT = {
    phenomenon: "|".join(f" {' '.join(words(s.lower()))} " for p in PAIRS if p.phenomenon == phenomenon for s in p[2:])
    for phenomenon in PHENOMENA
}
PHENOMENON_OF = {id(constructions): phenomenon for phenomenon, constructions in PHENOMENA.items()}


def texts(table: object) -> Iterator[str]:
    """The texts in nested tuples; a frame's pieces around its gap."""
    if isinstance(table, str):
        yield from (piece for half in table.lower().split("_") if (piece := half.strip()))
    elif isinstance(table, tuple):
        for entry in table:
            yield from texts(entry)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_entry_is_in_some_sentence(module: ModuleType) -> None:
    """Of a phenomenon's own tables in a sentence of that phenomenon."""
    constructions = getattr(module, "CONSTRUCTIONS", None)
    text = "|".join(TEXT.values()) if constructions is None else TEXT[PHENOMENON_OF[id(constructions)]]
    shared = {} if module is lexicon else vars(lexicon)
    tables = {name: table for name, table in vars(module).items() if name.isupper() and name not in shared}
    entries = {entry for table in tables.values() for entry in texts(table)}
    assert len(entries) > 10
    assert sorted(entry for entry in entries if f" {entry} " not in text) == []


def test_every_entry_is_dealt_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is as long as `deal` needs it to be, in every construction."""
    sizes: list[tuple[int, ...]] = []

    def checked_deal(*tables: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        rows = list(deal(*tables))
        for place, table in enumerate(tables):
            counts = Counter(row[place] for row in rows)
            expected = {entry: count * len(rows) / len(table) for entry, count in Counter(table).items()}
            assert counts == expected, (table, [len(table) for table in tables])
        sizes.append(tuple(map(len, tables)))
        return iter(rows)

    for module in MODULES:
        if module is not lexicon:
            monkeypatch.setattr(module, "deal", checked_deal)
    assert minimal_pairs() == PAIRS
    assert len(sizes) >= len(CONSTRUCTIONS)


def test_no_table_holds_an_entry_twice() -> None:
    for module in MODULES:
        for name, table in vars(module).items():
            if name.isupper() and isinstance(table, tuple) and name != "NON_LICENSORS":
                assert len(set(table)) == len(table), name


def test_the_nouns_of_one_sentence_come_from_different_tables() -> None:
    heads = {form for nouns in lexicon.NOUN_CLASSES for noun in nouns.heads for form in noun}
    assert not heads & {form for noun in lexicon.PEOPLE for form in noun}
