"""The logits pass over a tiny random Transformers decoder: packs give what plain forwards of each sequence give.

The adapter runs Transformers' own model and puts only `attend` in place of its attention, as vLLM's worker does.
"""

import contextlib

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, MistralConfig, MistralForCausalLM

from actors.ablation import logits_pass, tree_attention
from actors.ablation.clamps import Act, ClampSet, LayerClamp
from actors.ablation.condition_tree import Pass, layer_passes, plan_passes
from actors.ablation.logits_pass import LayerWalk, score_pack, sweep_pack
from actors.ablation.token_tree import Pack, plan_packs
from actors.ablation.tree_attention import Tree, attend

VOCABULARY, WINDOW = 23, 4
BLOCKS = [1, 3, 8, 1000]
CURRENT: list[Tree] = []


def attend_tree(module, query, key, value, attention_mask, scaling, sliding_window=None, **options):
    """Transformers' attention function, [1, heads, N, D] in and [1, N, heads, D] out."""
    q_NHD, k_NGD, v_NGD = (x[0].transpose(0, 1) for x in (query, key, value))
    return attend(q_NHD, k_NGD, v_NGD, scale=scaling, tree=CURRENT[-1], window=sliding_window)[None], None


AttentionInterface.register("halfwave_tree", attend_tree)


def make(window: int | None) -> tuple[MistralForCausalLM, MistralForCausalLM]:
    """The same random decoder twice: with tree attention, and with Transformers' own; grouped queries, float32."""
    config = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "sliding_window": window,
        "initializer_range": 0.3, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    plain = MistralForCausalLM(MistralConfig(**config, attn_implementation="eager")).eval()
    tree = MistralForCausalLM(MistralConfig(**config, attn_implementation="halfwave_tree")).eval()
    tree.load_state_dict(plain.state_dict())
    return tree, plain


MODELS = {window: make(window) for window in (None, WINDOW)}


class TransformersDecoder:
    """A Transformers model as `logits_pass.Decoder`; remembers how many rows each call of the head had."""

    device, flex = torch.device("cpu"), False
    vocabulary = VOCABULARY

    def __init__(self, model):
        self.model, self.head_rows = model, []

    def hidden(self, ids_N, tree):
        CURRENT.append(tree)
        with contextlib.ExitStack() as stack:
            stack.callback(CURRENT.pop)
            return self.model.model(input_ids=ids_N[None], position_ids=tree.depth_N[None], use_cache=False)[0][0]

    def logits(self, hidden_R):
        self.head_rows.append(len(hidden_R))
        return self.model.lm_head(hidden_R)


@torch.inference_mode()
def plain_log_probabilities(model, sequence) -> np.ndarray:
    """[len - 1] of one sequence on its own, by Transformers."""
    logits = model(input_ids=torch.tensor([list(sequence)])).logits[0, :-1].double()
    return logits.log_softmax(-1)[torch.arange(len(sequence) - 1), torch.tensor(list(sequence[1:]))].numpy()


def through_packs(decoder, sequences, score_from, max_nodes):
    plan = plan_packs([np.array(s) for s in sequences], np.array(score_from), max_nodes)
    edges = torch.cat([score_pack(decoder, pack) for pack in plan.packs]).numpy()
    return plan, np.split(plan.token_log_probabilities(edges), plan.offsets[1:-1])


def forest(seed: int) -> tuple[list[list[int]], list[int]]:
    """Ten sequences that share a stem, and beyond it many prefixes (three tokens only); where each is scored from."""
    generator = np.random.default_rng(seed)
    stem = generator.integers(0, VOCABULARY, generator.integers(0, 9)).tolist()
    sequences = [stem + generator.integers(0, 3, generator.integers(2, 10)).tolist() for _ in range(10)]
    return sequences, [int(generator.integers(1, len(sequence))) for sequence in sequences]


@pytest.mark.parametrize("window", [None, WINDOW], ids=["full attention", "sliding window"])
@pytest.mark.parametrize(("seed", "max_nodes"), [(0, 1), (1, 7), (2, 20), (3, 1000)])
@pytest.mark.parametrize("block", BLOCKS)
def test_trees_give_what_plain_forwards_give(monkeypatch, window, seed, max_nodes, block):
    monkeypatch.setattr(tree_attention, "BLOCK", block)
    tree_model, plain_model = MODELS[window]
    sequences, score_from = forest(seed)
    plan, found = through_packs(TransformersDecoder(tree_model), sequences, score_from, max_nodes)
    assert plan.num_nodes < plan.num_tokens
    for sequence, start, log_probabilities in zip(sequences, score_from, found, strict=True):
        wanted = plain_log_probabilities(plain_model, sequence)[start - 1 :]
        np.testing.assert_allclose(log_probabilities, wanted, atol=1e-5, rtol=0)


