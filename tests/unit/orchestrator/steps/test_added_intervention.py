"""An intervention added from outside the product: read from a study file, planned, requested and applied."""

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from actors.ablation.clamps import OPERATIONS, ClampSet, LayerClamp
from orchestrator.planning.run_keys import condition_run
from orchestrator.steps.evaluate import intervention
from studies.errors import StudyError
from studies.neurons.clamps import CLAMP_KINDS, Clamp
from studies.neurons.selection import NeuronSet
from tests.plans import changed, model, plan, step_id
from tests.toys.intervention import NAME, OPERATION, ROW

TABLE = pd.DataFrame({"layer": [0] * 6, "neuron": range(6), "mean": [0.5, -1.0, 0.25, 2.0, -0.125, 0.0]})
CHOSEN = NeuronSet.of({0: [4, 1, 3]})
WITH_IT = changed("  random:", f"  halfway: {{select: top, fraction: 0.1, clamp: {NAME}}}\n  random:")


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLAMP_KINDS, NAME, ROW)
    monkeypatch.setitem(OPERATIONS, NAME, OPERATION)


@pytest.mark.usefixtures("added")
def test_a_study_file_takes_its_word_and_a_plan_its_column() -> None:
    found = plan(WITH_IT)
    (condition,) = (each for each in found.conditions["a"] if each.name == "halfway")
    assert condition.clamp == Clamp(NAME)
    step = found.steps[found.evaluations["a", "halfway"]["embedded_pairs"]]
    assert step.params["clamp"] == {"kind": NAME} and Clamp.from_payload(step.params["clamp"]) == condition.clamp
    assert step.inputs["profile"] == step_id(found, "profile", "")
    assert condition_run(found.study.spec, model(), condition).params["intervention"] == NAME
    assert set(plan().steps) < set(found.steps), "no other step changes"


def test_without_its_row_the_word_is_none() -> None:
    with pytest.raises(StudyError) as error:
        plan(WITH_IT)
    assert str(error.value) == (
        f"by-hand.yaml:6: conditions.halfway.clamp: '{NAME}' is not a clamp; allowed: magnitude_matched, negative, "
        "negative_mean, positive, posrelu, signflip, zero, {floor: number, ceiling: number}"
    )


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("halfway_to_mea", f"'halfway_to_mea' is not a clamp; did you mean '{NAME}'?"),
        (f"{{kind: {NAME}, floor: 0}}", f"{NAME} takes neither floor nor ceiling"),
    ],
    ids=["mistyped", "with a bound"],
)
def test_mistakes_in_it_are_told_like_any_other(bad: str, message: str) -> None:
    with pytest.raises(StudyError) as error:
        plan(WITH_IT.replace(f"clamp: {NAME}", f"clamp: {bad}"))
    assert str(error.value) == f"by-hand.yaml:6: conditions.halfway.clamp: {message}"


class Activation(nn.Module):
    """silu(a), times the up half where there is one."""

    def forward(self, pre: torch.Tensor) -> torch.Tensor:
        gate, *up = pre.split(6, dim=-1)
        return nn.functional.silu(gate) * (up[0] if up else 1.0)


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_it_is_applied_by_its_formula_and_proven(gated: bool) -> None:
    message = intervention(Clamp.from_payload({"kind": NAME}), CHOSEN, TABLE)
    activation, pre = Activation(), torch.randn(5, 12 if gated else 6, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"d_mlp": 6, "gated": gated, "device": "cpu", "dtype": torch.float32}
    clamps = ClampSet([LayerClamp(activation, **options)])
    plain = activation(pre.clone())
    assert clamps.set(message.neurons, message.clamp, message.values) == [3]
    clamps.start_counting()
    found = activation(pre.clone())
    assert clamps.stop_counting() == ([1], [15])
    wanted = pre.clone()
    for neuron in (1, 3, 4):
        wanted[:, neuron] = (pre[:, neuron] + TABLE["mean"][neuron]) / 2
    torch.testing.assert_close(found, Activation()(wanted))
    assert torch.equal(found[:, [0, 2, 5]], plain[:, [0, 2, 5]])
    buffers = np.array([[1, 3, 4], [-1.0, 2.0, -0.125], [-1.0, 2.0, -0.125]])
    layer = hashlib.sha256(NAME.encode() + buffers.tobytes()).digest()
    assert clamps.digest() == hashlib.sha256(layer).hexdigest()
