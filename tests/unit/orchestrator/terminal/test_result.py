"""The end of a run: one screen for a study of any size, whose last lines say where the rest is."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.terminal.result import LINES, show_result
from studies.reporting.records import completed
from tests.unit.studies.reporting.page.examples import model, report, verdict

COMMAND, UI = (f"halfwave {verb} studies/catalog/quickstart.yaml" for verb in ("report", "ui"))
CLAIMS = [f"syntax_loss/benchmark_{i}" for i in range(30)]


def shown(made: dict[str, Any], width: int = 80, *, full: bool = False, **more: Any) -> list[str]:
    """The lines of a terminal of this width at the end of a run with this report."""
    result: Any = SimpleNamespace(
        report=made,
        computed=28,
        cached=2,
        unsent=0,
        why_unsent="",
        page="/home/somebody/a/project/.halfwave/reports/s/report.html",
    )
    vars(result).update(more)
    console = Console(file=io.StringIO(), width=width)
    show_result(console, result, 257.6, tables=COMMAND, ui=UI, full=full)
    return [line[i : i + width] for line in written(console) for i in range(0, max(len(line), 1), width)]


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_run_ends_with_finding_scorecard_and_places() -> None:
    lines = shown(report())
    text = " ".join(lines).strip()
    assert text.startswith("Clamping 450 neurons (1 % of each layer) raises perplexity by 11.2 %")
    assert "double_dissociation  SUPPORTED  −2.5 pp [−4.0, −1.0]  same direction" in lines
    assert "28 steps computed, 2 cached, in 258 s" in lines
    assert lines[-3:-1] == [f"See all tables:   {COMMAND}", f"Open the record:  {UI}"]
    assert lines[-1] == "Read the page:    /home/somebody/a/project/.halfwave/reports/s/report.html"


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("num_models", [1, 2, 3, 12])
def test_a_study_of_any_size_ends_on_one_screen(num_models: int, width: int) -> None:
    many = [verdict(claim=claim) for claim in CLAIMS]
    long = [f"evaluate.blimp m condition/seed={i}: failed ({'a long reason ' * 60})" for i in range(9)]
    models = [model(f"organisation/model-{i}", many) for i in range(num_models)]
    for one in models:
        one["left_out"] = {"blimp": {"items": 3, "of": 9, "first": ["pairs.jsonl:2 has 1006 tokens " * 20]}}
    made = completed({**report(*models), "unfinished": long})
    waiting = {"unsent": 7, "why_unsent": "in /home/somebody/outbox: the server does not answer"}
    lines = shown(made, width, **waiting)
    assert len(lines) <= LINES and "not finished: 7 more" in lines
    assert any(line.startswith("and ") and line.endswith(" more claims") for line in lines)
    assert "Read the page:" in " ".join(lines[-3:])


def test_what_did_not_finish_and_caveats_are_never_silent() -> None:
    one = model()
    one["left_out"] = {"blimp": {"items": 1, "of": 640, "first": ["pairs.jsonl:2 has 1006 tokens"]}}
    one["unmatched"] = {"matched": "no fraction up to 0.5 reaches the perplexity of wasserstein"}
    made = completed({**report(one), "unfinished": ["evaluate.tse m wasserstein: failed (no memory)"]})
    lines = shown(made, 120)
    assert "not finished: evaluate.tse m wasserstein: failed (no memory)" in lines
    assert "note: blimp: 1 of 640 items left out: pairs.jsonl:2 has 1006 tokens" in lines
    assert "note: matched: no fraction up to 0.5 reaches the perplexity of wasserstein" in lines


def test_a_narrow_terminal_loses_no_place() -> None:
    assert "Read the page:" in " ".join(shown(report(), 30)[-4:])


def test_full_prints_the_whole_report() -> None:
    lines = shown(report(), 120, full=True)
    assert any("random/seed=1" in line for line in lines) and not any("See all tables" in line for line in lines)
    assert lines[-1].startswith("Read the page:")
