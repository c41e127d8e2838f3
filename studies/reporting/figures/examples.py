"""The most entangled neurons: how each one's output is distributed, and the pairs of inputs that it pulls apart."""

from typing import Any

import numpy as np
import pandas as pd

from studies.reporting.figures.sheet import Drawing, Entry, Layout, Sheet, set_labels, set_title, sheet
from studies.reporting.figures.style import INK, PAIRS, PALE, SKY, SMALL, WIDTH, Look, plain, span, styled, width_of

SHOWN_NEURONS, SHOWN_PAIRS = 6, 4
"""Neurons, and token pairs of each."""
PANEL = 112
"""Height of a neuron's density in pixels."""
DENSITY = 210
"""Width of a density."""
LEFT = 34
"""Width of the label to the left of it."""
TEXT_GAP, TEXT_LINE, OUTPUT_WIDTH = 22, 14, 46
"""Pixels between a density and the texts, of a line of text, and of the output in front of it."""
OUTPUT, NORMAL = Look(SKY, "", "-"), Look(INK, "", "-")


@styled
def entangled_neurons(densities: pd.DataFrame, pairs: pd.DataFrame, *, title: str) -> Drawing:
    """One row per neuron: its output's density against the normal one, and the pairs it pulls apart, with their texts.

    densities: columns layer, neuron, low, high, count, mean, std; pairs: layer, neuron, rank, and of i and j each
    context, token and y. Only the first `SHOWN_NEURONS` and their first `SHOWN_PAIRS` are shown.
    """
    neurons = list(densities.groupby(["layer", "neuron"], sort=False))[:SHOWN_NEURONS]
    key = [Entry("density of the output", OUTPUT, "patch"), Entry("normal, same mean and std", NORMAL, "line")]
    of = sheet(len(neurons), Layout(height=PANEL, across=1, names=LEFT, right=WIDTH - LEFT - DENSITY, key=key))
    for panel, ((layer, neuron), bins) in zip(of.axes, neurons, strict=True):
        _draw_density(panel, bins)
        ranked = pairs[(pairs["layer"] == layer) & (pairs["neuron"] == neuron)].nsmallest(SHOWN_PAIRS, "rank")
        for number, (colour, pair) in enumerate(zip(PAIRS, ranked.itertuples(), strict=False)):
            panel.plot([pair.y_i, pair.y_j], [0, 0], "o-", color=colour, markersize=4, clip_on=False, zorder=3)
            for line, side in enumerate("ij"):
                texts = (getattr(pair, f"{name}_{side}") for name in ("y", "context", "token"))
                _write(of, panel, 2 * number + line, *texts, colour=colour)
        set_title(of, panel, f"layer {layer}, neuron {neuron}")
        set_labels(of, panel, x="pre-activation")
        panel.set_ylabel("density", labelpad=2)
    counts = [int(bins["count"].sum()) for _, bins in neurons]
    return of.finished(
        f"{title}: the most entangled neurons",
        f"Density of the pre-activation over {span(counts)} tokens (dashed: zero), and pairs of near "
        "inputs with far outputs: the output, and the text up to the token in brackets.",
    )


def _draw_density(panel: Any, bins: pd.DataFrame) -> None:
    middle = (bins["low"] + bins["high"]) / 2
    density = bins["count"] / bins["count"].sum() / (bins["high"] - bins["low"])
    panel.fill_between(middle, density, step="mid", color=OUTPUT.colour, linewidth=0)
    mean, std = bins["mean"].iloc[0], bins["std"].iloc[0]
    normal = np.exp(-(((middle - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    panel.plot(middle, normal, color=NORMAL.colour, linewidth=1.1)
    panel.axvline(0, color=PALE, linestyle="--", linewidth=1)
    panel.set_yticks([])


def _write(of: Sheet, panel: Any, line: int, output: float, context: str, token: str, *, colour: str) -> None:
    """One line of text beside a density: the output, and the context as far back as it fits, cut between words."""
    room = WIDTH - LEFT - DENSITY - TEXT_GAP - OUTPUT_WIDTH - 14
    number = f"{output:+.2f}".replace("-", "−")
    y = 1 - (line * TEXT_LINE + 2) / of.high_of(panel)
    for left, text, ink in ((0, number, colour), (OUTPUT_WIDTH, in_context(context, token, room), INK)):
        x = 1 + (TEXT_GAP + left) / of.wide
        panel.text(x, y, text, transform=panel.transAxes, color=ink, fontsize=SMALL, va="top")


def in_context(context: str, token: str, width: float) -> str:
    """`… to the cap[ital]`: the last whole words before a token, as many as fit, and the token in brackets.

    A token that is too long is cut. A context begins anywhere in a text, so its first word is left out unless white
    space stands before it.
    """
    shown = plain(token) or ("⏎" if "\n" in token else "␣")
    words, apart = plain(context).split(), context[-1:].isspace() or token[:1].isspace()
    if words and not context[:1].isspace():
        words = words[1:] if len(words) > 1 or apart else words
    glued = "" if apart or not words else words.pop()
    while width_of(f"… {glued}[{shown}]") > width and len(shown) > 2:
        shown = f"{shown.removesuffix('…')[:-1]}…"
    while width_of(f"… {glued}[{shown}]") > width and glued:
        glued = glued[1:]
    kept: list[str] = [f"{glued}[{shown}]"]
    for word in reversed(words):
        if width_of(" ".join(["…", word, *kept])) > width:
            break
        kept.insert(0, word)
    return " ".join(["…", *kept])