def test_the_decoder_of_these_tests_tells_right_from_wrong():
    """Positions, the window and every earlier token matter to it, or the test above would say little."""
    sequence = list(range(1, 13))
    base = plain_log_probabilities(MODELS[None][1], sequence)
    assert np.abs(plain_log_probabilities(MODELS[WINDOW][1], sequence) - base)[WINDOW + 1 :].max() > 0.01
    assert np.abs(plain_log_probabilities(MODELS[None][1], [9, *sequence[1:]]) - base)[-1] > 1e-3
    assert np.abs(plain_log_probabilities(MODELS[None][1], [2, 1, *sequence[2:]]) - base)[-1] > 1e-4


def test_a_window_of_text_is_a_chain():
    tree_model, plain_model = MODELS[WINDOW]
    text = np.random.default_rng(0).integers(0, VOCABULARY, 50)
    plan, (found,) = through_packs(TransformersDecoder(tree_model), [text], [1], 10)
    assert len(plan.packs) == 1
    np.testing.assert_allclose(found, plain_log_probabilities(plain_model, text), atol=1e-5, rtol=0)


def test_a_pack_without_edges_is_not_forwarded():
    """A long context whose choices come in a later pack: the first pack scores nothing, the others still count."""
    context = list(range(1, 19))
    sequences = [[*context, choice, 5] for choice in range(6)]
    plan = plan_packs([np.array(s) for s in sequences], np.full(6, len(context)), 20)
    barren = [pack for pack in plan.packs if not len(pack.rows)]
    assert barren, "the plan has no such pack; choose another"

    class Refusing(TransformersDecoder):
        def hidden(self, ids_N, tree):
            raise AssertionError("forwarded")

    found = score_pack(Refusing(None), barren[0])
    assert found.shape == (0,) and found.dtype is torch.float32
    tree_model, plain_model = MODELS[None]
    _, scored = through_packs(TransformersDecoder(tree_model), sequences, np.full(6, len(context)), 20)
    for sequence, log_probabilities in zip(sequences, scored, strict=True):
        wanted = plain_log_probabilities(plain_model, sequence)[len(context) - 1 :]
        np.testing.assert_allclose(log_probabilities, wanted, atol=1e-5, rtol=0)


# -- masks and attention ---------------------------------------------------------------------------------------------


def visible(pack: Pack, window: int | None) -> np.ndarray:
    """By following each node's chain of parents; a parent is the last earlier node that is one less deep."""
    num_nodes = len(pack.ids)
    sees = np.zeros((num_nodes, num_nodes), dtype=bool)
    for q in range(num_nodes):
        node, depth = q, pack.depth[q]
        while node is not None:
            sees[q, node] = window is None or pack.depth[q] - pack.depth[node] < window
            depth -= 1
            node = next((j for j in range(node - 1, -1, -1) if pack.depth[j] == depth), None) if depth >= 0 else None
    return sees


def seen(tree: Tree, window: int | None) -> np.ndarray:
    """[N, N] bool from a tree's blocks; a pair that two blocks or two keys allow counts twice."""
    counts = np.zeros((tree.num_nodes, tree.num_nodes), dtype=int)
    block, _, query, key = np.nonzero(tree.mask(window, (), torch.float32).numpy() == 0)
    flat = block * tree.queries_BQ.shape[1] + query
    real = flat < tree.num_nodes
    np.add.at(counts, (flat[real], tree.keys_BK.numpy()[block, key][real]), 1)
    return counts


@pytest.mark.parametrize("window", [None, 1, 2, 3, 100])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_mask_is_the_chain_of_ancestors_within_the_window(monkeypatch, window, block):
    monkeypatch.setattr(tree_attention, "BLOCK", block)
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 3, generator.integers(2, 9)) for _ in range(20)]
    for pack in plan_packs(sequences, np.ones(20), 12).packs:
        tree = Tree(pack, "cpu")
        assert np.array_equal(seen(tree, window), visible(pack, window))
        assert tree.mask(window, (), torch.float32) is tree.mask(window, (), torch.float32), (
            "made once for each window size"
        )
        assert np.array_equal(seen(tree, None), visible(pack, None)), "window sizes do not mix"


