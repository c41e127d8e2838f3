"""An explanation on the terminal: nothing wraps at 80 columns, and names of others are shown as text."""

import io
from dataclasses import replace
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console

from orchestrator.explanation.explanation import Cause, Explanation, Recording, Related, Standing
from orchestrator.steps.identity import Change
from orchestrator.terminal.explain import show_explanation

LONG = "EleutherAI-pythia-1.4b-deduped-with-a-long-name"
EXPLANATION = Explanation(
    id="3fa9c1d2e0" * 2,
    title=f"evaluate.blimp {LONG} wasserstein",
    name="evaluate.blimp",
    kind="evaluate",
    version=3,
    model=LONG,
    condition="wasserstein",
    standing=Standing.NOT_CACHED,
    reason="",
    causes=(
        Cause(
            "wasserstein.fraction", Change("params.fraction", "changed", 0.01, 0.02), (f"select {LONG} wasserstein",)
        ),
        Cause("wasserstein.fraction", Change("params.fraction", "changed", 0.01, 0.02), ("another way",)),
    ),
    failure="CUDA error: " + "out of memory, " * 12,
    params={"benchmark": "blimp", "clamp": {"kind": "range", "ceiling": 0.0}, "engine": {}, "left": None},
    inputs=(Related("neurons", "77aa00bb11" * 2, f"select {LONG} wasserstein", False),),
    needed_by=tuple(
        Related("treated_perplexity", f"{i:020x}", f"match {LONG} matched/{LONG}-{i}", i % 2 == 0) for i in range(14)
    ),
    recording=None,
)
RECORDING = Recording(
    study="s",
    at=datetime(2026, 12, 1, 12, 3, tzinfo=UTC),
    run_id="r1",
    link="http://127.0.0.1:5000/#/experiments/1/runs/52337d10ecd44f1d9d9b636831a02b61?workflowType=machine_learning",
    versions={f"package{i}": "1.2.3" for i in range(12)},
    receipt="12 neurons in 2 layers clamped, clipped fraction 0.5; tree route on cpu in float32; 4 tokens in 0.1 s",
)


def printed(explained: Explanation, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show_explanation(console, explained)
    return console.file.getvalue()


def test_nothing_wraps_at_80_columns() -> None:
    lines = printed(replace(EXPLANATION, recording=RECORDING)).splitlines()
    assert [line for line in lines if cell_len(line) > 80] == [f"run        {RECORDING.link}"], "an address stays whole"
    listed = [line for line in lines if "treated_perplexity" in line]
    assert len(listed) == 12 and len({line.split("  ")[-2] for line in listed}) == 12, "shortened, and never equal"
    assert lines[-1] == "           and 2 more steps"


def test_a_cause_is_said_once_with_one_way_to_it() -> None:
    text = printed(EXPLANATION, width=200)
    assert text.count("because wasserstein.fraction 0.01 -> 0.02") == 1 and "another way" not in text
    assert f"  through select {LONG} wasserstein\n" in text
    assert EXPLANATION.why == "wasserstein.fraction 0.01 -> 0.02"


def test_parameters_are_leaves_and_what_fails_is_said() -> None:
    text = printed(EXPLANATION, width=300)
    assert "parameters benchmark = blimp\n           clamp.kind = range\n           clamp.ceiling = 0.0\n" in text
    assert "left = null" in text and "failed     in the last run: CUDA error: out of memory" in text
    again = printed(
        replace(EXPLANATION, standing=Standing.AGAIN, reason="torch 2.12 here, torch 2.13 there", causes=())
    )
    assert "state      evaluated again: torch 2.12 here, torch 2.13 there\n" in again


def test_what_waits_in_the_outbox_has_no_time_and_no_link() -> None:
    text = printed(replace(EXPLANATION, recording=replace(RECORDING, at=None, run_id="", link="")))
    assert "recorded   it waits to be sent, study s\n" in text and "\nrun " not in text


def test_names_and_values_are_no_markup_and_no_control_characters() -> None:
    hostile = "[red]x[/red]\x1b[31m\n"
    related = Related("role", "ab" * 10, hostile, True)
    text = printed(
        replace(EXPLANATION, title=hostile, failure=hostile, params={hostile: hostile}, inputs=(related,)), width=200
    )
    assert text.count("[red]x[/red]\\x1b[31m") == 5 and "\x1b" not in text
