"""Tables of a closer look at single neurons: the density of their outputs, and the token pairs that they split.

Owns the columns of `messages.Examples`; the score actor supplies the outputs, `split_pairs` the pairs. Pure numpy.

T tokens, C candidates among them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from actors.scoring.split_pairs import SplitPairs

Table = dict[str, np.ndarray]


def density_table(layer: int, neuron: int, y_T: np.ndarray, num_bins: int) -> Table:
    """A histogram of one neuron's outputs between their 0.01th and 99.99th percentiles, one row per bin.

    Outputs beyond them are counted in the first and last bin.
    """
    low, high = np.percentile(y_T, (0.01, 99.99))
    edges = np.linspace(low, high, num_bins + 1) if high > low else np.linspace(low - 1, low + 1, num_bins + 1)
    counts, _ = np.histogram(y_T.clip(edges[0], edges[-1]), edges)
    same = {"layer": np.int32(layer), "neuron": np.int32(neuron), "mean": y_T.mean(), "std": y_T.std()}
    columns = {name: np.full(num_bins, value) for name, value in same.items()}
    return columns | {"low": edges[:-1], "high": edges[1:], "count": counts}


def pair_table(
    layer: int,
    neuron: int,
    pairs: "SplitPairs",
    y_C: np.ndarray,
    excerpts: Callable[[list[int]], tuple[list[str], list[str]]],
) -> Table:
    """The token pairs that one neuron splits, one row per pair, with each token's text and its context.

    y_C: the neuron's output at every candidate; excerpts: candidates -> (text before each, text of each).
    """
    num_pairs = len(pairs.i_P)
    columns: Table = {
        "layer": np.full(num_pairs, layer, dtype=np.int32),
        "neuron": np.full(num_pairs, neuron, dtype=np.int32),
        "rank": np.arange(1, num_pairs + 1, dtype=np.int32),
    }
    for side, candidates in (("i", pairs.i_P), ("j", pairs.j_P)):
        contexts, tokens = excerpts(candidates)
        columns[f"context_{side}"] = np.array(contexts, dtype=object)
        columns[f"token_{side}"] = np.array(tokens, dtype=object)
        columns[f"y_{side}"] = y_C[candidates]
    columns["input_distance"] = np.array(pairs.input_distance_P, dtype=np.float64)
    columns["output_distance"] = np.array(pairs.output_distance_P, dtype=np.float64)
    columns["ratio"] = np.array(pairs.ratio_P, dtype=np.float64)
    return columns


def concatenated(tables: Sequence[Table]) -> Table:
    """The rows of all tables, which have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
