"""Streaming moments of a layer's pre-activations, in float64, and the blocks in which values are processed.

Owns the check of incoming values, their layout (the values of a neuron side by side, in pieces that stay in cache), and
the exact merging of moments. Knows nothing of histograms.

T tokens, F d_mlp, N neurons of one block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TOKENS = 2048
"""Tokens that are counted together."""

CONSTANT_RATIO = 2.0**-40
"""Below this std / |mean|, spread is rounding, not signal: one float32 ulp on one token in 4e9 is still above it."""


class Moments(NamedTuple):
    """Number of tokens, mean, and sums of the 2nd to 4th powers of the deviations from the mean; float64."""

    num_tokens: int
    mean_F: Tensor
    m2_F: Tensor
    m3_F: Tensor
    m4_F: Tensor

    @classmethod
    def of(cls, y_FT: Tensor) -> "Moments":
        """The moments of each row."""
        moments_4F = y_FT.new_empty(4, len(y_FT), dtype=torch.float64)
        for block, y_NT, spare_NT, _ in float64_blocks(y_FT):
            moments_4F[:, block] = central_moments(y_NT, y_NT, spare_NT)
        return cls(y_FT.shape[1], *moments_4F)

    def merge(self, other: "Moments") -> "Moments":
        """The pairwise update of Pebay 2008 (Sandia report SAND2008-6212, section 3); for M2, Chan et al. 1979."""
        if not self.num_tokens:
            return Moments(other.num_tokens, *(tensor_F.to(self.mean_F.device) for tensor_F in other[1:]))
        na, nb = float(self.num_tokens), float(other.num_tokens)  # their powers overflow int64
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
    """[4, N] mean and sums of the 2nd to 4th powers of the deviations, along T.

    deviation_NT, square_NT: scratch memory, overwritten.
    """
    mean_N = y_NT.mean(1)
    torch.sub(y_NT, mean_N[:, None], out=deviation_NT)
    torch.mul(deviation_NT, deviation_NT, out=square_NT)
    m2_N, m3_N = square_NT.sum(1), deviation_NT.mul_(square_NT).sum(1)
    return torch.stack((mean_N, m2_N, m3_N, square_NT.mul_(square_NT).sum(1)))


def checked(what: str, values: Tensor, num_columns: int) -> Tensor:
    """The values, detached. Raises ValueError unless they are [tokens, num_columns] and finite; `what` names them."""
    values = values.detach()
    if values.ndim != 2 or values.shape[1] != num_columns:
        raise ValueError(f"{what} have shape {tuple(values.shape)}, need [tokens, {num_columns}]")
    # the extremes reveal any NaN or infinity in a twentieth of the time that isfinite() takes
    if values.numel() and not torch.stack(values.aminmax()).isfinite().all():
        raise ValueError(f"{what} hold {(~values.isfinite()).sum().item()} NaN or infinite values of {values.numel()}")
    return values


def chunk_length(num_columns: int, device: torch.device) -> int:
    """Number of float64 rows that fit into a core's cache, or keep a GPU busy."""
    return max(1, 2 ** (17 if device.type == "cpu" else 22) // num_columns)


def by_neuron(values_TF: Tensor) -> Iterator[Tensor]:
    """[F, up to TOKENS] pieces: the values of a neuron are contiguous, so its bins stay in cache while they count.

    Each piece overwrites the one before: fresh memory would cost more time than the counting.
    """
    y_FT = None
    for piece_TF in values_TF.split(TOKENS) if len(values_TF) else ():
        if y_FT is None or y_FT.shape[1] != len(piece_TF):
            y_FT = torch.empty_like(piece_TF.t(), memory_format=torch.contiguous_format)
        yield y_FT.copy_(piece_TF.t())


def float64_blocks(y_FT: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """(neurons of a block, their values in float64, two scratch tensors of that shape); each overwrites the last."""
    length = chunk_length(y_FT.shape[1], y_FT.device)
    blocks_3NT = y_FT.new_empty((3, min(length, len(y_FT)), y_FT.shape[1]), dtype=torch.float64)
    for first in range(0, len(y_FT), length):
        piece_NT = y_FT[first : first + length]
        y_NT, *spare = blocks_3NT[:, : len(piece_NT)]
        yield slice(first, first + len(piece_NT)), y_NT.copy_(piece_NT), *spare
