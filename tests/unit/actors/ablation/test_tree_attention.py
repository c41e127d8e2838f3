"""Tree attention against the softmax over what a node sees, found by following its ancestors.

N nodes, H query heads, G key-value heads, D head size.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from actors.ablation import tree_attention
from actors.ablation.token_tree import Pack, plan_packs
from actors.ablation.tree_attention import Tree, attend

BLOCKS = [1, 3, 8, 1000]
SLOPES = (0.5, 0.25, 0.125, 0.0625)


def visible(pack: Pack, window: int | None) -> np.ndarray:
    """[N, N] bool, by following each node's parents; a parent is the last earlier node that is one less deep."""
    num_nodes = len(pack.ids)
    sees = np.zeros((num_nodes, num_nodes), dtype=bool)
    for q in range(num_nodes):
        node: int | None = q
        depth = pack.depth[q]
        while node is not None:
            sees[q, node] = window is None or pack.depth[q] - pack.depth[node] < window
            depth -= 1
            node = next((j for j in range(node - 1, -1, -1) if pack.depth[j] == depth), None) if depth >= 0 else None
    return sees


def seen(tree: Tree, window: int | None) -> np.ndarray:
    """[N, N] how many keys of a tree's blocks let a query see a node: 0 or 1, or the blocks overlap."""
    counts = np.zeros((tree.num_nodes, tree.num_nodes), dtype=int)
    block, _, query, key = np.nonzero(tree.mask(window, (), torch.float32).numpy() == 0)
    flat = block * tree.blocks.queries_BQ.shape[1] + query
    real = flat < tree.num_nodes
    np.add.at(counts, (flat[real], tree.blocks.keys_BK.numpy()[block, key][real]), 1)
    return counts


@pytest.mark.parametrize("window", [None, 1, 2, 3, 100])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_mask_is_the_chain_of_ancestors_within_the_window(
    monkeypatch: pytest.MonkeyPatch, window: int | None, block: int
) -> None:
    monkeypatch.setattr(tree_attention, "BLOCK", block)
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 3, generator.integers(2, 9)) for _ in range(20)]
    for pack in plan_packs(sequences, np.ones(20), 12).packs:
        tree = Tree(pack, "cpu")
        assert np.array_equal(seen(tree, window), visible(pack, window))
        mask = tree.mask(window, (), torch.float32)
        assert tree.mask(window, (), torch.float32) is mask, "made once for each window size"
        assert np.array_equal(seen(tree, None), visible(pack, None)), "window sizes do not mix"


def test_blocks_look_at_few_keys_where_sequences_are_short_and_at_the_whole_path_of_a_text() -> None:
    generator = np.random.default_rng(0)
    (sentences,) = plan_packs([generator.integers(0, 50, 10) for _ in range(50)], np.ones(50), 1000).packs
    few = Tree(sentences, "cpu")
    assert (
        few.blocks.queries_BQ.shape[1] == tree_attention.BLOCK
        and few.blocks.keys_BK.shape[1] <= tree_attention.BLOCK + 9
    )
    (text,) = plan_packs([generator.integers(0, 50, 300)], np.ones(1), 1000).packs
    assert Tree(text, "cpu").mask(None, (), torch.float32).shape == (1, 1, 299, 299)


SEQUENCES = {"tree": ([1, 2, 3, 4], [1, 2, 5, 6], [7, 8]), "path": ([1, 2, 3, 4, 5, 6],)}


