"""What was forgotten: phenomenon by condition, and the items behind every cell.

Owns the grid and which flipped items stand on the page; the others stand in pages beside it. Colour is the difference
in accuracy, and paler the fewer items it rests on. Callers rely on: at most `PER_CELL` items stand behind a cell, and
`BUDGET` on a page.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from studies.claims.scorecard import Unit
from studies.reporting.page.content import Cell, Content
from studies.reporting.page.quantities import interval, number
from studies.reporting.records import SIGNIFICANT
from studies.statistics.increases import ALL

PER_CELL = 50
"""Flipped items behind one cell."""
BUDGET = 6000
"""Flipped items on a page: about 2 MB."""
FULL_COLOUR = 0.10
"""A difference of accuracies at which a colour is at its strongest."""
MANY_ITEMS = 200
"""Items from which on a cell is not paler."""
_SHOWN_PARTS = ("treated", "matched", "sign", "random", "other")


class Change(NamedTuple):
    """One cell of the grid."""

    difference: str
    """In percentage points."""
    interval: str
    num_items: int
    corrected: bool
    """Whether McNemar's test still finds it after Holm's correction over the benchmark's phenomena."""
    colour: str
    """CSS."""
    anchor: str
    """Id of the items behind it; empty where there are none."""


class Line(NamedTuple):
    """One phenomenon."""

    phenomenon: str
    changes: tuple[Change | None, ...]


class Flip(NamedTuple):
    """An item whose result changed."""

    change: str
    """`lost` or `gained`."""
    texts: tuple[tuple[str, str, str], ...]
    """(what it is, text, log-probabilities before and after)."""


class Behind(NamedTuple):
    """The items behind one cell."""

    anchor: str
    condition: str
    phenomenon: str
    flips: tuple[Flip, ...]
    num_lost: int
    num_gained: int
    page: str
    """Name of the page beside this one that has all of them."""


class Grid(NamedTuple):
    """One benchmark on one model."""

    model: str
    benchmark: str
    conditions: tuple[str, ...]
    lines: tuple[Line, ...]
    behind: tuple[Behind, ...]


def grids(content: Content) -> list[Grid]:
    """One grid a model and graded benchmark, of every whole condition against the baseline; seeds are left out."""
    found = content.comparisons
    if found.empty:
        return []
    num_cells = sum(
        table["phenomenon"].nunique() + 1 if "phenomenon" in table else 1 for table in content.flips.values()
    )
    limit = max(1, min(PER_CELL, BUDGET // max(num_cells, 1)))
    made = list[Grid]()
    for model in content.report["models"]:
        parts = {row["condition"]: row for row in model["rows"]}
        for benchmark in model["benchmarks"]:
            rows = found[
                (found["model"] == model["label"])
                & (found["benchmark"] == benchmark["name"])
                & (found["against"] == "baseline")
                & found["p_value"].notna()
            ]
            order = [
                name
                for part in _SHOWN_PARTS
                for name in dict.fromkeys(rows["condition"])
                if name in parts and parts[name]["part"] == part and parts[name]["seed"] is None
            ]
            if order:
                made.append(_grid(content, model["label"], benchmark, rows, order, limit, f"flips-{len(made)}"))
    return made


def page_name(cell: Cell) -> str:
    """The name of the page that has all flipped items of a condition."""
    plain = "".join(c if c.isalnum() or c in "-." else "_" for c in f"{cell.model}-{cell.condition}-{cell.benchmark}")
    return f"flipped-{plain[:150]}.html"


def _grid(
    content: Content,
    model: str,
    benchmark: Mapping[str, Any],
    rows: pd.DataFrame,
    conditions: Sequence[str],
    limit: int,
    prefix: str,
) -> Grid:
    behind: list[Behind] = []
    for number_of, condition in enumerate(conditions):
        cell = Cell(model, condition, benchmark["name"])
        if cell in content.flips:
            behind += _behind(cell, content.flips[cell], limit, f"{prefix}-{number_of}")
    anchors = {(one.condition, one.phenomenon): one.anchor for one in behind}
    by_place = {(row.condition, row.phenomenon): row for row in rows.itertuples(index=False)}
    phenomena = [ALL, *sorted(set(rows["phenomenon"]) - {ALL})]
    lines = tuple(
        Line(
            phenomenon,
            tuple(
                _change(by_place[place], anchors.get(place, "")) if place in by_place else None
                for place in ((condition, phenomenon) for condition in conditions)
            ),
        )
        for phenomenon in phenomena
    )
    return Grid(model, benchmark["label"], tuple(conditions), lines, tuple(behind))


def _change(row: Any, anchor: str) -> Change:
    bounds = {"estimate": row.difference, "low": _known(row.low), "high": _known(row.high)}
    return Change(
        number(row.difference, str(Unit.ACCURACY)),
        interval(bounds, str(Unit.ACCURACY)),
        int(row.num_items),
        bool(row.p_holm < SIGNIFICANT),
        _colour(row.difference, int(row.num_items)),
        anchor,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _colour(difference: float, num_items: int) -> str:
    """Orange for lost accuracy, blue for gained; paler the fewer items there are."""
    red, green, blue = (213, 94, 0) if difference < 0 else (0, 114, 178)
    strength = min(1.0, abs(difference) / FULL_COLOUR) * min(1.0, math.sqrt(num_items / MANY_ITEMS))
    return f"rgba({red},{green},{blue},{0.75 * strength:.2f})"


def _behind(cell: Cell, flips: pd.DataFrame, limit: int, prefix: str) -> list[Behind]:
    """The flipped items of a condition: all, then by phenomenon."""
    groups = [(ALL, flips)]
    if "phenomenon" in flips:
        groups += [(str(name), rows) for name, rows in flips.groupby("phenomenon", sort=True)]
    return [
        Behind(
            f"{prefix}-{number_of}",
            cell.condition,
            phenomenon,
            tuple(flip(row) for row in rows.head(limit).to_dict("records")),
            int((rows["change"] == "lost").sum()),
            int((rows["change"] == "gained").sum()),
            page_name(cell),
        )
        for number_of, (phenomenon, rows) in enumerate(groups)
        if len(rows)
    ]


def flip(row: Mapping[str, Any]) -> Flip:
    """A row of flipped items with its texts: two sentences, or a question with its choices."""
    if "good" in row:
        pair = [(side, row.get(side), _before_after(row, f"logprob_{side}")) for side in ("good", "bad")]
        return Flip(row["change"], tuple((side, str(text), numbers) for side, text, numbers in pair))
    if "choices" in row:
        before, after = (list(row.get(f"logprobs_{when}", ())) for when in ("before", "after"))
        texts = [("question", str(row["context"]), "")]
        for index, choice in enumerate(row["choices"]):
            numbers = f"{before[index]:.2f} → {after[index]:.2f}" if index < len(before) and index < len(after) else ""
            texts.append(("right" if index == row["gold"] else "wrong", str(choice), numbers))
        return Flip(row["change"], tuple(texts))
    known = [f"{name} {value}" for name, value in row.items() if name in ("uid", "pair", "id")]
    return Flip(row["change"], (("item", ", ".join(known), ""),))


def _before_after(row: Mapping[str, Any], column: str) -> str:
    before, after = (row.get(f"{column}_{when}") for when in ("before", "after"))
    return "" if before is None or after is None else f"{before:.2f} → {after:.2f}"
