"""The token pairs that a neuron splits, against a search over all pairs."""

import itertools

import numpy as np
import pytest
import torch

from actors.scoring.split_pairs import split_pairs


def tokens(count: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs and outputs."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator), torch.randn(count, generator=generator)


def test_the_first_pair_has_the_largest_ratio_of_all_below_zero() -> None:
    x_TD, y_T = tokens()
    split = split_pairs(x_TD, y_T, 5)
    below = [i for i in range(len(y_T)) if y_T[i] < 0]
    pairs = list(itertools.combinations(below, 2))
    dx = np.array([float((x_TD[i].double() - x_TD[j].double()).norm()) for i, j in pairs])
    dy = np.array([abs(float(y_T[i].double() - y_T[j].double())) for i, j in pairs])
    ratio = (dy / np.sort(dy)[(len(dy) - 1) // 2]) / (dx / dx.max())
    best = int(ratio.argmax())
    assert {split.i_P[0], split.j_P[0]} == set(pairs[best])
    assert split.ratio_P[0] == pytest.approx(ratio[best])
    assert split.input_distance_P[0] == pytest.approx(dx[best] / dx.max())


def test_no_token_is_used_twice_the_lower_output_comes_first_and_ratios_fall() -> None:
    x_TD, y_T = tokens()
    split = split_pairs(x_TD, y_T, 5)
    assert len(split.i_P) == 5 and len({*split.i_P, *split.j_P}) == 10
    assert all(y_T[i] <= y_T[j] < 0 for i, j in zip(split.i_P, split.j_P, strict=True))
    assert split.ratio_P == sorted(split.ratio_P, reverse=True)


def test_equal_inputs_are_not_a_pair() -> None:
    x_TD, y_T = tokens(6)
    x_TD[1], y_T[:] = x_TD[0], torch.tensor([-9.0, -0.1, -1, -2, -3, -4])
    split = split_pairs(x_TD, y_T, 3)
    assert (0, 1) not in zip(split.i_P, split.j_P, strict=True)


@pytest.mark.parametrize("y", [[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0], [-1.0, -1.0, -1.0]], ids=["none", "one", "equal"])
def test_there_are_no_pairs_without_two_different_negative_outputs(y: list[float]) -> None:
    assert split_pairs(torch.randn(3, 4), torch.tensor(y), 3).i_P == []
