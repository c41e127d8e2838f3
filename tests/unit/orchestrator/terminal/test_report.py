"""Plans and reports on the terminal."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.planned_steps import PlannedStep
from orchestrator.planning.power import PlannedPower
from orchestrator.scheduling.forecast import Fit, Forecast
from orchestrator.terminal.console import UNBOUNDED, make_console
from orchestrator.terminal.plan import show_plan
from orchestrator.terminal.report import show_report
from studies.claims.power import ClaimPower

STEPS: list[Any] = [
    SimpleNamespace(id=f"{i:08d}", name=f"evaluate.{i % 2}", title=f"evaluate.{i % 2} m{i}") for i in range(2)
]


def test_a_plan_is_one_line_a_step_with_its_reason() -> None:
    console = Console(file=io.StringIO(), width=120)
    reason = "params.fraction: 0.01 -> 0.02 [a markup of its own]"
    planned = [PlannedStep(STEPS[0], True, "", 0.0), PlannedStep(STEPS[1], False, reason, 2.5e12)]
    fit = Fit("m", "float32", "1 GPUs, 1 CPUs", 2 * 2**30, 2**30, "", 1, 0.0, 7200.0, 2.0)
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


def test_a_plan_says_what_is_evaluated_again_and_what_is_not_applicable() -> None:
    console = Console(file=io.StringIO(), width=120)
    again = "cached under torch 2.12.0; evaluated again with torch 2.13.0 because evaluate.1 top is"
    planned = [
        PlannedStep(STEPS[0], False, again, 2.5e12, again=True),
        PlannedStep(STEPS[1], False, "not applicable: the control cannot be matched", 0.0, idle=True),
    ]
    show_plan(console, planned, {}, Forecast("4x8", "GPU", (), 7200.0, 3600.0))
    lines = console.file.getvalue().splitlines()
    assert lines[0].endswith(again) and lines[1].endswith("not applicable: the control cannot be matched")
    assert lines[2] == "2 steps, 0 cached, 1 not applicable, 1 to run: about 2 TFLOP"
    assert lines[3] == (
        "1 of them are cached, and evaluated again to be compared with the others, by the versions installed here: "
        "about 2.5 TFLOP; --keep-versions leaves them as they are"
    )


def test_a_plan_shows_the_power_of_its_claims() -> None:
    console = Console(file=io.StringIO(), width=120)
    known = ClaimPower(
        "syntax_loss/[b]", 0.44, 0.04, ("b",), "22 templates of 9 items", "defaults", remedy="more of it"
    )
    unknown = ClaimPower("perplexity_cost", None, 0.04, ("ppl",), "", "", "no earlier run shows how windows vary")
    power = [PlannedPower("m", found) for found in (known, unknown)]
    show_plan(console, [], {}, Forecast("4x8", "GPU", (), 7200.0, 3600.0), power)
    lines = console.file.getvalue().splitlines()
    first = lines.index("power of the claims (effects: 2 times what is too small to matter):")
    assert lines[first + 1 : first + 3] == [
        "  syntax_loss/[b]     44 %  an effect of 0.04, 22 templates of 9 items, by defaults; more of it",
        "  perplexity_cost  unknown  no earlier run shows how windows vary",
    ]


def test_a_report_names_what_is_not_finished() -> None:
    console = Console(file=io.StringIO(), width=120)
    show_report(console, {"models": [], "unfinished": ["evaluate.blimp m: failed (no memory)"]})
    assert console.file.getvalue() == "not finished: evaluate.blimp m: failed (no memory)\n"


NAMES = ("baseline", "wasserstein", *(f"random/seed={i}" for i in range(3)), "dose/layers=0-3/fraction=0.05/seed=12")
LABELS = ("perplexity (wikitext2 validation)", "BLiMP", "TSE", "ARC-Easy", "ARC-Challenge", "PIQA", "HellaSwag",
          "WinoGrande", "OpenBookQA", "BoolQ", "SciQ")  # fmt: skip
CELL = "0.812 [0.795, 0.829]"


def wide_report() -> dict[str, Any]:
    """A model with many benchmarks, and a condition without results."""
    cell = {"estimate": 0.812, "low": 0.795, "high": 0.829}
    rows: list[dict[str, Any]] = [
        {"condition": name, "neurons": "top 5 %, negative", "remark": "", "cells": dict.fromkeys(LABELS, cell)}
        for name in NAMES
    ]
    rows.append({"condition": "matched", "neurons": "bottom", "remark": "no match [at all]", "cells": {}})
    benchmarks = [{"name": label, "label": label, "measure": {"digits": 3}} for label in LABELS]
    model = {
        "display": "m (a note [x])",
        "label": "m",
        "benchmarks": benchmarks,
        "rows": rows,
        "noise": "",
        "verdicts": [],
    }
    return {"models": [model], "series": [], "unfinished": []}


def printed(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the report on a console of this width."""
    monkeypatch.setattr("orchestrator.terminal.report.completed", lambda report: report)
    monkeypatch.setattr("orchestrator.terminal.report.finding_lines", lambda model: [])
    console = Console(file=io.StringIO(), width=width)
    show_report(console, wide_report())
    return console.file.getvalue().splitlines()


def test_a_table_outside_a_terminal_has_a_line_for_each_row_with_its_whole_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = printed(UNBOUNDED, monkeypatch)
    for name in NAMES:
        (line,) = [line for line in lines if f"│ {name} " in line]
        assert line.count(CELL) == len(LABELS)
    (heading,) = [line for line in lines if "condition" in line]
    assert all(label in heading for label in LABELS)
    assert "matched: no match [at all]" in lines and lines[0].rstrip() == "m (a note [x])"


@pytest.mark.parametrize("width", [120, 80, 50, 30])
def test_on_a_narrow_terminal_every_part_has_whole_names(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(width, monkeypatch)
    assert max(map(len, lines)) <= width and "…" not in "".join(lines)
    parts = "\n".join(lines).split("└")[:-1]
    assert len(parts) > 1
    for part in parts:
        names = "".join(line.split("│")[1].strip() for line in part.splitlines() if line.startswith("│"))
        assert names == "".join(NAMES) + "matched", part
    shown = "".join("".join(line.split("│")[2:]) for line in lines)
    assert shown.replace(" ", "").count(CELL.replace(" ", "")) == len(LABELS) * len(NAMES)


def test_columns_of_the_environment_count_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert make_console().width == UNBOUNDED
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert make_console().width == 100
