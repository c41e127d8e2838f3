"""Streaming accumulators behind the neuron scores, one sketch per layer.

Owns: moments and histograms of a layer's pre-activations, in memory that does not grow with tokens, the Wasserstein
distance (WD) computed from them, and the ranges and counting that the sketch of token pairs (`actors.scoring.mapping_difficulty`)
shares. Knows nothing of models, hooks or masking: callers leave out padding, BOS and sinks before `update`.
Invariant: sketches of disjoint shards over the same `Ranges` merge, in any order, into the sketch of the whole: counts
to the bit, float64 sums to rounding. No value is clipped away; NaN and infinities raise before anything is counted.

Shapes: T tokens, F d_mlp, K histogram bins (K2: and one column on each side for what lies outside), E = K + 1 bin
edges, N values of a neuron at once, G grid points in a tail.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Bins reach 2 std beyond the calibration's extremes, but at most 6 std from its mean. Largest error of WD at 1,024 bins
# against the exact sorted value, for caps of 4, 5, 6, 8 std (8,192 to 131,072 tokens, calibrated on 1/4 to 1/32):
# ordinary distributions 7e-5, 7e-5, 4e-5, 8e-5; outliers of 40 to 500 std on 0.05 to 2 % of the tokens 6e-4, 3e-4,
# 4e-4, 7e-4; Student t with 2 degrees of freedom, of which a calibration sees too little, 6e-3, 3e-3, 2e-3, 5e-4.
# Calibrate on what is typical: 3 % of tokens beyond 20 std, with none in the calibration, put WD off by 1e-2.
RANGE_STDS, MARGIN_STDS = 6.0, 2.0
# Tokens that are counted together.
TOKENS = 2048
# Below this std / |mean| the spread is rounding, not signal: one float32 ulp on one token in 4e9 is still above it.
CONSTANT_RATIO = 2.0**-40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranges:
    """Bins of a layer's histograms: bin k of neuron f is [(k - zero_bin) * width, (k + 1 - zero_bin) * width)."""

    zero_bin_F: Tensor
    """int64; the edge that is exactly 0.0. Outside 0..num_bins where zero lies outside the range."""
    width_F: Tensor
    """float64, > 0, raw units."""
    num_bins: int

    @property
    def edges_FE(self) -> Tensor:
        edge_E = torch.arange(self.num_bins + 1, device=self.width_F.device)
        return (edge_E - self.zero_bin_F[:, None]) * self.width_F[:, None]

    @property
    def low_F(self) -> Tensor:
        return -self.zero_bin_F * self.width_F

    @property
    def high_F(self) -> Tensor:
        return (self.num_bins - self.zero_bin_F) * self.width_F

    def __getitem__(self, block: slice) -> "Ranges":
        return Ranges(zero_bin_F=self.zero_bin_F[block], width_F=self.width_F[block], num_bins=self.num_bins)

    def to(self, device: torch.device | str) -> "Ranges":
        return Ranges(zero_bin_F=self.zero_bin_F.to(device), width_F=self.width_F.to(device), num_bins=self.num_bins)


class Moments(NamedTuple):
    """Count, mean, and sums of the 2nd to 4th powers of the deviations from the mean; float64."""

    num_tokens: int
    mean_F: Tensor
    m2_F: Tensor
    m3_F: Tensor
    m4_F: Tensor

    @classmethod
    def of(cls, y_FT: Tensor) -> "Moments":
        moments_4F = y_FT.new_empty(4, len(y_FT), dtype=torch.float64)
        for block, y_NT, spare_NT, _ in _float64_blocks(y_FT):
            moments_4F[:, block] = central_moments(y_NT, y_NT, spare_NT)
        return cls(y_FT.shape[1], *moments_4F)

    def merge(self, other: "Moments") -> "Moments":
        """Pairwise update of Pebay 2008 (Sandia report SAND2008-6212, section 3); M2 alone is Chan et al. 1979."""
        if not self.num_tokens:
            return Moments(other.num_tokens, *(tensor_F.to(self.mean_F.device) for tensor_F in other[1:]))
        na, nb = float(self.num_tokens), float(other.num_tokens)  # their powers leave int64
        n, pairs = na + nb, na * nb
        mean_F, m2b, m3b, m4b = (tensor_F.to(self.mean_F.device) for tensor_F in other[1:])
        m2a, m3a, step_F = self.m2_F, self.m3_F, (mean_F - self.mean_F) / n
        m2_F = m2a + m2b + pairs * n * step_F**2
        m3_F = m3a + m3b + pairs * (na - nb) * n * step_F**3 + 3 * step_F * (na * m2b - nb * m2a)
        m4_F = self.m4_F + m4b + pairs * (na * na - pairs + nb * nb) * n * step_F**4
        m4_F = m4_F + 6 * step_F**2 * (na * na * m2b + nb * nb * m2a) + 4 * step_F * (na * m3b - nb * m3a)
        return Moments(self.num_tokens + other.num_tokens, self.mean_F + nb * step_F, m2_F, m3_F, m4_F)

    @property
    def std_F(self) -> Tensor:
        """Population std; exactly 0 for a neuron that never varies."""
        std_F = (self.m2_F / self.num_tokens).sqrt()
        return torch.where(std_F > CONSTANT_RATIO * self.mean_F.abs(), std_F, 0.0)


