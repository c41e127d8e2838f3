"""The display of a running study: what a live table counts, and one plain line a transition elsewhere."""

import io
from types import SimpleNamespace

from rich.console import Console

from actors.messages import Progress
from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.steps.step import State
from orchestrator.study import PlannedStep
from orchestrator.terminal import Display, show_plan

STEPS = [SimpleNamespace(id=f"{i:08d}", name=f"evaluate.{i % 2}", title=f"evaluate.{i % 2} m{i}") for i in range(6)]


def test_a_live_table_counts_every_transition():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Display(console, STEPS) as display:
        for step in STEPS[:3]:
            display.transition(step, State.CACHED, "")
        display.transition(STEPS[3], State.RUNNING, "")
        display.progress(STEPS[3], Progress(step=STEPS[3].id, done=1, total=3, unit="packs"))
        display.transition(STEPS[4], State.RUNNING, "")
        display.transition(STEPS[4], State.PENDING, "actor lost")
        display.transition(STEPS[5], State.FAILED, "no memory")
        plain = Console(file=io.StringIO(), width=100)
        plain.print(display._render())
    shown = plain.file.getvalue()
    counts = {name: cells for name, *cells in map(str.split, shown.splitlines()) if len(cells) == len(State)}
    order = list(State)
    assert counts["evaluate.0"][order.index(State.CACHED)] == "2" and "1/3 packs" in shown
    assert counts["evaluate.0"][order.index(State.PENDING)] == "1" and "no memory" in console.file.getvalue()
    assert counts["evaluate.1"][order.index(State.FAILED)] == "1"
    assert counts["evaluate.1"][order.index(State.RUNNING)] == "1"


def test_a_plan_is_one_line_a_step_with_its_reason():
    console = Console(file=io.StringIO(), width=120)
    reason = "params.fraction: 0.01 -> 0.02 [a markup of its own]"
    planned = [PlannedStep(STEPS[0], True, "", 0.0), PlannedStep(STEPS[1], False, reason, 2.5e12)]
    fit = Fit("m", "1 GPUs, 1 CPUs", 2 * 2**30, 2**30, "", 1, 0.0, 7200.0, 2.0)
    show_plan(console, planned, Forecast("4x8", "GPU", (fit,), 7200.0, 3600.0))
    lines = console.file.getvalue().splitlines()
    assert lines[0].split() == ["00000000", "evaluate.0", "m0", "cached"]
    assert lines[1] == f"00000001  evaluate.1 m1       2.5 TFLOP  {reason}"
    told = " ".join(" ".join(lines).split())
    assert "2 steps, 1 cached, 1 to run" in told and "does not fit" in told
    assert "On 4x8: about 2.00 GPU-hours, 2.00 h from start to end (no schedule takes less than 1.00 h)" in told