def check_attention(pack: Pack, tree: Tree, window: int | None, slopes: tuple[float, ...], groups: int) -> None:
    """Attention of random queries, keys and values over a tree, node by node."""
    generator, num_nodes, heads, size = torch.Generator().manual_seed(0), len(pack.ids), 4, 8
    q_NHD = torch.randn(num_nodes, heads, size, generator=generator)
    k_NGD, v_NGD = (torch.randn(num_nodes, groups, size, generator=generator) for _ in range(2))
    attended = attend(q_NHD, k_NGD, v_NGD, scale=0.7, tree=tree, window=window, slopes=slopes)
    sees = visible(pack, window)
    assert attended.shape == (num_nodes, heads, size)
    for n in range(num_nodes):
        for h in range(heads):
            g = h // (heads // groups)
            keys = torch.tensor(np.flatnonzero(sees[n]))
            distance = torch.tensor(pack.depth[n] - pack.depth[keys.numpy()])
            bias = -slopes[h] * distance if slopes else 0
            weights = (0.7 * (k_NGD[keys, g].double() @ q_NHD[n, h].double()) + bias).softmax(0)
            torch.testing.assert_close(attended[n, h].double(), weights @ v_NGD[keys, g].double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("slopes", [(), SLOPES], ids=["", "ALiBi"])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sequences", SEQUENCES.values(), ids=SEQUENCES)
def test_attention_is_the_softmax_over_what_a_node_sees(
    monkeypatch: pytest.MonkeyPatch,
    groups: int,
    slopes: tuple[float, ...],
    window: int | None,
    block: int,
    sequences: tuple[list[int], ...],
) -> None:
    monkeypatch.setattr(tree_attention, "BLOCK", block)
    (pack,) = plan_packs([np.array(s) for s in sequences], np.ones(len(sequences)), 100).packs
    check_attention(pack, Tree(pack, "cpu"), window, slopes, groups)


@pytest.mark.parametrize("groups", [2, 1])
@pytest.mark.parametrize("slopes", [(), SLOPES], ids=["", "ALiBi"])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("sequences", SEQUENCES.values(), ids=SEQUENCES)
def test_heads_that_share_keys_may_attend_as_one(
    monkeypatch: pytest.MonkeyPatch,
    groups: int,
    slopes: tuple[float, ...],
    window: int | None,
    sequences: tuple[list[int], ...],
) -> None:
    """As on CUDA, where the keys are never copied for every head."""
    monkeypatch.setattr(tree_attention, "FOLDED_ON", ("cpu",))
    plain, shapes = torch.nn.functional.scaled_dot_product_attention, []

    def noting(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: Any) -> torch.Tensor:
        shapes.append((q.shape[1], k.shape[1], options["enable_gqa"]))
        return plain(q, k, v, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noting)
    (pack,) = plan_packs([np.array(s) for s in sequences], np.ones(len(sequences)), 100).packs
    tree = Tree(pack, "cpu")
    check_attention(pack, tree, window, slopes, groups)
    if not tree.is_path or window or slopes:
        assert shapes == [(groups, groups, False)]


def test_a_path_needs_no_mask_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_attention, "_blocks", None)
    (text,) = plan_packs([np.arange(5000)], np.ones(1), 10_000).packs
    tree = Tree(text, "cpu")
    q = torch.randn(4999, 2, 4)
    attend(q, q, q, scale=1.0, tree=tree, window=None)
    assert "blocks" not in tree.__dict__, "ordinary causal attention"
    assert tree.mask(64, (), torch.float32).shape == (1, 1, 4999, 4999)


FLEX_CASES = [
    pytest.param(groups, slopes, window, marks=[] if (groups, slopes, window) == (2, SLOPES, 2) else pytest.mark.long)
    for groups in (4, 2, 1)
    for slopes in ((), SLOPES)
    for window in (None, 2)
]


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("groups", "slopes", "window"), FLEX_CASES)
@pytest.mark.parametrize("sequences", SEQUENCES.values(), ids=SEQUENCES)
def test_flex_attention_is_the_softmax_over_what_a_node_sees(
    groups: int, slopes: tuple[float, ...], window: int | None, sequences: tuple[list[int], ...]
) -> None:
    (pack,) = plan_packs([np.array(s) for s in sequences], np.ones(len(sequences)), 100).packs
    check_attention(pack, Tree(pack, "cpu", flex=True), window, slopes, groups)


def some_tree(flex: bool) -> tuple[Tree, torch.Tensor, torch.Tensor]:
    """A tree, queries, and keys that are values too."""
    (pack,) = plan_packs([np.array(s) for s in SEQUENCES["tree"]], np.ones(3), 100).packs
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(len(pack.ids), heads, 8, generator=generator) for heads in (4, 2))
    return Tree(pack, "cpu", flex), q, k