def central_moments(y_NT: Tensor, deviation_NT: Tensor, square_NT: Tensor) -> Tensor:
    """[4, N] mean and sums of the 2nd to 4th powers of the deviations; the last two arguments are scratch."""
    mean_N = y_NT.mean(1)
    torch.sub(y_NT, mean_N[:, None], out=deviation_NT)
    torch.mul(deviation_NT, deviation_NT, out=square_NT)
    m2_N, m3_N = square_NT.sum(1), deviation_NT.mul_(square_NT).sum(1)
    return torch.stack((mean_N, m2_N, m3_N, square_NT.mul_(square_NT).sum(1)))


class RangeCalibration:
    """First look at a layer, which decides where the bins of every neuron lie."""

    def __init__(self, num_neurons: int, device: torch.device | str):
        zero_F = torch.zeros(num_neurons, dtype=torch.float64, device=device)
        self._moments = Moments(0, zero_F, zero_F, zero_F, zero_F)
        self._min_F, self._max_F = zero_F + math.inf, zero_F - math.inf

    def update(self, pre_TF: Tensor) -> None:
        """Add tokens, in any float dtype. Raises ValueError on NaN, infinities or another number of neurons."""
        for y_FT in _by_neuron(checked("pre-activations", pre_TF, len(self._min_F))):
            self._moments = self._moments.merge(Moments.of(y_FT))
            self._min_F = torch.minimum(self._min_F, y_FT.amin(1).double())
            self._max_F = torch.maximum(self._max_F, y_FT.amax(1).double())

    def merge(self, other: "RangeCalibration") -> None:
        """Add another shard's tokens."""
        self._moments = self._moments.merge(other._moments)
        self._min_F = torch.minimum(self._min_F, other._min_F.to(self._min_F.device))
        self._max_F = torch.maximum(self._max_F, other._max_F.to(self._max_F.device))

    def ranges(self, num_bins: int) -> Ranges:
        """Bins over the data with a margin of MARGIN_STDS std, but at most over mean +- RANGE_STDS std.

        What lies beyond, zero included, is left to the sketch's tails. A constant neuron takes |mean| (or 1) for its
        std. Raises ValueError without tokens, or for fewer than 2 bins.
        """
        if not self._moments.num_tokens or num_bins < 2:
            raise ValueError(f"ranges need tokens and 2 bins or more, got {self._moments.num_tokens} and {num_bins}")
        mean_F, std_F = self._moments.mean_F, self._moments.std_F
        std_F = torch.where(std_F > 0, std_F, torch.where(mean_F != 0, mean_F.abs(), 1.0))
        low_F = torch.maximum(mean_F - RANGE_STDS * std_F, self._min_F - MARGIN_STDS * std_F)
        high_F = torch.minimum(mean_F + RANGE_STDS * std_F, self._max_F + MARGIN_STDS * std_F)
        width_F = (high_F - low_F) / (num_bins - 1)  # one bin to spare, because the edges are moved until one is zero
        return Ranges(zero_bin_F=(-low_F / width_F).ceil().long(), width_F=width_F, num_bins=num_bins)


