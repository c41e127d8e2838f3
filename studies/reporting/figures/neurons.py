"""Which neurons: their distances to N(0, 1) by layer, the negative share, and the two scores against each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.neurons.selection import NeuronSet, rows_of
from studies.reporting.figures.marks import draw_estimate
from studies.reporting.figures.sheet import (
    Drawing,
    Entry,
    Layout,
    grid,
    names_width,
    set_labels,
    set_names,
    set_title,
    sheet,
)
from studies.reporting.figures.style import INK, LOOKS, MINT, PALE, TEAL, Look, fitted, plain, span, spoken, styled
from studies.reporting.units import NUMBER

TOP = 0.99
"""Quantile of a layer's WD from which on a neuron is among the most entangled."""
MOST, MANY, MEDIAN = Look(INK, "^", "-"), Look(MINT, "o", (0, (5, 1.5))), Look(PALE, "s", (0, (1, 1.5)))
ENTANGLED, OTHERS = Look(TEAL, "o", "-"), Look(PALE, "s", (0, (1, 1.5)))


@styled
def wasserstein_by_layer(neurons: pd.DataFrame, *, title: str) -> Drawing:
    """Median, 99th percentile and maximum of WD in every layer, with the negative share of the top 1 %."""
    by_layer = neurons.groupby("layer")["wasserstein_distance"]
    lines = [
        ("maximum", by_layer.max(), MOST),
        ("99th percentile", by_layer.quantile(TOP), MANY),
        ("median", by_layer.median(), MEDIAN),
    ]
    threshold = by_layer.transform(lambda values: values.quantile(TOP))
    shares = [
        ("top 1 % by WD (right)", neurons[neurons["wasserstein_distance"] >= threshold], ENTANGLED),
        ("all neurons (right)", neurons[neurons["wasserstein_distance"] > 0], OTHERS),
    ]
    key = [Entry(f"{label} (left)", look) for label, _, look in lines] + [
        Entry(label, look) for label, _, look in shares
    ]
    of = sheet(2, Layout(height=210, across=2, key=key))
    left, right = of.axes
    for _, values, look in lines:
        _over_layers(left, values, look)
    left.set_yscale("log")
    for _, chosen, look in shares:
        share = chosen["wasserstein_distance_negative"] / chosen["wasserstein_distance"]
        _over_layers(right, share.groupby(chosen["layer"]).mean(), look)
    right.set_ylim(0, 1)
    for panel in of.axes:
        grid(panel, "y")
        of.whole.add(id(panel.xaxis))
    set_title(of, left, "distance to N(0, 1)")
    set_title(of, right, "share of it below zero")
    set_labels(of, left, x="layer", y="Wasserstein distance (log.)")
    set_labels(of, right, x="layer", y="negative share of WD")
    return of.finished(
        f"{title}: Wasserstein distance by layer",
        f"Over the {len(neurons):,} neurons of {neurons['layer'].nunique()} layers; the share is a mean over neurons. "
        "All neurons are counted, so there are no intervals.",
    )


def _over_layers(panel: Any, values: pd.Series, look: Look) -> None:
    panel.plot(values.index, values, color=look.colour, marker=look.marker, linestyle=look.line, markersize=3.5)


@styled
def negative_shares(models: Sequence[Mapping[str, Any]]) -> Drawing:
    """Where the distance to N(0, 1) sits, model by model: the most entangled neurons against the others.

    models: their parts of the report, each with a structure.
    """
    names = [f"{plain(model['display'])} ({plain(model['activation'])})" for model in models]
    width = names_width(names, most=260)
    key = [Entry("top 1 % of every layer by WD", ENTANGLED, "point"), Entry("others", OTHERS, "point")]
    of = sheet(1, Layout(height=34 * len(models) + 10, across=1, names=width, title_lines=0, key=key))
    (panel,) = of.axes
    for y, model in enumerate(models):
        share = model["structure"]["negative_share"]
        for side, look, shift in (("top", ENTANGLED, -0.15), ("rest", OTHERS, 0.15)):
            draw_estimate(panel, y + shift, NUMBER.interval(share[side]), look)
    panel.axvline(0.5, color=PALE, linestyle=":", linewidth=1)
    panel.set_xlim(0, 1)
    grid(panel)
    set_names(panel, names, width)
    set_labels(of, panel, x="negative share of the Wasserstein distance")
    shares = [model["structure"]["negative_share"] for model in models]
    top, rest = (span([share[side] for share in shares]) for side in ("num_top", "num_rest"))
    return of.finished(
        "Where the distance to N(0, 1) sits",
        f"Mean over neurons with its 95 % bootstrap interval; n = {top} entangled and {rest} other neurons a model. "
        "Dotted: as much below zero as above.",
    )


@styled
def scores(
    neurons: pd.DataFrame, chosen: NeuronSet, *, condition: str, correlation: float | None, title: str
) -> Drawing | None:
    """WD against mapping difficulty, a point per neuron, with the neurons of a condition marked.

    correlation: Spearman's, over all neurons. None where mapping difficulty was not scored.
    """
    x, y = "wasserstein_distance", "mapping_difficulty"
    if y not in neurons or not neurons[y].notna().any():
        return None
    selected = rows_of(neurons, chosen)[[x, y]].dropna()
    known = neurons[[x, y]].dropna()
    treated, others = Look(LOOKS["treated"].colour, "o", ""), Look("#9a9a9a", "o", "")
    name = fitted(spoken(condition), 300)
    key = [Entry("all neurons", others, "point"), Entry(f"{name} ({len(selected):,} neurons)", treated, "point")]
    of = sheet(1, Layout(height=330, across=1, title_lines=0, key=key))
    (panel,) = of.axes
    panel.scatter(known[x], known[y], s=3, color=others.colour, alpha=0.2, linewidths=0, rasterized=True)
    panel.scatter(selected[x], selected[y], s=9, color=treated.colour, alpha=0.8, linewidths=0, rasterized=True)
    for axis, values in (("x", known[x]), ("y", known[y])):
        if (values > 0).all():
            panel.set(**{f"{axis}scale": "log"})
    grid(panel, "both")
    set_labels(of, panel, x="Wasserstein distance to N(0, 1)", y="mapping difficulty")
    rank = "" if correlation is None else f" Spearman's rank correlation: {correlation:.2f}."
    return of.finished(
        f"{title}: the two scores of a neuron",
        f"A point is one of {len(known):,} neurons; marked: those that {name} clamps.{rank} No intervals: every neuron "
        "is shown.",
    )
