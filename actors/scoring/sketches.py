"""Streaming accumulators behind the neuron scores, one sketch per layer.

Owns the histogram and the tails of a layer's pre-activations, in memory that does not grow with tokens, and the scores
computed from them and from the moments: above all the Wasserstein distance (WD). Knows nothing of models, hooks or
masking: callers leave out padding, BOS and attention sinks before `update`. Invariant: sketches of disjoint shards over
the same `Ranges` merge, in any order, into the sketch of the whole: counts to the bit, float64 sums to rounding. No
value is clipped away; NaN and infinities raise before anything is counted.

T tokens, F d_mlp, N neurons of one block, K histogram bins (K2: with one more column on each side, for values outside
the bins), E = K + 1 bin edges, G grid points in a tail.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actors.scoring.histograms import Ranges, copied, count, merged, no_counts
from actors.scoring.moments import Moments, by_neuron, central_moments, checked, float64_blocks


class NeuronStatistics(NamedTuple):
    """Scores of every neuron, [F] float64 on the CPU. One that never varies has WD 0 and NaN skewness and kurtosis."""

    mean: Tensor
    std: Tensor
    """Population std (divisor n), in raw units."""
    skewness: Tensor
    """Population skewness g1."""
    kurtosis: Tensor
    """Population excess kurtosis g2 (Fisher: 0 for a Gaussian)."""
    negative_fraction: Tensor
    """Share of tokens with raw y < 0."""
    wasserstein_distance: Tensor
    """W1 between (y - mean)/std and N(0, 1)."""
    wasserstein_distance_negative: Tensor
    """The part of that integral over raw y < 0; divided by the whole, it is the negative share."""
    negative_mean: Tensor
    """Mean of the raw y < 0; 0 where there are none."""
    matched_ceiling: Tensor
    """The smallest c >= 0 with E[(y - c)+] <= E[(-y)+], to one bin: a ceiling at c removes as much magnitude as
    max(y, 0). 0 where no ceiling removes that much; the highest y, or 0, where there is nothing negative; NaN where the
    bins do not reach down to c, because the calibration saw only values far above it."""


class PreActivationSketch:
    """Moments and histogram of every neuron of a layer, from which all of `NeuronStatistics` is computed."""

    def __init__(self, ranges: Ranges, device: torch.device | str):
        self.ranges = ranges.to(device)
        zero_F = torch.zeros_like(self.ranges.width_F)
        self._moments = Moments(0, zero_F, zero_F, zero_F, zero_F)
        zero_bin_F = self.ranges.zero_bin_F
        self._far = ((zero_bin_F < 0) | (zero_bin_F > ranges.num_bins)).nonzero()[:, 0]
        """Neurons whose zero lies outside the bins, so that the counts do not show how many values are negative."""
        self._sums = {
            "counts_FK2": no_counts(self.ranges),
            "far_negative_F": torch.zeros_like(zero_bin_F),  # number of tokens with y < 0; for `_far` only
            "negative_excess_F": zero_F.clone(),  # sum of (0 - y)+: its terms do not cancel, as those of y might
            "excess_below_F": zero_F.clone(),  # sum of (low - y)+
            "excess_above_F": zero_F.clone(),  # sum of (y - high)+
        }
        self._max_F = zero_F - math.inf

    @property
    def num_tokens(self) -> int:
        """Tokens so far."""
        return self._moments.num_tokens

    @torch.inference_mode()
    def update(self, pre_TF: Tensor) -> None:
        """Add tokens, in any float dtype. Raises ValueError on NaN, infinities or another number of neurons."""
        ranges, sums, low_F1, high_F1 = self.ranges, self._sums, self.ranges.low_F[:, None], self.ranges.high_F[:, None]
        per_width_F1, shift_F1 = 1 / ranges.width_F[:, None], ranges.zero_bin_F[:, None] + 1
        for y_FT in by_neuron(checked("pre-activations", pre_TF, len(low_F1))):
            moments_4F = torch.empty((4, len(y_FT)), dtype=torch.float64, device=y_FT.device)
            for block, y_NT, spare_NT, other_NT in float64_blocks(y_FT):
                moments_4F[:, block] = central_moments(y_NT, spare_NT, other_NT)
                self._max_F[block] = torch.maximum(self._max_F[block], y_NT.amax(1))
                sums["negative_excess_F"][block] -= torch.clamp(y_NT, max=0, out=spare_NT).sum(1)
                counts_NK2 = sums["counts_FK2"][block]
                outside_N2 = counts_NK2[:, :: ranges.num_bins + 1]  # its first and last column
                before_N2 = outside_N2.clone()
                # floor(y / width) < 0 exactly where y < 0: rounding may move a value across other edges, not across 0.
                count(counts_NK2, torch.mul(y_NT, per_width_F1[block], out=spare_NT).floor_().add_(shift_F1[block]))
                below, above = (outside_N2 > before_N2).any(0).tolist()
                if below:
                    torch.sub(low_F1[block], y_NT, out=spare_NT)
                    sums["excess_below_F"][block] += spare_NT.clamp_(min=0).sum(1)
                if above:
                    torch.sub(y_NT, high_F1[block], out=spare_NT)
                    sums["excess_above_F"][block] += spare_NT.clamp_(min=0).sum(1)
            self._moments = self._moments.merge(Moments(y_FT.shape[1], *moments_4F))
            sums["far_negative_F"][self._far] += (y_FT[self._far] < 0).sum(1)

    def merge(self, other: "PreActivationSketch") -> None:
        """Add another shard's tokens. Raises ValueError unless both have the same ranges."""
        self._sums = merged(self.ranges, self._sums, other.ranges, other._sums)
        self._moments = self._moments.merge(other._moments)
        self._max_F = torch.maximum(self._max_F, other._max_F.to(self._max_F.device))

    def state(self) -> dict[str, Any]:
        """A copy as CPU tensors and integers, for another process."""
        return copied({**asdict(self.ranges), **self._moments._asdict(), "max_F": self._max_F, **self._sums}, "cpu")

    @classmethod
    def from_state(cls, state: Mapping[str, Any], device: torch.device | str = "cpu") -> "PreActivationSketch":
        """The inverse of `state`."""
        state = copied(state, device)
        sketch = cls(Ranges(**{field.name: state[field.name] for field in fields(Ranges)}), device)
        sketch._moments = Moments(*(state[name] for name in Moments._fields))
        sketch._max_F = state["max_F"]
        sketch._sums = {name: state[name] for name in sketch._sums}
        return sketch

    def statistics(self) -> NeuronStatistics:
        """The scores of every neuron. Raises ValueError without tokens."""
        if not self.num_tokens:
            raise ValueError("no statistics of a sketch without tokens")
        n, mean_F, std_F = self.num_tokens, self._moments.mean_F, self._moments.std_F
        skewness_F = self._moments.m3_F / n / torch.where(std_F > 0, std_F, math.nan) ** 3
        kurtosis_F = self._moments.m4_F / n / torch.where(std_F > 0, std_F, math.nan) ** 4 - 3
        blocks = [slice(first, first + 512) for first in range(0, len(mean_F), 512)]  # bounds the [F, K] temporaries

        def columns_of(score: Callable[[slice], tuple[Tensor, ...]]) -> Iterator[Tensor]:
            return map(torch.cat, zip(*map(score, blocks), strict=True))

        negative_fraction_F, negative_mean_F = columns_of(self._negative_half)
        columns = (mean_F, std_F, skewness_F, kurtosis_F, negative_fraction_F, *columns_of(self._wasserstein))
        columns += (negative_mean_F, *columns_of(self._matched_ceiling))
        return NeuronStatistics(*(column_F.cpu() for column_F in columns))

    def _wasserstein(self, block: slice) -> tuple[Tensor, Tensor]:
        """([N], [N]) WD and its part over raw y < 0: the integral of |F(z) - Phi(z)| dz over z = (y - mean)/std.

        F, the empirical distribution function, is exact at the bin edges and taken as linear between them, so WD comes
        out slightly too small: by 1e-4 at 1,024 bins, and by 7e-4 for values on a lattice about as wide as a bin
        (bfloat16 far from zero). The integral equals W1 in one dimension (Sawmya et al., ICLR 2025, score neurons by
        it).
        """
        ranges, mean_F, std_F = self.ranges[block], self._moments.mean_F[block], self._moments.std_F[block]
        sums = (sum_F[block].double() / self.num_tokens for sum_F in self._sums.values())
        share_FK2, negative_F, under_zero_F, below_F, above_F = sums
        z_FE = (ranges.edges_FE - mean_F[:, None]) / std_F[:, None]
        cdf_FE = share_FK2.cumsum(1)[:, :-1]
        gap_FE = cdf_FE - torch.special.ndtr(z_FE)
        left_FK, right_FK, dz_FK = gap_FE[:, :-1].abs(), gap_FE[:, 1:].abs(), z_FE.diff(dim=1)
        # If the gap keeps its sign, its area has a closed form: (z Phi(z) + phi(z))' = Phi(z). If it changes sign,
        # two triangles under the chord are off by less than 0.021 dz^3, because |Phi''| < 0.25. But in a filled bin
        # with an empty neighbour F is a step and not a ramp: two rectangles, as for a step in the middle.
        area_FK = ((cdf_FE[:, :-1] + cdf_FE[:, 1:]) / 2 * dz_FK - _normal_excess(-z_FE).diff(dim=1)).abs()
        step_FK = (share_FK2[:, 1:-1] > 0) & (torch.minimum(share_FK2[:, :-2], share_FK2[:, 2:]) == 0)
        height_FK = torch.where(step_FK, left_FK + right_FK, (left_FK**2 + right_FK**2) / (left_FK + right_FK))
        area_FK = torch.where(gap_FE[:, :-1] * gap_FE[:, 1:] < 0, height_FK / 2 * dz_FK, area_FK)

        lower_F = _tail_area(-z_FE[:, 0], share_FK2[:, 0], below_F / std_F)
        whole_F = lower_F + area_FK.sum(1) + _tail_area(z_FE[:, -1], share_FK2[:, -1], above_F / std_F)
        left_of_zero_FK = torch.arange(ranges.num_bins, device=mean_F.device) < ranges.zero_bin_F[:, None]
        part_F = lower_F + (area_FK * left_of_zero_FK).sum(1)
        # Where zero lies outside the bins, the count and the excess on either side of it are known as well.
        left_of_zero_F = _tail_area(mean_F / std_F, negative_F, under_zero_F / std_F)
        right_of_zero_F = _tail_area(-mean_F / std_F, 1 - negative_F, (mean_F + under_zero_F) / std_F)
        part_F = torch.where(ranges.zero_bin_F < 0, left_of_zero_F, part_F)
        part_F = torch.where(ranges.zero_bin_F > ranges.num_bins, whole_F - right_of_zero_F, part_F)
        return torch.where(std_F > 0, whole_F, 0.0), torch.where(std_F > 0, part_F, 0.0)

    def _negative_half(self, block: slice) -> tuple[Tensor, Tensor]:
        """([N], [N]) share and mean of the values below zero; both exact."""
        zero_bin_F, num_bins = self.ranges.zero_bin_F[block], self.ranges.num_bins
        below_zero_FK2 = self._sums["counts_FK2"][block].cumsum(1)
        num_negative_F = below_zero_FK2.gather(1, zero_bin_F.clamp(0, num_bins)[:, None])[:, 0]
        far_F = (zero_bin_F < 0) | (zero_bin_F > num_bins)
        num_negative_F = torch.where(far_F, self._sums["far_negative_F"][block], num_negative_F)
        mean_F = -self._sums["negative_excess_F"][block] / num_negative_F
        return num_negative_F.double() / self.num_tokens, torch.where(num_negative_F > 0, mean_F, 0.0)

    def _matched_ceiling(self, block: slice) -> tuple[Tensor]:
        """([N],) the ceiling that removes as much magnitude as a floor of zero does.

        Values are taken as evenly spread within a bin. Above the bins, E[(y - c)+] is taken to fall as a power of the
        distance from c to the highest value, as for a generalised Pareto distribution: exact for one value and for
        evenly spread ones.
        """
        ranges, mean_F, max_F = self.ranges[block], self._moments.mean_F[block], self._max_F[block]
        sums, n = {name: sum_F[block] for name, sum_F in self._sums.items()}, self.num_tokens
        negative_F, excess_above_F = sums["negative_excess_F"] / n, sums["excess_above_F"] / n
        share_FK2, width_F1 = sums["counts_FK2"].double() / n, ranges.width_F[:, None]
        share_FK, share_above_F = share_FK2[:, 1:-1], share_FK2[:, -1]
        # beyond[e] = share of tokens above edge e, excess[e] = E[(y - edge)+]: both add up from the highest edge down
        beyond_FE = share_above_F[:, None] + torch.nn.functional.pad(share_FK.flip(1).cumsum(1).flip(1), (0, 1))
        area_FK = width_F1 * (beyond_FE[:, 1:] + share_FK / 2)
        excess_FE = excess_above_F[:, None] + torch.nn.functional.pad(area_FK.flip(1).cumsum(1).flip(1), (0, 1))
        bin_F1 = ((excess_FE >= negative_F[:, None]).sum(1, keepdim=True) - 1).clamp(0, ranges.num_bins - 1)
        upper_F, beyond_F, share_F = (table.gather(1, bin_F1)[:, 0] for table in (excess_FE, beyond_FE, share_FK))
        # at the fraction t of the bin's width, the excess is upper - width (beyond t - share t^2 / 2): solve for t
        drop_F = ((upper_F - negative_F) / ranges.width_F).clamp(min=0)
        root_F = (beyond_F**2 - 2 * share_F * drop_F).clamp(min=0).sqrt()
        step_F = 2 * drop_F / (beyond_F + root_F).clamp(min=1e-300)
        ceiling_F = ranges.low_F + ranges.width_F * (bin_F1[:, 0] + step_F.clamp(max=1))
        ceiling_F = torch.where((ranges.low_F > 0) & (negative_F > excess_FE[:, 0]), math.nan, ceiling_F)
        # d above the bins it is excess_above (1 - d / room)^(share_above room / excess_above); room reaches the highest
        room_F = max_F - ranges.high_F
        reached_F = (negative_F / excess_above_F) ** (excess_above_F / (share_above_F * room_F))
        ceiling_F = torch.where(negative_F < excess_above_F, max_F - room_F * reached_F, ceiling_F)
        ceiling_F = torch.where(negative_F > 0, torch.minimum(ceiling_F, max_F), max_F).clamp(min=0)
        return (torch.where(mean_F < 0, 0.0, ceiling_F),)


