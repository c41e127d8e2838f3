"""Items: per-item results with their measure; which rows of two conditions are the same item, and the values compared.

Knows nothing of models, conditions or claims, and no benchmark: what identifies an item, and which column holds its
value, the measure says (`studies.benchmarks.measures`).

Invariants callers rely on: two conditions are paired item by item, whatever the row order, and ValueError is raised
where measures or item sets differ or a value is not finite; values are float64.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from studies.benchmarks.measures import Measure


@dataclass(frozen=True, slots=True)
class Items:
    """The results of one condition on one benchmark."""

    table: pd.DataFrame
    """One row per item: what `Benchmark.results` returned, or `item_changes` made of it."""
    measure: Measure

    def __len__(self) -> int:
        return len(self.table)

    @property
    def values(self) -> np.ndarray:
        """[num_items] float64. Raises ValueError where there is no item or a value is not finite."""
        column = self.measure.value
        require_columns(self.table, (column,))
        values = self.table[column].to_numpy(np.float64)
        if not len(values):
            raise ValueError("no items")
        if not np.isfinite(values).all():
            raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} values of {column} are not finite")
        return values

    @property
    def phenomena(self) -> list[str]:
        """The phenomena of the items, sorted; empty where the measure has none."""
        column = self.measure.phenomenon
        return [] if column is None else sorted(self.table[column].unique())

    def of_phenomenon(self, phenomenon: str) -> "Items":
        """The items of one of `phenomena`."""
        return replace(self, table=self.table[self.table[self.measure.phenomenon] == phenomenon])


BenchmarkItems = Mapping[str, Items]
"""The items of one condition, by benchmark."""


def require_columns(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ValueError that names the first missing column."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the items have {', '.join(map(str, table.columns))}")


def same_items(treated: Items, control: Items) -> Items:
    """`treated` in the row order of `control`; ValueError unless both hold the same items, once each.

    Where several items may share a key (`Measure.is_ordered`), both must be in the same order.
    """
    if treated.measure != control.measure:
        raise ValueError(f"the conditions hold different measures: {_differing(treated.measure, control.measure)}")
    columns = list(control.measure.key)
    for items in (control, treated):
        require_columns(items.table, columns)
    if control.measure.is_ordered:
        if not np.array_equal(treated.table[columns].to_numpy(), control.table[columns].to_numpy()):
            counts = f"{len(treated)} in the first, {len(control)} in the second"
            raise ValueError(f"the conditions hold different {control.measure.noun}: {counts}")
        return treated
    left, right = (pd.MultiIndex.from_frame(items.table[columns]) for items in (treated, control))
    for side, index in (("first", left), ("second", right)):
        if not index.is_unique:
            raise ValueError(f"the {side} condition holds {_first_key(index[index.duplicated()])} more than once")
    if left.equals(right):
        return treated
    for side, index, other in (("first", left, right), ("second", right, left)):
        alone = index[~index.isin(other)]
        if len(alone):
            raise ValueError(
                f"the item sets differ: {len(alone)} of {len(index)} items only in the {side} condition, "
                f"such as {_first_key(alone)}; evaluate both conditions on the same items"
            )
    return replace(treated, table=treated.table.iloc[left.get_indexer(right)])


def common_items(one: Items, other: Items) -> tuple[Items, Items]:
    """Those of both whose item the other holds too, each in its own order.

    Raises ValueError where the measures differ or no item is common; where several items may share a key
    (`Measure.is_ordered`), as `same_items`, because nothing tells which of them are left out.
    """
    if one.measure != other.measure or one.measure.is_ordered:
        return same_items(one, other), other
    columns = list(one.measure.key)
    for items in (one, other):
        require_columns(items.table, columns)
    left, right = (pd.MultiIndex.from_frame(items.table[columns]) for items in (one, other))
    is_common = left.isin(right)
    if not is_common.any():
        raise ValueError(f"no {one.measure.noun} in common")
    return replace(one, table=one.table[is_common]), replace(other, table=other.table[right.isin(left)])


def paired_values(treated: Items, control: Items) -> tuple[np.ndarray, np.ndarray]:
    """The values of both, in the row order of `control`. Raises ValueError as `same_items` and `Items.values`."""
    return same_items(treated, control).values, control.values


def paired_differences(treated: Items, control: Items) -> np.ndarray:
    """Treated minus control, item by item, in the row order of `control`; raises as `paired_values`."""
    after, before = paired_values(treated, control)
    return after - before


def item_changes(treated: Items, control: Items) -> Items:
    """The control's items with treated minus control in place of their value; raises as `paired_values`.

    Lets the effect of one condition be compared with that of another on the same items.
    """
    changed = control.table.assign(**{control.measure.value: paired_differences(treated, control)})
    return replace(control, table=changed)


def _differing(one: Measure, other: Measure) -> str:
    names = [field.name for field in fields(Measure) if getattr(one, field.name) != getattr(other, field.name)]
    return f"{one.name} and {other.name} differ in {', '.join(names)}"


def _first_key(index: pd.MultiIndex) -> str:
    return ", ".join(f"{column} {value}" for column, value in zip(index.names, index[0], strict=True))
