"""A model that does not fit a GPU."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.hf_model import load_model
from actors.messages.stream import EngineDied
from tests.unit.actors.ablation.fake_engine import source

GIB = 2**30


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ([79, 10], EngineDied),  # another process holds one of the two: a later try may succeed
        ([79, 79], torch.OutOfMemoryError),  # the model is too large for the GPUs
    ],
)
def test_memory_that_others_hold_is_a_lost_actor(
    free: list[int], expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (free[i] * GIB, 80 * GIB))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_large)
    with pytest.raises(expected, match="Tried to allocate"):
        load_model(source(label="a"), "cuda")
