"""A report on the terminal, in full: tables, remarks, verdicts, scorecard.

Owns the layout. The wording belongs to `studies.reporting.text`, so that the terminal, MLflow and notebooks never
disagree.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.terminal.console import plain, print_table
from orchestrator.terminal.scorecard import STATUS_COLOURS
from studies.errors import StudyError, printable
from studies.reporting.records import completed
from studies.reporting.text import (
    across_models_lines,
    benchmark_cell,
    finding_lines,
    margin_lines,
    scorecard_table,
    series_lines,
    verdict_note,
)


def show_report(console: Console, report: Mapping[str, Any]) -> None:
    """Print the table and the verdicts of each model, then of each series of checkpoints, then the scorecard.

    Raises StudyError for a report of another shape: others may have recorded it."""
    try:
        show_completed(console, completed(report))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise StudyError(f"the recorded report cannot be shown ({cause}); run the study again") from error


def show_completed(console: Console, report: Mapping[str, Any]) -> None:
    for model in report["models"]:
        _show_model(console, model)
    for series in report.get("series", ()):
        console.print()
        console.print(plain(f"Training of {series['label']}"), style="italic")
        for line in series_lines(series):
            console.print(plain(line))
        _show_verdicts(console, series["verdicts"])
    for line in margin_lines(report):
        console.print(plain(line))
    if scorecard := scorecard_table(report["models"]):
        heading, *rows = scorecard
        print_table(console, "Scorecard", heading, rows)
    for line in across_models_lines(report):
        console.print(plain(line))
    for entry in report["unfinished"]:
        console.print(Text("not finished: ", style="red").append(printable(entry), style="default"))


def _show_model(console: Console, model: Mapping[str, Any]) -> None:
    rows, remarks = [], []
    for row in model["rows"]:
        cells = [benchmark_cell(benchmark, row) for benchmark in model["benchmarks"]]
        rows.append([row["condition"], row["neurons"], *cells])
        if row["remark"] and row["condition"] not in model.get("unmatched", {}):  # a finding says more
            remarks.append(f"{row['condition']}: {row['remark']}")
    heading = ["condition", "neurons", *(benchmark["label"] for benchmark in model["benchmarks"])]
    print_table(console, model["display"], heading, rows)
    for remark in remarks:
        console.print(plain(remark))
    console.print(plain(f"95 % bootstrap intervals over items. {model['noise']}".rstrip()), style="dim")
    for line in finding_lines(model):
        console.print(plain(line))
    _show_verdicts(console, model["verdicts"])


def _show_verdicts(console: Console, verdicts: Iterable[Mapping[str, Any]]) -> None:
    for verdict in verdicts:
        line = Text(f"{verdict['status'].upper():<14} ", style=STATUS_COLOURS[verdict["status"]])
        line.append(f"{printable(verdict['claim'])}: ", style="bold")
        line.append(printable("; ".join(filter(None, (verdict["detail"], verdict_note(verdict))))), style="default")
        console.print(line)
