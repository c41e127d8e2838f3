"""Excess surprisal -> one HTML page of example sentences, each token or word coloured by its excess.

The page is self-contained: no script, nothing is loaded, every text is escaped.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.rows import evenly

SENTENCES = 15
"""Sentences in each of the two lists."""
MIN_WORDS, MAX_WORDS = 6, 60
"""Sentences of other lengths are left out."""
FULL_COLOUR = 3.0
"""Nats at which a colour is at its strongest."""

_STYLE = """
body { font: 15px/1.9 system-ui, sans-serif; margin: 2em auto; max-width: 60em; color: #1a202c; background: #fff; }
h1 { font-size: 1.2em; } h2 { font-size: 1.05em; margin-top: 2em; }
p.s { margin: 0.5em 0; } p.s small { color: #718096; margin-right: 0.8em; }
span.t { border-radius: 3px; padding: 1px 0; }
.legend span { padding: 1px 8px; margin-right: 4px; }
"""


def examples_page(items: pd.DataFrame, documents: Sequence[str], words: pd.DataFrame, *, title: str) -> str:
    """The page: the sentences with the highest mean excess, and an even sample of all.

    items: as `excess_surprisal.Excess.items`; words: as `annotation.WORD_COLUMNS`.
    """
    sentences = words.groupby("sentence").agg(
        document=("document", "first"), start=("start", "min"), end=("end", "max"), length=("start", "size")
    )
    sentences = sentences[sentences["length"].between(MIN_WORDS, MAX_WORDS)]
    word = items["word"].to_numpy()
    scored = items.assign(sentence=np.where(word >= 0, words["sentence"].to_numpy()[word], -1))
    sentences = sentences.join(scored.groupby("sentence")["excess"].mean(), how="inner")
    most = sentences.nlargest(SENTENCES, "excess")
    even = sentences.iloc[evenly(len(sentences), min(SENTENCES, len(sentences)))]
    steps = (-FULL_COLOUR, -FULL_COLOUR / 3, 0.0, FULL_COLOUR / 3, FULL_COLOUR)
    legend = "".join(f'<span style="background:{_colour(value)}">{value:+.0f}</span>' for value in steps)
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>',
        f"<style>{_STYLE}</style><h1>{_text(title)}</h1>",
        f'<p class="legend">Excess surprisal over the baseline, nats: {legend} '
        "Hover over a stretch for its numbers. The number in front is the sentence's mean.</p>",
    ]
    for heading, listed in (("Sentences that became most surprising", most), ("An even sample of all sentences", even)):
        parts.append(f"<h2>{heading}</h2>")
        parts += [
            _sentence(sentence, items, documents[sentence.document]) for sentence in listed.itertuples(index=False)
        ]
    return "\n".join([*parts, "</html>", ""])


def _sentence(sentence: Any, items: pd.DataFrame, text: str) -> str:
    """sentence: a row with document, start, end and excess; text: its document."""
    inside = items["start"].ge(sentence.start) & items["end"].le(sentence.end) & items["start"].lt(items["end"])
    pieces, written = [], sentence.start
    for item in items[inside & items["document"].eq(sentence.document)].itertuples(index=False):
        start = max(written, item.start)
        nats = f"{item.surprisal:.2f} to {item.surprisal_treated:.2f} nats, {item.excess:+.2f}"
        tooltip = f"{item.upos} {item.relation}: {nats}"
        pieces.append(_text(text[written:start]))
        pieces.append(
            f'<span class="t" style="background:{_colour(item.excess)}" title="{_text(tooltip)}">'
            f"{_text(text[start : item.end])}</span>"
        )
        written = max(written, item.end)
    pieces.append(_text(text[written : sentence.end]))
    return f'<p class="s"><small>{sentence.excess:+.2f}</small>{"".join(pieces)}</p>'


def _text(text: str) -> str:
    """A text as it is: nothing in it is HTML, and no mark in it changes the direction of what stands around it."""
    return "".join(html.escape(c if c.isprintable() or c.isspace() else ascii(c)[1:-1]) for c in text)


def _colour(excess: float) -> str:
    """Orange for more surprising, blue for less."""
    red, green, blue = (221, 107, 32) if excess > 0 else (43, 108, 176)
    return f"rgba({red},{green},{blue},{min(1.0, abs(excess) / FULL_COLOUR):.2f})"
