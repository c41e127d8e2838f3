"""What must agree before a checkpoint takes the place of another, and what later reloads must show."""

from typing import Any

import numpy as np
import pytest

from actors.ablation import actor as ablation
from actors.ablation.reload import Reload, differing_field
from studies.errors import InterventionError, StudyError
from tests.unit.actors.ablation.fake_engine import FakeEngine, source, tokenizer


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_layers": 4, "d_mlp": 512}, "num_layers is 4, not 3"),
        ({"family": "mistral"}, "family is 'mistral', not 'llama'"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', not 'float32'"),
        ({"engine": {"max_model_len": 64}}, "engine is"),
    ],
)
def test_another_architecture_is_refused(fields: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "Engine", lambda source: FakeEngine())
    monkeypatch.setattr(ablation, "load_tokenizer", lambda source: tokenizer)
    actor = ablation.AblationActor(source(label="first"))
    with pytest.raises(StudyError, match=f"other cannot take the engine of first: {named}"):
        actor.reload(source(label="other", **fields))


def test_checkpoints_may_differ_in_where_they_come_from() -> None:
    assert differing_field(source(), source(label="b", path="b", revision="step2", pickled=True)) == ""


def test_later_reloads_are_compared_with_the_last() -> None:
    last = Reload({"head": ([2, 3], 1.0)}, np.zeros(4))
    Reload({"head": ([2, 3], 1.0)}, np.zeros(4)).check_against(last)
    Reload({"head": ([2, 3], 2.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="the same tensors: head"):
        Reload({"head": ([3, 3], 2.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="the same tensors: extra"):
        Reload({"head": ([2, 3], 2.0), "extra": ([1], 0.0)}, np.ones(4)).check_against(last)
    with pytest.raises(InterventionError, match="left the probe's numbers as they were"):
        Reload({"head": ([2, 3], 2.0)}, np.zeros(4)).check_against(last)