def test_blocks_look_at_few_keys_where_sequences_are_short_and_at_the_whole_path_of_a_text():
    generator = np.random.default_rng(0)
    (sentences,) = plan_packs([generator.integers(0, 50, 10) for _ in range(50)], np.ones(50), 1000).packs
    few = Tree(sentences, "cpu")
    assert few.queries_BQ.shape[1] == tree_attention.BLOCK and few.keys_BK.shape[1] <= tree_attention.BLOCK + 9
    (text,) = plan_packs([generator.integers(0, 50, 300)], np.ones(1), 1000).packs
    assert Tree(text, "cpu").mask(None, (), torch.float32).shape == (1, 1, 299, 299)


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("slopes", [(), (0.5, 0.25, 0.125, 0.0625)], ids=["", "ALiBi"])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("block", [*BLOCKS, "flex"])
@pytest.mark.parametrize(
    "sequences", [([1, 2, 3, 4], [1, 2, 5, 6], [7, 8]), ([1, 2, 3, 4, 5, 6],)], ids=["tree", "path"]
)
def test_attention_is_the_softmax_over_what_a_node_sees(monkeypatch, heads, groups, slopes, window, block, sequences):
    if block != "flex":
        monkeypatch.setattr(tree_attention, "BLOCK", block)
    (pack,) = plan_packs([np.array(s) for s in sequences], np.ones(len(sequences)), 100).packs
    generator, num_nodes, size = torch.Generator().manual_seed(0), len(pack.ids), 8
    q_NHD = torch.randn(num_nodes, heads, size, generator=generator)
    k_NGD, v_NGD = (torch.randn(num_nodes, groups, size, generator=generator) for _ in range(2))
    tree = Tree(pack, "cpu", block == "flex")
    found = attend(q_NHD, k_NGD, v_NGD, scale=0.7, tree=tree, window=window, slopes=slopes)
    sees = visible(pack, window)
    assert found.shape == (num_nodes, heads, size)
    for n in range(num_nodes):
        for h in range(heads):
            g = h // (heads // groups)
            keys = torch.tensor(np.flatnonzero(sees[n]))
            distance = torch.tensor(pack.depth[n] - pack.depth[keys.numpy()])
            bias = -slopes[h] * distance if slopes else 0
            weights = (0.7 * (k_NGD[keys, g].double() @ q_NHD[n, h].double()) + bias).softmax(0)
            torch.testing.assert_close(found[n, h].double(), weights @ v_NGD[keys, g].double(), atol=1e-5, rtol=0)


# -- the head --------------------------------------------------------------------------------------------------------


class Table:
    """A decoder whose logits are looked up, so that chunks cannot change the rounding."""

    device, flex, vocabulary = torch.device("cpu"), False, 11

    def __init__(self, dtype=torch.float32):
        self.table_VV = torch.randn(11, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
        self.head_rows = []

    def hidden(self, ids_N, tree):
        return ids_N

    def logits(self, hidden_R):
        self.head_rows.append(len(hidden_R))
        return self.table_VV[hidden_R]


def some_pack() -> Pack:
    generator = np.random.default_rng(1)
    (pack,) = plan_packs([generator.integers(0, 11, 7) for _ in range(12)], np.ones(12), 1000).packs
    assert len(pack.targets) > len(np.unique(pack.rows)) > 20
    return pack


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 20, 1000])
def test_head_chunks_give_identical_results_and_keep_within_the_limit(monkeypatch, rows):
    pack, whole, chunked = some_pack(), Table(), Table()
    wanted = score_pack(whole, pack)
    assert whole.head_rows == [len(np.unique(pack.rows))], "logits are made for rows with an edge only, each once"
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary + 3)
    assert torch.equal(score_pack(chunked, pack), wanted)
    assert max(chunked.head_rows) <= rows and sum(chunked.head_rows) == sum(whole.head_rows)


def test_a_limit_below_one_row_makes_single_rows(monkeypatch):
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", 1)
    decoder, pack = Table(), some_pack()
    torch.testing.assert_close(score_pack(decoder, pack), score_pack_by_hand(decoder, pack), atol=1e-6, rtol=0)
    assert set(decoder.head_rows) == {1}


