"""Tokens coloured by the surprisal that a condition adds to that of the baseline.

Owns which passages are shown and the scale of their colours, which follows from the data: full colour is the 98th
percentile of the changes on the page. The same passages are shown under every condition, so that they can be compared.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from studies.reporting.page.content import Passages
from studies.reporting.page.quantities import signed, tint

SENTENCES = 12
"""Sentences of a benchmark: half of them those that became most surprising under the first condition, half even."""
MIN_TOKENS, MAX_TOKENS = 6, 60
_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]+[\"')\]]*\s*|[^.!?\n]+$")


class Piece(NamedTuple):
    """A stretch of text."""

    text: str
    colour: str
    """CSS; empty for text that was not scored."""
    title: str
    """The numbers behind it."""


class Sentence(NamedTuple):
    """A sentence under one condition."""

    mean: str
    """Mean change of its tokens, nats."""
    pieces: tuple[Piece, ...]


class Toggle(NamedTuple):
    """One condition."""

    condition: str
    sentences: tuple[Sentence, ...]


class Shown(NamedTuple):
    """The passages of one benchmark on one model."""

    model: str
    benchmark: str
    scale: str
    """Nats at full colour."""
    toggles: tuple[Toggle, ...]


def shown(passages: Passages) -> Shown | None:
    """The coloured sentences; None where nothing was scored."""
    tables = {name: table for name, table in passages.tokens.items() if len(table)}
    if not tables:
        return None
    changes = np.concatenate([(table["after"] - table["before"]).to_numpy(np.float64) for table in tables.values()])
    full = max(float(np.quantile(np.abs(changes), 0.98)), 1e-6)
    first = next(iter(tables.values()))
    spans = _chosen(passages.texts, first)
    toggles = [
        Toggle(condition, tuple(_sentence(span, passages.texts[span[0]], table, full) for span in spans))
        for condition, table in tables.items()
    ]
    return Shown(passages.model, passages.benchmark, f"{full:.2g}", tuple(toggles))


def _chosen(texts: Mapping[int, str], table: pd.DataFrame) -> list[tuple[int, int, int]]:
    """(document, start, end) of the sentences to show, in the order of the documents."""
    by_document = {document: rows for document, rows in table.groupby("document")}
    found: list[tuple[float, tuple[int, int, int]]] = []
    for document, rows in by_document.items():
        for match in _SENTENCE.finditer(texts.get(int(document), "")):
            inside = rows[rows["start"].ge(match.start()) & rows["end"].le(match.end())]
            if MIN_TOKENS <= len(inside) <= MAX_TOKENS:
                mean = float((inside["after"] - inside["before"]).mean())
                found.append((mean, (int(document), match.start(), match.end())))
    most = [span for _, span in sorted(found, reverse=True)[: SENTENCES // 2]]
    others = [span for _, span in found if span not in most]
    step = max(1, len(others) // max(1, SENTENCES - len(most)))
    return sorted([*most, *others[::step][: SENTENCES - len(most)]])


def _sentence(span: tuple[int, int, int], text: str, table: pd.DataFrame, full: float) -> Sentence:
    document, start, end = span
    inside = table[table["document"].eq(document) & table["start"].ge(start) & table["end"].le(end)]
    pieces, written = list[Piece](), start
    for row in inside.sort_values(["start", "end"]).itertuples(index=False):
        begin = max(written, int(row.start))
        if begin > written:
            pieces.append(Piece(text[written:begin], "", ""))
        if row.end > begin:
            pieces.append(_piece(text[begin : int(row.end)], row, full))
            written = int(row.end)
    if end > written:
        pieces.append(Piece(text[written:end], "", ""))
    mean = float((inside["after"] - inside["before"]).mean()) if len(inside) else 0.0
    return Sentence(signed(mean, 2), tuple(pieces))


def _piece(text: str, row: Any, full: float) -> Piece:
    change = row.after - row.before
    numbers = f"{row.before:.2f} → {row.after:.2f} nats, {signed(change, 2)}"
    return Piece(text, tint(change > 0, abs(change) / full), numbers)


def all_shown(passages: Sequence[Passages]) -> list[Shown]:
    """The coloured sentences of every benchmark that has some."""
    return [found for one in passages for found in [shown(one)] if found is not None]