class NeuronStatistics(NamedTuple):
    """Per-neuron scores [F], float64 on the CPU. A neuron that never varies has WD 0 and NaN skewness and kurtosis."""

    mean: Tensor
    std: Tensor
    """Population std (divided by n), raw units."""
    skewness: Tensor
    """Population skewness g1."""
    kurtosis: Tensor
    """Population excess kurtosis g2 (Fisher: 0 for a Gaussian)."""
    negative_fraction: Tensor
    """Share of tokens with raw y < 0."""
    wasserstein_distance: Tensor
    """W1 between (y - mean)/std and N(0, 1)."""
    wasserstein_distance_negative: Tensor
    """The part of that integral over raw y < 0, in the same units: the negative share is this divided by the whole."""
    negative_mean: Tensor
    """Mean of the raw y < 0; 0 where there are none."""
    matched_ceiling: Tensor
    """c >= 0 with E[(y - c)+] = E[(-y)+]: a ceiling there takes as much magnitude as max(y, 0); 0 where none does."""


class PreActivationSketch:
    """Moments and histogram of every neuron of a layer: all that WD needs."""

    def __init__(self, ranges: Ranges, device: torch.device | str):
        self.ranges = ranges.to(device)
        zero_F = torch.zeros_like(self.ranges.width_F)
        self._moments = Moments(0, zero_F, zero_F, zero_F, zero_F)
        zero_bin_F = self.ranges.zero_bin_F
        self._far = ((zero_bin_F < 0) | (zero_bin_F > ranges.num_bins)).nonzero()[:, 0]
        """Neurons whose zero lies outside the bins, so that counts do not tell what is negative."""
        self._sums = {
            "counts_FK2": no_counts(self.ranges),
            "far_negative_F": torch.zeros_like(zero_bin_F),  # tokens with y < 0, of `_far` only
            "far_negative_excess_F": zero_F.clone(),  # sum of (0 - y)+, of `_far` only
            "excess_below_F": zero_F.clone(),  # sum of (low - y)+: nothing cancels, as it might in a sum of y
            "excess_above_F": zero_F.clone(),  # sum of (y - high)+
        }

    @property
    def num_tokens(self) -> int:
        return self._moments.num_tokens

    @torch.inference_mode()
    def update(self, pre_TF: Tensor) -> None:
        """Add tokens, in any float dtype. Raises ValueError on NaN, infinities or another number of neurons."""
        ranges, sums, low_F1, high_F1 = self.ranges, self._sums, self.ranges.low_F[:, None], self.ranges.high_F[:, None]
        per_width_F1, shift_F1 = 1 / ranges.width_F[:, None], ranges.zero_bin_F[:, None] + 1
        for y_FT in _by_neuron(checked("pre-activations", pre_TF, len(low_F1))):
            moments_4F = torch.empty((4, len(y_FT)), dtype=torch.float64, device=y_FT.device)
            for block, y_NT, spare_NT, other_NT in _float64_blocks(y_FT):
                moments_4F[:, block] = central_moments(y_NT, spare_NT, other_NT)
                counts_NK2 = sums["counts_FK2"][block]
                outside_N2 = counts_NK2[:, :: ranges.num_bins + 1]  # its first and last column
                before_N2 = outside_N2.clone()
                # floor(y / width) < 0 exactly when y < 0: rounding may move a value across another edge, never zero.
                count(counts_NK2, torch.mul(y_NT, per_width_F1[block], out=spare_NT).floor_().add_(shift_F1[block]))
                below, above = (outside_N2 > before_N2).any(0).tolist()
                if below:
                    torch.sub(low_F1[block], y_NT, out=spare_NT)
                    sums["excess_below_F"][block] += spare_NT.clamp_(min=0).sum(1)
                if above:
                    torch.sub(y_NT, high_F1[block], out=spare_NT)
                    sums["excess_above_F"][block] += spare_NT.clamp_(min=0).sum(1)
            self._moments = self._moments.merge(Moments(y_FT.shape[1], *moments_4F))
            far_FT = y_FT[self._far].double()
            sums["far_negative_F"][self._far] += (far_FT < 0).sum(1)
            sums["far_negative_excess_F"][self._far] -= far_FT.clamp_(max=0).sum(1)

    def merge(self, other: "PreActivationSketch") -> None:
        """Add another shard's tokens. Raises ValueError unless both have the same ranges."""
        self._sums = merged(self, other)
        self._moments = self._moments.merge(other._moments)

    def state(self) -> dict[str, Any]:
        """Plain CPU tensors and integers, copied: what crosses processes."""
        return copied({**asdict(self.ranges), **self._moments._asdict(), **self._sums}, "cpu")

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device | str = "cpu") -> "PreActivationSketch":
        state = copied(state, device)
        sketch = cls(Ranges(**{field.name: state[field.name] for field in fields(Ranges)}), device)
        sketch._moments = Moments(*(state[name] for name in Moments._fields))
        sketch._sums = {name: state[name] for name in sketch._sums}
        return sketch

    def statistics(self) -> NeuronStatistics:
        """Scores of every neuron. Raises ValueError without tokens."""
        if not self.num_tokens:
            raise ValueError("no statistics of a sketch without tokens")
        n, mean_F, std_F = self.num_tokens, self._moments.mean_F, self._moments.std_F
        skewness_F = self._moments.m3_F / n / torch.where(std_F > 0, std_F, math.nan) ** 3
        kurtosis_F = self._moments.m4_F / n / torch.where(std_F > 0, std_F, math.nan) ** 4 - 3
        blocks = [slice(first, first + 512) for first in range(0, len(mean_F), 512)]  # bounds the [F, K] temporaries
        distances = map(torch.cat, zip(*map(self._wasserstein, blocks), strict=True))
        negative_fraction_F, *halves = map(torch.cat, zip(*map(self._halves, blocks), strict=True))
        columns = (mean_F, std_F, skewness_F, kurtosis_F, negative_fraction_F, *distances, *halves)
        return NeuronStatistics(*(column_F.cpu() for column_F in columns))

    def _wasserstein(self, block: slice) -> tuple[Tensor, Tensor]:
        """WD and its part over raw y < 0: integral of |F(z) - Phi(z)| dz, z = (y - mean)/std, which is W1 on the line.

        F is exact at the bin edges and linear between them, which makes WD a little too small: at 1,024 bins by 1e-4,
        and by 7e-4 for values on a lattice about as wide as a bin (bfloat16 far from zero).
        """
        ranges, mean_F, std_F = self.ranges[block], self._moments.mean_F[block], self._moments.std_F[block]
        sums = (sum_F[block].double() / self.num_tokens for sum_F in self._sums.values())
        share_FK2, negative_F, under_zero_F, below_F, above_F = sums
        z_FE = (ranges.edges_FE - mean_F[:, None]) / std_F[:, None]
        cdf_FE = share_FK2.cumsum(1)[:, :-1]
        gap_FE = cdf_FE - torch.special.ndtr(z_FE)
        left_FK, right_FK, dz_FK = gap_FE[:, :-1].abs(), gap_FE[:, 1:].abs(), z_FE.diff(dim=1)
        # Where the gap keeps its sign its area is in closed form, as (z Phi(z) + phi(z))' = Phi(z). Where it changes
        # sign, two triangles under the chord are off by less than 0.021 dz^3, as |Phi''| < 0.25. But in a filled
        # bin with an empty neighbour F is a step, not a ramp: two rectangles, as for a step in the middle.
        area_FK = ((cdf_FE[:, :-1] + cdf_FE[:, 1:]) / 2 * dz_FK - _normal_excess(-z_FE).diff(dim=1)).abs()
        step_FK = (share_FK2[:, 1:-1] > 0) & (torch.minimum(share_FK2[:, :-2], share_FK2[:, 2:]) == 0)
        height_FK = torch.where(step_FK, left_FK + right_FK, (left_FK**2 + right_FK**2) / (left_FK + right_FK))
        area_FK = torch.where(gap_FE[:, :-1] * gap_FE[:, 1:] < 0, height_FK / 2 * dz_FK, area_FK)

        lower_F = _tail_area(-z_FE[:, 0], share_FK2[:, 0], below_F / std_F)
        whole_F = lower_F + area_FK.sum(1) + _tail_area(z_FE[:, -1], share_FK2[:, -1], above_F / std_F)
        left_of_zero_FK = torch.arange(ranges.num_bins, device=mean_F.device) < ranges.zero_bin_F[:, None]
        part_F = lower_F + (area_FK * left_of_zero_FK).sum(1)
        # Zero outside the range: its count and excess on either side are known too.
        left_of_zero_F = _tail_area(mean_F / std_F, negative_F, under_zero_F / std_F)
        right_of_zero_F = _tail_area(-mean_F / std_F, 1 - negative_F, (mean_F + under_zero_F) / std_F)
        part_F = torch.where(ranges.zero_bin_F < 0, left_of_zero_F, part_F)
        part_F = torch.where(ranges.zero_bin_F > ranges.num_bins, whole_F - right_of_zero_F, part_F)
        return torch.where(std_F > 0, whole_F, 0.0), torch.where(std_F > 0, part_F, 0.0)

    def _halves(self, block: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Share and mean of the negative half, and the ceiling that takes as much magnitude as the negative clamp.

        Exact at the bin edges; between them values are taken as evenly spread, beyond them as exponential.
        """
        ranges, mean_F, n = self.ranges[block], self._moments.mean_F[block], self.num_tokens
        sums = {name: sum_F[block].double() / n for name, sum_F in self._sums.items()}
        width_F1, share_FK = ranges.width_F[:, None], sums["counts_FK2"][:, 1:-1]
        share_above_F, excess_above_F = sums["counts_FK2"][:, -1], sums["excess_above_F"]
        # beyond[e] = share of tokens above edge e, excess[e] = E[(y - edge)+]: both run down from the highest edge
        beyond_FE = share_above_F[:, None] + torch.nn.functional.pad(share_FK.flip(1).cumsum(1).flip(1), (0, 1))
        area_FK = width_F1 * (beyond_FE[:, 1:] + share_FK / 2)
        excess_FE = excess_above_F[:, None] + torch.nn.functional.pad(area_FK.flip(1).cumsum(1).flip(1), (0, 1))
        # E[(-y)+] = E[y+] - E[y], and E[y+] stands at the edge that is zero, as does what is below it
        zero_bin_F1 = ranges.zero_bin_F.clamp(0, ranges.num_bins)[:, None]
        far_F = (ranges.zero_bin_F < 0) | (ranges.zero_bin_F > ranges.num_bins)
        num_negative_F = self._sums["counts_FK2"][block].cumsum(1).gather(1, zero_bin_F1)[:, 0]
        num_negative_F = torch.where(far_F, self._sums["far_negative_F"][block], num_negative_F)
        negative_F = (excess_FE.gather(1, zero_bin_F1)[:, 0] - mean_F).clamp(min=0)
        negative_F = torch.where(far_F, sums["far_negative_excess_F"], negative_F)
        bin_F1 = ((excess_FE >= negative_F[:, None]).sum(1, keepdim=True) - 1).clamp(0, ranges.num_bins - 1)
        upper_F, beyond_F, share_F = (table.gather(1, bin_F1)[:, 0] for table in (excess_FE, beyond_FE, share_FK))
        # within the bin, t of a width up: upper - width (beyond t - share t^2 / 2) = wanted
        drop_F = ((upper_F - negative_F) / ranges.width_F).clamp(min=0)
        root_F = (beyond_F**2 - 2 * share_F * drop_F).clamp(min=0).sqrt()
        step_F = 2 * drop_F / (beyond_F + root_F).clamp(min=1e-300)
        inside_F = ranges.low_F + ranges.width_F * (bin_F1[:, 0] + step_F.clamp(max=1))
        tail_F = ranges.high_F + excess_above_F / share_above_F * (excess_above_F / negative_F).log()
        ceiling_F = torch.where(negative_F < excess_above_F, tail_F, inside_F).clamp(min=0)
        ceiling_F = torch.where(negative_F > 0, ceiling_F, math.inf)
        negative_mean_F = torch.where(num_negative_F > 0, -negative_F * n / num_negative_F, 0.0)
        return num_negative_F.double() / n, negative_mean_F, torch.where(mean_F < 0, 0.0, ceiling_F)


def _normal_excess(z: Tensor) -> Tensor:
    """E[(Z - z)+] = phi(z) - z Phi(-z) for Z ~ N(0, 1): the integral of Phi(-t) dt from z on."""
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * torch.special.ndtr(-z)


def _tail_area(edge_F: Tensor, share_F: Tensor, excess_F: Tensor) -> Tensor:
    """Integral of |S(z) - Q(z)| dz from an edge outwards; S is the share of tokens beyond z, Q(z) = Phi(-z).

    Known are share = S(edge) and excess = E[(z - edge)+], the integral of S. Were S and Q never to cross, the area
    would be the difference of that and the Gaussian's excess, whatever the shape of S. They may cross, so that is a
    lower bound, short by at most twice the smaller of the two. So S is taken as the exponential with these values
    (maximum entropy), and the lower bounds over the cells of a fine grid are added: exact but for the (at most two)
    cells with a crossing.
    """
    rate_F1 = (share_F / excess_F.clamp(min=1e-300))[:, None]
    # Q(9) = 1e-19: beyond the grid S stands alone.
    grid_G = torch.linspace(0, 1, 512, dtype=torch.float64, device=edge_F.device)
    t_FG = (9 - edge_F).clamp(min=1)[:, None] * grid_G
    rest_FG = excess_F[:, None] * torch.exp(-rate_F1 * t_FG) - _normal_excess(edge_F[:, None] + t_FG)
    return rest_FG.diff(dim=1).abs().sum(1) + rest_FG[:, -1].abs()


def checked(what: str, values: Tensor, num_columns: int) -> Tensor:
    values = values.detach()
    if values.ndim != 2 or values.shape[1] != num_columns:
        raise ValueError(f"{what} have shape {tuple(values.shape)}, need [tokens, {num_columns}]")
    # The extremes show any NaN or infinity in a twentieth of the time of isfinite().
    if values.numel() and not torch.stack(values.aminmax()).isfinite().all():
        raise ValueError(f"{what} hold {(~values.isfinite()).sum().item()} NaN or infinite values of {values.numel()}")
    return values


def chunk_length(num_columns: int, device: torch.device) -> int:
    """Rows of float64 that stay in a core's cache, or fill a GPU."""
    return max(1, 2 ** (17 if device.type == "cpu" else 22) // num_columns)


def _by_neuron(values_TF: Tensor) -> Iterator[Tensor]:
    """[F, up to TOKENS] pieces, each neuron's values side by side, so that its bins stay in cache while they count.

    Overwritten by the next piece: fresh memory would cost more than the work on it.
    """
    y_FT = None
    for piece_TF in values_TF.split(TOKENS) if len(values_TF) else ():
        if y_FT is None or y_FT.shape[1] != len(piece_TF):
            y_FT = torch.empty_like(piece_TF.t(), memory_format=torch.contiguous_format)
        yield y_FT.copy_(piece_TF.t())


def _float64_blocks(y_FT: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """(neurons, their values as float64, two scratch tensors of that shape), overwritten by the next."""
    length = chunk_length(y_FT.shape[1], y_FT.device)
    blocks_3NT = y_FT.new_empty((3, min(length, len(y_FT)), y_FT.shape[1]), dtype=torch.float64)
    for first in range(0, len(y_FT), length):
        piece_NT = y_FT[first : first + length]
        y_NT, *spare = blocks_3NT[:, : len(piece_NT)]
        yield slice(first, first + len(piece_NT)), y_NT.copy_(piece_NT), *spare


def no_counts(ranges: Ranges) -> Tensor:
    return torch.zeros(len(ranges.width_F), ranges.num_bins + 2, dtype=torch.int32, device=ranges.width_F.device)


def count(counts_FK2: Tensor, columns_FN: Tensor) -> None:
    """Add one to the column of every value; those < 0 and > K + 1 go to the first and last. Overwrites `columns_FN`."""
    columns_FN = columns_FN.clamp_(0, counts_FK2.shape[1] - 1).long()
    counts_FK2.scatter_add_(1, columns_FN, counts_FK2.new_ones(1).expand_as(columns_FN))


def merged(mine: Any, theirs: Any) -> dict[str, Tensor]:
    """Sums of two sketches. Raises ValueError unless their bins are the very same."""
    a, b = mine.ranges, theirs.ranges.to(mine.ranges.width_F.device)
    if a.num_bins != b.num_bins or not torch.equal(a.zero_bin_F, b.zero_bin_F) or not torch.equal(a.width_F, b.width_F):
        raise ValueError("cannot merge sketches over different ranges; give every shard the Ranges of one calibration")
    return {name: sum_F + theirs._sums[name].to(sum_F.device) for name, sum_F in mine._sums.items()}


def copied(state: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    return {name: value.to(device, copy=True) if isinstance(value, Tensor) else value for name, value in state.items()}
