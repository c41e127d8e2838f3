"""The stored form of every step kind's result, word for word: stores of users hold these keys."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from actors.messages.ablation import Receipt, Scored
from actors.messages.model import EngineFacts, ModelSource, Route
from actors.messages.scoring import Examples, Profiled, Weights
from orchestrator.record.encoding import encode_json
from orchestrator.steps import evaluate, examples, profile, select, weights
from orchestrator.steps.result import StepResult, engine_document, receipt_document, reference_from
from orchestrator.steps.step import Step, StepKind
from studies.benchmarks.corpora import Corpus
from studies.benchmarks.minimal_pairs import Pair, PairBenchmark
from studies.benchmarks.special_tokens import SpecialTokens, Token
from studies.errors import StudyError
from studies.neurons.selection import NeuronSet
from tests.fakes import FakeContext, reference

RECEIPT = Receipt(layers_matched=2, neurons_per_layer=(1, 0), digest="ab:cd", probe_tokens=90, clipped_fraction=0.25)
RECEIPT_JSON = (
    '{"layers_matched": 2, "neurons_per_layer": [1, 0], "digest": "ab:cd", "probe_tokens": 90, '
    '"clipped_fraction": 0.25}'
)
ENGINE = EngineFacts(
    route=Route.TREE,
    route_reason="",
    attention="block attention",
    device="cpu",
    dtype="float32",
    versions={"vllm": "0.32.0", "torch": "2.13.0"},
    probe_difference=0.001,
    probe_tolerance=0.01,
    probe_mean=0.0,
    probe_mean_tolerance=0.001,
    max_nodes=512,
)
ENGINE_JSON = (
    '{"route": "tree", "route_reason": "", "attention": "block attention", "device": "cpu", "dtype": "float32", '
    '"versions": {"vllm": "0.32.0", "torch": "2.13.0"}, "probe_difference": 0.001, "probe_tolerance": 0.01, '
    '"probe_mean": 0.0, "probe_mean_tolerance": 0.001, "probe_accepted": "", "max_nodes": 512, "reload_refused": ""}'
)
NEURONS = NeuronSet.of({0: [3]})
BENCHMARK = PairBenchmark(name="pairs", label="my pairs", pairs=(Pair("u", "p", "0", "good", "bad"),))
SCORED = Scored(
    step="s",
    sums=np.array([-1.0, -2.0]),
    counts=np.array([1, 1]),
    receipt=RECEIPT,
    special_tokens=SpecialTokens(kind="sentences", first=(Token(0, "<s>"),), last=(Token(1, "</s>"),)),
    route=Route.TREE,
    route_reason="",
    pack_plan="0123456789abcdef0123",
    num_nodes=7,
    num_tokens=9,
    seconds=1.5,
    num_conditions=3,
    layer_passes=10,
    ideal_layer_passes=8,
)


def step(name: str = "evaluate.pairs", condition: str = "top", clamp: dict | None = None) -> Step:
    """An evaluation, as far as its result depends on it."""
    payload = {"params": {"benchmark": "pairs", "clamp": clamp or {"floor": 0.0}}}
    inputs = {} if condition == "baseline" else {"neurons": "n"}
    return made(evaluate.KIND, payload=payload, name=name, condition=condition, inputs=inputs)


def made(kind: StepKind, **fields: Any) -> Step:
    """A step of this kind."""
    return Step(**{"id": "s", "kind": kind, "name": kind.name, "model": "m", "condition": "", "payload": {}} | fields)


CONTEXT = FakeContext(benchmark=BENCHMARK, engine=ENGINE, neuron_sets={"n": NEURONS})


def texts(result: StepResult) -> dict[str, str]:
    """{artifact path: its document as it is written}."""
    return {path: json.dumps(document) for path, document in result.documents.items()}


def test_a_receipt_and_an_engine_as_they_are_stored() -> None:
    assert json.dumps(receipt_document(RECEIPT)) == RECEIPT_JSON
    assert json.dumps(engine_document(ENGINE)) == ENGINE_JSON


def test_a_difference_that_was_not_measured_is_null() -> None:
    flat = {"route": Route.FLAT, "probe_difference": math.nan}
    engine = EngineFacts(**{**{name: getattr(ENGINE, name) for name in EngineFacts.__dataclass_fields__}, **flat})
    assert engine_document(engine)["probe_difference"] is None and engine_document(engine)["route"] == "flat"


def test_an_evaluation_as_it_is_stored() -> None:
    result = evaluate.KIND.result(step(), SCORED, CONTEXT)
    assert result.metrics == {"pairs/accuracy": 1.0, "pairs/p": 1.0, "clipped_fraction": 0.25}
    assert list(result.frames) == ["items/pairs.parquet"]
    assert texts(result) == {
        "receipts/evaluate.pairs.json": (
            f'{{"benchmark": "my pairs", "neuron_set": "{NEURONS.digest}", "num_neurons": 1, '
            f'"receipt": {RECEIPT_JSON}, "engine": {ENGINE_JSON}, '
            '"route": "tree", "route_reason": "", "pack_plan": "0123456789abcdef0123", '
            '"nodes": 7, "tokens": 9, "contexts_cut": 0, "left_out": {"items": 0, "of": 1, "first": []}, '
            '"special_tokens": {"kind": "sentences", "first": ["<s>"], "later": [], "last": ["</s>"], '
            '"missing_bos": ""}, "seconds": 1.5, "conditions_together": 3, "layer_passes": 10, '
            '"ideal_layer_passes": 8}'
        )
    }
    assert result.tags == {
        "comparability.evaluate.pairs": "tree 0123456789abcdef float32 cpu torch-2.13.0 vllm-0.32.0",
        "route.evaluate.pairs": "tree",
    }


THREE = PairBenchmark(
    name="pairs",
    label="my pairs",
    pairs=tuple(Pair("u", phenomenon, str(i), "good", "bad", f"p.jsonl:{i}") for i, phenomenon in enumerate("pqp")),
)
LEFT_OUT = dataclasses.replace(
    SCORED,
    sums=np.array([-1.0, -2.0, math.nan, math.nan, -3.0, -2.0]),
    counts=np.array([1, 1, 0, 0, 1, 1]),
    left_out={1: "has 999 tokens; the model has positions for 128"},
)


def test_an_item_that_was_left_out_counts_nowhere_but_in_the_receipt(caplog: pytest.LogCaptureFixture) -> None:
    baseline = step(condition="baseline")
    result = evaluate.KIND.result(baseline, LEFT_OUT, FakeContext(benchmark=THREE, engine=ENGINE, neuron_sets={}))
    assert result.metrics == {"pairs/accuracy": 0.5, "pairs/p": 0.5}
    assert result.frames["items/pairs.parquet"]["pair"].tolist() == ["0", "2"]
    reason = "p.jsonl:1 has 999 tokens; the model has positions for 128"
    assert result.documents["receipts/evaluate.pairs.json"]["left_out"] == {"items": 1, "of": 3, "first": [reason]}
    assert [record.getMessage() for record in caplog.records] == [f"m: my pairs: 1 of 3 items left out: {reason}"]


def test_results_that_are_not_one_row_an_item_cannot_leave_items_out() -> None:
    class Odd(PairBenchmark):
        def results(self, *_: Any, **__: Any) -> pd.DataFrame:
            return pd.DataFrame({"correct": [1.0]})

    odd = Odd(name="pairs", label="my pairs", pairs=THREE.pairs)
    with pytest.raises(StudyError, match="my pairs: 1 results for 3 items"):
        evaluate.KIND.result(step(), LEFT_OUT, FakeContext(benchmark=odd, engine=ENGINE, neuron_sets={"n": NEURONS}))


def test_the_noise_floor_has_metrics_and_items_of_its_own() -> None:
    result = evaluate.KIND.result(step("noise_floor.pairs", "baseline"), SCORED, CONTEXT)
    assert result.metrics == {"noise_floor/pairs/accuracy": 1.0, "noise_floor/pairs/p": 1.0}
    assert list(result.frames) == ["noise_floor/pairs.parquet"]
    assert list(result.documents) == ["receipts/noise_floor.pairs.json"]


def test_the_baseline_has_no_clipped_fraction() -> None:
    result = evaluate.KIND.result(step(condition="baseline"), SCORED, CONTEXT)
    assert result.metrics == {"pairs/accuracy": 1.0, "pairs/p": 1.0}


def test_a_selection_as_it_is_stored() -> None:
    table = pd.DataFrame({"layer": [0] * 4, "neuron": range(4), "wasserstein_distance": [0.0, 0.1, 0.2, 0.3]})
    params = {"select": "top", "score": "wasserstein_distance", "fraction": 0.25, "rule": "rank", "layers": None}
    chosen = made(select.KIND, payload={"params": params}, inputs={"profile": "p"})
    result = select.KIND.compute(chosen, FakeContext(tables={"p": table}))
    assert texts(result) == {"selection.json": f'{{"neuron_set": "{NEURONS.digest}", "num_neurons": 1}}'}
    assert list(result.frames) == ["neuron_set.parquet"] and result.metrics == {}


def profiled(num_pairs: int) -> Profiled:
    """A profile of two neurons."""
    columns = {
        "layer": np.array([0, 0]),
        "neuron": np.array([0, 1]),
        "wasserstein_distance": np.array([0.5, 0.25]),
        "wasserstein_distance_negative": np.array([0.25, 0.25]),
        "mapping_difficulty": np.array([1.0, 2.0]),
        "mapping_difficulty_reliability": np.array([0.5, 0.5]),
    }
    return Profiled(
        step="s",
        columns=columns,
        num_windows=3,
        num_tokens=90,
        num_pairs=num_pairs,
        num_pairs_asked=9,
        num_pairs_dropped=1,
        reference=reference("m", rounded=np.array([-2.0, np.nan, -2.5], dtype=np.float32)),
        special_tokens=SpecialTokens(kind="windows", missing_bos="<bos>"),
        seconds=4.0,
    )


TRAIN = FakeContext(corpus=Corpus(label="wikitext2 train", text="", source=""))


def test_a_profile_as_it_is_stored() -> None:
    result = profile.KIND.result(made(profile.KIND), profiled(8), TRAIN)
    assert texts(result) == {
        "profile.json": '{"corpus": "wikitext2 train", "windows": 3, "tokens": 90, "pairs": 8, "pairs_asked": 9, '
        '"pairs_dropped": 1, "special_tokens": {"kind": "windows", "first": [], "later": [], "last": [], '
        '"missing_bos": "<bos>"}}',
        "probe.json": '{"version": 1, "transformers": "5", "ids": [[0, 1, 2], [0, 3]], '
        '"log_probabilities": [-2.0, -2.0, -2.0], "log_probabilities_rounded": [-2.0, null, -2.5]}',
    }
    assert result.metrics == {
        "wasserstein_distance/median": 0.375,
        "wasserstein_distance/p99": 0.4975,
        "wasserstein_distance/max": 0.5,
        "negative_share/mean": 0.75,
        "scored_tokens": 90.0,
        "seconds": 4.0,
    }


def test_a_profile_without_any_distance_is_refused() -> None:
    """Gates that are all zero: nothing could be selected, and the share below zero would be 0 / 0."""
    answer = profiled(8)
    constant = {"wasserstein_distance": np.zeros(2), "wasserstein_distance_negative": np.zeros(2)}
    answer = dataclasses.replace(answer, columns={**answer.columns, **constant})
    with pytest.raises(StudyError, match="every pre-activation has one value on the whole scoring text"):
        profile.KIND.result(made(profile.KIND), answer, TRAIN)


def test_the_probe_is_read_as_it_was_stored() -> None:
    stored = profile.KIND.result(made(profile.KIND), profiled(8), TRAIN).documents["probe.json"]
    read, written = reference_from(json.loads(encode_json(stored)), model="m"), profiled(8).reference
    assert (read.model, read.ids, read.transformers) == (written.model, written.ids, written.transformers)
    np.testing.assert_array_equal(read.log_probabilities, written.log_probabilities)
    np.testing.assert_array_equal(read.rounded, written.rounded)


def test_a_model_trained_with_bos_that_gets_none_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    lacking = dataclasses.replace(SCORED, special_tokens=SpecialTokens(kind="sentences", missing_bos="<bos>"))
    profile.KIND.result(made(profile.KIND), profiled(8), TRAIN)
    evaluate.KIND.result(step(condition="baseline"), lacking, CONTEXT)
    evaluate.KIND.result(step(), lacking, CONTEXT)  # the baseline has said it
    none = "none, but models of this family are trained with <bos> in front of every text"
    assert caplog.messages == [f"m: windows: {none}", f"m: sentences: {none}"]


def test_without_pairs_the_neuron_table_has_no_mapping_difficulty() -> None:
    (table,) = profile.KIND.result(made(profile.KIND), profiled(0), TRAIN).frames.values()
    assert not any(column.startswith("mapping_difficulty") for column in table) and "wasserstein_distance" in table


def test_a_profile_of_fewer_pairs_than_asked_for_warns(caplog: pytest.LogCaptureFixture) -> None:
    for num_pairs, warnings in (
        (8, []),
        (5, ["m: mapping difficulty rests on 6 of 9 token pairs; 16 windows have too few tokens for more"]),
    ):
        caplog.clear()
        profile.KIND.result(made(profile.KIND), profiled(num_pairs), TRAIN)
        assert [message for message in caplog.messages if "pairs" in message] == warnings


def compared(columns: dict[str, Any]) -> StepResult:
    """The weights of one neuron against those of step 0."""
    before = ModelSource(
        label="m@step0", path="", family="llama", num_layers=1, d_mlp=1, d_model=1, context=1, vocabulary=1
    )
    answer = Weights(step="s", columns={"layer": np.array([0]), "neuron": np.array([0]), **columns}, seconds=1.0)
    return weights.KIND.result(made(weights.KIND), answer, FakeContext(before=before))


def test_weights_as_they_are_stored() -> None:
    result = compared({"pre_activation": np.array([0.5]), "up": [np.nan]})
    assert texts(result) == {"weights.json": '{"before": "m@step0", "seconds": 1.0}'}
    assert result.metrics == {"cosine_dissimilarity/pre_activation": 0.5}
    assert list(result.frames) == ["weights.parquet"]


def test_weights_equal_to_the_checkpoint_before_are_refused() -> None:
    with pytest.raises(StudyError) as error:
        compared({"pre_activation": np.array([0.0]), "up": [np.nan]})
    assert str(error.value) == (
        "its weights are those of m@step0; one of the two revisions is not the checkpoint that its name says"
    )


def test_examples_as_they_are_stored() -> None:
    answer = Examples(step="s", densities={"layer": np.array([0])}, pairs={"rank": [0]}, num_tokens=5, seconds=1.0)
    result = examples.KIND.result(made(examples.KIND), answer, FakeContext())
    assert texts(result) == {"examples.json": '{"tokens": 5, "seconds": 1.0}'}
    assert list(result.frames) == ["entangled_densities.parquet", "token_pairs.parquet"]
    assert all(isinstance(table, pd.DataFrame) for table in result.frames.values())
