"""The streaming accumulator behind mapping difficulty (MD), one sketch per layer: sums over token pairs.

Owns which pairs count, their ratios of output to input distance, a histogram of output distances for the median, and
MD computed from them; ranges and counting come from `histograms`. Knows nothing of how pairs are drawn (`token_pairs`):
callers give the same pairs to all neurons of a layer, and leave out padding, BOS and attention sinks. Invariant:
sketches of disjoint pairs over the same `Ranges` merge, in any order, into the sketch of the whole: counts and N_x to
the bit, float64 sums to rounding. NaN and infinities raise before anything is counted.

T tokens, F d_mlp, D d_model, P token pairs, K histogram bins, evenly spaced in octaves (K2: with one more column on
each side, for values outside the bins).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor

from actors.scoring.histograms import Ranges, copied, count, merged, no_counts
from actors.scoring.moments import checked, chunk_length

LOWEST_OCTAVE, HIGHEST_OCTAVE = -16, 4
"""|y_i - y_j|, divided by the width of the neuron's range, is binned evenly in log2 between these octaves."""


class MappingDifficultySketch:
    """Sums over token pairs of a layer, for MD (Sawmya et al., ICLR 2025): how far apart near inputs are sent."""

    def __init__(self, ranges: Ranges, device: torch.device | str):
        self.ranges = ranges.to(device)
        self.num_pairs = 0
        """Pairs in the sums."""
        self.num_dropped = 0
        """Pairs with x_i = x_j, which are left out."""
        self.max_input_distance = 0.0
        """N_x, in raw units."""
        self._sums = {"counts_FK2": no_counts(self.ranges), "ratio_F": torch.zeros_like(self.ranges.width_F)}

    @torch.inference_mode()
    def update(self, x_TD: Tensor, pre_TF: Tensor, i_P: Tensor, j_P: Tensor) -> None:
        """Add token pairs (i, j) of one batch.

        x_TD: the projection's inputs; pre_TF: its outputs; i_P, j_P: int64 rows of both. Raises ValueError on NaN,
        infinities or another number of neurons.
        """
        ranges, device = self.ranges, self.ranges.width_F.device
        pre_TF = checked("pre-activations", pre_TF, len(ranges.width_F))
        x_TD = checked("inputs", x_TD, x_TD.shape[-1])
        bins_per_octave = ranges.num_bins / (HIGHEST_OCTAVE - LOWEST_OCTAVE)
        num_rows = chunk_length(max(x_TD.shape[1], pre_TF.shape[1]), device)
        pairs_2P = torch.stack((i_P, j_P)).to(device)
        for first in range(0, pairs_2P.shape[1], num_rows):
            i_P, j_P = pairs_2P[:, first : first + num_rows]
            dx_P = torch.linalg.vector_norm(x_TD[i_P].double() - x_TD[j_P].double(), dim=1)
            self.max_input_distance = max(self.max_input_distance, dx_P.max().item())
            self.num_dropped += (dx_P == 0).sum().item()
            i_P, j_P, dx_P = i_P[dx_P > 0], j_P[dx_P > 0], dx_P[dx_P > 0]
            self.num_pairs += len(dx_P)
            dy_PF = (pre_TF[i_P].double() - pre_TF[j_P].double()).abs_()
            self._sums["ratio_F"] += (dy_PF / dx_P[:, None]).sum(0)
            octave_PF = (dy_PF / (ranges.num_bins * ranges.width_F)).log2_() - LOWEST_OCTAVE
            count(self._sums["counts_FK2"], octave_PF.mul_(bins_per_octave).floor_().add_(1).t())

    def merge(self, other: "MappingDifficultySketch") -> None:
        """Add another shard's pairs. Raises ValueError unless both have the same ranges."""
        self._sums = merged(self.ranges, self._sums, other.ranges, other._sums)
        self.num_pairs += other.num_pairs
        self.num_dropped += other.num_dropped
        self.max_input_distance = max(self.max_input_distance, other.max_input_distance)

    def state(self) -> dict[str, Any]:
        """A copy as CPU tensors and numbers, for another process."""
        numbers = {name: getattr(self, name) for name in ("num_pairs", "num_dropped", "max_input_distance")}
        return copied({**asdict(self.ranges), **numbers, **self._sums}, "cpu")

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device | str = "cpu") -> "MappingDifficultySketch":
        """The inverse of `state`."""
        state = copied(state, device)
        sketch = cls(Ranges(**{field.name: state[field.name] for field in fields(Ranges)}), device)
        sketch.num_pairs, sketch.num_dropped = state["num_pairs"], state["num_dropped"]
        sketch.max_input_distance = state["max_input_distance"]
        sketch._sums = {name: state[name] for name in sketch._sums}
        return sketch

    def mapping_difficulty(self) -> Tensor:
        """MD [F], float64 on the CPU: mean of (|y_i - y_j| / N_y) / (||x_i - x_j|| / N_x) over the pairs.

        N_x is the largest input distance. N_y, the median output distance, is interpolated within its bin: at worst it
        is off by one bin, 2^(20 / K) - 1 = 1.4 % at 1,024 bins, but by 0.1 % (rms) with 5,000 pairs and by 0.03 % with
        50,000. NaN where N_y is 0 or outside the binned octaves, and for all neurons without pairs.
        """
        cdf_FK2 = self._sums["counts_FK2"].cumsum(1).double() / self.num_pairs
        median_F1 = (cdf_FK2 < 0.5).sum(1, keepdim=True).clamp(1, self.ranges.num_bins)  # its column
        before_F, upto_F = (cdf_FK2.gather(1, column_F1)[:, 0] for column_F1 in (median_F1 - 1, median_F1))
        octaves = (HIGHEST_OCTAVE - LOWEST_OCTAVE) / self.ranges.num_bins  # of one bin
        low_F = self.ranges.num_bins * self.ranges.width_F * 2 ** (LOWEST_OCTAVE + octaves * (median_F1[:, 0] - 1))
        median_F = low_F * (1 + (2**octaves - 1) * (0.5 - before_F) / (upto_F - before_F))
        difficulty_F = self._sums["ratio_F"] / self.num_pairs * self.max_input_distance / median_F
        return torch.where((before_F < 0.5) & (upto_F >= 0.5), difficulty_F, math.nan).cpu()
