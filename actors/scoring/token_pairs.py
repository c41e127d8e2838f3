"""The token pairs behind mapping difficulty: seeded, drawn inside fixed blocks of windows. Pure numpy.

Owns the draw. The invariant: a block's pairs depend on the seed, on the block's index in the corpus and on which of its
tokens are kept, and on nothing else, so that neither the batch size nor sharding changes them.

B windows of a block, W window length, P pairs.
"""

from typing import NamedTuple

import numpy as np


class TokenPairs(NamedTuple):
    """The pairs of one block of windows."""

    positions: np.ndarray
    """[2P] flat positions of the paired tokens in the block, ascending."""
    i: np.ndarray
    """[P] index into `positions` of each pair's first token."""
    j: np.ndarray
    """[P] index into `positions` of each pair's second token."""


def draw_pairs(keep_BW: np.ndarray, pairs_per_block: int, seed: int, block: int) -> TokenPairs:
    """Pair 2P distinct kept tokens of the block at random; P = pairs_per_block, fewer where tokens are too few.

    keep_BW: bool, the tokens that may be drawn; block: the block's index in the whole corpus.
    """
    eligible = np.flatnonzero(keep_BW)
    num_pairs = min(pairs_per_block, len(eligible) // 2)
    if not num_pairs:
        return TokenPairs(*(np.empty(0, dtype=np.int64) for _ in range(3)))
    rng = np.random.default_rng([seed, block])
    drawn = rng.choice(eligible, 2 * num_pairs, replace=False)
    positions = np.sort(drawn)
    where = np.searchsorted(positions, drawn)
    return TokenPairs(positions=positions, i=where[:num_pairs], j=where[num_pairs:])


def rows_among_kept(positions: np.ndarray, keep_BW: np.ndarray, windows: slice) -> np.ndarray:
    """For the flat positions that lie in these windows: their indices among the windows' kept tokens."""
    length = keep_BW.shape[1]
    first, stop = windows.start * length, min(windows.stop, len(keep_BW)) * length
    inside = positions[(positions >= first) & (positions < stop)] - first
    return (np.cumsum(keep_BW[windows].ravel()) - 1)[inside]
