"""The tables of a closer look at neurons: densities that lose no output, and pairs with their text."""

import numpy as np
import pytest

from actors.scoring.examples import concatenated, density_table, pair_table
from actors.scoring.split_pairs import SplitPairs


def test_a_density_counts_every_output_and_keeps_outliers_at_the_ends() -> None:
    y_T = np.random.default_rng(0).normal(size=20_000)
    y_T[:2] = -1e6, 1e6
    table = density_table(3, 7, y_T, 40)
    assert table["count"].sum() == len(y_T) and (table["layer"] == 3).all() and (table["neuron"] == 7).all()
    assert -6 < table["low"][0] < table["high"][-1] < 6 and np.array_equal(table["high"][:-1], table["low"][1:])
    assert table["mean"][0] == pytest.approx(y_T.mean()) and table["std"][0] == pytest.approx(y_T.std())


def test_a_constant_neuron_has_a_density_too() -> None:
    table = density_table(0, 0, np.full(10, 2.5), 4)
    assert (table["low"][0], table["high"][-1], table["count"].sum()) == (1.5, 3.5, 10)


def test_pairs_carry_their_text_and_distances() -> None:
    pairs = SplitPairs([2, 0], [1, 3], [0.5, 0.25], [2.0, 0.5])
    table = pair_table(
        1, 9, pairs, np.array([-0.5, -1.0, -4.0, -0.1]), lambda rows: ([f"<{i}" for i in rows], ["t"] * 2)
    )
    assert list(table) == [
        *("layer", "neuron", "rank", "context_i", "token_i", "y_i", "context_j", "token_j", "y_j"),
        *("input_distance", "output_distance", "ratio"),
    ]
    assert table["rank"].tolist() == [1, 2] and table["context_j"].tolist() == ["<1", "<3"]
    assert table["y_i"].tolist() == [-4.0, -0.5] and table["ratio"].tolist() == [4.0, 2.0]
    both = concatenated([table, table])
    assert list(both) == list(table) and both["rank"].tolist() == [1, 2, 1, 2]


def test_a_neuron_without_pairs_adds_no_rows() -> None:
    table = pair_table(0, 0, SplitPairs([], [], [], []), np.zeros(3), lambda rows: ([], []))
    assert {len(column) for column in table.values()} == {0}
