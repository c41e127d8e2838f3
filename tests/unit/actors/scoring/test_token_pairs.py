"""The draw of token pairs: seeded by block, distinct, and independent of batches; and the tokens that wait."""

import numpy as np
import pytest

from actors.scoring.token_pairs import completed_pairs, draw_pairs, rows_among_kept

KEEP_BW = np.random.default_rng(0).random((6, 20)) < 0.7


def test_pairs_are_distinct_kept_tokens() -> None:
    pairs = draw_pairs(KEEP_BW, pairs_per_block=25, seed=3, block=1)
    assert len(pairs.i) == len(pairs.j) == 25 and len(np.unique(pairs.positions)) == 50
    assert sorted([*pairs.i, *pairs.j]) == list(range(50)), "every drawn token is in exactly one pair"
    assert KEEP_BW.ravel()[pairs.positions].all()


def test_they_depend_on_the_seed_and_the_block_alone() -> None:
    pairs = draw_pairs(KEEP_BW, pairs_per_block=25, seed=3, block=1)
    again = draw_pairs(KEEP_BW.copy(), pairs_per_block=25, seed=3, block=1)
    assert all(np.array_equal(*arrays) for arrays in zip(pairs, again, strict=True))
    for seed, block in ((3, 2), (4, 1)):
        other = draw_pairs(KEEP_BW, pairs_per_block=25, seed=seed, block=block)
        assert not np.array_equal(pairs.positions, other.positions)


@pytest.mark.parametrize(("num_kept", "num_pairs"), [(0, 0), (1, 0), (2, 1), (7, 3)])
def test_a_block_with_few_tokens_has_fewer_pairs(num_kept: int, num_pairs: int) -> None:
    keep_BW = (np.arange(40) < num_kept).reshape(2, 20)
    assert len(draw_pairs(keep_BW, pairs_per_block=25, seed=0, block=0).i) == num_pairs


@pytest.mark.parametrize("batch", [1, 2, 4, 6])
def test_rows_of_all_batches_are_the_positions(batch: int) -> None:
    positions = draw_pairs(KEEP_BW, pairs_per_block=25, seed=0, block=0).positions
    flat = np.arange(KEEP_BW.size).reshape(KEEP_BW.shape)
    collected = []
    for first in range(0, len(KEEP_BW), batch):
        windows = slice(first, first + batch)
        kept = flat[windows][KEEP_BW[windows]]
        collected += kept[rows_among_kept(positions, KEEP_BW, windows)].tolist()
    assert collected == positions.tolist()


@pytest.mark.parametrize("batch", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("num_pairs", [0, 1, 25, 1000])
def test_every_pair_is_completed_once_from_the_tokens_that_are_held(batch: int, num_pairs: int) -> None:
    pairs = draw_pairs(KEEP_BW, pairs_per_block=num_pairs, seed=0, block=0)
    flat = np.arange(KEEP_BW.size).reshape(KEEP_BW.shape)
    held, found = np.empty(0, dtype=np.int64), []
    for first, completed in zip(range(0, len(KEEP_BW), batch), completed_pairs(pairs, KEEP_BW, batch), strict=True):
        windows = slice(first, first + batch)
        held = np.concatenate((held, flat[windows][KEEP_BW[windows]][completed.rows]))
        found += zip(held[completed.i], held[completed.j], completed.half, strict=True)
        held = held[completed.waiting]
    assert not len(held)
    drawn = zip(pairs.positions[pairs.i], pairs.positions[pairs.j], np.arange(len(pairs.i)) % 2, strict=True)
    assert sorted(found) == sorted(drawn)


def test_only_tokens_without_a_partner_are_held() -> None:
    keep_BW = np.ones((64, 100), dtype=bool)
    pairs = draw_pairs(keep_BW, pairs_per_block=3200, seed=0, block=0)
    num_held = [len(completed.waiting) for completed in completed_pairs(pairs, keep_BW, 1)]
    assert 0.22 < max(num_held) / 6400 < 0.28 and num_held[-1] == 0
