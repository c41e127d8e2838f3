"""Excess surprisal -> one HTML page of example sentences, each token or word coloured by what a condition adds to it.

Self-contained: no script, nothing is loaded; every text is escaped.
"""

import html
from collections.abc import Sequence

import numpy as np
import pandas as pd

from studies.benchmarks.sampling import evenly

SENTENCES = 15
"""In each of the two lists."""
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
    """The sentences with the highest mean excess, and an even sample of all.

    items: as `surprisal.Excess.items`; words: as `annotation.WORD_COLUMNS`.
    """
    sentences = words.groupby("sentence").agg(
        document=("document", "first"), start=("start", "min"), end=("end", "max"), length=("start", "size")
    )
    sentences = sentences[sentences["length"].between(MIN_WORDS, MAX_WORDS)]
    of_word = items["word"].to_numpy()
    scored = items.assign(sentence=np.where(of_word >= 0, words["sentence"].to_numpy()[of_word], -1))
    sentences = sentences.join(scored.groupby("sentence")["excess"].mean(), how="inner")
    most = sentences.nlargest(SENTENCES, "excess")
    even = sentences.iloc[evenly(len(sentences), min(SENTENCES, len(sentences)))]
    steps = (-FULL_COLOUR, -FULL_COLOUR / 3, 0.0, FULL_COLOUR / 3, FULL_COLOUR)
    legend = "".join(f'<span style="background:{_colour(value)}">{value:+.0f}</span>' for value in steps)
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
        f'<p class="legend">Excess surprisal over the baseline, nats: {legend} '
        "Hover over a stretch for its numbers. The number in front is the sentence's mean.</p>",
    ]
    for heading, chosen in (("Sentences that became most surprising", most), ("An even sample of all sentences", even)):
        parts.append(f"<h2>{heading}</h2>")
        parts += [_sentence(one, items, documents[one.document]) for one in chosen.itertuples(index=False)]
    return "\n".join([*parts, "</html>", ""])


def _sentence(sentence, items: pd.DataFrame, text: str) -> str:
    inside = items["start"].ge(sentence.start) & items["end"].le(sentence.end) & items["start"].lt(items["end"])
    mine = items[inside & items["document"].eq(sentence.document)]
    pieces, at = [], sentence.start
    for item in mine.itertuples(index=False):
        start = max(at, item.start)
        nats = f"{item.surprisal:.2f} to {item.surprisal_treated:.2f} nats, {item.excess:+.2f}"
        told = f"{item.upos} {item.relation}: {nats}"
        pieces.append(html.escape(text[at:start]))
        pieces.append(
            f'<span class="t" style="background:{_colour(item.excess)}" title="{html.escape(told)}">'
            f"{html.escape(text[start : item.end])}</span>"
        )
        at = max(at, item.end)
    pieces.append(html.escape(text[at : sentence.end]))
    return f'<p class="s"><small>{sentence.excess:+.2f}</small>{"".join(pieces)}</p>'


def _colour(excess: float) -> str:
    """Orange for more surprising, blue for less."""
    red, green, blue = (221, 107, 32) if excess > 0 else (43, 108, 176)
    return f"rgba({red},{green},{blue},{min(1.0, abs(excess) / FULL_COLOUR):.2f})"
