"""Plans and reports on the terminal."""

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.study import PlannedStep
from orchestrator.terminal import show_plan, show_report

STEPS: list[Any] = [
    SimpleNamespace(id=f"{i:08d}", name=f"evaluate.{i % 2}", title=f"evaluate.{i % 2} m{i}") for i in range(2)
]


def test_a_plan_is_one_line_a_step_with_its_reason() -> None:
    console = Console(file=io.StringIO(), width=120)
    reason = "params.fraction: 0.01 -> 0.02 [a markup of its own]"
    planned = [PlannedStep(STEPS[0], True, "", 0.0), PlannedStep(STEPS[1], False, reason, 2.5e12)]
    fit = Fit("m", "1 GPUs, 1 CPUs", 2 * 2**30, 2**30, "", 1, 0.0, 7200.0, 2.0)
    added = {"kind": "windows", "first": ["<s>"], "later": ["<s>"], "last": [], "missing_bos": ""}
    special = {"m": {"profile": added, "perplexity": added}, "[hub]": None}
    show_plan(console, planned, special, Forecast("4x8", "GPU", (fit,), 7200.0, 3600.0))
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["00000000", "evaluate.0", "m0", "cached"]
    assert lines[1] == f"00000001  evaluate.1 m1       2.5 TFLOP  {reason}"
    text = " ".join(" ".join(lines).split())
    assert "m: special tokens of windows (profile, perplexity): <s> at the start of every window" in lines
    assert "[hub]: special tokens: checked when the model is loaded" in lines
    assert "2 steps, 1 cached, 1 to run" in text and "does not fit" in text
    assert "On 4x8: about 2.00 GPU-hours, 2.00 h from start to end (no schedule takes less than 1.00 h)" in text


def test_a_report_names_what_is_not_finished() -> None:
    console = Console(file=io.StringIO(), width=120)
    show_report(console, {"models": [], "unfinished": ["evaluate.blimp m: failed (no memory)"]})
    assert console.file.getvalue() == "not finished evaluate.blimp m: failed (no memory)\n"
