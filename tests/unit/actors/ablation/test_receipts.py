"""Receipts without vLLM: what they contain, and that an intervention that does not add up is never one."""

import pytest

from actors.ablation import routes
from actors.ablation.receipts import apply
from actors.messages import Intervention
from studies.errors import InterventionError
from studies.neurons.clamps import NAMED_CLAMPS
from tests.unit.actors.ablation.fake_engine import FakeEngine, routed

CLAMP = Intervention(neurons={0: (1, 6), 2: (7,)}, clamp=NAMED_CLAMPS["negative"])


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


def test_a_set_that_changes_nothing_is_an_error() -> None:
    engine = FakeEngine()
    model = routed(engine)
    engine.changes = 0
    with pytest.raises(InterventionError, match=r"tiny: the intervention \(negative\) on 3 neurons changed nothing in"):
        apply(model, CLAMP)


def test_neurons_that_no_rank_placed_are_an_error() -> None:
    engine = FakeEngine()
    model = routed(engine)
    engine.misplaced = 1
    with pytest.raises(InterventionError, match=r"asked for \[2, 0, 1\] neurons per layer, placed \[1, 0, 1\]"):
        apply(model, CLAMP)


@pytest.mark.parametrize("route", ["tree", "flat"])
@pytest.mark.parametrize("intervention", [CLAMP, Intervention()], ids=["clamp", "baseline"])
def test_a_layer_whose_hook_is_not_called_is_an_error(route: str, intervention: Intervention) -> None:
    engine = FakeEngine()
    model = routed(engine, route=route)
    engine.unhooked = {1}
    with pytest.raises(InterventionError, match="the clamp of layer 1 was called 0 times in the probe, expected 1"):
        apply(model, intervention)


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({3: (0,)}, r"tiny has no layer 3 \(0 to 2\)"),
        ({-1: (0,)}, r"tiny has no layer -1 \(0 to 2\)"),
        ({1: (2, 8)}, r"tiny layer 1: neuron 8 is outside 0\.\.7"),
        ({1: (2, 2)}, "tiny layer 1: a neuron is repeated"),
    ],
)
def test_neurons_that_cannot_be_placed_are_an_error(neurons: dict[int, tuple[int, ...]], message: str) -> None:
    engine = FakeEngine()
    model = routed(engine)
    engine.called.clear()
    with pytest.raises(InterventionError, match=message):
        apply(model, Intervention(neurons=neurons, clamp=NAMED_CLAMPS["negative"]))
    assert engine.called == [], "nothing reached the workers"
