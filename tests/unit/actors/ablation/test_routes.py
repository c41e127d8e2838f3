"""The choice of the route and its proof, without vLLM; both routes on one plan."""

import math

import numpy as np
import pytest

from actors.ablation import routes
from actors.ablation.routes import flat_log_probabilities, tree_log_probabilities
from actors.messages.model import Route
from studies.benchmarks.texts import Sentences
from studies.errors import InterventionError, StudyError
from tests.unit.actors.ablation.fake_engine import FakeEngine, log_probability, routed

TEXTS = Sentences(texts=("abcd", "abce", "bcd"))


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "versions", lambda: {"vllm": "0"})


def test_the_tree_route_is_taken_where_both_routes_agree() -> None:
    facts = routed(FakeEngine()).facts
    assert (facts.route, facts.route_reason, facts.attention) == (Route.TREE, "", "block attention")
    assert facts.probe_difference == 0.0 and facts.probe_tolerance == 0.01 and facts.max_nodes == 512


DIFFER = "tiny: tree and flat route differ by {} nats on the probe (tolerance 0.01)"
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
    tree_error: float, fields: dict[str, str], kind: type[StudyError], message: str
) -> None:
    engine = FakeEngine()
    engine.tree_error = tree_error
    with pytest.raises(kind) as caught:
        routed(engine, **fields)
    assert str(caught.value) == message


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
