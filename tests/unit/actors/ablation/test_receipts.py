"""Receipts without vLLM: what they contain, and that an intervention that does not add up is never one."""

from typing import Any

import pytest

from actors.ablation import routes
from actors.ablation.receipts import apply
from actors.messages.ablation import Intervention
from studies.errors import InterventionError
from studies.neurons.clamps import NAMED_CLAMPS
from tests.unit.actors.ablation.fake_engine import FakeEngine, routed


def negative(neurons: dict[int, tuple[int, ...]]) -> Intervention:
    return Intervention(neurons=neurons, clamp=NAMED_CLAMPS["negative"])


CLAMP = negative({0: (1, 6), 2: (7,)})


@pytest.fixture(autouse=True)
def no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "versions", lambda: {"vllm": "0"})


@pytest.mark.parametrize("route", ["tree", "flat"])
def test_a_receipt_adds_up_the_ranks(route: str) -> None:
    model = routed(FakeEngine(), route=route)
    receipt = apply(model, CLAMP)
    assert (receipt.layers_matched, receipt.neurons_per_layer) == (3, (2, 0, 1))
    assert receipt.digest == "digest0:digest1"
    assert receipt.probe_tokens == (model.probe.num_nodes if route == "tree" else model.probe.num_tokens)
    assert receipt.clipped_fraction == 4 * 5 / (3 * receipt.probe_tokens)


def test_the_baseline_may_change_nothing() -> None:
    assert apply(routed(FakeEngine()), Intervention()).clipped_fraction == 0.0


NOT_CALLED = "tiny: the clamp of layer 1 was called 0 times in the probe, expected 1"
REFUSED: dict[str, tuple[dict[str, Any], str, Intervention, str]] = {
    "nothing changed": (
        {"changes": 0}, "tree", CLAMP,
        "tiny: the intervention (negative) on 3 neurons changed nothing in {tokens} probe tokens",
    ),
    "not placed": (
        {"misplaced": 1}, "tree", CLAMP,
        "tiny: asked for [2, 0, 1] neurons per layer, placed [1, 0, 1]",
    ),
    "tree, clamp not called": ({"unhooked": {1}}, "tree", CLAMP, NOT_CALLED),
    "flat, clamp not called": ({"unhooked": {1}}, "flat", CLAMP, NOT_CALLED),
    "tree, baseline not called": ({"unhooked": {1}}, "tree", Intervention(), NOT_CALLED),
    "flat, baseline not called": ({"unhooked": {1}}, "flat", Intervention(), NOT_CALLED),
    "layer 3": ({}, "tree", negative({3: (0,)}), "tiny has no layer 3 (0 to 2)"),
    "layer -1": ({}, "tree", negative({-1: (0,)}), "tiny has no layer -1 (0 to 2)"),
    "neuron 8": ({}, "tree", negative({1: (2, 8)}), "tiny layer 1: neuron 8 is outside 0..7"),
    "repeated": ({}, "tree", negative({1: (2, 2)}), "tiny layer 1: a neuron is repeated"),
}  # fmt: skip


@pytest.mark.parametrize(("faults", "route", "intervention", "message"), REFUSED.values(), ids=REFUSED)
def test_an_intervention_that_does_not_add_up_is_an_error(
    faults: dict[str, Any], route: str, intervention: Intervention, message: str
) -> None:
    engine = FakeEngine()
    model = routed(engine, route=route)
    engine.called.clear()
    for fault, value in faults.items():
        setattr(engine, fault, value)
    with pytest.raises(InterventionError) as caught:
        apply(model, intervention)
    assert str(caught.value) == message.format(tokens=model.probe.num_nodes)
    assert faults or engine.called == [], "what cannot be placed does not reach the workers"


@pytest.mark.parametrize("error", [FloatingPointError, RuntimeError], ids=["in this process", "from a worker process"])
def test_a_probe_that_is_not_finite_fails_its_intervention_alone(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = routed(FakeEngine())

    def score(*_: Any) -> None:
        raise error("3 of 9 log-probabilities are not finite")

    monkeypatch.setattr(model, "log_probabilities", score)
    with pytest.raises(InterventionError) as caught:
        apply(model, CLAMP)
    assert str(caught.value) == "tiny: in the probe under negative 3 of 9 log-probabilities are not finite"
    monkeypatch.setattr(model, "log_probabilities", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply(model, CLAMP)
