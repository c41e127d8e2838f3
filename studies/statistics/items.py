"""Item frames: which rows of two frames are the same item, and the values that are compared.

One frame per condition and benchmark: pairs (uid, phenomenon, pair, correct, ...), choices (id, correct, ...),
perplexity windows (window, nll, num_tokens) and tokens of documents (document, start, end, surprisal). `correct` is 0,
0.5 (a tie) or 1. Knows nothing of models, conditions or claims.

Invariants callers rely on: two conditions are paired item by item, whatever the row order, and ValueError is raised
where the item sets differ or a value is not finite; values are float64.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

_KEYS = (("uid", "pair"), ("id",), ("window", "num_tokens"))
"""What names an item: of pairs, of choices, of perplexity windows (a window of another length is another window)."""


def require_columns(items: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ValueError that names the first missing column."""
    missing = [column for column in columns if column not in items.columns]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the items have {', '.join(map(str, items.columns))}")


def finite_values(items: pd.DataFrame, column: str) -> np.ndarray:
    """`column` in float64. Raises ValueError where there is no item or a value is not finite."""
    require_columns(items, (column,))
    values = items[column].to_numpy(np.float64)
    if not len(values):
        raise ValueError("no items")
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} of {len(values)} values of {column} are not finite")
    return values


def same_items(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """`treated` in the row order of `control`; ValueError unless both hold the same items, once each.

    Tokens of documents have no name of their own (several may share one character): they must be in the same order.
    """
    if "surprisal" in control:
        spans = ["document", "start", "end"]
        if not np.array_equal(treated[spans].to_numpy(), control[spans].to_numpy()):
            counts = f"{len(treated)} treated, {len(control)} in the control"
            raise ValueError(f"the conditions hold different tokens: {counts}")
        return treated
    columns = list(_key_columns(control))
    require_columns(treated, columns)
    left, right = pd.MultiIndex.from_frame(treated[columns]), pd.MultiIndex.from_frame(control[columns])
    for side, index in (("treated", left), ("control", right)):
        if not index.is_unique:
            raise ValueError(f"{side}: {_first_key(index[index.duplicated()])} occurs twice")
    if left.equals(right):
        return treated
    for side, index, other in (("treated", left, right), ("control", right, left)):
        alone = index[~index.isin(other)]
        if len(alone):
            raise ValueError(
                f"the item sets differ: {len(alone)} of {len(index)} items only in {side}, "
                f"such as {_first_key(alone)}; evaluate both conditions on the same items"
            )
    return treated.iloc[left.get_indexer(right)]


def paired_values(treated: pd.DataFrame, control: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """`column` of both frames, in the row order of `control`. Raises ValueError as `same_items` and `finite_values`."""
    return finite_values(same_items(treated, control), column), finite_values(control, column)


def paired_differences(treated: pd.DataFrame, control: pd.DataFrame, column: str) -> np.ndarray:
    """Treated minus control of `column`, item by item, in the row order of `control`; raises as `paired_values`."""
    after, before = paired_values(treated, control, column)
    return after - before


def item_changes(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """The control's items with treated minus control in place of their value; raises as `paired_values`.

    Lets the effect of one condition be compared with that of another on the same items.
    """
    column = next(name for name in ("surprisal", "nll", "correct") if name in control)
    return control.assign(**{column: paired_differences(treated, control, column)})


def pool(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Items of several pairs or choices benchmarks as one frame (uid, pair, correct); every item weighs the same.

    The benchmark's name becomes the uid, or the beginning of it, so that resampling keeps the mix of benchmarks.
    Raises ValueError without benchmarks.
    """
    parts = []
    for benchmark, items in frames.items():
        *outer, item = _key_columns(items)
        uid = benchmark + "/" + items[outer[0]].astype(str) if outer else benchmark
        parts.append(pd.DataFrame({"pair": items[item], "correct": finite_values(items, "correct")}).assign(uid=uid))
    if not parts:
        raise ValueError("no benchmarks to pool")
    return pd.concat(parts, ignore_index=True)


def _first_key(index: pd.MultiIndex) -> str:
    return ", ".join(f"{column} {value}" for column, value in zip(index.names, index[0], strict=True))


def _key_columns(items: pd.DataFrame) -> tuple[str, ...]:
    for columns in _KEYS:
        if set(columns) <= set(items.columns):
            return columns
    raise ValueError(f"no item key among the columns {list(items.columns)}; allowed: {', '.join(map(str, _KEYS))}")
