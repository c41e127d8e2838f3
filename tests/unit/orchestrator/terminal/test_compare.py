"""Comparisons on the terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from orchestrator.terminal.compare import show_comparison
from studies.errors import printable
from tests.hostile import HOSTILE


def row(condition: str, estimate: float = 0.0123, **more: Any) -> dict[str, Any]:
    cell = {"estimate": 0.7512, "low": 0.7, "high": 0.8}
    return {
        "condition": condition,
        "benchmark": "blimp",
        "measure": {"name": "accuracy", "digits": 3, "logarithmic": False},
        "num_items": 3350,
        "a": cell,
        "b": cell,
        "difference": {"estimate": estimate, "low": estimate - 0.01, "high": estimate + 0.01},
        "num_items_a": 3350,
        "num_items_b": 3350,
        "same_result": False,
        **more,
    }


def found(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    model = {"a": "m", "b": "m", "rows": list(rows), "not_compared": [], "only_a": [], "only_b": [], "verdicts": []}
    return {"a": {"named": "s#1"}, "b": {"named": "s"}, "models": [{**model, **more}]}


def shown(document: dict[str, Any], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    show_comparison(console, document)
    return console.file.getvalue().splitlines()


def test_differences_are_told_in_the_unit_of_a_report_in_80_columns() -> None:
    perplexity = {"name": "perplexity", "digits": 2, "logarithmic": True}
    lines = shown(
        found(
            row("dose/fraction=0.001/seed=0"),
            row("same", same_result=True),
            row("without interval", difference={"estimate": -0.5, "low": None, "high": None}),
            row("top", 0.1, benchmark="perplexity", measure=perplexity),
        )
    )
    assert lines[:2] == ["A = s#1", "B = s"] and max(map(len, lines)) <= 80
    (dose,) = [line for line in lines if "dose/fraction=0.001/seed=0" in line]
    assert [cell.strip() for cell in dose.split("│")[2:-1]] == ["0.751", "0.751", "+1.2 [+0.2, +2.2]", "3,350"]
    assert any("the same result" in line and " same " in line for line in lines)
    assert any("│ -50.0 " in line and "without interval" in line for line in lines)
    assert any("+10.5 [+9.4, +11.6]" in line for line in lines), "exp(0.1) is a rise of 10.5 %"
    assert sum("B - A, pp" in line for line in lines) == sum("B - A, %" in line for line in lines) == 1


def test_what_is_left_out_is_one_line_a_reason() -> None:
    refused = [
        {"condition": condition, "benchmark": on, "reason": "s#1 with torch 1, s with torch 2"}
        for condition in ("baseline", "top")
        for on in ("blimp", "tse")
    ]
    lines = shown(
        found(
            not_compared=[*refused, {"condition": "top", "benchmark": "piqa", "reason": "no items in common"}],
            only_b=[{"condition": "new", "benchmark": "blimp"}],
            verdicts=[{"claim": "syntax_loss", "a": {"status": "undecided"}, "b": {"status": "supported"}}],
        )
    )
    assert "not compared: baseline, top on blimp, tse: s#1 with torch 1, s with torch 2" in lines
    assert "not compared: top on piqa: no items in common" in lines
    assert "only B has new on blimp" in lines and "nothing is compared" in lines
    assert any(line.split() == ["│", "syntax_loss", "│", "undecided", "│", "supported", "│"] for line in lines)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_are_text(text: str) -> None:
    refused = [{"condition": text, "benchmark": text, "reason": text}]
    lines = shown(found(row(text, benchmark=text), not_compared=refused, a=text, b=text), 10_000)
    assert all(line.isprintable() for line in lines)
    assert sum(line.count(printable(text)) for line in lines) >= 6
