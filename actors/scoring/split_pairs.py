"""Pairs of tokens that a neuron pulls apart: near inputs, far outputs, both below zero. Pure torch.

Owns how such pairs are found; the score actor brings the tokens. T tokens, D d_model, P pairs.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MOST_SPLIT = 200_000
"""Pairs that are looked through; one odd token can be in thousands of the first."""


class SplitPairs(NamedTuple):
    """Token pairs, the most split first; distances as in mapping difficulty."""

    i_P: list[int]
    j_P: list[int]
    """The token with the lower output comes first."""
    input_distance_P: list[float]
    """||x_i - x_j|| over the largest of all pairs."""
    output_distance_P: list[float]
    """|y_i - y_j| over the median of all pairs."""

    @property
    def ratio_P(self) -> list[float]:
        """What each pair adds to mapping difficulty."""
        return [y / x for x, y in zip(self.input_distance_P, self.output_distance_P, strict=True)]


@torch.inference_mode()
def split_pairs(x_TD: Tensor, y_T: Tensor, num_pairs: int) -> SplitPairs:
    """The pairs of tokens with y < 0 on both sides whose output distance is largest for their input distance.

    No token stands in two pairs, so that one odd token does not fill the table; pairs of equal inputs are left out.
    Empty where fewer than two tokens lie below zero or all their outputs are equal. Takes T^2 memory.
    """
    chosen_T = torch.nonzero(y_T < 0)[:, 0]
    x_TD, y_T = x_TD[chosen_T].double(), y_T[chosen_T].double()
    upper_2P = torch.triu_indices(len(chosen_T), len(chosen_T), 1, device=x_TD.device)
    # the matrix-product form would leave a small distance between equal inputs
    dx_P = torch.cdist(x_TD, x_TD, compute_mode="donot_use_mm_for_euclid_dist")[*upper_2P]
    dy_P = (y_T[upper_2P[0]] - y_T[upper_2P[1]]).abs()
    if not len(dy_P) or not dx_P.max() > 0 or not dy_P.median() > 0:
        return SplitPairs([], [], [], [])
    dx_P, dy_P = dx_P / dx_P.max(), dy_P / dy_P.median()
    ratio_P = torch.where(dx_P > 0, dy_P / dx_P, -math.inf)
    found: list[tuple[int, int, float, float]] = []
    used: set[int] = set()
    for p in ratio_P.topk(min(len(ratio_P), MOST_SPLIT)).indices.tolist():
        i, j = upper_2P[:, p].tolist()
        if len(found) == num_pairs or ratio_P[p] <= 0:
            break
        if used.isdisjoint((i, j)):
            used |= {i, j}
            low, high = (i, j) if y_T[i] <= y_T[j] else (j, i)
            found.append((int(chosen_T[low]), int(chosen_T[high]), float(dx_P[p]), float(dy_P[p])))
    return SplitPairs(*map(list, zip(*found, strict=True))) if found else SplitPairs([], [], [], [])