def _normal_excess(z: Tensor) -> Tensor:
    """E[(Z - z)+] = phi(z) - z Phi(-z) for Z ~ N(0, 1): the integral of Phi(-t) dt from z to infinity."""
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * torch.special.ndtr(-z)


def _tail_area(edge_F: Tensor, share_F: Tensor, excess_F: Tensor) -> Tensor:
    """Integral of |S(z) - Q(z)| dz from an edge outwards; S is the share of tokens beyond z, Q(z) = Phi(-z).

    Known are share_F = S(edge) and excess_F = E[(z - edge)+], the integral of S. If S and Q did not cross, the area
    would be the difference between that and the Gaussian's excess, whatever the shape of S. They may cross, so the
    difference is a lower bound, short by at most twice the smaller of the two. Hence S is taken as the exponential with
    these two values (maximum entropy), and the lower bounds over the cells of a fine grid are summed: exact except for
    the (at most two) cells with a crossing.
    """
    rate_F1 = (share_F / excess_F.clamp(min=1e-300))[:, None]
    # Q(9) = 1e-19: beyond the grid only S is left
    grid_G = torch.linspace(0, 1, 512, dtype=torch.float64, device=edge_F.device)
    t_FG = (9 - edge_F).clamp(min=1)[:, None] * grid_G
    rest_FG = excess_F[:, None] * torch.exp(-rate_F1 * t_FG) - _normal_excess(edge_F[:, None] + t_FG)
    return rest_FG.diff(dim=1).abs().sum(1) + rest_FG[:, -1].abs()
