"""The streaming accumulator behind mapping difficulty (MD), one sketch per layer: sums over token pairs.

Owns which pairs count, their ratios of output to input distance, a histogram of output distances for the median, and
MD and its reliability computed from them; the sums are kept for two halves of the pairs, which make up the whole.
Ranges and counting come from `histograms`. Knows nothing of how pairs are drawn (`token_pairs`): callers give the same
pairs to all neurons of a layer, and leave out padding, BOS and attention sinks. Invariant:
sketches of disjoint pairs over the same `Ranges` merge, in any order, into the sketch of the whole: counts and N_x to
the bit, float64 sums to rounding. NaN and infinities raise before anything is counted.

T tokens, F d_mlp, D d_model, P token pairs, 2 halves of the pairs, K histogram bins, evenly spaced in octaves (K2: with
one more column on each side, for values outside the bins).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import scipy
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
        self.num_dropped = 0
        """Pairs with x_i = x_j, which are left out."""
        self.max_input_distance = 0.0
        """N_x, in raw units."""
        self._sums = {
            "num_pairs_2": torch.zeros(2, dtype=torch.int64, device=device),
            "counts_2FK2": torch.stack([no_counts(self.ranges)] * 2),
            "ratio_2F": torch.stack([torch.zeros_like(self.ranges.width_F)] * 2),
        }

    @property
    def num_pairs(self) -> int:
        """Pairs in the sums."""
        return int(self._sums["num_pairs_2"].sum())

    @torch.inference_mode()
    def update(self, x_TD: Tensor, pre_TF: Tensor, i_P: Tensor, j_P: Tensor, half_P: Tensor) -> None:
        """Add token pairs (i, j).

        x_TD: the projection's inputs; pre_TF: its outputs; i_P, j_P: int64 rows of both; half_P: 0 or 1, the half to
        which a pair belongs. Raises ValueError on NaN, infinities or another number of neurons.
        """
        ranges, sums, device = self.ranges, self._sums, self.ranges.width_F.device
        pre_TF = checked("pre-activations", pre_TF, len(ranges.width_F))
        x_TD = checked("inputs", x_TD, x_TD.shape[-1])
        bins_per_octave = ranges.num_bins / (HIGHEST_OCTAVE - LOWEST_OCTAVE)
        num_rows = chunk_length(max(x_TD.shape[1], pre_TF.shape[1]), device)
        pairs_2P, half_P = torch.stack((i_P, j_P)).to(device), half_P.to(device)
        for half in (0, 1):
            chosen_2P = pairs_2P[:, half_P == half]
            for first in range(0, chosen_2P.shape[1], num_rows):
                i_P, j_P = chosen_2P[:, first : first + num_rows]
                dx_P = torch.linalg.vector_norm(x_TD[i_P].double() - x_TD[j_P].double(), dim=1)
                self.max_input_distance = max(self.max_input_distance, dx_P.max().item())
                self.num_dropped += (dx_P == 0).sum().item()
                i_P, j_P, dx_P = i_P[dx_P > 0], j_P[dx_P > 0], dx_P[dx_P > 0]
                sums["num_pairs_2"][half] += len(dx_P)
                dy_PF = pre_TF.index_select(0, i_P).double().sub_(pre_TF.index_select(0, j_P)).abs_()
                sums["ratio_2F"][half] += (dy_PF / dx_P[:, None]).sum(0)
                octave_PF = (dy_PF / (ranges.num_bins * ranges.width_F)).log2_() - LOWEST_OCTAVE
                count(sums["counts_2FK2"][half], octave_PF.mul_(bins_per_octave).floor_().add_(1).t())

    def merge(self, other: "MappingDifficultySketch") -> None:
        """Add another shard's pairs. Raises ValueError unless both have the same ranges."""
        self._sums = merged(self.ranges, self._sums, other.ranges, other._sums)
        self.num_dropped += other.num_dropped
        self.max_input_distance = max(self.max_input_distance, other.max_input_distance)

    def state(self) -> dict[str, Any]:
        """A copy as CPU tensors and numbers, for another process."""
        numbers = {name: getattr(self, name) for name in ("num_dropped", "max_input_distance")}
        return copied({**asdict(self.ranges), **numbers, **self._sums}, "cpu")

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device | str = "cpu") -> "MappingDifficultySketch":
        """The inverse of `state`."""
        state = copied(state, device)
        sketch = cls(Ranges(**{field.name: state[field.name] for field in fields(Ranges)}), device)
        sketch.num_dropped, sketch.max_input_distance = state["num_dropped"], state["max_input_distance"]
        sketch._sums = {name: state[name] for name in sketch._sums}
        return sketch

    def mapping_difficulty(self) -> Tensor:
        """MD [F], float64 on the CPU: mean of (|y_i - y_j| / N_y) / (||x_i - x_j|| / N_x) over the pairs.

        N_x is the largest input distance. N_y, the median output distance, is interpolated within its bin; at 1,024
        bins it was off by 2.25 % at worst on SmolLM2. That is more than a bin, 2^(20 / K) - 1 = 1.4 %: with few pairs
        the two in the middle may lie further apart. On Gaussian neurons: 0.9 % at worst and 0.2 % (rms) with 1,024
        pairs, 0.3 % and 0.06 % with 16,384.
        NaN where N_y is 0 or outside the binned octaves, and for all neurons without pairs.
        """
        return self._difficulty(*(sum_2.sum(0) for sum_2 in self._sums.values()))

    def reliability(self) -> float:
        """Reliability of MD as a ranking of the layer's neurons, from 0 to 1: split-half, corrected to full length.

        2 r / (1 + r) (Spearman 1910; Brown 1910), with Spearman's rank correlation r, over neurons, of the MD of the
        two halves. It says how far the ranking depends on which pairs were drawn, not on the choice of the text. Each
        half has an N_y of its own: the error of an N_y from all pairs would be common to both, and pass for agreement.
        N_x is one factor for the whole layer. 0 where the halves do not agree (r <= 0); NaN where fewer than three
        neurons have an MD in both halves.
        """
        first_F, second_F = (self._difficulty(*sums) for sums in zip(*self._sums.values(), strict=True))
        known_F = first_F.isfinite() & second_F.isfinite()
        if known_F.sum() < 3:
            return math.nan
        r = float(scipy.stats.spearmanr(first_F[known_F], second_F[known_F]).statistic)
        return max(0.0, 2 * r / (1 + r)) if r > -1 else 0.0

    def _difficulty(self, num_pairs: Tensor, counts_FK2: Tensor, ratio_F: Tensor) -> Tensor:
        """MD [F] on the CPU, from the sums over a half or over all pairs."""
        cdf_FK2 = counts_FK2.cumsum(1).double() / num_pairs
        median_F1 = (cdf_FK2 < 0.5).sum(1, keepdim=True).clamp(1, self.ranges.num_bins)  # its column
        before_F, upto_F = (cdf_FK2.gather(1, column_F1)[:, 0] for column_F1 in (median_F1 - 1, median_F1))
        octaves = (HIGHEST_OCTAVE - LOWEST_OCTAVE) / self.ranges.num_bins  # of one bin
        low_F = self.ranges.num_bins * self.ranges.width_F * 2 ** (LOWEST_OCTAVE + octaves * (median_F1[:, 0] - 1))
        median_F = low_F * (1 + (2**octaves - 1) * (0.5 - before_F) / (upto_F - before_F))
        difficulty_F = ratio_F / num_pairs * self.max_input_distance / median_F
        return torch.where((before_F < 0.5) & (upto_F >= 0.5), difficulty_F, math.nan).cpu()
