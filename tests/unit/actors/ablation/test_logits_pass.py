"""The logits pass over a tiny random Transformers decoder: packs give what plain forward passes over sequences give.

The adapter runs Transformers' own model and replaces only its attention by `attend`, as vLLM's worker does.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, MistralConfig, MistralForCausalLM

from actors.ablation import logits_pass, tree_attention
from actors.ablation.clamps import ClampSet, LayerClamp
from actors.ablation.condition_tree import Pass, layer_passes, plan_passes
from actors.ablation.logits_pass import LayerWalk, score_pack, sweep_pack
from actors.ablation.token_tree import Pack, PackPlan, plan_packs
from actors.ablation.tree_attention import Tree, attend
from studies.neurons.clamps import Clamp

VOCABULARY, WINDOW = 23, 4
BLOCKS = [1, 3, 8, 1000]
CURRENT: list[Tree] = []


def attend_tree(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
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
    """A Transformers model as `logits_pass.Decoder`."""

    device, flex = torch.device("cpu"), False
    vocabulary = VOCABULARY

    def __init__(self, model: Any):
        self.model = model
        self.head_rows: list[int] = []
        """Rows in each call of the head."""

    def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
        CURRENT.append(tree)
        with contextlib.ExitStack() as stack:
            stack.callback(CURRENT.pop)
            return self.model.model(input_ids=ids_N[None], position_ids=tree.depth_N[None], use_cache=False)[0][0]

    def logits(self, hidden_Rd: Tensor) -> Tensor | None:
        self.head_rows.append(len(hidden_Rd))
        return self.model.lm_head(hidden_Rd)


@torch.inference_mode()
def plain_log_probabilities(model: MistralForCausalLM, sequence: Sequence[int]) -> np.ndarray:
    """[len - 1] of one sequence on its own, by Transformers."""
    logits = model(input_ids=torch.tensor([list(sequence)])).logits[0, :-1].double()
    return logits.log_softmax(-1)[torch.arange(len(sequence) - 1), torch.tensor(list(sequence[1:]))].numpy()


def through_packs(
    decoder: TransformersDecoder, sequences: Sequence[Sequence[int]], score_from: Sequence[int], max_nodes: int
) -> tuple[PackPlan, list[np.ndarray]]:
    """(the plan, the log-probabilities of every sequence)."""
    plan = plan_packs([np.array(s) for s in sequences], np.array(score_from), max_nodes)
    edges = torch.cat([score_pack(decoder, pack) for pack in plan.packs]).numpy()
    return plan, np.split(plan.token_log_probabilities(edges), plan.offsets[1:-1])


def forest(seed: int) -> tuple[list[list[int]], list[int]]:
    """(ten sequences that share a stem and, of three tokens only, many prefixes beyond it; first scored positions)."""
    generator = np.random.default_rng(seed)
    stem = generator.integers(0, VOCABULARY, generator.integers(0, 9)).tolist()
    sequences = [stem + generator.integers(0, 3, generator.integers(2, 10)).tolist() for _ in range(10)]
    return sequences, [int(generator.integers(1, len(sequence))) for sequence in sequences]


@pytest.mark.parametrize("window", [None, WINDOW], ids=["full attention", "sliding window"])
@pytest.mark.parametrize(
    ("block", "seed", "max_nodes"),
    [
        pytest.param(block, seed, max_nodes, marks=[] if i == j else pytest.mark.long)
        for i, block in enumerate(BLOCKS)
        for j, (seed, max_nodes) in enumerate([(0, 1), (1, 7), (2, 20), (3, 1000)])
    ],
)
def test_trees_give_what_plain_forwards_give(
    monkeypatch: pytest.MonkeyPatch, window: int | None, seed: int, max_nodes: int, block: int
) -> None:
    monkeypatch.setattr(tree_attention, "BLOCK", block)
    tree_model, plain_model = MODELS[window]
    sequences, score_from = forest(seed)
    plan, scored = through_packs(TransformersDecoder(tree_model), sequences, score_from, max_nodes)
    assert plan.num_nodes < plan.num_tokens
    for sequence, start, log_probabilities in zip(sequences, score_from, scored, strict=True):
        wanted = plain_log_probabilities(plain_model, sequence)[start - 1 :]
        np.testing.assert_allclose(log_probabilities, wanted, atol=1e-5, rtol=0)


def test_the_decoder_of_these_tests_is_sensitive_to_mistakes() -> None:
    """Positions, the window and every earlier token change its numbers; otherwise the test above would prove little."""
    sequence = list(range(1, 13))
    base = plain_log_probabilities(MODELS[None][1], sequence)
    assert np.abs(plain_log_probabilities(MODELS[WINDOW][1], sequence) - base)[WINDOW + 1 :].max() > 0.01
    assert np.abs(plain_log_probabilities(MODELS[None][1], [9, *sequence[1:]]) - base)[-1] > 1e-3
    assert np.abs(plain_log_probabilities(MODELS[None][1], [2, 1, *sequence[2:]]) - base)[-1] > 1e-4


def test_a_window_of_text_is_one_chain() -> None:
    tree_model, plain_model = MODELS[WINDOW]
    text = np.random.default_rng(0).integers(0, VOCABULARY, 50)
    plan, (log_probabilities,) = through_packs(TransformersDecoder(tree_model), [text], [1], 10)
    assert len(plan.packs) == 1
    np.testing.assert_allclose(log_probabilities, plain_log_probabilities(plain_model, text), atol=1e-5, rtol=0)


def test_a_pack_without_edges_is_not_forwarded() -> None:
    """A long context whose choices lie in a later pack: the first pack scores nothing, the others are complete."""
    context = list(range(1, 19))
    sequences = [[*context, choice, 5] for choice in range(6)]
    plan = plan_packs([np.array(s) for s in sequences], np.full(6, len(context)), 20)
    without_edges = [pack for pack in plan.packs if not len(pack.rows)]
    assert without_edges, "the plan has no such pack; choose another"

    class Refusing(TransformersDecoder):
        def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
            raise AssertionError("forwarded")

    scores_E = score_pack(Refusing(None), without_edges[0])
    assert scores_E is not None and scores_E.shape == (0,) and scores_E.dtype is torch.float32
    tree_model, plain_model = MODELS[None]
    _, scored = through_packs(TransformersDecoder(tree_model), sequences, [len(context)] * 6, 20)
    for sequence, log_probabilities in zip(sequences, scored, strict=True):
        wanted = plain_log_probabilities(plain_model, sequence)[len(context) - 1 :]
        np.testing.assert_allclose(log_probabilities, wanted, atol=1e-5, rtol=0)


# -- the head --------------------------------------------------------------------------------------------------------


class Table:
    """A decoder whose logits are looked up, so that chunks cannot change the rounding."""

    device, flex, vocabulary = torch.device("cpu"), False, 11

    def __init__(self, dtype: torch.dtype = torch.float32):
        self.table_VV = torch.randn(11, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
        self.head_rows: list[int] = []

    def hidden(self, ids_N: Tensor, tree: Tree) -> Tensor:
        return ids_N

    def logits(self, hidden_Rd: Tensor) -> Tensor | None:
        self.head_rows.append(len(hidden_Rd))
        return self.table_VV[hidden_Rd]


def some_pack() -> Pack:
    generator = np.random.default_rng(1)
    (pack,) = plan_packs([generator.integers(0, 11, 7) for _ in range(12)], np.ones(12), 1000).packs
    assert len(pack.targets) > len(np.unique(pack.rows)) > 20
    return pack


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 20, 1000])
def test_head_chunks_give_identical_results_and_keep_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    pack, whole, chunked = some_pack(), Table(), Table()
    wanted = score_pack(whole, pack)
    assert whole.head_rows == [len(np.unique(pack.rows))], "logits are made for rows with an edge only, each once"
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary + 3)
    assert torch.equal(score_pack(chunked, pack), wanted)
    assert max(chunked.head_rows) <= rows and sum(chunked.head_rows) == sum(whole.head_rows)


def test_a_limit_below_one_row_makes_chunks_of_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", 1)
    decoder, pack = Table(), some_pack()
    torch.testing.assert_close(score_pack(decoder, pack), score_pack_by_hand(decoder, pack), atol=1e-6, rtol=0)
    assert set(decoder.head_rows) == {1}


def score_pack_by_hand(decoder: Table, pack: Pack) -> Tensor:
    log_probabilities_VV = decoder.table_VV.float() - decoder.table_VV.float().logsumexp(-1, keepdim=True)
    return log_probabilities_VV[torch.tensor(pack.ids[pack.rows]), torch.tensor(pack.targets)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_log_sum_is_taken_in_float32_whatever_the_models_dtype(dtype: torch.dtype) -> None:
    decoder, pack = Table(dtype), some_pack()
    scores_E = score_pack(decoder, pack)
    assert scores_E is not None and scores_E.dtype is torch.float32 and scores_E.device.type == "cpu"
    torch.testing.assert_close(scores_E, score_pack_by_hand(decoder, pack), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("rows", [2, 1000], ids=["chunked", "whole"])
def test_a_log_probability_that_is_not_finite_is_an_error(
    monkeypatch: pytest.MonkeyPatch, value: float, rows: int
) -> None:
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary)
    decoder, pack = Table(), some_pack()
    decoder.table_VV[pack.ids[pack.rows[-1]], pack.targets[-1]] = value
    with pytest.raises(FloatingPointError) as caught:
        score_pack(decoder, pack)
    expected = rf"[1-9]\d* of {len(pack.targets)} log-probabilities are not finite"
    assert re.fullmatch(expected, str(caught.value))


def test_a_rank_without_the_gathered_head_returns_none() -> None:
    class Bare(Table):
        def logits(self, hidden_Rd: Tensor) -> Tensor | None:
            return None

    assert score_pack(Bare(), some_pack()) is None


@pytest.mark.parametrize("rows", [2, 1000], ids=["chunked", "whole"])
def test_margins_are_the_distance_to_the_likeliest_token(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setitem(logits_pass.HEAD_BYTES, "cpu", rows * 4 * Table.vocabulary)
    decoder, pack = Table(), some_pack()
    scores_2E = score_pack(decoder, pack, margins=True)
    assert scores_2E is not None and torch.equal(scores_2E[0], score_pack(Table(), pack))
    logits_EV = decoder.table_VV[torch.tensor(pack.ids[pack.rows])]
    expected = logits_EV[torch.arange(len(pack.rows)), torch.tensor(pack.targets)] - logits_EV.amax(-1)
    torch.testing.assert_close(scores_2E[1], expected, atol=1e-5, rtol=0)
    is_greedy_E = logits_EV.argmax(-1) == torch.tensor(pack.targets)
    assert torch.equal(scores_2E[1] == 0, is_greedy_E), "0 where it is greedy, exactly"


def test_a_pack_without_edges_has_no_margins_either() -> None:
    pack = some_pack()._replace(rows=np.empty(0, dtype=np.int64), targets=np.empty(0, dtype=np.int64))
    scores_2E = score_pack(Table(), pack, margins=True)
    assert scores_2E is not None and scores_2E.shape == (2, 0)


# -- sweeps over conditions ------------------------------------------------------------------------------------------


def sweeping(window: int | None = None) -> tuple[TransformersDecoder, ClampSet, LayerWalk]:
    """A decoder of its own with clamps on every layer, wrapped for sweeps."""
    model, _ = make(window)
    layers = model.model.layers
    options = {"d_mlp": 48, "gated": False, "device": "cpu", "dtype": torch.float32}
    clamps = ClampSet([LayerClamp(layer.mlp.act_fn, **options) for layer in layers])
    return TransformersDecoder(model), clamps, LayerWalk(layers)


CONDITIONS: list[dict[int, list[int]]] = [{}, {0: [1, 5, 7]}, {1: [2, 3]}, {0: [1, 5, 7], 1: [2, 3]}, {1: [2, 3]}]


@pytest.mark.parametrize("max_held", [0, 1, 5])
def test_a_sweep_gives_what_separate_passes_give_to_the_last_bit(max_held: int) -> None:
    decoder, clamps, walk = sweeping()
    settings = []
    for neurons in CONDITIONS:
        clamps.set(neurons, Clamp(floor=2.0))
        settings.append(clamps.settings())
    sequences, score_from = forest(3)
    plan = plan_packs([np.array(s) for s in sequences], np.array(score_from), 20)
    passes = plan_passes([[tuple(c.get(i, ())) for i in range(2)] for c in CONDITIONS], max_held)
    assert len(plan.packs) > 1
    for pack in plan.packs:
        before = clamps.calls()
        results = sweep_pack(decoder, walk, pack, passes, lambda i: clamps.restore(settings[i]))
        calls = [after - earlier for after, earlier in zip(clamps.calls(), before, strict=True)]
        assert calls == layer_passes(passes, 2), "shared layers ran as often as planned"
        alone = []
        for setting in settings:
            clamps.restore(setting)
            alone.append(score_pack(decoder, pack))
        assert all(torch.equal(results[i], alone[i]) for i in range(len(CONDITIONS)))
        assert len({tuple(values.tolist()) for values in alone}) == len(CONDITIONS) - 1, "the clamps do something"


def test_a_condition_without_finite_numbers_does_not_affect_the_others() -> None:
    decoder, _, walk = sweeping()
    broken: dict[str, float] = {}
    original = decoder.logits
    decoder.logits = lambda hidden: original(hidden) + broken.get("now", 0.0)
    (pack,) = plan_packs([np.array([1, 2, 3, 4])], np.ones(1), 100).packs
    passes = plan_passes([["a", "a"], ["a", "b"], ["b", "a"]], 5)
    results = sweep_pack(decoder, walk, pack, passes, lambda i: broken.update(now=np.nan if i == 1 else 0.0))
    assert isinstance(results[1], FloatingPointError)
    assert torch.equal(results[0], results[2]) and torch.equal(results[0], score_pack(decoder, pack))


def test_a_forward_pass_outside_a_sweep_is_whole_and_states_that_are_not_held_cannot_be_resumed() -> None:
    decoder, _, walk = sweeping()
    (pack,) = plan_packs([np.array([1, 2, 3, 4])], np.ones(1), 100).packs
    before = score_pack(decoder, pack)
    sweep_pack(decoder, walk, pack, plan_passes([["a", "a"], ["a", "b"]], 5), lambda i: None)
    assert torch.equal(score_pack(decoder, pack), before)
    with pytest.raises(KeyError):
        walk.begin(Pass(condition=0, resume=1, held=()))
