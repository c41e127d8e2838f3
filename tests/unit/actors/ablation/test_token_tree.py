"""Packs against brute force: every prefix once, the mask rule, and the mapping back to sequences."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ablation.token_tree import PACK_MULTIPLE, PackPlan, plan_packs

token_lists = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=9), min_size=1, max_size=25)


def prefix_scores(sequence: Sequence[int], start: int) -> list[int]:
    """In place of a model: a number that depends on the whole prefix and the next token."""
    return [hash((tuple(sequence[:t]), sequence[t])) % 1000 for t in range(start, len(sequence))]


def scored_through_packs(plan: PackPlan) -> np.ndarray:
    """The same numbers, read only from what a pack lets a decoder see."""
    values = []
    for pack in plan.packs:
        position = np.arange(len(pack.ids))
        sees = (position[None, :] <= position[:, None]) & (position[:, None] < pack.end[None, :])
        for row, target in zip(pack.rows, pack.targets, strict=True):
            visible = np.flatnonzero(sees[row])
            assert pack.depth[visible].tolist() == list(range(pack.depth[row] + 1))  # one token a position: a chain
            values.append(hash((tuple(pack.ids[visible].tolist()), int(target))) % 1000)
    return np.array(values, dtype=np.float64)


def check_that_every_scored_token_sees_its_prefix(
    sequences: list[list[int]], max_nodes: int, data: st.DataObject
) -> None:
    score_from = np.array([data.draw(st.integers(1, len(sequence) - 1)) for sequence in sequences])
    plan = plan_packs([np.array(sequence) for sequence in sequences], score_from, max_nodes)
    values = scored_through_packs(plan)
    expected = [prefix_scores(sequence, start) for sequence, start in zip(sequences, score_from, strict=True)]
    assert plan.token_log_probabilities(values).tolist() == [value for scores in expected for value in scores]
    assert plan.sums(values).tolist() == [float(sum(scores)) for scores in expected]
    assert plan.counts().tolist() == [len(scores) for scores in expected]
    limit = max(max_nodes, max(map(len, sequences)) - 1)
    assert all(len(pack.ids) <= limit for pack in plan.packs)


@settings(max_examples=30, deadline=None)
@given(sequences=token_lists, max_nodes=st.integers(1, 30), data=st.data())
def test_every_scored_token_sees_exactly_its_prefix(
    sequences: list[list[int]], max_nodes: int, data: st.DataObject
) -> None:
    check_that_every_scored_token_sees_its_prefix(sequences, max_nodes, data)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(sequences=token_lists, max_nodes=st.integers(1, 30), data=st.data())
def test_every_scored_token_sees_exactly_its_prefix_in_many_forests(
    sequences: list[list[int]], max_nodes: int, data: st.DataObject
) -> None:
    check_that_every_scored_token_sees_its_prefix(sequences, max_nodes, data)


@settings(max_examples=40, deadline=None)
@given(sequences=token_lists)
def test_without_cuts_every_prefix_is_computed_once_and_leaves_never(sequences: list[list[int]]) -> None:
    plan = plan_packs([np.array(s) for s in sequences], np.ones(len(sequences)), 10_000)
    prefixes = {tuple(s[:t]) for s in sequences for t in range(1, len(s))}
    assert plan.num_nodes == len(prefixes)
    assert plan.num_edges == len({tuple(s[:t]) for s in sequences for t in range(2, len(s) + 1)})
    assert plan.num_tokens == sum(map(len, sequences))


def test_the_plan_is_deterministic_and_its_digest_identifies_it() -> None:
    sequences = [np.array([1, 2, 3]), np.array([1, 2, 4, 5]), np.array([6, 7])]
    ones = np.ones(3)
    assert plan_packs(sequences, ones, 4).digest == plan_packs(sequences, ones, 4).digest
    assert plan_packs(sequences, ones, 4).digest != plan_packs(sequences, ones, 3).digest
    assert plan_packs(sequences[::-1], ones, 4).digest != plan_packs(sequences, ones, 4).digest


def test_a_window_is_a_chain_whose_end_is_its_length() -> None:
    window = np.arange(700)
    (pack,) = plan_packs([window], np.ones(1), 512).packs
    assert pack.ids.tolist() == list(range(699)) and set(pack.end.tolist()) == {699}
    assert pack.depth.tolist() == list(range(699))


def test_repeated_ancestors_cost_little_at_a_realistic_size() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.zipf(1.5, size=rng.integers(5, 15)).clip(0, 500) for _ in range(3000)]
    whole = plan_packs(sequences, np.ones(3000), 10**9).num_nodes
    assert plan_packs(sequences, np.ones(3000), 256).num_nodes < 1.05 * whole


def test_a_sequence_with_nothing_to_score_is_named_by_its_index() -> None:
    with pytest.raises(ValueError) as caught:
        plan_packs([np.array([1, 2]), np.array([3])], np.ones(2, dtype=np.int64), 8)
    assert str(caught.value) == "sequence 1 of 1 tokens has nothing to score from position 1"


def test_the_plan_returns_the_sequences_for_the_flat_route() -> None:
    sequences = [np.array([5, 6, 7]), np.array([5, 6])]
    back = plan_packs(sequences, np.ones(2), 8).sequences()
    assert [ids.tolist() for ids in back] == [[5, 6, 7], [5, 6]]


@pytest.mark.parametrize("length", [33, 100, 128, 512, 513])
def test_windows_of_text_stay_whole(length: int) -> None:
    """A window has a few nodes more or less than a multiple: cutting there would forward most of it twice."""
    generator = np.random.default_rng(0)
    windows = [generator.integers(0, 1000, length) for _ in range(7)]
    plan = plan_packs(windows, np.ones(7, dtype=int), 64)
    assert plan.num_nodes == 7 * (length - 1) and (len(plan.packs) == 7 or length == 33)


def test_packs_of_sentences_have_sizes_of_a_multiple_and_repeat_little() -> None:
    generator = np.random.default_rng(0)
    sentences = [generator.integers(0, 1000, generator.integers(5, 20)) for _ in range(400)]
    plan = plan_packs(sentences, np.ones(400, dtype=int), 512)
    assert all(len(pack.ids) % PACK_MULTIPLE == 0 for pack in plan.packs[:-1]) and len(plan.packs) > 5
    whole = plan_packs(sentences, np.ones(400, dtype=int), 10**6).num_nodes
    assert plan.num_nodes <= 1.02 * whole
