"""Curves: a search for a match, costs over depth, costs over dose.

Tables in, drawings out. Intervals are bands; seeds of one condition are one line, their mean, in one band from the
lowest to the highest.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.benchmarks.measures import Measure
from studies.reporting.figures.marks import draw_curve
from studies.reporting.figures.sheet import Drawing, Entry, Layout, Sheet, grid, set_labels, set_title, sheet, zero_line
from studies.reporting.figures.style import INK, LOOKS, PALE, TEAL, Look, counted, looks, percent, span, styled, words
from studies.reporting.units import LARGE_RISE, Unit, increased
from studies.statistics.increases import ALL

PANEL = 150
"""Height of a panel in pixels."""
ACROSS, SMALL_ACROSS = 2, 3
"""Panels in a row: benchmarks, phenomena."""
WHOLE = Look(INK, "o", "-")
"""Of all items of a benchmark."""
DOUBLED, DOUBLES = Look(PALE, "", "--"), Look(PALE, "", ":")
NEAR = 1.3
"""The line of doubling is drawn where it is no further above the data than this, so that it never squashes them."""


@styled
def matching_curve(
    curve: pd.DataFrame, *, baseline: float, treated: float, chosen: float | None, title: str, num_windows: int | None
) -> Drawing:
    """Perplexity against the fraction of lowest-scored neurons clamped: every evaluated point, and the chosen one.

    curve: columns fraction, perplexity; chosen: the fraction that was accepted, None where none matched; num_windows:
    on which the search measured, None in a record that does not say it.
    """
    target, level = Look(LOOKS["treated"].colour, "", (0, (5, 2))), Look(LOOKS["baseline"].colour, "", (0, (1, 1.5)))
    searched, accepted = LOOKS["matched"], Look(INK, "o", "")
    ordered = curve.sort_values("fraction")
    at_chosen = ordered[np.isclose(ordered["fraction"], chosen)] if chosen is not None else ordered.iloc[:0]
    key = [
        Entry("lowest-scored neurons", searched),
        *([Entry("chosen", accepted, "point")] if len(at_chosen) else []),
        Entry("treated condition (target)", target, "line"),
        Entry("baseline", level, "line"),
    ]
    of = sheet(1, Layout(height=230, across=1, title_lines=0, key=key))
    (panel,) = of.axes
    panel.set(xscale="log", yscale="log")
    for at, look in ((treated, target), (baseline, level)):
        panel.axhline(at, color=look.colour, linestyle=look.line, linewidth=1.3)
    draw_curve(panel, 100 * ordered["fraction"], ordered["perplexity"], searched)
    panel.plot(100 * at_chosen["fraction"], at_chosen["perplexity"], "o", color=INK, markersize=8, zorder=5)
    if len(ordered) == 1:  # one point gives an axis no width
        panel.set_xlim(50 * ordered["fraction"].iloc[0], min(100.0, 200 * ordered["fraction"].iloc[0]))
    grid(panel, "both")
    set_labels(
        of, panel, x="lowest-scored neurons clamped in every layer, % (logarithmic)", y="perplexity (logarithmic)"
    )
    found = "no fraction matched" if chosen is None else f"chosen: {percent(chosen)}"
    on = "" if num_windows is None else f" on the {num_windows} windows of the search"
    return of.finished(
        f"{title}: the search for a match",
        f"Perplexity{on} at each of {len(ordered)} fractions that were tried; {found}. "
        "Points of one search have no intervals.",
    )


# ---- depth


@styled
def depth_curves(
    tables: Mapping[str, pd.DataFrame], measures: Mapping[str, Measure], *, names: Mapping[str, str], title: str
) -> Drawing:
    """One panel per benchmark: the increase over the baseline against depth, of all items, with its band.

    tables: {benchmark: as `increases.layer_effects`}; measures and names: {benchmark: its measure, its display name}.
    """
    of = sheet(len(tables), Layout(height=PANEL, across=ACROSS))
    for panel, (benchmark, effects) in zip(of.axes, tables.items(), strict=True):
        unit = increased(measures[benchmark])
        _draw_depth(panel, effects, ALL, unit, WHOLE)
        _finish_depth(of, panel, unit)
        set_title(of, panel, names[benchmark])
    counts = {names[name]: _number_of(effects, ALL) for name, effects in tables.items()}
    return of.finished(
        f"{title}: cost over depth",
        f"Increase over the baseline with 95 % bootstrap band, paired by item; n = {counted(counts)}. "
        "Depth: the layers up to the end of the group.",
    )


@styled
def depth_by_phenomenon(effects: pd.DataFrame, measure: Measure, *, benchmark: str, title: str) -> Drawing:
    """One panel per phenomenon of a benchmark on one scale: its increase against depth, over that of all items.

    effects: as `increases.layer_effects`; benchmark: its display name.
    """
    phenomena = [name for name in dict.fromkeys(effects["phenomenon"]) if name != ALL]
    unit = increased(measure)
    whole, own = Look(PALE, "", "-"), Look(TEAL, "o", "-")
    key = [Entry("phenomenon, with its 95 % interval", own), Entry("all items", whole, "line")]
    of = sheet(len(phenomena), Layout(height=96, across=SMALL_ACROSS, shared=True, key=key))
    values = effects[["estimate", "low", "high"]].map(unit.read).to_numpy()
    low, high = min(0.0, np.nanmin(values)), max(0.0, np.nanmax(values))
    room = 0.05 * (high - low) or 1.0
    counts = [_number_of(effects, phenomenon) for phenomenon in phenomena]
    for panel, phenomenon in zip(of.axes, phenomena, strict=True):
        rows = effects[effects["phenomenon"] == ALL].sort_values("depth")
        panel.plot(rows["depth"], rows["estimate"].map(unit.read), color=whole.colour, linewidth=1.2)
        _draw_depth(panel, effects, phenomenon, unit, own)
        _finish_depth(of, panel, unit)
        panel.set_ylim(low - room, high + room)
        set_title(of, panel, words(phenomenon))
    return of.finished(
        f"{title}: cost over depth by phenomenon, {benchmark}",
        f"Increase over the baseline ({unit.label}) with 95 % bootstrap band over items, on one scale; grey: all "
        f"items. n = {span(counts)} {measure.noun} of a phenomenon.",
    )


def _draw_depth(panel: Any, effects: pd.DataFrame, phenomenon: str, unit: Unit, look: Look) -> None:
    rows = effects[effects["phenomenon"] == phenomenon].sort_values("depth")
    estimate, low, high = (rows[column].map(unit.read) for column in ("estimate", "low", "high"))
    draw_curve(panel, rows["depth"], estimate, look, low=low, high=high)


def _finish_depth(of: Sheet, panel: Any, unit: Unit) -> None:
    zero_line(panel, vertical=False)
    grid(panel, "y")
    of.signed.add(id(panel.yaxis))
    of.whole.add(id(panel.xaxis))
    set_labels(of, panel, x="depth (layers)", y=unit.label)


def _number_of(effects: pd.DataFrame, phenomenon: str) -> int:
    return int(effects.loc[effects["phenomenon"] == phenomenon, "num_items"].max())


# ---- dose


@styled
def dose_curves(
    table: pd.DataFrame,
    doubling: Sequence[Mapping[str, Any]],
    measures: Mapping[str, Measure],
    *,
    names: Mapping[str, str],
    parts: Mapping[str, str],
    title: str,
) -> Drawing:
    """Increase over the baseline against the fraction, one panel per benchmark; the seeds of a condition are one band.

    table: columns condition, base, benchmark, fraction, estimate, low, high, num_items; doubling: as
    `records.doubling_record`; measures and names: {benchmark: its measure, its display name}; parts: {base: the part of
    its rows}.
    """
    benchmarks = list(dict.fromkeys(table["benchmark"]))
    of_base = looks({base: parts.get(base, "other") for base in dict.fromkeys(table["base"])})
    conditions = table.groupby("base", sort=False)["condition"].nunique()
    key = [
        Entry(f"{base} ({conditions[base]} seeds)" if conditions[base] > 1 else base, look)
        for base, look in of_base.items()
    ]
    shown = {name: _doubling_shown(table[table["benchmark"] == name], measures[name]) for name in benchmarks}
    if any(shown.values()):
        key += [Entry("doubled", DOUBLED, "line"), Entry("fraction at which it doubles", DOUBLES, "line")]
    of = sheet(len(benchmarks), Layout(height=PANEL + 20, across=ACROSS, key=key))
    for panel, benchmark in zip(of.axes, benchmarks, strict=True):
        unit, rows = increased(measures[benchmark]), table[table["benchmark"] == benchmark]
        unit = _draw_doses(panel, rows, unit, of_base)
        if shown[benchmark]:
            _draw_doubling(panel, unit, [entry for entry in doubling if entry["benchmark"] == benchmark])
        if unit.name == "times":
            panel.set_yscale("log")
        else:
            of.signed.add(id(panel.yaxis))
        zero_line(panel, vertical=False, at=1.0 if unit.name == "times" else 0.0)
        grid(panel, "y")
        set_labels(of, panel, x="neurons of every layer, % (logarithmic)", y=unit.label)
        set_title(of, panel, names[benchmark])
    counts = {names[b]: int(table.loc[table["benchmark"] == b, "num_items"].max()) for b in benchmarks}
    hidden = [names[b] for b in benchmarks if measures[b].is_log and not shown[b]]
    beyond = f" {', '.join(hidden)}: twice the baseline's lies far above these doses." if hidden else ""
    seeds = " Of several seeds: their mean, lowest and highest." if (conditions > 1).any() else ""
    return of.finished(
        f"{title}: dose-response",
        f"Increase over the baseline with 95 % bootstrap band, paired by item; n = {counted(counts)}.{seeds}{beyond}",
    )


def _doubling_shown(rows: pd.DataFrame, measure: Measure) -> bool:
    """Whether log 2 lies within the data, or next to them."""
    return measure.is_log and bool(NEAR * rows["estimate"].max() >= math.log(2))


def _draw_doses(panel: Any, rows: pd.DataFrame, unit: Unit, of_base: Mapping[str, Look]) -> Unit:
    """Draw the curves; returns the unit, which is a multiple where rises are large."""
    values = rows[["estimate", "low", "high"]].map(unit.read)
    if unit.is_ratio and values["estimate"].max() > LARGE_RISE:
        unit, values = unit._replace(name="times"), 1 + values / 100
    read = rows[["base", "condition", "fraction"]].join(values)
    panel.set_xscale("log")
    for base, of_condition in read.groupby("base", sort=False):
        by_fraction = of_condition.groupby("fraction")
        mean = by_fraction["estimate"].mean()
        if of_condition["condition"].nunique() > 1:
            low, high = by_fraction["estimate"].min(), by_fraction["estimate"].max()
        else:
            low, high = by_fraction["low"].min(), by_fraction["high"].max()
        draw_curve(panel, 100 * mean.index, mean, of_base[base], low=low, high=high)
    if read["fraction"].nunique() == 1:  # one dose gives an axis no width
        panel.set_xlim(50 * read["fraction"].iloc[0], 200 * read["fraction"].iloc[0])
    return unit


def _draw_doubling(panel: Any, unit: Unit, doubling: Sequence[Mapping[str, Any]]) -> None:
    panel.axhline(2.0 if unit.name == "times" else 100.0, color=DOUBLED.colour, linestyle=DOUBLED.line, linewidth=1.2)
    for entry in doubling:
        if entry["estimate"] not in ("inf", None):
            panel.axvline(100 * entry["estimate"], color=DOUBLES.colour, linestyle=DOUBLES.line, linewidth=1.2)
