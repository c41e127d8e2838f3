"""The token pairs that a neuron splits: near inputs, far outputs, both outputs below zero. Pure torch.

Owns the search for such pairs; the score actor supplies the tokens.

T tokens, D d_model, P pairs.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MOST_SPLIT = 200_000
"""Pairs that are examined, the most split first; one unusual token can be part of thousands of them."""


class SplitPairs(NamedTuple):
    """Token pairs, the most split first; distances are normalised as in mapping difficulty."""

    i_P: list[int]
    """Row of the token with the lower output."""
    j_P: list[int]
    """Row of the other token."""
    input_distance_P: list[float]
    """||x_i - x_j||, divided by the largest of all pairs."""
    output_distance_P: list[float]
    """|y_i - y_j|, divided by the median of all pairs."""

    @property
    def ratio_P(self) -> list[float]:
        """Output distance over input distance: what the pair would contribute to mapping difficulty."""
        return [y / x for x, y in zip(self.input_distance_P, self.output_distance_P, strict=True)]


@torch.inference_mode()
def split_pairs(x_TD: Tensor, y_T: Tensor, num_pairs: int) -> SplitPairs:
    """The token pairs, among tokens with y < 0, with the largest ratio of output to input distance.

    No token is in two pairs, so that one unusual token does not fill the table; pairs of equal inputs are left out.
    Empty if fewer than two tokens lie below zero or all their outputs are equal. Takes O(T^2) memory.
    """
    negative_T = torch.nonzero(y_T < 0)[:, 0]
    x_TD, y_T = x_TD[negative_T].double(), y_T[negative_T].double()
    upper_2P = torch.triu_indices(len(negative_T), len(negative_T), 1, device=x_TD.device)
    # by matrix products, equal inputs would come out a small distance apart
    dx_P = torch.cdist(x_TD, x_TD, compute_mode="donot_use_mm_for_euclid_dist")[*upper_2P]
    dy_P = (y_T[upper_2P[0]] - y_T[upper_2P[1]]).abs()
    if not len(dy_P) or not dx_P.max() > 0 or not dy_P.median() > 0:
        return SplitPairs([], [], [], [])
    dx_P, dy_P = dx_P / dx_P.max(), dy_P / dy_P.median()
    ratio_P = torch.where(dx_P > 0, dy_P / dx_P, -math.inf)
    pairs: list[tuple[int, int, float, float]] = []
    used: set[int] = set()
    for p in ratio_P.topk(min(len(ratio_P), MOST_SPLIT)).indices.tolist():
        i, j = upper_2P[:, p].tolist()
        if len(pairs) == num_pairs or ratio_P[p] <= 0:
            break
        if used.isdisjoint((i, j)):
            used |= {i, j}
            low, high = (i, j) if y_T[i] <= y_T[j] else (j, i)
            pairs.append((int(negative_T[low]), int(negative_T[high]), float(dx_P[p]), float(dy_P[p])))
    return SplitPairs(*map(list, zip(*pairs, strict=True))) if pairs else SplitPairs([], [], [], [])
