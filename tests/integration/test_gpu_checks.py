"""`python -m tests.gpu`, the table that a GPU machine prints, as far as it runs without a GPU."""

import re
import subprocess
import sys

import pytest
import torch

from actors.ablation import tree_attention
from tests.conftest import ROOT
from tests.gpu import checks


@pytest.mark.long
def test_the_one_command_prints_a_table_of_checks_that_hold() -> None:
    command = [sys.executable, "-m", "tests.gpu", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    verdicts = re.findall(r"\| (\w*) \|$", done.stdout, re.MULTILINE)
    assert set(verdicts) == {"ok"} and len(verdicts) > 20
    assert done.stdout.splitlines()[-1].startswith("0 failed, ")


def test_without_a_gpu_it_says_so() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.gpu"], cwd=ROOT, capture_output=True, text=True, check=False)
    if not torch.cuda.is_available():
        assert done.returncode == 2 and "no CUDA device" in done.stderr.splitlines()[-1]


def failed(part: str) -> list[str]:
    """Names of the rows that fail."""
    return [row.name for row in getattr(checks, part)(torch.device("cpu")) if row.verdict == "FAILED"]


def test_a_wrong_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = checks.attend

    def blind(q, *others, **named):
        """In single precision a query sees one key too few."""
        wrong = q.dtype == torch.float32 and named["window"] is not None
        return right(q, *others, **(named | {"window": 4} if wrong else named))

    monkeypatch.setattr(checks, "attend", blind)
    assert failed("attention") == ["block attention, float32, trees, window of 5"]


def test_results_that_do_not_repeat_and_states_that_are_shared_wrongly_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = tree_attention.F.scaled_dot_product_attention

    def noisy(q, *others, **named):
        out = right(q, *others, **named)
        return out + 1e-4 * torch.randn_like(out) if q.dtype == torch.float32 else out

    monkeypatch.setattr(tree_attention.F, "scaled_dot_product_attention", noisy)
    assert failed("logits_pass") == [
        "conditions that differ from separate passes, float32",
        "different results of five passes, float32",
    ]
