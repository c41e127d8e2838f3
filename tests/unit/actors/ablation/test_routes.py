"""The choice of the route and its proof, without vLLM; both routes on one plan."""

import math
from typing import Any

import numpy as np
import pytest

from actors.ablation import routes
from actors.ablation.routes import cuda_nodes, flat_log_probabilities, tree_log_probabilities
from actors.ablation.token_tree import PackPlan
from actors.messages.model import Route
from studies.benchmarks.texts import Sentences
from studies.errors import InterventionError, StudyError
from tests.unit.actors.ablation.fake_engine import FakeEngine, log_probability, routed, source

TEXTS = Sentences(texts=("abcd", "abce", "bcd"))


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "versions", lambda: {"vllm": "0"})


def test_the_tree_route_is_taken_where_both_routes_agree() -> None:
    facts = routed(FakeEngine()).facts
    assert (facts.route, facts.route_reason, facts.attention) == (Route.TREE, "", "block attention")
    assert (facts.probe_difference, facts.probe_tolerance) == (0.0, 0.01)
    assert (facts.probe_mean, facts.probe_mean_tolerance, facts.max_nodes) == (0.0, 0.001, 512)


DIFFER = (
    "tiny: tree and flat route differ on the probe by {0} nats a token (tolerance 0.001) and at most by {0} (tolerance "
    "0.01); from Transformers in float32 the tree differs by {0} and the flat route by 0"
)
REFUSED: dict[str, tuple[float, dict[str, str], type[StudyError], str]] = {
    "tree above flat": (0.02, {}, InterventionError, DIFFER.format("0.02")),
    "tree below flat": (-0.02, {}, InterventionError, DIFFER.format("0.02")),
    "tree without numbers": (float("nan"), {}, InterventionError, DIFFER.format("nan")),
    "tree that is not possible": (
        0.0, {"route": "tree", "tree_refused": "attention sinks"}, StudyError,
        "tiny: route 'tree' is not possible: attention sinks; use route: auto or flat",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tree_error", "fields", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_a_route_that_is_not_proven_is_an_error(
    tree_error: float, fields: dict[str, str], kind: type[StudyError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    engine.tree_error = tree_error
    exactly_the_flat_route(monkeypatch)
    with pytest.raises(kind) as caught:
        routed(engine, **fields)
    assert str(caught.value) == message


def exactly_the_flat_route(monkeypatch: pytest.MonkeyPatch, error: float = 0.0) -> None:
    """Transformers says what the flat route says, but for this difference."""

    def in_transformers(engine: Any, source: Any, probe: PackPlan) -> np.ndarray:
        return probe.token_log_probabilities(flat_log_probabilities(engine, probe)) + error

    monkeypatch.setattr(routes, "in_transformers", in_transformers)


@pytest.mark.parametrize(
    ("dtype", "tree_error", "is_accepted"),
    [
        ("float32", 0.0009, True), ("float32", 0.002, False),
        ("float16", 0.029, True), ("float16", 0.04, False),
        ("bfloat16", 0.14, True), ("bfloat16", 0.2, False),
    ],
)  # fmt: skip
def test_the_mean_over_the_probe_decides(
    dtype: str, tree_error: float, is_accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exactly_the_flat_route(monkeypatch)
    engine = FakeEngine()
    engine.tree_error = tree_error
    if is_accepted:
        facts = routed(engine, dtype=dtype).facts
        assert facts.probe_mean == pytest.approx(tree_error, rel=1e-3) and not facts.probe_accepted
        return
    with pytest.raises(InterventionError):
        routed(engine, dtype=dtype)


def test_a_tree_that_is_nearer_to_float32_than_the_flat_route_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Gemma 3 in bfloat16."""
    engine = FakeEngine()
    engine.tree_error = 0.5
    exactly_the_flat_route(monkeypatch, 0.4)
    facts = routed(engine, dtype="bfloat16").facts
    assert facts.probe_accepted == "the tree is 0.1 nats from Transformers in float32, the flat route 0.4"
    exactly_the_flat_route(monkeypatch, 0.2)
    with pytest.raises(InterventionError, match=r"the tree differs by 0\.3 and the flat route by 0\.2"):
        routed(engine, dtype="bfloat16")


def test_a_rank_that_does_not_repeat_itself_is_an_error() -> None:
    engine = FakeEngine()
    engine.unstable = {1: 3}
    with pytest.raises(InterventionError) as caught:
        routed(engine)
    assert str(caught.value) == (
        "tiny: 5 passes over one pack gave different results (rank 1: 3 different ones); operations of one pass are "
        "not in order on this machine"
    )


@pytest.mark.parametrize(
    ("fields", "num_nodes"),
    [
        ({"num_layers": 12, "d_model": 768, "d_mlp": 3072, "vocabulary": 50_304}, 32_768),  # 0.16 B parameters
        ({"num_layers": 24, "d_model": 2048, "d_mlp": 8192, "vocabulary": 50_304}, 4096),  # 1.7 B, gated
        ({"num_layers": 32, "d_model": 4096, "d_mlp": 14_336, "vocabulary": 128_256}, 4096),
        ({"num_layers": 32, "d_model": 4096, "d_mlp": 14_336, "vocabulary": 128_256, "dtype": "float32"}, 4096),
        ({"num_layers": 80, "d_model": 8192, "d_mlp": 28_672, "vocabulary": 128_256, "tensor_parallel": 8}, 4096),
    ],
)
def test_a_pack_on_a_gpu_is_as_large_as_its_work_needs_and_its_memory_allows(
    fields: dict[str, Any], num_nodes: int
) -> None:
    assert cuda_nodes(source(**{"dtype": "bfloat16", **fields})) == num_nodes


def test_auto_falls_back_to_the_flat_route_and_says_why() -> None:
    facts = routed(FakeEngine(), tree_refused="attention sinks").facts
    assert (facts.route, facts.route_reason, facts.attention) == (Route.FLAT, "attention sinks", "")
    assert math.isnan(facts.probe_difference)


def test_a_demanded_route_is_taken() -> None:
    engine = FakeEngine()
    assert routed(engine, route="flat").facts.route_reason == "asked for in the study file"
    assert "halfwave_score" not in engine.called


def test_both_routes_give_every_edge_its_log_probability() -> None:
    engine = FakeEngine()
    model = routed(engine)
    plan = model.plan("b", TEXTS, 2)
    tree, flat = tree_log_probabilities(engine, plan), flat_log_probabilities(engine, plan)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tree, flat)
    expected = [
        sum(log_probability(a, b) for a, b in zip([0, *map(ord, text)], map(ord, text), strict=False))
        for text in TEXTS.texts
    ]
    assert plan.sums(tree).tolist() == expected
    with_margins = flat_log_probabilities(engine, plan, margins=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(with_margins, [flat, flat])  # the likeliest token has log-probability 0


def test_a_plan_is_made_once_for_each_pack_size() -> None:
    model = routed(FakeEngine())
    plan = model.plan("b", TEXTS, None)
    assert model.plan("b", TEXTS, None) is plan
    assert model.plan("b", TEXTS, 2).digest != plan.digest
    assert model.spans(plan) is None
