"""The checks of `python -m tests.gpu` under pytest: those of correctness on a CUDA device."""

import pytest
import torch

from tests.gpu import checks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("part", [checks.attention, checks.logits_pass], ids=lambda part: part.__name__)
def test_every_row_is_within_its_limit(part) -> None:
    assert [row for row in part(torch.device("cuda")) if row.verdict == "FAILED"] == []


def test_sketches_on_the_device_equal_those_on_the_cpu() -> None:
    assert checks.sketches(torch.device("cuda")).verdict == "ok"
