"""The display of a running study: the counts of the live table, and one plain line per transition elsewhere."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from actors.messages.stream import Progress
from orchestrator.steps.step import State
from orchestrator.terminal import live as module
from orchestrator.terminal.live import Display, FirstReport, progress_text

STEPS: list[Any] = [
    SimpleNamespace(id=f"{i:08d}", name=f"evaluate.{i % 2}", title=f"evaluate.{i % 2} m{i}") for i in range(6)
]
CONTROL_CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
"""What moves the cursor or colours the text of a terminal."""


def report(done: int, total: int = 3) -> Progress:
    return Progress(step=STEPS[3].id, done=done, total=total, unit="packs")


def test_a_live_table_counts_every_transition() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Display(console, STEPS) as display:
        for step in STEPS[:3]:
            display.transition(step, State.CACHED, "")
        display.transition(STEPS[3], State.RUNNING, "")
        display.progress(STEPS[3], report(1))
        display.transition(STEPS[4], State.RUNNING, "")
        display.transition(STEPS[4], State.PENDING, "actor lost")
        display.transition(STEPS[5], State.FAILED, "no memory")
    shown = CONTROL_CODES.sub("", console.file.getvalue())
    rows = (line.split() for line in shown.splitlines() if line.strip())
    counts = {name: cells for name, *cells in rows if len(cells) == len(State)}  # as last shown
    order = list(State)
    assert counts["evaluate.0"][order.index(State.CACHED)] == "2" and "1/3 packs" in shown
    assert counts["evaluate.0"][order.index(State.PENDING)] == "1" and "no memory" in shown
    assert counts["evaluate.1"][order.index(State.FAILED)] == "1"
    assert counts["evaluate.1"][order.index(State.RUNNING)] == "1"


def test_a_narrow_live_table_keeps_the_names_of_steps_whole() -> None:
    names = ("evaluate.arc_challenge", "noise_floor.perplexity", "evaluate.winogrande")
    steps: list[Any] = [SimpleNamespace(id=name, name=name, title=f"{name} m") for name in names]
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    with Display(console, steps) as display:
        display.transition(steps[0], State.RUNNING, "")
        display.progress(steps[0], Progress(step=names[0], done=1, total=3, unit="packs"))
    shown = CONTROL_CODES.sub("", console.file.getvalue())
    assert "…" not in shown and all(len(line.rstrip()) <= 40 for line in shown.splitlines())
    for name in names:
        folded = "".join(line[:20].strip() for line in shown.splitlines())
        assert name in folded or name in shown, shown


def test_without_a_terminal_every_transition_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", -1.0)
    console = Console(file=io.StringIO(), width=100)
    with Display(console, STEPS) as display:
        display.transition(STEPS[0], State.CACHED, "")
        display.transition(STEPS[3], State.RUNNING, "[markup] of its own")
        display.progress(STEPS[3], report(1))
        display.transition(STEPS[3], State.FAILED, "no memory")
    assert console.file.getvalue().splitlines() == [
        "HIT   00000000  evaluate.0 m0",
        "RUN   00000003  evaluate.1 m3 ([markup] of its own)",
        "      evaluate.1 m3: 1/3 packs",
        "FAIL  00000003  evaluate.1 m3 (no memory)",
    ]


def test_rate_and_remaining_time_count_from_the_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 110.0)
    first = FirstReport(done=10, at=100.0)
    assert progress_text(report(10, 780), first) == "10/780 packs"
    assert progress_text(report(30, 780), first) == "30/780 packs  2/s  about 375 s left"