def failing_flex(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(tree_attention, "_flex_attention", lambda device_type: fail)


def test_a_kernel_that_fails_late_is_replaced_by_block_attention(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tree, q, k = some_tree(flex=True)
    failing_flex(monkeypatch, RuntimeError("ptxas: out of registers\nmore"))
    attended = attend(q, k, k, scale=0.3, tree=tree, window=None)
    assert torch.equal(attended, attend(q, k, k, scale=0.3, tree=some_tree(flex=False)[0], window=None))
    assert (tree.flex, tree.flex_failure) == (False, "RuntimeError: ptxas: out of registers")
    assert "block attention from here on" in caplog.text


def test_a_full_device_is_no_fault_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, q, k = some_tree(flex=True)
    failing_flex(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        attend(q, k, k, scale=0.3, tree=tree, window=None)
    assert tree.flex


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_proof_of_flex_attention_has_two_lengths_and_raises_what_the_kernel_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packs = [tree_attention._random_pack(count) for count in (4, 20)]
    lengths = [Tree(pack, "cpu", flex=True).flex_rule(None, ()).block_mask.seq_lengths[0] for pack in packs]
    assert lengths == [128, 256]
    proof = partial(tree_attention._flex_difference, torch.device("cpu"), packs[0], (4, 2), 8, torch.float32, ())
    assert proof(3) < 1e-5
    failing_flex(monkeypatch, RuntimeError("no compiler"))
    with pytest.raises(RuntimeError, match="no compiler"):
        proof(None)


def large_packs() -> list[Pack]:
    """Many short sentences, a long text with branches, and a few texts side by side: several blocks of each kind."""
    generator = np.random.default_rng(0)
    short = [generator.integers(0, 4, generator.integers(4, 24)) for _ in range(200)]
    stem = generator.integers(0, 9, 400)
    branches = [np.concatenate([stem[:end], [10 + end]]) for end in range(130, 400, 30)]
    texts = [generator.integers(0, 9, 300) for _ in range(3)]
    packs = [plan_packs(sequences, np.ones(len(sequences)), 2000).packs for sequences in (short, branches, texts)]
    return [pack for (pack,) in packs]


@pytest.mark.parametrize("window", [None, 7, 150])
@pytest.mark.parametrize("pack", large_packs(), ids=["sentences", "branches", "texts"])
def test_the_blocks_that_flex_attention_visits_are_those_of_pytorchs_own_mask(pack: Pack, window: int | None) -> None:
    """With a window, a block more may be visited, and none is taken as wholly seen: the rule is applied within them."""
    mask = Tree(pack, "cpu", flex=True).flex_rule(window, ()).block_mask
    length = mask.seq_lengths[0]
    right = create_block_mask(mask.mask_mod, None, None, length, length, device="cpu")
    visited, whole = (kind(mask) for kind in (_visited, _whole))
    if window is None:
        assert torch.equal(visited, _visited(right)) and torch.equal(whole, _whole(right))
    else:
        assert (visited >= _visited(right)).all() and not whole.any()
        assert visited.sum() <= _visited(right).sum() + len(visited)


def _visited(mask: BlockMask) -> torch.Tensor:
    """[B, B] blocks of queries and keys that are visited."""
    return mask.to_dense()[0, 0].bool()


def _whole(mask: BlockMask) -> torch.Tensor:
    """[B, B] blocks in which every query sees every key."""
    counts, indices = mask.full_kv_num_blocks[0, 0], mask.full_kv_indices[0, 0]
    whole = torch.zeros(indices.shape, dtype=torch.bool)
    for row, (count, of_row) in enumerate(zip(counts.tolist(), indices, strict=True)):
        whole[row, of_row[:count].long()] = True
    return whole


@pytest.mark.long
def test_compiled_flex_attention_over_many_blocks_equals_block_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention)
    monkeypatch.setattr(tree_attention, "_flex_attention", lambda device_type: compiled)
    for pack in large_packs():
        q, k, v = (torch.randn(len(pack.ids), heads, 16) for heads in (4, 2, 2))
        for window in (None, 150):
            with torch.inference_mode():
                tree = Tree(pack, "cpu", flex=True)
                flex, blocks = (
                    attend(q, k, v, scale=0.25, tree=each, window=window) for each in (tree, Tree(pack, "cpu"))
                )
            assert not tree.flex_failure, tree.flex_failure
            torch.testing.assert_close(flex, blocks, atol=1e-5, rtol=0)


@pytest.mark.long
def test_compiled_flex_attention_is_compiled_once_and_equals_block_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of trees of one padded length: the compiler is not asked again from tree to tree."""
    from torch._dynamo.utils import counters
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(flex_attention)
    monkeypatch.setattr(tree_attention, "_flex_attention", lambda device_type: compiled)
    generator = np.random.default_rng(0)
    graphs = []
    for count in range(20, 26):
        sequences = [generator.integers(0, 4, 12) for _ in range(count)]
        for pack in plan_packs(sequences, np.ones(count), 250).packs:
            q, k, v = (torch.randn(len(pack.ids), heads, 16) for heads in (4, 2, 2))
            with torch.inference_mode():
                tree = Tree(pack, "cpu", flex=True)
                flex, blocks = (attend(q, k, v, scale=0.25, tree=each, window=5) for each in (tree, Tree(pack, "cpu")))
            assert not tree.flex_failure, tree.flex_failure
            torch.testing.assert_close(flex, blocks, atol=1e-5, rtol=0)
            graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[0] > 0
