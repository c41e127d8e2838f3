"""Flipped items: those that a condition answers otherwise than its control, right where that was wrong or wrong where
that was right.

Owns what counts as lost and as gained, and the order in which flips are read: first those whose decision moved
furthest. Knows no texts, and only measures that are graded.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from studies.benchmarks.measures import Measure
from studies.statistics.items import Items, require_columns, same_items

CHANGE, LOST, GAINED = "change", "lost", "gained"
"""The column that says what became of an item, and its two values."""


def flips(treated: Items, control: Items) -> pd.DataFrame:
    """The items whose result differs between two conditions, one row each; empty where none does.

    Columns: those that identify an item, `phenomenon` where the measure has one, `change` (`lost`: right under the
    control and no longer; `gained`: the other way; a tie is half right), `<column>_before` under the control and
    `<column>_after` under the treated condition for every column of log-probabilities (nats), and likewise for the
    decision where it is more than the result. Sorted by how far the decision moved, furthest first: the change of the
    log-odds between the two answers. Raises ValueError for measures that are not graded, and as `same_items`.
    """
    measure = control.measure
    if not measure.is_graded:
        raise ValueError(f"{measure.name} is not graded: no item is right or wrong")
    after_items, columns = same_items(treated, control), list(measure.log_probabilities)
    shown = [*columns, *([measure.decision] if measure.decision not in (None, measure.value) else [])]
    for items in (control, after_items):
        require_columns(items.table, [*measure.key, *shown])
    difference = after_items.values - control.values
    changed = difference != 0
    before, after = (items.table[changed].reset_index(drop=True) for items in (control, after_items))
    named = list(dict.fromkeys([*measure.key, *([measure.phenomenon] if measure.phenomenon else [])]))
    found = before[named].rename(columns={measure.phenomenon: "phenomenon"} if measure.phenomenon else {})
    found[CHANGE] = np.where(difference[changed] < 0, LOST, GAINED)
    for column in shown:
        found[f"{column}_before"], found[f"{column}_after"] = before[column], after[column]
    order = np.argsort(-_moved(before, after, columns, measure), kind="stable")
    return found.iloc[order].reset_index(drop=True)


def _moved(before: pd.DataFrame, after: pd.DataFrame, columns: Sequence[str], measure: Measure) -> np.ndarray:
    """[num_items] nats: by how much the log-odds between the old and the new answer changed."""
    changes = zip(_answers(before, columns), _answers(after, columns), strict=True)
    differences = [new - old for old, new in changes]
    if measure.decision in (None, measure.value):
        return np.array([_widest(of_item) for of_item in differences])
    chosen = zip(before[measure.decision], after[measure.decision], strict=True)
    return np.array([_between(of_item, *pair) for of_item, pair in zip(differences, chosen, strict=True)])


def _answers(table: pd.DataFrame, columns: Sequence[str]) -> list[np.ndarray]:
    """The log-probabilities of each item's answers: a column each, or one column of lists."""
    return [np.hstack(row).astype(np.float64) for row in table[list(columns)].itertuples(index=False)]


def _widest(differences: np.ndarray) -> float:
    return float(abs(differences[0]) if len(differences) == 1 else differences.max() - differences.min())


def _between(differences: np.ndarray, old: int, new: int) -> float:
    """The change of the log-odds of two answers; the widest one where the decision itself is the same."""
    return _widest(differences) if old == new else float(abs(differences[new] - differences[old]))
