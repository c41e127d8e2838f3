"""Histograms of a layer's neurons: where their bins lie, and counting into them.

Owns the ranges, which are calibrated once on the first tokens, and the arithmetic on counts and sums that all sketches
share. The invariant: zero is exactly on a bin edge of a neuron or lies outside its bins, so that no bin mixes negative
and positive values.

T tokens, F d_mlp, K histogram bins (K2: with one more column on each side, for values outside the bins), E = K + 1 bin
edges, V values counted at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actors.scoring.moments import Moments, by_neuron, checked

RANGE_STDS, MARGIN_STDS = 6.0, 2.0
"""Bins reach 2 std beyond the extremes of the calibration, but at most 6 std from its mean. Largest error of WD at
1,024 bins against the exact sorted value, for limits of 4, 5, 6 and 8 std (8,192 to 131,072 tokens, calibrated on 1/4
to 1/32 of them): ordinary distributions 7e-5, 7e-5, 4e-5, 8e-5; outliers of 40 to 500 std on 0.05 to 2 % of the tokens
6e-4, 3e-4, 4e-4, 7e-4; Student t with 2 degrees of freedom, whose tails a calibration rarely samples, 6e-3, 3e-3, 2e-3,
5e-4. Calibrate on typical text: 3 % of tokens beyond 20 std, none of them in the calibration, put WD off by 1e-2."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranges:
    """Bins of a layer's histograms: bin k of a neuron is [(k - zero_bin) * width, (k + 1 - zero_bin) * width)."""

    zero_bin_F: Tensor
    """int64 index of the edge that is exactly 0.0; outside 0..num_bins where zero lies outside the bins."""
    width_F: Tensor
    """float64, > 0, in raw units."""
    num_bins: int

    @property
    def edges_FE(self) -> Tensor:
        """float64 bin edges, in raw units."""
        edge_E = torch.arange(self.num_bins + 1, device=self.width_F.device)
        return (edge_E - self.zero_bin_F[:, None]) * self.width_F[:, None]

    @property
    def low_F(self) -> Tensor:
        """The lowest edge."""
        return -self.zero_bin_F * self.width_F

    @property
    def high_F(self) -> Tensor:
        """The highest edge."""
        return (self.num_bins - self.zero_bin_F) * self.width_F

    def __getitem__(self, block: slice) -> "Ranges":
        """The bins of a slice of the neurons."""
        return Ranges(zero_bin_F=self.zero_bin_F[block], width_F=self.width_F[block], num_bins=self.num_bins)

    def to(self, device: torch.device | str) -> "Ranges":
        """The same bins on another device."""
        return Ranges(zero_bin_F=self.zero_bin_F.to(device), width_F=self.width_F.to(device), num_bins=self.num_bins)


class RangeCalibration:
    """Moments and extremes of a layer's first tokens, which determine the bins of every neuron."""

    def __init__(self, num_neurons: int, device: torch.device | str):
        zero_F = torch.zeros(num_neurons, dtype=torch.float64, device=device)
        self._moments = Moments(0, zero_F, zero_F, zero_F, zero_F)
        self._min_F, self._max_F = zero_F + math.inf, zero_F - math.inf

    def update(self, pre_TF: Tensor) -> None:
        """Add tokens, in any float dtype. Raises ValueError on NaN, infinities or another number of neurons."""
        for y_FT in by_neuron(checked("pre-activations", pre_TF, len(self._min_F))):
            self._moments = self._moments.merge(Moments.of(y_FT))
            self._min_F = torch.minimum(self._min_F, y_FT.amin(1).double())
            self._max_F = torch.maximum(self._max_F, y_FT.amax(1).double())

    def ranges(self, num_bins: int) -> Ranges:
        """Bins over the tokens so far with a margin of MARGIN_STDS std, but at most over mean +- RANGE_STDS std.

        Values beyond them, zero included, are left to the sketch's tails. A neuron that never varies gets |mean| (or 1)
        in place of its std. Raises ValueError without tokens, or for fewer than 2 bins.
        """
        if not self._moments.num_tokens or num_bins < 2:
            raise ValueError(f"ranges need tokens and 2 bins or more, got {self._moments.num_tokens} and {num_bins}")
        mean_F, std_F = self._moments.mean_F, self._moments.std_F
        std_F = torch.where(std_F > 0, std_F, torch.where(mean_F != 0, mean_F.abs(), 1.0))
        low_F = torch.maximum(mean_F - RANGE_STDS * std_F, self._min_F - MARGIN_STDS * std_F)
        high_F = torch.minimum(mean_F + RANGE_STDS * std_F, self._max_F + MARGIN_STDS * std_F)
        width_F = (high_F - low_F) / (num_bins - 1)  # one bin to spare: the edges are shifted until one is zero
        return Ranges(zero_bin_F=(-low_F / width_F).ceil().long(), width_F=width_F, num_bins=num_bins)


def no_counts(ranges: Ranges) -> Tensor:
    """[F, K2] int32 zeros."""
    return torch.zeros(len(ranges.width_F), ranges.num_bins + 2, dtype=torch.int32, device=ranges.width_F.device)


def count(counts_FK2: Tensor, columns_FV: Tensor) -> None:
    """Add one to the column of every value; values < 0 count in the first, > K + 1 in the last.

    columns_FV: whole numbers in a float dtype; overwritten.
    """
    columns_FV = columns_FV.clamp_(0, counts_FK2.shape[1] - 1).long()
    counts_FK2.scatter_add_(1, columns_FV, counts_FK2.new_ones(1).expand_as(columns_FV))


def merged(
    a: Ranges, sums: Mapping[str, Tensor], other_ranges: Ranges, other_sums: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The sums of two sketches, added. Raises ValueError unless their bins are identical."""
    b = other_ranges.to(a.width_F.device)
    if a.num_bins != b.num_bins or not torch.equal(a.zero_bin_F, b.zero_bin_F) or not torch.equal(a.width_F, b.width_F):
        raise ValueError("cannot merge sketches over different ranges; give every shard the Ranges of one calibration")
    return {name: sum_F + other_sums[name].to(sum_F.device) for name, sum_F in sums.items()}


def copied(state: Mapping[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The state with its tensors copied to the device."""
    return {name: value.to(device, copy=True) if isinstance(value, Tensor) else value for name, value in state.items()}
