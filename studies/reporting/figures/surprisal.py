"""Excess surprisal by class of word: of one condition, and of several conditions on one axis."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from studies.reporting.figures.marks import draw_estimate, draw_seeds
from studies.reporting.figures.sheet import (
    Drawing,
    Entry,
    Layout,
    grid,
    names_width,
    set_labels,
    set_names,
    sheet,
    zero_line,
)
from studies.reporting.figures.style import INK, MINT, PALE, Look, by_part, is_number, looks, spoken, styled
from studies.reporting.units import NUMBER
from studies.statistics.excess_surprisal import CONTENT, SCAFFOLDING
from studies.statistics.intervals import Interval

SHOWN_CLASSES = 24
"""Classes in a figure, the most frequent ones."""
SHOWN_CONDITIONS = 5
ROW = 17
"""Pixels of a class."""
SETS = {
    "determiner, punctuation, auxiliary, particle": (SCAFFOLDING, Look(INK, "o", "-")),
    "content words": (CONTENT, Look(MINT, "s", "-")),
}
"""The paper's two sets of parts of speech."""
OTHERS = Look(PALE, "D", "-")
SCALES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Nats at which an axis may end: figures of several conditions mostly have the same."""


@styled
def excess_by_class(table: pd.DataFrame, *, kind: str, title: str) -> Drawing:
    """Excess surprisal by class, most first, with its interval and how many items there are.

    table: as `excess_surprisal.Excess.table`; kind: `upos` (the paper's two sets of classes have looks of their own) or
    `relation`. The most frequent classes are shown.
    """
    rows = table[table["kind"] == kind].nlargest(SHOWN_CLASSES, "num_items").sort_values("excess", ascending=False)
    look_of = {name: look for names, look in SETS.values() for name in names} if kind == "upos" else {}
    names = [f"{name} (n = {count:,})" for name, count in zip(rows["name"], rows["num_items"], strict=True)]
    key = [*(Entry(label, look, "point") for label, (_, look) in SETS.items()), Entry("others", OTHERS, "point")]
    width = names_width(names)
    of = sheet(1, Layout(height=ROW * len(rows) + 10, across=1, names=width, title_lines=0, key=key if look_of else ()))
    (panel,) = of.axes
    for y, row in enumerate(rows.itertuples(index=False)):
        draw_estimate(panel, y, Interval(row.excess, row.low, row.high), look_of.get(row.name, OTHERS))
    _finish(of, panel, names, width)
    return of.finished(
        f"{title}: excess surprisal by {'part of speech' if kind == 'upos' else 'relation'}",
        "Mean surprisal added to the baseline's, with its 95 % bootstrap interval over documents; n: tokens or words. "
        "Axes end at fixed values, so that conditions can be compared.",
    )


@styled
def excess_by_condition(model: Mapping[str, Any], benchmark: str) -> Drawing | None:
    """Excess surprisal by part of speech under every condition, on one axis; the seeds of a control are one band.

    model: its part of the report; benchmark: its name. None where no whole condition has an excess on it.
    """
    entries = [e for e in model["excess"] if e["benchmark"] == benchmark and not e["spread"]]
    rows = {row["condition"]: row for row in model["rows"]}
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for entry in (entry for entry in entries if entry["condition"] in rows):
        by_name.setdefault(rows[entry["condition"]]["of"], []).append(entry)
    if not by_name:
        return None
    parts = {name: rows[of_name[0]["condition"]]["part"] for name, of_name in by_name.items()}
    shown = by_part(by_name, parts)[:SHOWN_CONDITIONS]
    look_of = looks({name: parts[name] for name in shown})
    classes = sorted(by_name[shown[0]][0]["upos"], key=lambda c: -c["num_items"])[:SHOWN_CLASSES]
    classes.sort(key=lambda c: -c["excess"])
    names = [f"{c['name']} (n = {c['num_items']:,})" for c in classes]
    width, label = names_width(names), next(b["label"] for b in model["benchmarks"] if b["name"] == benchmark)
    seeds = {name: len(by_name[name]) for name in shown}
    key = [Entry(f"{spoken(n)} ({seeds[n]} seeds)" if seeds[n] > 1 else spoken(n), look_of[n], "point") for n in shown]
    row_height = 7 * len(shown) + 8
    of = sheet(1, Layout(height=row_height * len(names) + 10, across=1, names=width, title_lines=0, key=key))
    (panel,) = of.axes
    for y, one in enumerate(classes):
        for number, name in enumerate(shown):
            found = [_of_class(entry, one["name"]) for entry in by_name[name]]
            _draw_condition(panel, y + (number + 0.5) / len(shown) * 0.7 - 0.35, found, look_of[name])
    _finish(of, panel, names, width)
    for y in range(len(names) - 1):
        panel.axhline(y + 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
    return of.finished(
        f"{model['display']}: excess surprisal by part of speech, {label}",
        "Mean surprisal added to the baseline's, with its 95 % bootstrap interval over documents; bands: lowest to "
        "highest of the seeds, at their mean; n: tokens or words.",
    )


def _of_class(entry: Mapping[str, Any], name: str) -> Interval:
    found = next((c for c in entry["upos"] if c["name"] == name), None)
    return NUMBER.interval(found and {**found, "estimate": found["excess"]})


def _draw_condition(panel: Any, y: float, found: Sequence[Interval], look: Look) -> None:
    known = [estimate for estimate in found if is_number(estimate.estimate)]
    if len(known) > 1:
        draw_seeds(panel, y, [estimate.estimate for estimate in known], look, width=5)
    elif known:
        draw_estimate(panel, y, known[0], look, size=4.5)


def _finish(of: Any, panel: Any, names: Sequence[str], width: float) -> None:
    low, high = panel.dataLim.intervalx
    low, high = (low, high) if math.isfinite(low) else (0.0, 0.0)
    end = next((scale for scale in SCALES if scale >= high), high)
    start = next((scale for scale in SCALES if scale >= -low), -low) if low < 0 else 0.02 * end
    panel.set_xlim(-start, end)
    zero_line(panel)
    grid(panel)
    of.signed.add(id(panel.xaxis))
    set_names(panel, names, width)
    set_labels(of, panel, x="excess surprisal, nats")