def score_pack_by_hand(decoder, pack):
    log_probabilities_VV = decoder.table_VV.float() - decoder.table_VV.float().logsumexp(-1, keepdim=True)
    return log_probabilities_VV[torch.tensor(pack.ids[pack.rows]), torch.tensor(pack.targets)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_log_sum_is_taken_in_float32_whatever_the_models_dtype(dtype):
    decoder, pack = Table(dtype), some_pack()
    found = score_pack(decoder, pack)
    assert found.dtype is torch.float32 and found.device.type == "cpu"
    torch.testing.assert_close(found, score_pack_by_hand(decoder, pack), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("rows", [2, 1000], ids=["chunked", "whole"])
def test_a_log_probability_that_is_not_finite_is_an_error(monkeypatch, value, rows):
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary)
    decoder, pack = Table(), some_pack()
    decoder.table_VV[pack.ids[pack.rows[-1]], pack.targets[-1]] = value
    with pytest.raises(
        FloatingPointError, match=rf"^[1-9]\d* of {len(pack.targets)} log-probabilities are not finite$"
    ):
        score_pack(decoder, pack)


def test_a_rank_without_the_gathered_head_returns_none():
    class Bare(Table):
        def logits(self, hidden_R):
            return None

    assert score_pack(Bare(), some_pack()) is None


@pytest.mark.parametrize("rows", [2, 1000], ids=["chunked", "whole"])
def test_margins_are_the_distance_to_the_likeliest_token(monkeypatch, rows):
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary)
    decoder, pack = Table(), some_pack()
    found = score_pack(decoder, pack, margins=True)
    assert torch.equal(found[0], score_pack(Table(), pack))
    logits_EV = decoder.table_VV[torch.tensor(pack.ids[pack.rows])]
    expected = logits_EV[torch.arange(len(pack.rows)), torch.tensor(pack.targets)] - logits_EV.amax(-1)
    torch.testing.assert_close(found[1], expected, atol=1e-5, rtol=0)
    assert torch.equal(found[1] == 0, logits_EV.argmax(-1) == torch.tensor(pack.targets)), (
        "0 where it is greedy, exactly"
    )


def test_a_pack_without_edges_has_no_margins_either():
    pack = some_pack()._replace(rows=np.empty(0, dtype=np.int64), targets=np.empty(0, dtype=np.int64))
    assert score_pack(Table(), pack, margins=True).shape == (2, 0)


# -- sweeps over conditions ------------------------------------------------------------------------------------------


def sweeping(window: int | None = None):
    """A decoder of its own with clamps on every layer, wrapped for sweeps."""
    model, _ = make(window)
    layers = model.model.layers
    options = {"d_mlp": 48, "gated": False, "device": "cpu", "dtype": torch.float32}
    clamps = ClampSet([LayerClamp(layer.mlp.act_fn, **options) for layer in layers])
    return TransformersDecoder(model), clamps, LayerWalk(layers)


CONDITIONS = [{}, {0: [1, 5, 7]}, {1: [2, 3]}, {0: [1, 5, 7], 1: [2, 3]}, {1: [2, 3]}]


@pytest.mark.parametrize("max_held", [0, 1, 5])
def test_a_sweep_gives_what_separate_passes_give_to_the_last_bit(max_held):
    decoder, clamps, walk = sweeping()
    settings = []
    for neurons in CONDITIONS:
        clamps.set(neurons, Act(floor=2.0))
        settings.append(clamps.settings())
    sequences, score_from = forest(3)
    plan = plan_packs([np.array(s) for s in sequences], np.array(score_from), 20)
    passes = plan_passes([[tuple(c.get(i, ())) for i in range(2)] for c in CONDITIONS], max_held)
    assert len(plan.packs) > 1
    for pack in plan.packs:
        before = clamps.calls()
        found = sweep_pack(decoder, walk, pack, passes, lambda i: clamps.restore(settings[i]))
        calls = [after - earlier for after, earlier in zip(clamps.calls(), before, strict=True)]
        assert calls == layer_passes(passes, 2), "shared layers ran as often as planned"
        alone = []
        for one in settings:
            clamps.restore(one)
            alone.append(score_pack(decoder, pack))
        assert all(torch.equal(found[i], alone[i]) for i in range(len(CONDITIONS)))
        assert len({tuple(values.tolist()) for values in alone}) == len(CONDITIONS) - 1, "the clamps do something"


def test_a_condition_that_gives_no_finite_numbers_leaves_its_siblings_alone():
    decoder, _, walk = sweeping()
    broken = {}
    original = decoder.logits
    decoder.logits = lambda hidden: original(hidden) + broken.get("now", 0.0)
    (pack,) = plan_packs([np.array([1, 2, 3, 4])], np.ones(1), 100).packs
    passes = plan_passes([["a", "a"], ["a", "b"], ["b", "a"]], 5)
    found = sweep_pack(decoder, walk, pack, passes, lambda i: broken.update(now=np.nan if i == 1 else 0.0))
    assert isinstance(found[1], FloatingPointError)
    assert torch.equal(found[0], found[2]) and torch.equal(found[0], score_pack(decoder, pack))


def test_a_forward_outside_a_sweep_is_whole_and_states_that_are_not_held_cannot_be_resumed():
    decoder, _, walk = sweeping()
    (pack,) = plan_packs([np.array([1, 2, 3, 4])], np.ones(1), 100).packs
    before = score_pack(decoder, pack)
    sweep_pack(decoder, walk, pack, plan_passes([["a", "a"], ["a", "b"]], 5), lambda i: None)
    assert torch.equal(score_pack(decoder, pack), before)
    with pytest.raises(KeyError):
        walk.begin(Pass(condition=0, resume=1, held=()))
