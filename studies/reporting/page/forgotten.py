"""What was forgotten: phenomenon by condition, and the items behind every cell.

Owns the grid and which flipped items stand on the page; the others stand in pages beside it. Colour is the difference
in accuracy, and paler the fewer items it rests on. Callers rely on: at most `PER_CELL` items stand behind a cell, and
`BUDGET` on a page.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from studies.reporting.figures.style import by_part
from studies.reporting.page.content import Cell, Content
from studies.reporting.page.quantities import interval, number, tint
from studies.reporting.records import SIGNIFICANT
from studies.reporting.units import FULL_STRENGTH, POINTS
from studies.statistics.increases import ALL

PER_CELL = 50
"""Flipped items behind one cell."""
BUDGET = 6000
"""Flipped items on a page: about 2 MB."""
MAX_NAME = 120
"""Characters of a condition in the name of its page."""
FULL_COLOUR = 0.10
"""A difference of accuracies at which a colour is at its strongest."""


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
            compared = [
                name for name in dict.fromkeys(rows["condition"]) if name in parts and parts[name]["seed"] is None
            ]
            order = by_part(compared, {name: parts[name]["part"] for name in compared})
            if order:
                means = {name: parts[name]["deltas"].get(benchmark["name"]) for name in order}
                cells = _cells(content, model["label"], benchmark["name"], order, limit, f"flips-{len(made)}")
                made.append(_grid(model["label"], benchmark["label"], rows, means, cells))
    return made


def page_name(cell: Cell) -> str:
    """The name of the page that has all flipped items of a condition; another one for each condition and benchmark."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "_", f"{cell.model}-{cell.condition}-{cell.benchmark}")
    return f"flipped-{plain[:MAX_NAME]}-{hashlib.sha256(repr(tuple(cell)).encode()).hexdigest()[:8]}.html"


def _cells(
    content: Content, model: str, benchmark: str, conditions: Sequence[str], limit: int, prefix: str
) -> list[Behind]:
    """The items behind every cell of a grid."""
    return [
        one
        for number_of, condition in enumerate(conditions)
        for cell in [Cell(model, condition, benchmark)]
        if cell in content.flips
        for one in _behind(cell, content.flips[cell], limit, f"{prefix}-{number_of}")
    ]


def _grid(
    model: str,
    benchmark: str,
    rows: pd.DataFrame,
    means: Mapping[str, Mapping[str, Any] | None],
    behind: Sequence[Behind],
) -> Grid:
    """means: {condition: the difference that the claims estimate}, over all phenomena, which weigh the same."""
    anchors = {(one.condition, one.phenomenon): one.anchor for one in behind}
    by_place = {(row.condition, row.phenomenon): row for row in rows.itertuples(index=False)}

    def change(condition: str, phenomenon: str) -> Change | None:
        anchor = anchors.get((condition, phenomenon), "")
        if phenomenon == ALL:
            mean = means[condition]
            return None if mean is None else _mean(mean, anchor)
        row = by_place.get((condition, phenomenon))
        return None if row is None else _change(row, anchor)

    phenomena = [ALL, *sorted(set(rows["phenomenon"]) - {ALL})]
    names = {ALL: "mean over phenomena" if len(phenomena) > 1 else ALL}
    lines = (Line(names.get(name, name), tuple(change(condition, name) for condition in means)) for name in phenomena)
    return Grid(model, benchmark, tuple(means), tuple(lines), tuple(behind))


def _mean(found: Mapping[str, Any], anchor: str) -> Change:
    num_items = found["num_items"]
    colour = _colour(found["estimate"], num_items)
    return Change(number(found["estimate"], POINTS), interval(found, POINTS), num_items, False, colour, anchor)


def _change(row: Any, anchor: str) -> Change:
    bounds = {"estimate": row.difference, "low": _known(row.low), "high": _known(row.high)}
    return Change(
        number(row.difference, POINTS),
        interval(bounds, POINTS),
        int(row.num_items),
        bool(row.p_holm < SIGNIFICANT),
        _colour(row.difference, int(row.num_items)),
        anchor,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _colour(difference: float, num_items: int) -> str:
    """Paler the fewer items there are."""
    few = min(1.0, math.sqrt(num_items / FULL_STRENGTH))
    return tint(difference < 0, min(1.0, abs(difference) / FULL_COLOUR) * few)


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
            texts.append((_answer(index, row.get("gold")), str(choice), numbers))
        return Flip(row["change"], tuple(texts))
    known = [f"{name} {value}" for name, value in row.items() if name in ("uid", "pair", "id")]
    return Flip(row["change"], (("item", ", ".join(known), ""),))


def _answer(index: int, gold: Any) -> str:
    """What a choice is; tasks with several right answers, or with a text for one, say of none that it is right."""
    if not isinstance(gold, int | float) or math.isnan(gold):
        return "choice"
    return "right" if index == gold else "wrong"


def _before_after(row: Mapping[str, Any], column: str) -> str:
    before, after = (row.get(f"{column}_{when}") for when in ("before", "after"))
    return "" if before is None or after is None else f"{before:.2f} → {after:.2f}"
