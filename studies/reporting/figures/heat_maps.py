"""Heat maps: which phenomena a condition costs, and in which layers.

A cell's colour is the effect, its strength the number of items: few are painted pale, so that ten pairs never look like
a thousand. The numbers stand in the cells where they fit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from studies.benchmarks.measures import Measure
from studies.reporting.figures.sheet import (
    LABEL,
    SIDE_BAR,
    Drawing,
    Layout,
    Sheet,
    names_width,
    set_names,
    sheet,
    side_bar,
)
from studies.reporting.figures.style import (
    SMALL,
    WIDTH,
    by_part,
    fitted,
    ink_on,
    numbers,
    spoken,
    styled,
    width_of,
    words,
)
from studies.reporting.records import SIGNIFICANT
from studies.reporting.units import FULL_STRENGTH, POINTS, Unit, increased, measured
from studies.statistics.increases import ALL

CELL = 22
"""Height of a cell in pixels."""
LEAST = 120
"""Height of a heat map of few rows: the label of its colours must fit."""
UPRIGHT = 150
"""Most pixels of names that are written upwards."""
PALEST = 0.12
SHOWN_CONDITIONS = 24
"""Columns of `forgotten`."""
SMALLEST_SCALE = 2.0
"""Percentage points at which the colours end at least: noise is not painted like an effect."""
HARM = ("#b2182b", "#ffffff", "#2166ac")
"""Worse, unchanged, better."""


class _Cells(NamedTuple):
    """[rows, columns] of a heat map."""

    values: pd.DataFrame
    """In the unit that is shown; nan where there is nothing."""
    counts: pd.DataFrame
    """Items behind each cell."""
    marks: pd.DataFrame
    """Whether a cell has a mark."""


class _Scale(NamedTuple):
    """What the colours of a heat map say."""

    unit: Unit
    label: str
    """Of the scale of colours."""
    worse: int
    """The sign of an effect that is painted as harm."""
    mark: str


@styled
def forgotten(comparisons: pd.DataFrame, model: Mapping[str, Any], benchmark: str) -> Drawing | None:
    """Phenomena down, conditions across: the paired difference to the baseline, with marks for Holm-corrected p.

    The first row is the mean over phenomena, as the claims estimate it. comparisons: as `comparisons.compare`, of this
    model against the baseline; model: its part of the report. The seeds of a random control are one column, their mean.
    None where the benchmark has fewer than two phenomena.
    """
    described = next(b for b in model["benchmarks"] if b["name"] == benchmark)
    unit, rows = measured(described["measure"]), comparisons[comparisons["benchmark"] == benchmark]
    by_name = {row["condition"]: row for row in model["rows"] if not row["spread"]}
    rows = rows[rows["condition"].isin(by_name)]
    if rows["phenomenon"].nunique() < 3:  # one of them stands for all items
        return None
    rows = pd.concat([_means(by_name, benchmark, rows), rows[rows["phenomenon"] != ALL]], ignore_index=True)
    column_of = {name: row["of"] for name, row in by_name.items()}
    parts = {column_of[name]: by_name[name]["part"] for name in dict.fromkeys(rows["condition"])}
    seeds = rows.groupby(rows["condition"].map(column_of))["condition"].nunique()
    ordered = by_part(parts, parts)
    columns, further = ordered[:SHOWN_CONDITIONS], len(ordered) - SHOWN_CONDITIONS
    cells = _cells(
        rows.assign(
            row=rows["phenomenon"],
            column=rows["condition"].map(column_of),
            value=rows["difference"].map(unit.read),
            mark=(rows["p_holm"] < SIGNIFICANT) & (rows["condition"].map(column_of).map(seeds) == 1),
        ),
        columns,
    )
    titles = [spoken(name) + (f" (mean of {seeds[name]})" if seeds[name] > 1 else "") for name in columns]
    scale = _Scale(unit, f"change of {unit.label}", -1 if described["higher_is_better"] else 1, "*")
    of = _heat_map(cells, titles, scale, whole="mean over phenomena")
    more = f" {further} further conditions are in comparisons.parquet." if further > 0 else ""
    is_tested = rows["p_holm"].notna().any()
    tested = (
        f"* McNemar's p < {SIGNIFICANT:g}, Holm-corrected over phenomena (no means over seeds). " if is_tested else ""
    )
    return of.finished(
        f"{model['display']}, {described['label']}: what was forgotten",
        f"Paired difference to the baseline, {unit.label}. {tested}Paler: fewer than {FULL_STRENGTH} "
        f"{described['items']}.{more}",
    )


def _means(by_name: Mapping[str, Mapping[str, Any]], benchmark: str, rows: pd.DataFrame) -> pd.DataFrame:
    """A row of `rows` for every condition in it: the difference over all phenomena, each of which weighs the same."""
    deltas = {name: by_name[name]["deltas"].get(benchmark) for name in dict.fromkeys(rows["condition"])}
    means = [
        {"condition": name, "num_items": delta["num_items"], "difference": delta["estimate"]}
        for name, delta in deltas.items()
        if delta is not None
    ]
    table = pd.DataFrame(means, columns=["condition", "num_items", "difference"])
    return table.assign(benchmark=benchmark, phenomenon=ALL, p_holm=np.nan)


@styled
def layer_heat_map(effects: pd.DataFrame, *, benchmark: str, measure: Measure, title: str) -> Drawing:
    """Layer groups across, phenomena down: the increase over the baseline; a dot where its interval excludes 0.

    effects: as `increases.layer_effects`, of the benchmark, whose displayed name is given.
    """
    unit = increased(measure)
    cells = _cells(
        effects.assign(
            row=effects["phenomenon"],
            column=effects["group"],
            value=effects["estimate"].map(unit.read),
            mark=(effects["low"] > 0) | (effects["high"] < 0),
        ),
        sorted(effects["group"].unique()),
    )
    layers = effects.drop_duplicates("group").sort_values("group")["layers"]
    titles = [f"layers {name}" for name in layers]
    of = _heat_map(cells, titles, _Scale(unit, f"increase of {unit.label}" if unit.name else unit.label, 1, "•"))
    return of.finished(
        f"{title}: {benchmark}",
        f"Increase over the baseline, paired by item ({unit.label}). • the 95 % bootstrap interval over items excludes "
        f"0 (uncorrected). Paler: fewer than {FULL_STRENGTH} {measure.noun}.",
    )


def _cells(table: pd.DataFrame, columns: Sequence[Any]) -> _Cells:
    """From a table with row, column, value, num_items and mark; several values of a cell are its mean."""
    order = list(dict.fromkeys([ALL, *table["row"]]))
    shape = {"index": "row", "columns": "column", "dropna": False}
    values, counts, marks = (
        table.pivot_table(values=name, aggfunc=how, **shape).reindex(index=order, columns=list(columns))
        for name, how in (("value", "mean"), ("num_items", "max"), ("mark", "max"))
    )
    return _Cells(values, counts, marks)


def _heat_map(cells: _Cells, titles: Sequence[str], scale: _Scale, whole: str = "all") -> Sheet:
    """The cells, with the number of items beside the name of each row; whole: the name of the row `ALL`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    counts = cells.counts.max(axis=1)
    names = [
        f"{whole if name == ALL else words(name)} (n = {int(counts[name]):,})" if counts[name] > 0 else words(name)
        for name in cells.values.index
    ]
    width = names_width(names, most=230)
    wide = (WIDTH - width - SIDE_BAR) / len(titles)
    longest = max(map(width_of, titles))
    upright = longest > 2 * wide
    tall = min(UPRIGHT, longest) if upright else LABEL * (2 if longest > wide else 1)
    layout = Layout(
        height=max(CELL * len(names), LEAST),
        names=width,
        title_lines=0,
        right=SIDE_BAR,
        label_lines=math.ceil(tall / LABEL),
    )
    of = sheet(1, layout)
    (panel,) = of.axes
    largest = _largest(cells, scale.unit)
    norm = Normalize(-largest, largest, clip=True)
    colours = LinearSegmentedColormap.from_list("harm", HARM[::-1] if scale.worse > 0 else HARM)
    _paint(panel, cells, lambda value: colours(norm(value)), scale.mark, places=_places(largest), wide=wide)
    set_names(panel, names, width)
    shown = [fitted(title, tall) if upright else fitted(title, wide - 6, lines=2) for title in titles]
    panel.set_xticks(range(len(titles)), shown, rotation=90 if upright else 0)
    panel.tick_params(axis="x", length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    side_bar(of, panel, ScalarMappable(norm, colours), scale.label)
    return of


def _strengths(counts: pd.DataFrame) -> np.ndarray:
    """[rows, columns] how much of its colour a cell has."""
    return np.clip(np.sqrt(np.nan_to_num(counts.to_numpy(np.float64)) / FULL_STRENGTH), PALEST, 1.0)


def _largest(cells: _Cells, unit: Unit) -> float:
    """The effect at which the colours end: the largest of those with some items behind them."""
    values, strengths = np.abs(cells.values.to_numpy(np.float64)), _strengths(cells.counts)
    known = np.isfinite(values)
    strong = values[known & (strengths >= 0.5)]
    chosen = strong if len(strong) else values[known]
    least = SMALLEST_SCALE if unit.name == POINTS.name else 1e-6
    return max(float(chosen.max()) if len(chosen) else 1.0, least)


def _places(largest: float) -> int:
    """Decimal places of the numbers in the cells."""
    return int(np.clip(1 - math.floor(math.log10(largest)), 0, 6)) if largest < 100 else 0


def _paint(panel: Any, cells: _Cells, colour_of: Any, mark: str, *, places: int, wide: float) -> None:
    values, strengths = cells.values.to_numpy(np.float64), _strengths(cells.counts)
    marks = cells.marks.to_numpy(object)
    known = [tuple(place) for place in np.argwhere(np.isfinite(values))]
    texts = numbers([round(float(values[place]), places) for place in known], signed=True)
    has_room = wide >= max((width_of(text + mark) + 6 for text in texts), default=0.0)
    painted = np.ones((*values.shape, 3))
    for (y, x), text in zip(known, texts, strict=True):
        painted[y, x] = 1 - strengths[y, x] * (1 - np.array(colour_of(values[y, x])[:3]))
        written = (text if has_room else "") + (mark if marks[y, x] in (True, 1.0) else "")
        if written:
            ink = ink_on(tuple(painted[y, x]))
            panel.text(x, y, written, ha="center", va="center", fontsize=SMALL, color=ink, zorder=3)
    edges = (np.arange(size + 1) - 0.5 for size in values.shape[::-1])
    panel.pcolormesh(*edges, painted, edgecolors="white", linewidth=1)
    panel.set_xlim(-0.5, values.shape[1] - 0.5)
