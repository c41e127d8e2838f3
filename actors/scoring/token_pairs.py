"""The token pairs behind mapping difficulty: seeded, drawn inside fixed blocks of windows. Pure numpy.

Owns the draw, and which tokens must be held until their partners come: batch by batch, at most about a quarter of the
paired tokens, so that many pairs need little memory. The invariant: a block's pairs and their halves depend on the
seed, on the block's index in the corpus and on which of its tokens are kept, and on nothing else, so that neither the
batch size nor sharding changes them.

B windows of a block, W window length, P pairs.
"""

from collections.abc import Iterator
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


class CompletedPairs(NamedTuple):
    """The pairs whose later token is in a batch of windows. Held are the tokens that came before and lack a partner."""

    rows: np.ndarray
    """Indices, among the batch's kept tokens, of its paired tokens: they are appended to the held ones."""
    i: np.ndarray
    """Index into the tokens then held of each pair's first token."""
    j: np.ndarray
    """Index into the tokens then held of each pair's second token."""
    half: np.ndarray
    """0 or 1, the half of the block's pairs to which each belongs: they alternate in the order of the draw."""
    waiting: np.ndarray
    """Indices into the tokens then held of those that are still without a partner: they alone stay held."""


def completed_pairs(pairs: TokenPairs, keep_BW: np.ndarray, batch_windows: int) -> Iterator[CompletedPairs]:
    """The block's pairs, batch by batch of its windows; every pair comes once."""
    partner = np.empty(len(pairs.positions), dtype=np.int64)
    partner[pairs.i], partner[pairs.j] = pairs.j, pairs.i
    later, half = np.maximum(pairs.i, pairs.j), np.arange(len(pairs.i)) % 2
    held = np.empty(0, dtype=np.int64)  # indices into the positions, ascending
    for first in range(0, len(keep_BW), batch_windows):
        windows = slice(first, first + batch_windows)
        rows = rows_among_kept(pairs.positions, keep_BW, windows)
        start, stop = np.searchsorted(pairs.positions, np.array([first, windows.stop]) * keep_BW.shape[1])
        held = np.concatenate((held, np.arange(start, stop)))
        done = (later >= start) & (later < stop)
        waiting = np.flatnonzero(partner[held] >= stop)
        i, j = (np.searchsorted(held, tokens[done]) for tokens in (pairs.i, pairs.j))
        yield CompletedPairs(rows=rows, i=i, j=j, half=half[done], waiting=waiting)
        held = held[waiting]


def rows_among_kept(positions: np.ndarray, keep_BW: np.ndarray, windows: slice) -> np.ndarray:
    """For the flat positions that lie in these windows: their indices among the windows' kept tokens."""
    length = keep_BW.shape[1]
    first, stop = windows.start * length, min(windows.stop, len(keep_BW)) * length
    inside = positions[(positions >= first) & (positions < stop)] - first
    return (np.cumsum(keep_BW[windows].ravel()) - 1)[inside]
